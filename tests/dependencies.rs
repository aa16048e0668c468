//! What `cargo deny check` would look at: licences, sources, bans and crates that are in the tree
//! twice. Building cargo-deny takes longer than the rest of CI; `cargo metadata` is there already.
//!
//! Advisories are not checked: their database is not part of a checkout.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

const CRATES_IO: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// Licences that ask for no more than a notice.
const LICENCES: [&str; 11] = [
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "NCSA",
    "Unicode-3.0",
    "Zlib",
];

/// Crates that must not come in, and why.
const BANNED: [(&str, &str); 4] = [
    ("openssl-sys", "TLS is rustls: a release must not need the OpenSSL of its builder"),
    ("native-tls", "the same"),
    ("chrono", "dates are the `time` crate's"),
    ("tokio", "threads are enough for what waits here"),
];

/// Crates of which two versions are built, by what keeps the older one. A name that is no longer
/// doubled must go from here.
const DOUBLED: [(&str, &[&str]); 7] = [
    (
        "pgp and age use RustCrypto's stable generation, ssh-key and our own hashing the next",
        &[
            "aead",
            "aes",
            "aes-gcm",
            "base16ct",
            "block-buffer",
            "chacha20",
            "cipher",
            "const-oid",
            "cpufeatures",
            "crypto-common",
            "ctr",
            "curve25519-dalek",
            "des",
            "digest",
            "ed25519",
            "ed25519-dalek",
            "fiat-crypto",
            "ghash",
            "hmac",
            "hybrid-array",
            "inout",
            "pem-rfc7468",
            "poly1305",
            "polyval",
            "sec1",
            "serdect",
            "sha2",
            "signature",
            "universal-hash",
            "x25519-dalek",
        ],
    ),
    ("the same, for random numbers", &["getrandom", "rand", "rand_core"]),
    ("pgp: bitfields, base64", &["base64", "darling", "darling_core", "darling_macro"]),
    ("age: translations", &["nom", "syn", "thiserror", "thiserror-impl", "toml"]),
    ("age, by way of lazy_static", &["spin"]),
    ("proptest", &["bit-vec"]),
    ("Windows only, and not built for what nodeforge runs on", &["windows-sys"]),
];

#[test]
fn licences_are_permissive() {
    let wrong: Vec<String> = packages()
        .iter()
        .filter(|package| !is_allowed(text(package, "license")))
        .map(|package| format!("{}: {}", text(package, "name"), text(package, "license")))
        .collect();
    assert!(wrong.is_empty(), "licences that LICENCES does not allow:\n  {}", wrong.join("\n  "));
}

#[test]
fn sources_are_crates_io() {
    let packages = packages();
    let foreign = packages.iter().filter(|it| !it["source"].is_null() && it["source"] != CRATES_IO);
    let foreign: Vec<_> = foreign.map(|package| text(package, "name")).collect();
    assert!(foreign.is_empty(), "from elsewhere than crates.io: {foreign:?}");
}

#[test]
fn banned_crates_are_absent() {
    let packages = packages();
    let names: BTreeSet<&str> = packages.iter().map(|package| text(package, "name")).collect();
    let found: Vec<_> = BANNED.iter().filter(|(name, _)| names.contains(name)).collect();
    assert!(found.is_empty(), "{found:?}");
}

#[test]
fn doubled_crates_are_known() {
    let packages = packages();
    let mut versions: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for package in &packages {
        versions.entry(text(package, "name")).or_default().insert(text(package, "version"));
    }
    versions.retain(|_, versions| versions.len() > 1);
    let known: BTreeSet<&str> = DOUBLED.iter().flat_map(|(_, names)| *names).copied().collect();
    let found: BTreeSet<&str> = versions.keys().copied().collect();
    let new: Vec<_> = versions.iter().filter(|(name, _)| !known.contains(*name)).collect();
    let gone: Vec<_> = known.difference(&found).collect();
    assert!(new.is_empty() && gone.is_empty(), "newly doubled: {new:?}; no longer: {gone:?}");
}

#[test]
fn every_direct_dependency_is_explained() {
    let page = fs::read_to_string(root().join("docs/dependencies.md")).expect("the page");
    let packages = packages();
    let own = packages.iter().find(|it| text(it, "name") == env!("CARGO_PKG_NAME"));
    let direct = own.expect("this package")["dependencies"].as_array().expect("a list");
    let silent: Vec<&str> = direct
        .iter()
        .map(|dependency| text(dependency, "name"))
        .filter(|name| !page.contains(&format!("`{name}`")))
        .collect();
    assert!(silent.is_empty(), "docs/dependencies.md says nothing about {silent:?}");
}

#[test]
fn licence_expressions_are_understood() {
    for good in ["MIT", "GPL-3.0 OR MIT", "MIT/Foo", "(MIT OR Foo) AND ISC", "Foo OR (MIT AND ISC)"]
    {
        assert!(is_allowed(good), "{good}");
    }
    for bad in ["", "GPL-3.0", "MIT AND GPL-3.0", "(MIT OR ISC) AND Foo", "Foo/Bar", "(MIT"] {
        assert!(!is_allowed(bad), "{bad}");
    }
}

/// Whether an SPDX expression lets us choose licences that are all allowed. crates.io's older form
/// with `/` for `OR` is read too.
fn is_allowed(expression: &str) -> bool {
    let expression = expression.replace('/', " OR ");
    any(expression.trim())
}

fn any(expression: &str) -> bool {
    split(expression, " OR ").iter().any(|part| all(part))
}

fn all(expression: &str) -> bool {
    split(expression, " AND ").iter().all(|part| {
        let part = part.trim();
        let inner = part.strip_prefix('(').and_then(|part| part.strip_suffix(')'));
        inner.map_or_else(|| LICENCES.contains(&part), any)
    })
}

/// Splits at `joint` outside of parentheses.
fn split<'a>(expression: &'a str, joint: &str) -> Vec<&'a str> {
    let (mut parts, mut start, mut depth) = (Vec::new(), 0, 0);
    for (at, c) in expression.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            ' ' if depth == 0 && expression[at..].starts_with(joint) => {
                parts.push(&expression[start..at]);
                start = at + joint.len();
            }
            _ => {}
        }
    }
    parts.push(&expression[start.min(expression.len())..]);
    parts
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All packages in `Cargo.lock`, for every system and with everything that tests need.
fn packages() -> Vec<Value> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked"])
        .current_dir(root())
        .output()
        .expect("cargo starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    metadata["packages"].as_array().expect("a list").clone()
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}
