//! What a lock file says of prepared bases in registries.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::config::RegistryReference;
use crate::util::sha256::Sha256;

/// A prepared base in a registry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockedPrepared {
    /// The hash of everything that it was made of: 64 hexadecimal digits.
    pub key: String,
    /// Where it was when it was pinned: `ghcr.io/me/nodeforge:home-arm64`.
    pub reference: String,
    /// Of its manifest: `sha256:…`.
    pub digest: String,
}

/// What a lock file says of prepared bases in registries: one for each key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RegistryPins(Vec<LockedPrepared>);

impl RegistryPins {
    /// Whether it says nothing.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The digest, `sha256:…`, of the prepared base under this key.
    pub fn digest(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|it| it.key == key).map(|it| it.digest.as_str())
    }

    /// The pin of another base that had this name before; a repository is no name, it has many bases.
    pub fn namesake(&self, key: &str, name: &RegistryReference) -> Option<&LockedPrepared> {
        let reference = name.tag.is_some().then(|| name.to_string())?;
        self.0.iter().find(|it| it.key != key && it.reference == reference)
    }

    /// The digests of all prepared bases that it pins.
    pub fn digests(&self) -> Vec<Sha256> {
        let digest =
            |it: &LockedPrepared| it.digest.strip_prefix("sha256:")?.parse::<Sha256>().ok();
        self.0.iter().filter_map(digest).collect()
    }

    /// Pins a prepared base in a registry, in place of the one under the same key, and of the one that had its name.
    pub fn pin(&mut self, key: String, name: &RegistryReference, digest: Sha256) {
        let namesake = self.namesake(&key, name).map(|it| it.key.clone());
        self.0.retain(|it| it.key != key && Some(&it.key) != namesake.as_ref());
        let (reference, digest) = (name.to_string(), format!("sha256:{digest}"));
        self.0.push(LockedPrepared { key, reference, digest });
        self.sort();
    }

    /// What is pinned by now, with what was found out (the first) since it was read (the second), each key for itself:
    /// another nodeforge may have pinned another base.
    pub(super) fn merged([own, before, now]: [&Self; 3]) -> Self {
        let keys: BTreeSet<_> =
            [own, before, now].into_iter().flat_map(|it| &it.0).map(|it| &it.key).collect();
        let merged = keys.into_iter().filter_map(|key| {
            let of = |all: &Self| all.0.iter().find(|it| it.key == *key).cloned();
            if of(now) == of(before) { of(own) } else { of(now) }
        });
        let mut merged = Self(merged.collect());
        merged.sort();
        merged
    }

    fn sort(&mut self) {
        self.0
            .sort_by(|one, other| (&one.reference, &one.key).cmp(&(&other.reference, &other.key)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pin(lock: &mut RegistryPins, key: &str, reference: &str, digest: &str) {
        lock.pin(key.into(), &reference.parse().unwrap(), Sha256::of(digest));
    }

    fn keys(lock: &RegistryPins) -> Vec<&str> {
        lock.0.iter().map(|it| it.key.as_str()).collect()
    }

    #[test]
    fn two_bases_of_one_repository_do_not_fight() {
        let mut lock = RegistryPins::default();
        pin(&mut lock, "a", "ghcr.io/me/it", "1");
        pin(&mut lock, "b", "ghcr.io/me/it", "2");
        pin(&mut lock, "a", "ghcr.io/me/it", "3");
        assert_eq!(keys(&lock), ["a", "b"]);
        assert_eq!(lock.digest("a"), Some(&*format!("sha256:{}", Sha256::of("3"))));
        assert_eq!(lock.digests(), [Sha256::of("3"), Sha256::of("2")]);
        // A name is for one.
        pin(&mut lock, "c", "ghcr.io/me/it:home", "4");
        let name = "ghcr.io/me/it:home".parse().unwrap();
        assert_eq!(lock.namesake("d", &name).unwrap().key, "c");
        assert!(lock.namesake("c", &name).is_none());
        assert!(lock.namesake("d", &"ghcr.io/me/it".parse().unwrap()).is_none());
        pin(&mut lock, "d", "ghcr.io/me/it:home", "5");
        assert_eq!(keys(&lock), ["a", "b", "d"]);
    }

    #[test]
    fn what_two_pin_at_once_is_both_there() {
        let mut before = RegistryPins::default();
        pin(&mut before, "a", "ghcr.io/me/it:a", "1");
        let (mut own, mut now) = (before.clone(), before.clone());
        pin(&mut own, "b", "ghcr.io/me/it:b", "2");
        pin(&mut now, "c", "ghcr.io/me/it:c", "3");
        // Its name went to another meanwhile.
        pin(&mut now, "d", "ghcr.io/me/it:a", "4");
        let merged = RegistryPins::merged([&own, &before, &now]);
        assert_eq!(keys(&merged), ["d", "b", "c"]);
    }
}
