//! Prepared bases of others, from a registry: which of them are used.

use std::path::Path;

use crate::base::{Lock, LockFile};
use crate::cache::{About, Cache, Made, Package, PulledFrom};
use crate::config::{ManifestName, RegistryReference};
use crate::prepare::PreparedElsewhere;
use crate::registry::{self, FoundBase, PreparedConfig, Pulled};
use crate::util::error::{Error, ErrorKind, Result};
use crate::util::progress::Progress;
use crate::util::sha256::Sha256;

/// Which registry a command uses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum RegistryChoice {
    /// The cluster file's.
    #[default]
    AsFile,
    /// None.
    Nothing,
    /// Another one.
    Named(RegistryReference),
}

/// What a pull may change.
#[derive(Clone, Copy, Debug, Default)]
pub struct PullOptions {
    /// Whether what the lock file pins is replaced.
    pub update: bool,
    /// Whether the lock file must stay as it is.
    pub locked: bool,
}

/// The registry of a cluster, as its prepared bases are looked for in it.
pub(super) struct RegistrySource<'a> {
    /// The repository; `None` where there is none, or nothing may be fetched.
    pub(super) place: Option<&'a RegistryReference>,
    pub(super) lock: &'a Lock,
    /// Packages that the base must have.
    pub(super) packages: &'a [Package],
    pub(super) cache: &'a Cache,
    /// What is required of this machine before it prepares the base itself.
    pub(super) require: &'a dyn Fn() -> Result<()>,
    pub(super) progress: &'a dyn Progress,
}

impl PreparedElsewhere for RegistrySource<'_> {
    fn accepts(&self, key: &str, about: &About) -> bool {
        let is_pinned = |it: &PulledFrom| {
            self.lock.registry.digest(key) == Some(&format!("sha256:{}", it.digest))
        };
        about.pulled.as_ref().is_none_or(is_pinned)
    }

    fn has(&self, key: &str) -> Result<bool> {
        Ok(self.look(key)?.is_some())
    }

    fn fetch(&self, key: &str, disk: &Path) -> Result<Option<Made>> {
        let Some((found, config)) = self.look(key)? else {
            (self.require)()?;
            return Ok(None);
        };
        Ok(Some(found.make(&config, self.cache, disk, self.progress)?.0))
    }
}

impl RegistrySource<'_> {
    /// The base of this key, where the registry has it, something vouches for it, and it is what is asked for.
    fn look(&self, key: &str) -> Result<Option<(FoundBase<'_>, PreparedConfig)>> {
        let Some(found) = self.find(key)? else { return Ok(None) };
        let config = found.config()?;
        if config.key != key {
            return Err(Error::failure(format!("`{}` is of another base", found.place))
                .hint("whoever pushed it gave it a name that is not its own"));
        }
        if !self.packages.iter().all(|it| config.packages.contains(it)) {
            self.progress.warn(
                "the registry's base has other packages than nodeforge.lock pins: it is not used",
            );
            return Ok(None);
        }
        Ok(Some((found, config)))
    }

    /// The base of this key, where the registry has it and something vouches for it. A tag alone does not: whoever may
    /// push can move it.
    fn find(&self, key: &str) -> Result<Option<FoundBase<'_>>> {
        const INSTEAD: &str = "`--registry none` prepares the base on this machine instead";
        let Some(place) = self.place else { return Ok(None) };
        self.progress.stage(&format!("looking for the prepared base in `{place}`"));
        let find = |name: &ManifestName| {
            registry::find(place, name, self.progress).map_err(|error| match error.kind() {
                ErrorKind::Failure | ErrorKind::TimedOut => error.hint(INSTEAD),
                ErrorKind::Input | ErrorKind::Interrupted => error,
            })
        };
        let pin = self.lock.registry.digest(key);
        if let Some(pin) = pin {
            let digest = pin.strip_prefix("sha256:").and_then(|it| it.parse::<Sha256>().ok());
            let digest = digest.ok_or_else(|| {
                Error::input(format!(
                    "nodeforge.lock pins `{pin}` for a prepared base, which is no digest"
                ))
                .hint("find out who changed it")
            })?;
            if let Some(found) = find(&ManifestName::Digest(digest))? {
                return Ok(Some(found));
            }
        }
        match find(&ManifestName::Tag(key.to_owned()))? {
            Some(found) => Err(unvouched(&found.place, pin).hint(INSTEAD)),
            None => Ok(None),
        }
    }
}

/// The error of a base that nothing vouches for.
fn unvouched(place: &RegistryReference, pin: Option<&str>) -> Error {
    match pin {
        Some(pin) => Error::input(format!(
            "nodeforge.lock pins {pin}, and the registry has `{place}`"
        ))
        .hint(format!(
            "`nodeforge pull --update {place}` pins that, if you trust whoever pushed it"
        )),
        None => Error::input(format!("nothing vouches for `{place}`")).hint(format!(
            "`nodeforge pull {place}` pins it in nodeforge.lock, if you trust whoever pushed it"
        )),
    }
}

/// Pulls what a reference names into the cache, and pins it in the lock file. Without a digest in it, the lock file must
/// pin what it names already, or pins it now.
pub fn pull(
    place: &RegistryReference,
    lock: Option<&mut LockFile>,
    options: PullOptions,
    progress: &dyn Progress,
) -> Result<Pulled> {
    let target = place.target().ok_or_else(|| {
        Error::input(format!("`{place}` names a repository, and nothing in it"))
            .hint(format!("a tag or a digest: `nodeforge pull {place}:TAG`"))
    })?;
    progress.stage(&format!("looking for `{place}`"));
    let found = registry::find(place, &target, progress)?
        .ok_or_else(|| Error::failure(format!("`{place}` is not in the registry")))?;
    let Some(lock) = lock else {
        // Who names a digest vouches for it.
        return match target {
            ManifestName::Digest(_) => registry::pull(&found, &Cache::open()?, progress),
            ManifestName::Tag(_) => Err(Error::input(format!(
                "nothing vouches for `{place}`: a tag can be moved, and there is no cluster file whose lock file could \
                 pin it"
            ))
            .hint(format!("`nodeforge pull {}` pulls what it is now", found.place))),
        };
    };
    let config = found.config()?;
    let (name, digest) = (named(place), format!("sha256:{}", found.digest));
    let pin = lock.lock.registry.digest(&config.key).map(str::to_owned);
    if pin.as_ref() != Some(&digest) {
        if options.locked {
            return Err(lock.would_change("it does not pin that prepared base"));
        }
        if pin.is_some() && !options.update {
            return Err(unvouched(&found.place, pin.as_deref()));
        }
        // A name that moved: whoever may push can do that.
        let namesake = lock.lock.registry.namesake(&config.key, &name);
        if let Some(other) = namesake.filter(|_| !options.update) {
            return Err(Error::input(format!(
                "nodeforge.lock pins {} as `{name}`, and the registry has another base there: `{}`",
                other.digest, found.place
            ))
            .hint(format!(
                "`nodeforge pull --update {place}` pins that, if you trust whoever pushed it"
            )));
        }
    }
    let pulled = registry::pull(&found, &Cache::open()?, progress)?;
    if pin.as_ref() != Some(&digest) {
        lock.lock.registry.pin(config.key, &name, found.digest);
        lock.save()?;
    }
    Ok(pulled)
}

/// A reference as people know it: by its tag where it has one.
fn named(place: &RegistryReference) -> RegistryReference {
    match &place.tag {
        Some(tag) => place.with(&ManifestName::Tag(tag.clone())),
        None => place.repository(),
    }
}
