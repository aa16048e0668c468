//! A package's licences, from its machine-readable copyright file.
//!
//! Sources: Debian's copyright format 1.0 (DEP 5), and the SPDX License List.

use std::collections::BTreeSet;
use std::path::Path;

use crate::fs::Tree;
use crate::util::error::Result;

/// A copyright file has some hundred KiB at most; a longer one is not read.
const LIMIT: u64 = 4 << 20;

/// Debian's short names, in small letters, and SPDX's. A `+` is told apart before.
const NAMES: [(&str, &str); 36] = [
    ("0bsd", "0BSD"),
    ("apache-2", "Apache-2.0"),
    ("apache-2.0", "Apache-2.0"),
    ("artistic", "Artistic-1.0-Perl"),
    ("artistic-2", "Artistic-2.0"),
    ("artistic-2.0", "Artistic-2.0"),
    ("bsd-1-clause", "BSD-1-Clause"),
    ("bsd-2-clause", "BSD-2-Clause"),
    ("bsd-3-clause", "BSD-3-Clause"),
    ("bsd-4-clause", "BSD-4-Clause"),
    ("bsd-4-clause-uc", "BSD-4-Clause-UC"),
    ("bsl-1.0", "BSL-1.0"),
    ("cc-by-3.0", "CC-BY-3.0"),
    ("cc-by-4.0", "CC-BY-4.0"),
    ("cc-by-sa-3.0", "CC-BY-SA-3.0"),
    ("cc-by-sa-4.0", "CC-BY-SA-4.0"),
    ("cc0", "CC0-1.0"),
    ("cc0-1.0", "CC0-1.0"),
    ("cddl-1.0", "CDDL-1.0"),
    ("curl", "curl"),
    ("expat", "MIT"),
    ("ftl", "FTL"),
    ("ijg", "IJG"),
    ("isc", "ISC"),
    ("mit", "MIT"),
    ("mpl-1.1", "MPL-1.1"),
    ("mpl-2.0", "MPL-2.0"),
    ("ntp", "NTP"),
    ("ofl-1.1", "OFL-1.1"),
    ("openssl", "OpenSSL"),
    ("psf-2", "PSF-2.0"),
    ("python-2.0", "Python-2.0"),
    ("unlicense", "Unlicense"),
    ("wtfpl", "WTFPL"),
    ("x11", "X11"),
    ("zlib", "Zlib"),
];

/// Licences of which SPDX names "only" and "or later": Debian's name without the version.
const FAMILIES: [(&str, &str, &[&str]); 5] = [
    ("agpl-", "AGPL-", &["3.0"]),
    ("gfdl-", "GFDL-", &["1.1", "1.2", "1.3"]),
    ("gfdl-niv-", "GFDL-", &["1.1", "1.2", "1.3"]),
    ("gpl-", "GPL-", &["1.0", "2.0", "3.0"]),
    ("lgpl-", "LGPL-", &["2.0", "2.1", "3.0"]),
];

/// All licences that a package's copyright file names, as one SPDX expression; `None` when there is
/// no such file, it is not machine-readable, or one of its names is not SPDX's.
pub(super) fn declared(tree: &dyn Tree, package: &str) -> Result<Option<String>> {
    let path = format!("/usr/share/doc/{package}/copyright");
    let path = Path::new(&path);
    let size = match tree.resolve(path)? {
        Some(found) => tree.metadata(&found)?.map_or(0, |it| it.size),
        None => return Ok(None),
    };
    if size > LIMIT {
        return Ok(None);
    }
    let content = tree.read(path, LIMIT)?.unwrap_or_default();
    Ok(parse(&String::from_utf8_lossy(&content)))
}

fn parse(copyright: &str) -> Option<String> {
    if !copyright.starts_with("Format:") {
        return None;
    }
    let names = copyright.lines().filter_map(|line| line.strip_prefix("License:"));
    let terms: Option<BTreeSet<String>> =
        names.map(str::trim).filter(|name| !name.is_empty()).map(expression).collect();
    let terms: Vec<_> = terms?.into_iter().collect();
    (!terms.is_empty()).then(|| terms.join(" AND "))
}

/// `GPL-2+ or Artistic` in SPDX's words. What mixes "and" and "or", or has exceptions, is not read.
fn expression(text: &str) -> Option<String> {
    for (word, operator) in [(" or ", " OR "), (" and ", " AND ")] {
        if text.contains(word) {
            let terms: Option<Vec<_>> = text.split(word).map(|it| name(it.trim())).collect();
            return terms.map(|terms| format!("({})", terms.join(operator)));
        }
    }
    name(text)
}

fn name(debian: &str) -> Option<String> {
    let lower = debian.to_lowercase();
    if let Some((_, spdx)) = NAMES.iter().find(|(name, _)| *name == lower) {
        return Some((*spdx).to_owned());
    }
    let (plain, ending) = match lower.strip_suffix('+') {
        Some(plain) => (plain, "or-later"),
        None => (lower.as_str(), "only"),
    };
    // The longest beginning decides.
    let (start, spdx, versions) = FAMILIES.iter().rfind(|(start, ..)| {
        plain.strip_prefix(start).is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
    })?;
    let version = &plain[start.len()..];
    let version =
        versions.iter().find(|it| **it == version || it.strip_suffix(".0") == Some(version))?;
    let invariants = if *start == "gfdl-niv-" { "-no-invariants" } else { "" };
    Some(format!("{spdx}{version}{invariants}-{ending}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_spdx_expressions() {
        let read = |licences: &str| parse(&format!("Format: https://x\n\nFiles: *\n{licences}"));
        assert_eq!(read("License: GPL-2+\n The text.\n").as_deref(), Some("GPL-2.0-or-later"));
        assert_eq!(read("License: LGPL-2.1\n").as_deref(), Some("LGPL-2.1-only"));
        assert_eq!(
            read("License: Expat\n\nLicense: GPL-1+ or Artistic\n\nLicense: Expat\n").as_deref(),
            Some("(GPL-1.0-or-later OR Artistic-1.0-Perl) AND MIT")
        );
        assert_eq!(
            read("License: GFDL-NIV-1.3+\n").as_deref(),
            Some("GFDL-1.3-no-invariants-or-later")
        );
        for unknown in [
            "License: Expat\n\nLicense: ours\n",
            "License: GPL-2+ with exception\n",
            "",
            "License: GPL-9\n",
        ] {
            assert_eq!(read(unknown), None, "{unknown}");
        }
        assert_eq!(parse("License: Expat\n"), None);
    }
}
