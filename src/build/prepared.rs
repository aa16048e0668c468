//! A prepared base of a cluster: from the cache, or made now.

use super::project::Project;
use super::registry::RegistrySource;
use crate::artifact::{InputRecord, PreparedBase};
use crate::base::{PackagePins, PrepareInputs, ResolvedBase};
use crate::cache::Package;
use crate::change::{Action, Change, Checksum};
use crate::config::Arch;
use crate::inspect::sbom::Download;
use crate::plan::SharedBase;
use crate::prepare::{self, CacheStatus};
use crate::sandbox::{Choice, Sandbox};
use crate::util::error::{Error, Result};
use crate::util::progress::Progress;
use crate::util::sha256::Sha256;

pub use crate::prepare::CacheStatus as Status;

/// How a base is prepared.
#[derive(Clone, Copy, Debug, Default)]
pub struct Preparation {
    /// Where programs of the image run; `None` is the best that this machine allows.
    pub sandbox: Option<Sandbox>,
    /// Whether a shell is opened in the sandbox when packages cannot be installed.
    pub shell_on_failure: bool,
    /// Whether it is made even when the cache has it.
    pub force: bool,
    /// Whether it stays on this machine even where the cluster file has it pushed.
    pub stays_here: bool,
}

/// A prepared base, and what went into it.
pub struct PreparedCluster {
    /// As artifacts are made from it.
    pub base: PreparedBase,
    /// The hash of everything that went in: 64 hexadecimal digits.
    pub key: String,
    /// The base below it, and what else came from elsewhere.
    pub inputs: Vec<InputRecord>,
    /// Files from elsewhere that are in it.
    pub downloads: Vec<Download>,
}

impl Preparation {
    /// Where programs of images of `arch` run, of a base that somebody vouches for or not.
    pub fn choose(self, arch: Arch, is_vouched_for: bool) -> Choice {
        match self.sandbox {
            Some(sandbox) => Choice::of(sandbox, arch),
            None => Sandbox::choose(arch, is_vouched_for),
        }
    }

    /// Where others prepared what this machine cannot, and a registry may have it: such a base has its packages, and
    /// another key. Not where somebody asked for a sandbox.
    fn sandbox_of_others(self, chosen: Sandbox, has_registry: bool) -> Option<Sandbox> {
        let is_poorer = self.sandbox.is_none() && chosen == Sandbox::None;
        (is_poorer && has_registry).then_some(Sandbox::Userns)
    }

    /// A shell needs a terminal to type in, and programs that run.
    fn require_terminal(sandbox: Sandbox) -> Result<()> {
        if sandbox == Sandbox::None {
            return Err(Error::input("`--shell-on-failure` has no effect with `--sandbox none`")
                .hint("no package is installed, so none can fail to be"));
        }
        if sandbox == Sandbox::Vm {
            return Err(Error::input("`--shell-on-failure` does not work with `--sandbox vm`")
                .hint("the log has all that apt said: the error names it"));
        }
        std::fs::File::open("/dev/tty").map(drop).map_err(|_| {
            Error::input("`--shell-on-failure` needs a terminal, and there is none")
                .hint("without it the error says where the full log is")
        })
    }
}

