//! What is known of an image in the cache.

use std::path::Path;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::trust;
use crate::disk::Windows;
use crate::util::error::{Context, Error, Result};
use crate::util::sha256::Sha256;

/// What is known of an image in the cache; `about.json` beside it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct About {
    /// `nodeforge 0.1.0`
    pub made_by: String,
    /// What it was made of; its form is its maker's.
    pub from: serde_json::Value,
    /// Virtual size in bytes.
    pub size: u64,
    /// Of all its bytes, holes as zeros.
    pub sha256: Sha256,
    /// Of its bytes, window by window: what they are checked by, on all processors and without reading
    /// holes. An earlier version left none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub windows: Option<Windows>,
    /// When its file was last written: another time means that somebody touched it.
    #[serde(default)]
    pub modified: Option<SystemTime>,
    /// When all its bytes were last found to be what they were: after a while they are looked at again.
    #[serde(default)]
    pub verified: Option<SystemTime>,
    /// What is installed in it, sorted; empty when that is not known.
    pub packages: Vec<Package>,
    /// Where it was pulled from; `None` for one that this machine made. Of a form that is not understood the image is
    /// taken for damaged, and never for this machine's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pulled: Option<PulledFrom>,
}

/// Which registry an image is from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PulledFrom {
    /// Its repository: `ghcr.io/me/nodeforge`.
    pub repository: String,
    /// Of its manifest.
    pub digest: Sha256,
}

/// An installed package.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Package {
    /// `containerd`
    pub name: String,
    /// `1.7.24~ds1-6+b4`
    pub version: String,
    /// `amd64`, `all`
    pub architecture: String,
    /// SHA-256 of the .deb file, where preparing installed it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub sha256: Option<Sha256>,
}

impl Package {
    /// Whether name, version and architecture are what a package's can be, so that no program takes them for
    /// something else (Debian policy, 5.6.1, 5.6.8 and 5.6.12). To be asked of lists that others wrote.
    pub(crate) fn is_well_formed(&self) -> bool {
        let is = |text: &str, is_good: &dyn Fn(u8) -> bool| {
            text.len() <= 255
                && text.bytes().next().is_some_and(|it| it.is_ascii_alphanumeric())
                && text.bytes().all(is_good)
        };
        let is_word = |it: u8| it.is_ascii_lowercase() || it.is_ascii_digit();
        is(&self.name, &|it| is_word(it) || b"+-.".contains(&it))
            && is(&self.version, &|it| it.is_ascii_alphanumeric() || b"+-.:~".contains(&it))
            && is(&self.architecture, &|it| is_word(it) || it == b'-')
    }
}

#[cfg_attr(not(target_os = "linux"), allow(dead_code))]
impl Package {
    /// `containerd:amd64=1.7.24~ds1-6+b4`, as apt-get takes it.
    pub(crate) fn exact(&self) -> String {
        match self.architecture.as_str() {
            "all" => format!("{}={}", self.name, self.version),
            architecture => format!("{}:{architecture}={}", self.name, self.version),
        }
    }

    /// What apt calls its .deb file: characters that some file systems lack are escaped.
    pub(crate) fn file_name(&self) -> String {
        let version = self.version.replace(':', "%3a");
        format!("{}_{version}_{}.deb", self.name, self.architecture)
    }

    /// Whether it is the same package in the same version.
    pub(crate) fn is(&self, other: &Self) -> bool {
        (&self.name, &self.version, &self.architecture)
            == (&other.name, &other.version, &other.architecture)
    }
}

impl About {
    /// Reads it back; `None` when it is not there or damaged.
    pub(crate) fn load(path: &Path) -> Result<Option<Self>> {
        let text = trust::present(std::fs::read(path))
            .context(|| format!("reading `{}`", path.display()))?;
        Ok(text.and_then(|text| serde_json::from_slice(&text).ok()))
    }

    pub(crate) fn to_json(&self) -> Result<Vec<u8>> {
        serde_json::to_vec_pretty(self).map_err(|error| Error::failure(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_is_no_argument() {
        let is = |name: &str, version: &str, architecture: &str| {
            let (name, version) = (name.to_owned(), version.to_owned());
            let architecture = architecture.to_owned();
            Package { name, version, architecture, sha256: None }.is_well_formed()
        };
        assert!(is("libstdc++6", "1:14.2.0-19~deb13u1+b1", "amd64") && is("a", "1", "all"));
        for (name, version, architecture) in [
            ("-oAPT::Foo=bar", "1", "all"),
            ("a b", "1", "all"),
            ("A", "1", "all"),
            ("", "1", "all"),
            ("a", "-1", "all"),
            ("a", "1 -o", "all"),
            ("a", "1/../2", "all"),
            ("a", "1", "../all"),
            ("a", "1", ""),
        ] {
            assert!(!is(name, version, architecture), "{name} {version} {architecture}");
        }
    }
}
