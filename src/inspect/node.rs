//! What nodeforge put into an image, and how far its first boot is.

use std::collections::BTreeSet;
use std::path::Path;

use regex::Regex;
use serde::Serialize;

use super::{names_in, read_text};
use crate::fs::Tree;
use crate::util::error::Result;

const ROLES: &str = "/etc/nodeforge/roles";
const DONE: &str = "/var/lib/k8s-firstboot-done";
const STEPS_DONE: &str = "/var/lib/nodeforge/firstboot";

/// A node of a cluster.
#[derive(Clone, Debug, Serialize)]
pub struct NodeFacts {
    /// What its name makes it; `None` while it has no name, or one that no pattern matches.
    pub role: Option<String>,
    /// How far its first boot is.
    pub first_boot: FirstBoot,
    /// The role's steps, in their order.
    pub steps: Vec<FirstBootStep>,
}

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

impl NodeFacts {
    pub(super) fn of(tree: &dyn Tree, hostname: Option<&str>) -> Result<Option<Self>> {
        if tree.resolve(Path::new(ROLES))?.is_none() {
            return Ok(None);
        }
        let found =
            hostname.map(|name| find_role(&read_text(tree, ROLES).unwrap_or_default(), name));
        let (role, steps) = found.flatten().unzip();
        let marks: BTreeSet<String> = names_in(tree, STEPS_DONE)?.into_iter().collect();
        let steps: Vec<FirstBootStep> = steps
            .unwrap_or_default()
            .into_iter()
            .map(|name: String| FirstBootStep {
                done: marks.contains(&format!("{name}.done")),
                name,
            })
            .collect();
        let first_boot = if tree.resolve(Path::new(DONE))?.is_some() {
            FirstBoot::Done
        } else if marks.is_empty() {
            FirstBoot::Pending
        } else {
            FirstBoot::Begun
        };
        Ok(Some(Self { role, first_boot, steps }))
    }
}

/// The first line `PATTERN ROLE STEP…` whose pattern matches the whole name, as
/// `firstboot/lib.sh` finds it.
fn find_role(roles: &str, hostname: &str) -> Option<(String, Vec<String>)> {
    let lines = roles.lines().map(str::trim).filter(|line| !line.starts_with('#'));
    lines.into_iter().find_map(|line| {
        let mut words = line.split_ascii_whitespace().map(str::to_owned);
        let pattern = Regex::new(&format!("^(?:{})$", words.next()?)).ok()?;
        pattern.is_match(hostname).then(|| Some((words.next()?, words.collect())))?
    })
}

#[cfg(test)]
mod tests {
    use super::find_role;

    #[test]
    fn the_first_pattern_that_matches_the_whole_name_decides() {
        let roles = "# made by nodeforge\n\nagent[0-9]+ agent 10-identity 20-report\n.* other\n";
        let role = |name| find_role(roles, name).map(|(role, steps)| (role, steps.len()));
        assert_eq!(role("agent12"), Some(("agent".into(), 2)));
        assert_eq!(role("my-agent12"), Some(("other".into(), 0)));
        assert_eq!(find_role("agent only\n( broken\n", "x"), None);
    }
}
