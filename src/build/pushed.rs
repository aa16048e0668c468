//! Prepared bases go to a registry, under names that others find them by.

use super::prepared::PreparedCluster;
use super::project::Project;
use crate::config::{Arch, ManifestName, RegistryReference};
use crate::plan::SharedBase;
use crate::registry::{self, PushRequest, Pushed};
use crate::util::error::Result;

impl Project<'_> {
    /// Pushes a prepared base of the cluster under its key and under a name for people, and pins it in the lock file.
    pub fn push(
        &mut self,
        place: &RegistryReference,
        base: &SharedBase,
        prepared: &PreparedCluster,
    ) -> Result<Pushed> {
        let (key, image, arch) = (&prepared.key, &prepared.base.image, prepared.base.arch);
        let mut expected = None;
        if self.options.locked {
            // Before a tag moves to what the lock file does not know.
            let pin = self.lock.lock.registry.digest(key).and_then(|it| it.strip_prefix("sha256:"));
            let pin = pin.and_then(|it| it.parse().ok());
            let unknown = || self.lock.would_change("it does not pin that prepared base");
            expected = Some(pin.ok_or_else(unknown)?);
        }
        let tag = place.tag.clone().unwrap_or_else(|| tag(base, arch));
        let tags = [key.clone(), tag.clone()];
        let trusted = self.lock.lock.registry.digests();
        let request =
            PushRequest { place, tags: &tags, key, arch, image, trusted: &trusted, expected };
        let other = || self.lock.would_change("it pins another form of that prepared base");
        let pushed = registry::push(request, self.progress)?.ok_or_else(other)?;
        if !self.options.locked {
            let name = place.with(&ManifestName::Tag(tag));
            self.lock.lock.registry.pin(key.clone(), &name, pushed.digest);
            self.save_lock()?;
        }
        Ok(pushed)
    }

    /// Pushes what this machine prepared where the cluster file says so: also what an earlier run prepared and could
    /// not push. What was pulled is there already.
    pub(super) fn push_own(&mut self, base: &SharedBase, prepared: &PreparedCluster) -> Result<()> {
        let Some(place) = self.registry.clone().filter(|_| self.cluster.registry.push) else {
            return Ok(());
        };
        let image = &prepared.base.image;
        let is_pinned = self.lock.lock.registry.digest(&prepared.key).is_some();
        if image.about.pulled.is_some()
            || (image.was_cached && is_pinned)
            || self.options.offline
            || self.cache.is_read_only()
        {
            return Ok(());
        }
        if self.options.locked {
            self.progress.warn(
                "the prepared base is not pushed: nodeforge.lock would have to pin it, and `--locked` holds that",
            );
            return Ok(());
        }
        self.push(&place, base, prepared).map(drop)
    }
}

/// The name of a base for people: `home-arm64`, and `home_lvm2-arm64` for one that has more.
fn tag(base: &SharedBase, arch: Arch) -> String {
    let is_word = |it: char| it.is_ascii_alphanumeric() || it == '-' || it == '.';
    let name: String =
        base.name.chars().map(|it| if is_word(it) { it } else { '_' }).take(100).collect();
    format!("{name}-{}", arch.name())
}
