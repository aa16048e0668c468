//! One row of the table.

use serde::Deserialize;

/// A release of a program, with all patches of it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SupportedRelease {
    /// What settings call the program.
    pub(super) program: String,
    /// What people call it.
    pub(super) title: String,
    /// As much of a version as its support depends on: `1.36`.
    pub(super) version: String,
    /// The day it came out, `2026-04-22`.
    #[serde(default)]
    pub(super) released: Option<String>,
    /// A day on which it was out, where no source has the day it came out.
    #[serde(default)]
    pub(super) seen: Option<String>,
    /// The first day without support; `None` where no end is known.
    #[serde(default)]
    pub(super) ends: Option<String>,
    /// Whether that day follows from its publisher's cadence only.
    #[serde(default)]
    pub(super) expected: bool,
    /// Where all that is written.
    pub(super) source: String,
}

impl SupportedRelease {
    /// The end, in words: `on 2027-06-28`, `about 2027-07`.
    pub(super) fn end(&self) -> Option<String> {
        let day = self.ends.as_ref()?;
        Some(if self.expected { format!("about {}", &day[..7]) } else { format!("on {day}") })
    }

    /// `1.36` → 1, 36.
    pub(super) fn numbers(&self) -> Vec<u64> {
        numbers(&self.version)
    }
}

/// The numbers that a version begins with: `v1.36.2+k3s1` → 1, 36, 2; `2.9.x` → 2, 9.
pub(super) fn numbers(version: &str) -> Vec<u64> {
    let version = version.strip_prefix('v').unwrap_or(version);
    let digits = |part: &str| {
        let end = part.find(|c: char| !c.is_ascii_digit()).unwrap_or(part.len());
        (part[..end].parse::<u64>().ok(), end == part.len())
    };
    let mut found = Vec::new();
    for part in version.split('.') {
        let (number, is_whole) = digits(part);
        found.extend(number);
        if !is_whole {
            break;
        }
    }
    found
}
