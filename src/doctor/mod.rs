//! What this machine lacks for a build, found by the probes that `build` itself uses.

mod here;
mod machine;

use std::path::Path;

use serde::Serialize;

use crate::config::Cluster;
use crate::util::error::Error;

/// What one look came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum CheckVerdict {
    /// As it should be.
    Right,
    /// A build can be made without it; something else cannot be done, or only slowly.
    Limited,
    /// No build can be made like this.
    Wrong,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What it is.
    pub subject: &'static str,
    /// How it is.
    pub verdict: CheckVerdict,
    /// What was found.
    pub found: String,
    /// What mends it.
    pub remedies: Vec<String>,
}

impl Check {
    fn right(subject: &'static str, found: impl Into<String>) -> Self {
        Self { subject, verdict: CheckVerdict::Right, found: found.into(), remedies: Vec::new() }
    }

    fn limited(subject: &'static str, found: impl Into<String>) -> Self {
        Self { verdict: CheckVerdict::Limited, ..Self::right(subject, found) }
    }

    fn wrong(subject: &'static str, found: impl Into<String>) -> Self {
        Self { verdict: CheckVerdict::Wrong, ..Self::right(subject, found) }
    }

    /// What a probe says, in its own words.
    fn of(subject: &'static str, verdict: CheckVerdict, error: &Error) -> Self {
        let hints = error.problems().iter().flat_map(|it| it.hints.clone());
        Self { subject, verdict, found: error.to_string(), remedies: hints.collect() }
    }

    #[must_use]
    fn remedy(mut self, text: impl Into<String>) -> Self {
        self.remedies.push(text.into());
        self
    }
}

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
