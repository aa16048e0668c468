//! What the table says of a version, on a day.

use std::sync::OnceLock;

use serde::Deserialize;

use super::release::{SupportedRelease, numbers};
use crate::util::calendar;

/// How many days before the end of a version's support it is worth a warning.
const SOON: i64 = 60;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct VersionTable {
    release: Vec<SupportedRelease>,
}

/// All rows, as they stand in the file.
fn releases() -> &'static [SupportedRelease] {
    static TABLE: OnceLock<Vec<SupportedRelease>> = OnceLock::new();
    TABLE.get_or_init(|| {
        let table: VersionTable =
            toml::from_str(include_str!("versions.toml")).expect("a test reads it");
        table.release
    })
}

/// Whether the table has a program.
pub(crate) fn is_program(name: &str) -> bool {
    releases().iter().any(|it| it.program == name)
}

/// All programs of the table, each once.
pub(crate) fn programs() -> impl Iterator<Item = &'static str> {
    let mut seen: Vec<&str> = Vec::new();
    releases().iter().map(|it| it.program.as_str()).filter(move |name| {
        let is_new = !seen.contains(name);
        seen.push(name);
        is_new
    })
}

/// How long a version is supported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum VersionSupport {
    /// For longer than anyone needs to be told.
    Long,
    /// It ends soon, or has ended; or the table is older than the version. In words.
    Doubtful(String),
}

/// What a version of a program can expect from its publisher, seen on a day (`2026-11-30`).
pub(crate) fn support(program: &str, version: &str, today: &str) -> VersionSupport {
    let wanted = numbers(version);
    let mut rows: Vec<_> = releases().iter().filter(|it| it.program == program).collect();
    rows.sort_by_key(|it| it.numbers());
    let (Some(oldest), Some(newest)) = (rows.first(), rows.last()) else {
        return VersionSupport::Long;
    };
    if wanted.is_empty() {
        return VersionSupport::Long;
    }
    let title = &newest.title;
    let Some(row) = rows.iter().find(|it| wanted.starts_with(&it.numbers())) else {
        return VersionSupport::Doubtful(if wanted > newest.numbers() {
            format!(
                "{title} {version} is newer than this nodeforge knows: {} is the newest in its table",
                newest.version
            )
        } else if wanted < oldest.numbers() {
            format!("support of {title} {version} has ended; {}", advice(&rows, today))
        } else {
            format!(
                "this nodeforge does not know {title} {version}: {} is the newest in its table",
                newest.version
            )
        });
    };
    let (Some(ends), Some(when)) = (&row.ends, row.end()) else { return VersionSupport::Long };
    let Some(days) = calendar::days_between(today, ends) else { return VersionSupport::Long };
    let verb = match (days > 0, row.expected) {
        _ if days > SOON => return VersionSupport::Long,
        (true, false) => "ends",
        (true, true) => "is expected to end",
        (false, false) => "ended",
        (false, true) => "is expected to have ended",
    };
    let told = format!("support of {title} {} {verb} {when}", row.version);
    VersionSupport::Doubtful(format!("{told}; {}", advice(&rows, today)))
}

/// The release that is supported longest.
fn advice(rows: &[&SupportedRelease], today: &str) -> String {
    let newest = rows.last().expect("a program has a row");
    match (&newest.ends, newest.end()) {
        (Some(day), _) if day.as_str() <= today => {
            "a newer nodeforge may know of another".to_owned()
        }
        (_, Some(end)) if newest.expected => {
            format!("that of {} is expected to end {end}", newest.version)
        }
        (_, Some(end)) => format!("that of {} ends {end}", newest.version),
        (_, None) => format!("{} is the newest", newest.version),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const TODAY: &str = "2026-11-30";

    fn said(program: &str, version: &str, today: &str) -> String {
        match support(program, version, today) {
            VersionSupport::Long => "long".to_owned(),
            VersionSupport::Doubtful(why) => why,
        }
    }

    #[test]
    fn every_row_has_dates_and_a_source() {
        let mut seen = BTreeSet::new();
        for row in releases() {
            assert!(seen.insert((&row.program, &row.version)), "twice: {row:?}");
            assert!(row.source.starts_with("https://"), "{row:?}");
            assert!(!row.numbers().is_empty(), "{row:?}");
            assert!(row.released.is_some() != row.seen.is_some(), "{row:?}");
            let begins = row.released.as_ref().or(row.seen.as_ref()).expect("one of them");
            for day in [Some(begins), row.ends.as_ref()].into_iter().flatten() {
                assert!(calendar::days_between(day, TODAY).is_some(), "{row:?}");
            }
            assert!(row.ends.is_some() || !row.expected, "{row:?}");
            assert!(row.ends.as_ref().is_none_or(|ends| ends > begins), "{row:?}");
        }
    }

    #[test]
    fn a_version_is_found_by_its_first_numbers() {
        for (version, expected) in [
            ("1.36.4", vec![1, 36, 4]),
            ("v1.36.2+k3s1", vec![1, 36, 2]),
            ("2.9.x", vec![2, 9]),
            ("v3", vec![3]),
            ("main", vec![]),
        ] {
            assert_eq!(numbers(version), expected, "{version}");
        }
        assert_eq!(said("kubernetes", "1.36.4", TODAY), "long");
        assert_eq!(said("k3s", "v1.36.2+k3s1", TODAY), "long");
        assert_eq!(said("cilium", "main", TODAY), "long");
    }

    #[test]
    fn ends_near_and_past_are_said() {
        for (program, version, today, words) in [
            (
                "kubernetes",
                "1.34.2",
                TODAY,
                "support of Kubernetes 1.34 ended on 2026-10-27; that of 1.37 ends on 2027-10-28",
            ),
            ("kubernetes", "1.35.8", "2026-12-29", "long"),
            (
                "kubernetes",
                "1.35.8",
                "2026-12-30",
                "support of Kubernetes 1.35 ends on 2027-02-28; that of 1.37 ends on 2027-10-28",
            ),
            (
                "cilium",
                "1.18.4",
                "2026-12-31",
                "support of Cilium 1.18 is expected to end about 2027-02; that of 1.20 is expected to end about 2028-02",
            ),
            (
                "calico",
                "v3.31.5",
                TODAY,
                "support of Calico 3.31 is expected to have ended about 2026-10; that of 3.32 is expected to end about 2027-04",
            ),
            (
                "metallb",
                "0.15.3",
                TODAY,
                "support of MetalLB 0.15 ended on 2026-05-20; 0.16 is the newest",
            ),
            (
                "kubernetes",
                "1.38.0",
                TODAY,
                "Kubernetes 1.38.0 is newer than this nodeforge knows: 1.37 is the newest in its table",
            ),
            (
                "kubernetes",
                "1.29.1",
                TODAY,
                "support of Kubernetes 1.29.1 has ended; that of 1.37 ends on 2027-10-28",
            ),
            (
                "kubernetes",
                "1.37.1",
                "2030-01-01",
                "support of Kubernetes 1.37 ended on 2027-10-28; a newer nodeforge may know of another",
            ),
        ] {
            assert_eq!(said(program, version, today), words);
        }
    }
}