impl Project<'_> {
    /// One of the cluster's prepared bases, from the cache or made now.
    pub fn prepare(&mut self, how: Preparation, wanted: &SharedBase) -> Result<PreparedCluster> {
        // Before anything is fetched. What is prepared already, or others prepared, needs no sandbox.
        let elsewhere = self.registry.clone().filter(|_| !how.force && !self.options.offline);
        let known = (self.cluster.base.arch().unwrap_or(Arch::HOST), self.is_vouched_for());
        let early = how.choose(known.0, known.1);
        if how.shell_on_failure {
            Preparation::require_terminal(early.sandbox)?;
        }
        if elsewhere.is_none()
            && (early.instead_of_userns.is_some() || early.refusal.is_some())
            && (how.force || !self.is_prepared(how, wanted))
        {
            admit(&early, self.progress)?;
        }
        // A base is made in a machine as well, if that is asked for.
        self.options.sandbox = how.sandbox.filter(|it| *it == Sandbox::Vm);
        let base = self.base()?;
        let arch = base.arch_for(&self.cluster.base)?;
        let inputs = self.inputs(&base, &wanted.packages)?;
        let purpose = purpose(base.sha256, &inputs.changes)?;
        let choice = match (arch, self.is_vouched_for()) {
            found if found == known => early,
            (arch, is_vouched_for) => how.choose(arch, is_vouched_for),
        };
        let pins = self.lock.lock.pins(&wanted.own);
        let newest = pins.newest;
        let pinned = pinned(pins, purpose);
        let source = RegistrySource {
            place: elsewhere.as_ref(),
            lock: &self.lock.lock,
            packages: pinned.as_deref().unwrap_or_default(),
            cache: &self.cache,
            require: &|| if elsewhere.is_some() { admit(&choice, self.progress) } else { Ok(()) },
            progress: self.progress,
        };
        let request = |sandbox| prepare::Request {
            cluster: self.cluster,
            inputs: &inputs,
            base: &base,
            arch,
            own: &wanted.own,
            sandbox,
            locked: pinned.as_deref().unwrap_or_default(),
            force: how.force || (newest && sandbox != Sandbox::None),
            offline: self.options.offline,
            shell_on_failure: how.shell_on_failure,
            elsewhere: &source,
        };
        let others = how.sandbox_of_others(choice.sandbox, elsewhere.is_some());
        let sandbox = match others {
            Some(others) if request(others).is_had(&self.cache)? => others,
            Some(_) | None => choice.sandbox,
        };
        let request = request(sandbox);
        self.hold_packages(pinned.is_some(), sandbox, &inputs)?;
        if request.force && elsewhere.is_some() {
            admit(&choice, self.progress)?;
        }
        let prepared = request.prepare(&self.cache, self.progress)?;
        if sandbox != Sandbox::None {
            self.pin_packages(purpose, &wanted.own, &prepared.image.about.packages)?;
        }
        let prepared = PreparedCluster {
            base: PreparedBase::new(prepared.image, arch),
            key: prepared.key,
            downloads: downloads(&inputs.changes),
            inputs: records(base, inputs),
        };
        if !how.stays_here {
            self.push_own(wanted, &prepared)?;
        }
        Ok(prepared)
    }

    /// What [`Self::prepare`] would do, as far as it can be told without fetching or writing anything.
    pub fn status(&self, how: Preparation, wanted: &SharedBase) -> Result<CacheStatus> {
        let mut look = Project::look(self.cluster)?;
        let base = look.base()?;
        let arch = base.arch_for(&self.cluster.base)?;
        let inputs = look.inputs(&base, &wanted.packages)?;
        let sandbox = how.sandbox.unwrap_or_else(|| Sandbox::presumed(arch));
        let purpose = purpose(base.sha256, &inputs.changes)?;
        let pins = look.lock.lock.pins(&wanted.own);
        let newest = pins.newest;
        let locked = pinned(pins, purpose).unwrap_or_default();
        let source = RegistrySource {
            place: None,
            lock: &look.lock.lock,
            packages: &[],
            cache: &look.cache,
            require: &|| Ok(()),
            progress: self.progress,
        };
        let request = |sandbox| prepare::Request {
            cluster: self.cluster,
            inputs: &inputs,
            base: &base,
            arch,
            own: &wanted.own,
            sandbox,
            locked: &locked,
            force: newest && sandbox != Sandbox::None,
            offline: true,
            shell_on_failure: false,
            elsewhere: &source,
        };
        let has_registry = self.registry.is_some();
        if let Some(others) = how.sandbox_of_others(sandbox, has_registry)
            && let Ok(status @ CacheStatus::Cached(_)) = request(others).status(&look.cache)
        {
            return Ok(status);
        }
        request(sandbox).status(&look.cache)
    }

    /// Whether the cache has what would be prepared.
    fn is_prepared(&self, how: Preparation, wanted: &SharedBase) -> bool {
        matches!(self.status(how, wanted), Ok(CacheStatus::Cached(_)))
    }

    /// What `--locked` asks of packages: the lock file pins them, or says that nothing can.
    fn hold_packages(
        &self,
        is_pinned: bool,
        sandbox: Sandbox,
        inputs: &PrepareInputs,
    ) -> Result<()> {
        if !self.options.locked {
            return Ok(());
        }
        if sandbox != Sandbox::None && !is_pinned {
            return Err(self.lock.would_change("it does not pin the packages of this base"));
        }
        if sandbox == Sandbox::None && inputs.changes.iter().any(Change::installs) {
            self.progress.warn(
                "packages are left to each node's first boot, which installs the newest of that day: \
                 `--locked` does not hold them",
            );
        }
        Ok(())
    }

    /// Writes down which packages were installed for `purpose`.
    fn pin_packages(
        &mut self,
        purpose: Sha256,
        own: &[String],
        packages: &[Package],
    ) -> Result<()> {
        let packages = packages.iter().filter(|it| it.sha256.is_some()).cloned().collect();
        self.lock.lock.pin(own, PackagePins { purpose: Some(purpose), newest: false, packages });
        if self.options.locked && self.lock.is_changed() {
            return Err(self.lock.would_change("it pins other packages than are installed"));
        }
        self.save_lock()
    }
}

