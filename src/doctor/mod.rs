//! What this machine lacks for a build, found by the probes that `build` itself uses.

mod check;
mod here;
mod machine;

use std::path::Path;

use crate::config::Cluster;
use crate::util::error::Error;

pub use check::{Check, CheckVerdict};

/// Looks at everything. `cluster` says what its nodes need, or why it cannot be read; `output` is where a
/// build would put its artifacts.
pub fn examine(cluster: Option<&Result<Cluster, Error>>, output: &Path) -> Vec<Check> {
    let mut checks = Vec::new();
    let described = cluster.and_then(|it| it.as_ref().ok());
    checks.extend(machine::examine(described));
    checks.extend(here::examine(described, output));
    if let Some(Err(error)) = cluster {
        let check = Check::wrong("cluster file", error.problems()[0].message.clone());
        checks.push(check.remedy("`nodeforge check` says where, and what else"));
    }
    checks
}

/// Whether a build can be made here.
pub fn can_build(checks: &[Check]) -> bool {
    checks.iter().all(|check| check.verdict != CheckVerdict::Wrong)
}
