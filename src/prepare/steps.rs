//! Steps of preparing that are the same whether programs run or not.

use std::fs::File;
use std::io::Seek as _;
use std::path::Path;

use crate::apply;
use crate::change::{Action, Change, Content, Owner, Requester, UnitState};
use crate::fs::{Attributes, Tree};
use crate::util::error::{Context, Error, Result};

/// Written last: while it is there, apt's packages would find their units forbidden.
pub(crate) const PRESET: &str = "/etc/systemd/system-preset/00-nodeforge.preset";

/// A first boot runs `systemctl preset-all`, and Debian ships no `disable *`: without one, every
/// unit that was left off on purpose would come on. And nobody is there to answer questions.
pub(crate) fn first_boot() -> [Change; 2] {
    let preset = Action::File {
        path: PRESET.into(),
        content: Content::public("disable *\n"),
        mode: 0o644,
        owner: Owner::root(),
    };
    let questions =
        Action::Unit { name: "systemd-firstboot.service".into(), state: UnitState::Masked };
    [preset, questions].map(|action| Change { action, origin: Requester::Nodeforge })
}

/// The file that an apt source, or what apt reads beside it, comes down to.
pub(crate) fn source_file(change: &Change) -> Option<Change> {
    let action = match &change.action {
        Action::AptSource { name, text, .. } => Action::File {
            path: format!("/etc/apt/sources.list.d/{name}.sources"),
            content: Content::public(text.clone()),
            mode: 0o644,
            owner: Owner::root(),
        },
        Action::File { path, .. } if path.starts_with("/etc/apt/") => change.action.clone(),
        _ => return None,
    };
    Some(Change { action, origin: change.origin.clone() })
}

/// Puts a file from elsewhere where it belongs.
pub(crate) fn put(tree: &mut dyn Tree, file: Option<File>, path: &Path, mode: u32) -> Result<()> {
    let put = || {
        let mut file = file.ok_or_else(|| Error::failure("it was not fetched"))?;
        file.rewind()?;
        let size = file.metadata()?.len();
        apply::create_parents(tree, path)?;
        tree.write_from(path, &mut file, size, Some(Attributes { mode, uid: 0, gid: 0 }))
    };
    put().context(|| format!("writing `{}`", path.display()))
}