/// Goes on with a sandbox in which something is to be prepared, unless the host refuses it.
fn admit(choice: &Choice, progress: &dyn Progress) -> Result<()> {
    if let Some(reason) = &choice.instead_of_userns {
        let reason = reason.advice();
        progress.warn(&format!("a machine in QEMU is used, which is slow: {reason}"));
    }
    choice.refusal.clone().map_or(Ok(()), Err)
}

/// The packages that were pinned for the same purpose.
fn pinned(pins: PackagePins, purpose: Sha256) -> Option<Vec<Package>> {
    (pins.purpose == Some(purpose)).then_some(pins.packages)
}

/// What packages are installed for, in one hash that changes when the same may not do any more.
fn purpose(base_sha256: Sha256, changes: &[Change]) -> Result<Sha256> {
    let relevant: Vec<_> = changes
        .iter()
        .map(|change| &change.action)
        .filter(|action| match action {
            Action::Package { .. } | Action::AptSource { .. } => true,
            Action::File { path, .. } => path.starts_with("/etc/apt/"),
            Action::Grow { .. }
            | Action::Download { .. }
            | Action::Images(_)
            | Action::Directory { .. }
            | Action::Symlink { .. }
            | Action::Remove { .. }
            | Action::Unit { .. }
            | Action::User(_)
            | Action::KernelArgument { .. }
            | Action::KernelArgumentRemoved { .. }
            | Action::ConfigTxt { .. }
            | Action::Hostname { .. }
            | Action::MachineId { .. }
            | Action::DiskId { .. }
            | Action::Locale { .. }
            | Action::Keyboard { .. }
            | Action::Timezone { .. } => false,
        })
        .collect();
    let text = serde_json::to_vec(&(base_sha256, relevant))
        .map_err(|error| Error::failure(error.to_string()))?;
    Ok(Sha256::of(&text))
}

/// The files from elsewhere that are in the image, as the SBOM names them.
fn downloads(changes: &[Change]) -> Vec<Download> {
    changes
        .iter()
        .filter_map(|change| {
            let Action::Download { url, checksum: Checksum::Sha256(sha256), path, .. } =
                &change.action
            else {
                return None;
            };
            Some(Download { path: path.clone(), url: url.clone(), sha256: *sha256 })
        })
        .collect()
}

/// The base and all other files from elsewhere, as the manifest names them.
fn records(base: ResolvedBase, inputs: PrepareInputs) -> Vec<InputRecord> {
    let downloads = inputs.all.into_iter().map(|it| InputRecord {
        name: "download".into(),
        origin: it.url,
        sha256: it.sha256,
    });
    let base = InputRecord { name: "base".into(), origin: base.origin, sha256: base.sha256 };
    std::iter::once(base).chain(downloads).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn others_have_what_a_machine_without_a_sandbox_lacks() {
        let as_it_comes = Preparation::default();
        let asked = Preparation { sandbox: Some(Sandbox::None), ..as_it_comes };
        assert_eq!(as_it_comes.sandbox_of_others(Sandbox::None, true), Some(Sandbox::Userns));
        assert_eq!(as_it_comes.sandbox_of_others(Sandbox::None, false), None);
        assert_eq!(as_it_comes.sandbox_of_others(Sandbox::Vm, true), None);
        assert_eq!(asked.sandbox_of_others(Sandbox::None, true), None);
    }
}
