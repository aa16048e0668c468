//! The images that can be asked for by name: data, ours and the user's.

mod release;
mod template;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use regex::Regex;
use serde::{Deserialize, Serialize};

use crate::config::{Arch, Layout, closest};
use crate::util::error::{Context as _, Error, Result};

pub(crate) use release::Release;

/// What nodeforge comes with.
const SHIPPED: &str = include_str!("catalogue.toml");
/// The most bytes a raw image may have when the catalogue does not say.
pub(crate) const MAX_SIZE: u64 = 64 << 30;

/// All images by name.
#[derive(Debug, Default)]
pub struct Catalogue {
    entries: BTreeMap<String, Entry>,
    keys: BTreeMap<String, KeyPlace>,
}

/// An image that can be asked for by name.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
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
    newest: Option<Page>,
    #[serde(default)]
    releases: Vec<Page>,
    url: String,
    #[serde(default)]
    sha256: Option<String>,
    #[serde(default)]
    checksums: Option<String>,
    #[serde(default)]
    signature: Option<String>,
    #[serde(default)]
    checksums_signature: Option<String>,
    #[serde(default)]
    keys: Vec<String>,
    #[serde(default)]
    max_size: Option<u64>,
}

/// A page that tells of releases.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Page {
    url: String,
    #[serde(with = "pattern")]
    pattern: Regex,
}

/// Where a key may be fetched.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct KeyPlace {
    /// Upper-case hexadecimal digits.
    pub(crate) fingerprint: String,
    /// Tried in this order.
    pub(crate) urls: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(default)]
    image: Vec<Entry>,
    #[serde(default)]
    key: Vec<KeyPlace>,
}

impl Catalogue {
    /// Ours, and over it the user's: the file given, else `~/.config/nodeforge/catalogue.toml`
    /// where that is.
    pub fn load(file: Option<&Path>) -> Result<Self> {
        let mut catalogue = Self::default();
        catalogue.add(SHIPPED).context(|| "reading nodeforge's own catalogue")?;
        let Some(path) = file.map(Path::to_owned).or_else(usual_file) else { return Ok(catalogue) };
        let text = std::fs::read_to_string(&path).map_err(|error| {
            Error::input(Error::from(error).to_string())
                .context(format!("reading the catalogue `{}`", path.display()))
        })?;
        catalogue.add(&text).context(|| format!("reading the catalogue `{}`", path.display()))?;
        Ok(catalogue)
    }

    fn add(&mut self, text: &str) -> Result<()> {
        let document: Document = toml::from_str(text).map_err(|error| {
            let line = error.span().map(|span| text[..span.start].matches('\n').count() + 1);
            let place = line.map_or_else(String::new, |line| format!("line {line}: "));
            Error::input(format!("{place}{}", error.message()))
        })?;
        for mut key in document.key {
            key.fingerprint = fingerprint(&key.fingerprint)?;
            self.keys.insert(key.fingerprint.clone(), key);
        }
        for mut entry in document.image {
            entry.check().context(|| format!("image `{}`", entry.name))?;
            self.entries.insert(entry.name.clone(), entry);
        }
        Ok(())
    }

    /// All images, by name.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.values()
    }

    /// The image of a name; the error says which name may have been meant.
    pub fn entry(&self, name: &str) -> Result<&Entry> {
        self.entries.get(name).ok_or_else(|| {
            let error = Error::input(format!("the catalogue has no image `{name}`"));
            let error = match closest(name, self.entries.keys().map(String::as_str)) {
                Some(hint) => error.hint(hint),
                None => error,
            };
            error.hint("`nodeforge fetch --list` shows all; your own go into ~/.config/nodeforge/catalogue.toml")
        })
    }

    /// Where a key may be fetched: what the catalogue says of it, else the keyservers.
    pub(crate) fn key(&self, fingerprint: &str) -> KeyPlace {
        self.keys.get(fingerprint).cloned().unwrap_or_else(|| KeyPlace::keyservers(fingerprint))
    }
}

impl KeyPlace {
    /// The public keyservers that serve https.
    pub(crate) fn keyservers(fingerprint: &str) -> Self {
        let ubuntu = "https://keyserver.ubuntu.com/pks/lookup?op=get&options=mr&search=0x";
        let openpgp = "https://keys.openpgp.org/vks/v1/by-fingerprint/";
        let urls = vec![format!("{ubuntu}{fingerprint}"), format!("{openpgp}{fingerprint}")];
        Self { fingerprint: fingerprint.to_owned(), urls }
    }
}

/// A fingerprint as gpg prints it, in its canonical form: 40 (or 64) upper-case digits.
pub(crate) fn fingerprint(text: &str) -> Result<String> {
    let digits: String = text.chars().filter(|c| *c != ' ' && *c != ':').collect();
    let digits = digits.strip_prefix("0x").unwrap_or(&digits).to_ascii_uppercase();
    let is_whole = digits.len() == 40 || digits.len() == 64;
    if !is_whole || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(Error::input(format!("`{text}` is not a key's fingerprint"))
            .hint("`gpg --show-keys --with-fingerprint FILE` prints it: 40 hexadecimal digits"));
    }
    Ok(digits)
}

