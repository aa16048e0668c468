//! What nodeforge put into an image, and how far its first boot is.

use serde::Serialize;

use crate::fs::Tree;
use crate::guest::first_boot::{self, FirstBoot, FirstBootStep};
use crate::guest::roles::RoleTable;
use crate::util::error::Result;

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

impl NodeFacts {
    pub(super) fn of(tree: &dyn Tree, hostname: Option<&str>) -> Result<Option<Self>> {
        let Some(table) = RoleTable::read(tree)? else { return Ok(None) };
        let line = hostname.and_then(|name| table.find(name));
        let (first_boot, steps) =
            first_boot::progress(tree, line.map_or(&[], |line| line.steps.as_slice()))?;
        Ok(Some(Self { role: line.map(|line| line.role.clone()), first_boot, steps }))
    }
}
