//! What names a prepared base: `ghcr.io/me/nodeforge:home-arm64`.
//!
//! Source: the grammar of references of the distribution project.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use crate::util::error::{Error, Result};
use crate::util::sha256::Sha256;

/// Where images without a registry's name are, and the host that serves them.
const DOCKER: (&str, &str) = ("docker.io", "registry-1.docker.io");
/// The most bytes of a tag (OCI distribution specification, "Pulling manifests").
const TAG_LENGTH: usize = 128;

/// A repository in a registry, and perhaps which of its manifests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistryReference {
    /// With its port, where it has one.
    host: String,
    /// Of the repository: `me/nodeforge`.
    name: String,
    /// Whether it was asked for without encryption.
    is_plain: bool,
    /// The name of a manifest that may be moved.
    pub tag: Option<String>,
    /// The manifest itself.
    pub digest: Option<Sha256>,
}

/// Which manifest of a repository is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ManifestName {
    /// Whatever has this name now.
    Tag(String),
    /// The one with this SHA-256.
    Digest(Sha256),
}

impl RegistryReference {
    /// The registry's name, as people log in to it.
    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    /// The repository's name in the registry.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Where its registry is: `https://ghcr.io`, without encryption where that was asked for.
    pub(crate) fn root(&self, is_plain: bool) -> String {
        let host = if self.host == DOCKER.0 { DOCKER.1 } else { &self.host };
        format!("{}://{host}", if is_plain { "http" } else { "https" })
    }

    /// Whether `http://` stands before it.
    pub(crate) fn is_plain(&self) -> bool {
        self.is_plain
    }

    /// Whether its registry is this machine, which no network is in between.
    pub(crate) fn is_loopback(&self) -> bool {
        let bare = self.host.rsplit_once(':').filter(|(_, port)| !port.ends_with(']'));
        is_loopback(bare.map_or(self.host.as_str(), |(host, _)| host))
    }

    /// What it names of its repository; `None` where that is all it names. A digest weighs more than a tag.
    pub fn target(&self) -> Option<ManifestName> {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => Some(ManifestName::Digest(*digest)),
            (None, Some(tag)) => Some(ManifestName::Tag(tag.clone())),
            (None, None) => None,
        }
    }

    /// The same repository, and another of its manifests.
    #[must_use]
    pub fn with(&self, target: &ManifestName) -> Self {
        let (tag, digest) = match target {
            ManifestName::Tag(tag) => (Some(tag.clone()), None),
            ManifestName::Digest(digest) => (None, Some(*digest)),
        };
        Self { tag, digest, ..self.clone() }
    }

    /// The repository alone.
    #[must_use]
    pub fn repository(&self) -> Self {
        Self { tag: None, digest: None, ..self.clone() }
    }
}

impl FromStr for RegistryReference {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = || {
            Error::input(format!("`{text}` names nothing in a registry"))
                .hint("a registry, a name, and perhaps a tag or digest: `ghcr.io/me/nodeforge:home-arm64`")
        };
        let (is_plain, bare) = match text.split_once("://") {
            Some(("http", rest)) => (true, rest),
            Some(("https" | "oci", rest)) => (false, rest),
            Some(_) => return Err(wrong()),
            None => (false, text),
        };
        let (rest, digest) = match bare.split_once('@') {
            Some((rest, digest)) => {
                let digits = digest.strip_prefix("sha256:").ok_or_else(wrong)?;
                (rest, Some(digits.parse().map_err(|_| wrong())?))
            }
            None => (bare, None),
        };
        let (host, path) = rest.split_once('/').ok_or_else(wrong)?;
        let (name, tag) = match path.rsplit_once(':') {
            Some((name, tag)) => (name, Some(tag.to_owned())),
            None => (path, None),
        };
        let is_host = (host.contains(['.', ':']) || host == "localhost")
            && host.len() <= 255
            && !host.starts_with(['.', ':', '-'])
            && host.bytes().all(|it| it.is_ascii_alphanumeric() || b".:-[]".contains(&it));
        let is_component = |part: &str| {
            let is_word = |it: u8| it.is_ascii_lowercase() || it.is_ascii_digit();
            part.bytes().all(|it| is_word(it) || b"._-".contains(&it))
                && part.bytes().next().is_some_and(is_word)
                && part.bytes().last().is_some_and(is_word)
        };
        let is_good = is_host
            && name.len() <= 255
            && name.split('/').all(is_component)
            && tag.as_deref().is_none_or(is_tag);
        if !is_good {
            return Err(wrong());
        }
        Ok(Self { host: host.to_owned(), name: name.to_owned(), is_plain, tag, digest })
    }
}

/// Whether a host, without its port, is this machine.
pub(crate) fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    bare == "localhost" || bare.parse::<IpAddr>().is_ok_and(|it| it.is_loopback())
}

/// Whether it can be a tag.
pub(crate) fn is_tag(text: &str) -> bool {
    let is_word = |it: u8| it.is_ascii_alphanumeric() || it == b'_';
    (1..=TAG_LENGTH).contains(&text.len())
        && text.bytes().next().is_some_and(is_word)
        && text.bytes().all(|it| is_word(it) || b".-".contains(&it))
}

impl fmt::Display for RegistryReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_plain { "http://" } else { "" };
        write!(f, "{scheme}{}/{}", self.host, self.name)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@sha256:{digest}")?;
        }
        Ok(())
    }
}

impl ManifestName {
    /// As addresses have it.
    pub(crate) fn word(&self) -> String {
        match self {
            Self::Tag(tag) => tag.clone(),
            Self::Digest(digest) => format!("sha256:{digest}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_read_and_written() {
        let hash = "0".repeat(64);
        for text in [
            "ghcr.io/me/nodeforge",
            "ghcr.io/me/nodeforge:home-arm64",
            "http://registry.lan/a:1",
            "localhost:5000/a/b-c_d.e:V1",
            &format!("[::1]:5000/a@sha256:{hash}"),
            &format!("quay.io/a/b:1@sha256:{hash}"),
        ] {
            assert_eq!(text.parse::<RegistryReference>().unwrap().to_string(), text);
        }
        let long = format!("ghcr.io/a:{}", "t".repeat(129));
        for wrong in [
            "",
            "a",
            "a/b",
            "home.toml",
            "ghcr.io/",
            "ghcr.io/A",
            "ghcr.io/a:",
            "ghcr.io/a b",
            "ghcr.io/a//b",
            "ghcr.io/-a",
            "ghcr.io/../a",
            "ftp://ghcr.io/a",
            "ghcr.io/a@sha256:00",
            "ghcr.io/a@md5:00",
            "gh?r.io/a",
            &long,
        ] {
            wrong.parse::<RegistryReference>().expect_err(wrong);
        }
    }

    #[test]
    fn only_this_machine_is_loopback() {
        let is = |text: &str| text.parse::<RegistryReference>().unwrap().is_loopback();
        assert!(
            is("localhost:5000/a")
                && is("127.0.0.1:5000/a")
                && is("[::1]:5000/a")
                && is("127.3.2.1/a")
        );
        assert!(!is("localhost.example.org/a") && !is("10.0.0.1:5000/a") && !is("ghcr.io/a"));
    }
}
