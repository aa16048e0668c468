//! One thing that was looked at, and how it is.

use serde::Serialize;

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
    pub(super) fn right(subject: &'static str, found: impl Into<String>) -> Self {
        Self { subject, verdict: CheckVerdict::Right, found: found.into(), remedies: Vec::new() }
    }

    pub(super) fn limited(subject: &'static str, found: impl Into<String>) -> Self {
        Self { verdict: CheckVerdict::Limited, ..Self::right(subject, found) }
    }

    pub(super) fn wrong(subject: &'static str, found: impl Into<String>) -> Self {
        Self { verdict: CheckVerdict::Wrong, ..Self::right(subject, found) }
    }

    /// What a probe says, in its own words.
    pub(super) fn of(subject: &'static str, verdict: CheckVerdict, error: &Error) -> Self {
        let hints = error.problems().iter().flat_map(|it| it.hints.clone());
        Self { subject, verdict, found: error.to_string(), remedies: hints.collect() }
    }

    #[must_use]
    pub(super) fn remedy(mut self, text: impl Into<String>) -> Self {
        self.remedies.push(text.into());
        self
    }
}
