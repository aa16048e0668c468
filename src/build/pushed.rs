//! Prepared bases go to a registry, under names that others find them by.

use super::prepared::PreparedCluster;
use super::project::Project;
use crate::base::LockedPrepared;
use crate::config::{Arch, ManifestName, RegistryReference};
use crate::plan::SharedBase;
use crate::registry::{self, Pushed};
use crate::util::error::Result;

impl Project<'_> {
    /// Pushes a prepared base of the cluster under its key and under a name for people, and pins it in the lock file.
    pub fn push(
        &mut self,
        place: &RegistryReference,
        base: &SharedBase,
        prepared: &PreparedCluster,
    ) -> Result<Pushed> {
        let arch = prepared.base.arch;
        let tag = place.tag.clone().unwrap_or_else(|| tag(base, arch));
        let tags = [prepared.key.clone(), tag.clone()];
        let what = (prepared.key.as_str(), arch, &prepared.base.image);
        let pushed = registry::push(place, &tags, what, self.progress)?;
        let pin = LockedPrepared {
            key: prepared.key.clone(),
            reference: place.with(&ManifestName::Tag(tag)).to_string(),
            digest: format!("sha256:{}", pushed.digest),
        };
        if !self.options.locked {
            self.lock.lock.pin_registry(pin);
            self.save_lock()?;
        }
        Ok(pushed)
    }
}

/// The name of a base for people: `home-arm64`, and `home_lvm2-arm64` for one that has more.
fn tag(base: &SharedBase, arch: Arch) -> String {
    let is_word = |it: char| it.is_ascii_alphanumeric() || it == '-' || it == '.';
    let name: String =
        base.name.chars().map(|it| if is_word(it) { it } else { '_' }).take(100).collect();
    format!("{name}-{}", arch.name())
}
