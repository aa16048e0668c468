//! A node's first boot: where its runner, its steps and its state are, and how far it is.
//!
//! `firstboot/lib.sh` has the same paths.

use std::collections::BTreeSet;
use std::path::Path;

use serde::Serialize;

use super::files::names_in;
use crate::change::{Action, Change, Content, Owner, Requester, UnitState};
use crate::fs::Tree;
use crate::util::error::{Error, Result};

/// The folder of the steps.
pub(crate) const STEPS: &str = "/usr/lib/nodeforge/firstboot.d";
/// What is there when it is over.
const DONE: &str = "/var/lib/k8s-firstboot-done";
/// The folder of what is known while it runs: `STEP.done`, `STEP.spent`, `failed`.
const STATE: &str = "/var/lib/nodeforge/firstboot";
/// All that makes a first boot one that has begun; without it the next boot is a first boot.
pub(crate) const PROGRESS: [&str; 2] = [DONE, STATE];
/// The day, in a line, before which the node's clock is wrong.
pub(crate) const NOT_BEFORE: &str = "/etc/nodeforge/not-before";
/// What the step `05-packages` installs.
pub(crate) const PACKAGES: &str = "/etc/nodeforge/packages";

/// What the steps `05-grow-root` and `06-disks` read.
pub(crate) const DISKS: &str = "/etc/nodeforge/disks";

/// Written last: while it is there, apt's packages would find their units forbidden.
pub(crate) const PRESET: &str = "/etc/systemd/system-preset/00-nodeforge.preset";

/// How far a first boot is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum FirstBoot {
    /// It has not begun.
    Pending,
    /// Some of its steps are done.
    Begun,
    /// It is over.
    Done,
}

/// A step of a first boot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FirstBootStep {
    /// Its file's name.
    pub name: String,
    /// Whether it ended well.
    pub done: bool,
}

/// How far an image's first boot is, when it has these steps.
pub(crate) fn progress(
    tree: &dyn Tree,
    steps: &[String],
) -> Result<(FirstBoot, Vec<FirstBootStep>)> {
    let marks: BTreeSet<String> = names_in(tree, STATE)?.into_iter().collect();
    let step = |name: &String| FirstBootStep {
        done: marks.contains(&format!("{name}.done")),
        name: name.clone(),
    };
    let first_boot = if tree.resolve(Path::new(DONE))?.is_some() {
        FirstBoot::Done
    } else if marks.is_empty() {
        FirstBoot::Pending
    } else {
        FirstBoot::Begun
    };
    Ok((first_boot, steps.iter().map(step).collect()))
}

/// Whether a first boot that is to come, or to go on, installs packages.
pub(crate) fn has_packages(tree: &dyn Tree) -> Result<bool> {
    let is_there = |path: &Path| Ok::<_, Error>(tree.resolve(path)?.is_some());
    let done = Path::new(STATE).join("05-packages.done");
    Ok(is_there(Path::new(PACKAGES))? && !is_there(Path::new(DONE))? && !is_there(&done)?)
}

/// What keeps systemd's own first boot from undoing ours. It runs `systemctl preset-all`, and Debian
/// ships no `disable *`: without one, every unit that was left off on purpose would come on. And it
/// asks questions on the console.
pub(crate) fn presets() -> [Change; 2] {
    let preset = Action::File {
        path: PRESET.into(),
        content: Content::public("disable *\n"),
        mode: 0o644,
        owner: Owner::root(),
    };
    let questions =
        Action::Unit { name: "systemd-firstboot.service".into(), state: UnitState::Masked };
    [preset, questions].map(|action| Change::new(action, Requester::Nodeforge))
}