impl Entry {
    /// Brings the entry into its canonical form, or says what is wrong with it.
    fn check(&mut self) -> Result<()> {
        for key in &mut self.keys {
            *key = fingerprint(key)?;
        }
        let is_signed = self.signature.is_some() || self.checksums_signature.is_some();
        if is_signed && self.keys.is_empty() {
            return Err(Error::input("it has a signature, but no `keys` that may sign"));
        }
        if self.checksums_signature.is_some() && self.checksums.is_none() {
            return Err(Error::input("it has a signature over `checksums`, but no `checksums`"));
        }
        if self.sha256.is_none() && self.checksums.is_none() && !is_signed {
            return Err(Error::input("nothing says how to verify it")
                .hint("add `sha256`, `checksums`, or `signature` and `keys`"));
        }
        if let Some(hash) = &mut self.sha256 {
            hash.make_ascii_lowercase();
            if hash.len() != 64 || !hash.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                return Err(Error::input("`sha256` must be 64 hexadecimal digits"));
            }
        }
        self.check_templates()
    }

    /// `uefi`, `raspberry-pi`
    pub fn layout_name(&self) -> &'static str {
        layout_name(self.layout)
    }

    /// What must be true of a download, whatever its publisher says: a hash, or fingerprints of
    /// the keys that may sign.
    pub(crate) fn pins(&self) -> Vec<String> {
        self.sha256.iter().chain(&self.keys).cloned().collect()
    }

    /// How a download is verified, for people.
    pub fn trust(&self) -> &'static str {
        if self.signature.is_some() || self.checksums_signature.is_some() {
            "OpenPGP signature"
        } else if self.sha256.is_some() {
            "pinned SHA-256"
        } else {
            "checksums over https"
        }
    }
}

fn layout_name(layout: Layout) -> &'static str {
    match layout {
        Layout::Uefi => "uefi",
        Layout::RaspberryPi => "raspberry-pi",
    }
}

fn usual_file() -> Option<PathBuf> {
    let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|it| it.is_absolute());
    let folder =
        absolute("XDG_CONFIG_HOME").or_else(|| absolute("HOME").map(|it| it.join(".config")));
    folder.map(|it| it.join("nodeforge/catalogue.toml")).filter(|it| it.is_file())
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
        to.serialize_str(super::layout_name(*layout))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_catalogue_is_in_order() {
        let mut catalogue = Catalogue::default();
        catalogue.add(SHIPPED).unwrap();
        let names: Vec<_> = catalogue.entries().map(|it| it.name.as_str()).collect();
        assert_eq!(names.len(), 14);
        for version in ["12", "13"] {
            for variant in ["generic", "genericcloud", "nocloud"] {
                for arch in [Arch::Amd64, Arch::Arm64] {
                    let name = format!("debian-{version}-{variant}-{}", arch.name());
                    let entry = catalogue.entry(&name).unwrap();
                    assert_eq!((entry.arch, entry.layout), (arch, Layout::Uefi));
                }
            }
        }
        for entry in catalogue.entries() {
            for key in &entry.keys {
                assert!(catalogue.keys.contains_key(key), "{key}");
            }
        }
    }

    #[test]
    fn an_entry_that_verifies_nothing_is_refused() {
        let text = "[[image]]\nname = 'a'\ndescription = ''\narch = 'amd64'\nlayout = 'uefi'\nurl = 'https://a'\n";
        let error = Catalogue::default().add(text).unwrap_err();
        assert_eq!(error.to_string(), "image `a`: nothing says how to verify it");
        let signed = format!("{text}signature = '{{url}}.sig'\n");
        let error = Catalogue::default().add(&signed).unwrap_err();
        assert_eq!(error.to_string(), "image `a`: it has a signature, but no `keys` that may sign");
        let typed = format!("{text}sha256 = '{}'\nchecksum = 1\n", "0".repeat(64));
        let error = Catalogue::default().add(&typed).unwrap_err();
        assert!(error.to_string().starts_with("line 8: unknown field `checksum`"), "{error}");
    }

    #[test]
    fn fingerprints_as_people_write_them() {
        let canonical = "F4AADD86C4687D69AE04543E796C114AD12B2292";
        let spaced = "f4aa dd86 c468 7d69 ae04  543e 796c 114a d12b 2292";
        assert_eq!(fingerprint(spaced).unwrap(), canonical);
        assert_eq!(fingerprint(&format!("0x{canonical}")).unwrap(), canonical);
        assert!(fingerprint("796C114AD12B2292").is_err());
    }
}
