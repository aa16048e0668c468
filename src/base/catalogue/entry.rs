//! An image that can be asked for by name.

use regex::Regex;
use serde::{Deserialize, Serialize};

use super::fingerprint::fingerprint;
use super::template;
use crate::config::{Arch, Layout};
use crate::util::error::{Error, Result};
use crate::util::sha256::Sha256;

/// The most bytes a raw image may have when the catalogue does not say.
pub(crate) const MAX_SIZE: u64 = 64 << 30;

/// An image that can be asked for by name.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct CatalogueEntry {
    /// `debian-13-generic-arm64`
    pub name: String,
    /// One line for people.
    pub description: String,
    /// What its programs run on.
    #[serde(with = "arch")]
    pub arch: Arch,
    /// How it is partitioned and booted.
    #[serde(with = "layout")]
    pub layout: Layout,
    #[serde(default)]
    pub(super) newest: Option<Page>,
    #[serde(default)]
    pub(super) releases: Vec<Page>,
    pub(super) url: String,
    #[serde(default)]
    pub(super) sha256: Option<Sha256>,
    #[serde(default)]
    pub(super) checksums: Option<String>,
    #[serde(default)]
    pub(super) signature: Option<String>,
    #[serde(default)]
    pub(super) checksums_signature: Option<String>,
    #[serde(default)]
    pub(super) keys: Vec<String>,
    #[serde(default)]
    pub(super) max_size: Option<u64>,
}

/// A page that tells of releases.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Page {
    pub(super) url: String,
    #[serde(with = "pattern")]
    pub(super) pattern: Regex,
}

impl CatalogueEntry {
    /// Brings the entry into its canonical form, or says what is wrong with it.
    pub(super) fn check(&mut self) -> Result<()> {
        for key in &mut self.keys {
            *key = fingerprint(key)?;
        }
        if self.is_signed() && self.keys.is_empty() {
            return Err(Error::input("it has a signature, but no `keys` that may sign"));
        }
        if self.checksums_signature.is_some() && self.checksums.is_none() {
            return Err(Error::input("it has a signature over `checksums`, but no `checksums`"));
        }
        if self.sha256.is_none() && self.checksums.is_none() && !self.is_signed() {
            return Err(Error::input("nothing says how to verify it")
                .hint("add `sha256`, `checksums`, or `signature` and `keys`"));
        }
        self.check_templates()
    }

    /// Fails unless every name that is used is given a value by what comes before.
    fn check_templates(&self) -> Result<()> {
        let mut known: Vec<&str> = Vec::new();
        for page in &self.releases {
            template::check(&page.url, &known)?;
            known.extend(page.pattern.capture_names().flatten());
        }
        if let Some(newest) = &self.newest {
            template::check(&newest.url, &[])?;
            let found: Vec<_> = newest.pattern.capture_names().flatten().collect();
            if self.releases.is_empty() {
                known = found;
            } else if let Some(missing) = known.iter().find(|name| !found.contains(name)) {
                return Err(Error::input(format!("`newest` does not find `{missing}`")));
            }
        }
        template::check(&self.url, &known)?;
        known.push("url");
        let others = [&self.checksums, &self.signature, &self.checksums_signature];
        others.into_iter().flatten().try_for_each(|it| template::check(it, &known))
    }

    /// `uefi`, `raspberry-pi`
    pub fn layout_name(&self) -> &'static str {
        self.layout.name()
    }

    /// What must be true of a download, whatever its publisher says: a hash, or fingerprints of
    /// the keys that may sign.
    pub(crate) fn pins(&self) -> Vec<String> {
        self.sha256.iter().map(Sha256::to_string).chain(self.keys.iter().cloned()).collect()
    }

    /// Whether more than its first download says what it must be.
    pub(super) fn is_vouched_for(&self) -> bool {
        self.is_signed() || self.sha256.is_some()
    }

    /// Whether a signature must vouch for a download.
    pub(crate) fn is_signed(&self) -> bool {
        self.signature.is_some() || self.checksums_signature.is_some()
    }

    /// The hash that every download must have, where the entry names one.
    pub(crate) fn sha256(&self) -> Option<Sha256> {
        self.sha256
    }

    /// How a download is verified, for people.
    pub fn trust(&self) -> &'static str {
        if self.is_signed() {
            "OpenPGP signature"
        } else if self.sha256.is_some() {
            "pinned SHA-256"
        } else {
            "checksums over https"
        }
    }
}

/// A regular expression as a string.
mod pattern {
    use regex::Regex;
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Regex, D::Error> {
        let text = String::deserialize(from)?;
        Regex::new(&text).map_err(|error| D::Error::custom(format!("`{text}`: {error}")))
    }

    pub(crate) fn serialize<S: Serializer>(regex: &Regex, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(regex.as_str())
    }
}

/// A processor under Debian's name.
mod arch {
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    use crate::config::Arch;

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Arch, D::Error> {
        let text = String::deserialize(from)?;
        let all = [Arch::Amd64, Arch::Arm64];
        all.into_iter()
            .find(|it| it.name() == text)
            .ok_or_else(|| D::Error::custom(format!("`arch` may be amd64 or arm64, not `{text}`")))
    }

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's interface")]
    pub(crate) fn serialize<S: Serializer>(arch: &Arch, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(arch.name())
    }
}

/// How a disk is partitioned and booted, as in `bootstrap`.
mod layout {
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    use crate::config::Layout;

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Layout, D::Error> {
        match String::deserialize(from)?.as_str() {
            "uefi" => Ok(Layout::Uefi),
            "raspberry-pi" => Ok(Layout::RaspberryPi),
            other => Err(D::Error::custom(format!(
                "`layout` may be uefi or raspberry-pi, not `{other}`"
            ))),
        }
    }

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's interface")]
    pub(crate) fn serialize<S: Serializer>(layout: &Layout, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(layout.name())
    }
}
