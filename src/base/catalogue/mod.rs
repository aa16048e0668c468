//! The images that can be asked for by name: data, ours and the user's.

mod entry;
mod fingerprint;
mod release;
mod template;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::config::{Base, closest};
use crate::util::error::{Context as _, Error, Result};
use crate::util::new_files;

pub use entry::CatalogueEntry;
pub(crate) use entry::MAX_SIZE;
pub(crate) use fingerprint::fingerprint;
pub(crate) use release::Release;

/// What nodeforge comes with.
const SHIPPED: &str = include_str!("catalogue.toml");
/// All images by name.
#[derive(Debug, Default)]
pub struct Catalogue {
    entries: BTreeMap<String, CatalogueEntry>,
    keys: BTreeMap<String, KeyPlace>,
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
    image: Vec<CatalogueEntry>,
    #[serde(default)]
    key: Vec<KeyPlace>,
}

impl Catalogue {
    /// Ours, and over it the user's: the file given, else the one that `NODEFORGE_CATALOGUE` names, else
    /// `~/.config/nodeforge/catalogue.toml` where that is.
    pub fn load(file: Option<&Path>) -> Result<Self> {
        let mut catalogue = Self::default();
        catalogue.add(SHIPPED).context(|| "reading nodeforge's own catalogue")?;
        let Some(path) = file.map(Path::to_owned).or_else(named_file).or_else(usual_file) else {
            return Ok(catalogue);
        };
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
    pub fn entries(&self) -> impl Iterator<Item = &CatalogueEntry> {
        self.entries.values()
    }

    /// Whether a publisher's signature, or a hash that a person wrote down, says what a base must be.
    ///
    /// A hash that was learnt with the first download says only that the image is still the same, and
    /// a file of the user's own is whatever it is.
    pub fn is_vouched_for(&self, base: &Base) -> bool {
        match base {
            Base::Bootstrap(_) | Base::Url { .. } => true,
            Base::Catalogue(name) => {
                let name = name.split('@').next().unwrap_or_default();
                self.entry(name).is_ok_and(CatalogueEntry::is_vouched_for)
            }
            Base::Path { .. } => false,
        }
    }

    /// The image of a name; the error says which name may have been meant.
    pub fn entry(&self, name: &str) -> Result<&CatalogueEntry> {
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

fn named_file() -> Option<PathBuf> {
    std::env::var_os("NODEFORGE_CATALOGUE").filter(|it| !it.is_empty()).map(PathBuf::from)
}

fn usual_file() -> Option<PathBuf> {
    let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|it| it.is_absolute());
    let folder =
        absolute("XDG_CONFIG_HOME").or_else(|| new_files::home().map(|it| it.join(".config")));
    folder.map(|it| it.join("nodeforge/catalogue.toml")).filter(|it| it.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Arch, Layout};

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
}
