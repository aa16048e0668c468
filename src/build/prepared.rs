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
use crate::registry;
use crate::sandbox::{Choice, Sandbox};
use crate::util::error::{Error, Result};
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
        if let Some(reason) = &early.instead_of_userns
            && (how.force || !self.is_prepared(how, wanted))
        {
            let reason = reason.advice();
            self.progress.warn(&format!("a machine in QEMU is used, which is slow: {reason}"));
        }
        if elsewhere.is_none()
            && let Some(error) = early.refusal
            && (how.force || !self.is_prepared(how, wanted))
        {
            return Err(error);
        }
        // A base is made in a machine as well, if that is asked for.
        self.options.sandbox = how.sandbox.filter(|it| *it == Sandbox::Vm);
        let base = self.base()?;
        let arch = base.arch_for(&self.cluster.base)?;
        let inputs = self.inputs(&base, &wanted.packages)?;
        let purpose = purpose(base.sha256, &inputs.changes)?;
        let sandbox = match (arch, self.is_vouched_for()) {
            found if found == known => early.sandbox,
            (arch, is_vouched_for) => how.choose(arch, is_vouched_for).sandbox,
        };
        let pins = self.lock.lock.pins(&wanted.own);
        let newest = pins.newest;
        let pinned = pinned(pins, purpose);
        self.hold_packages(pinned.is_some(), sandbox, &inputs)?;
        let request = prepare::Request {
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
            elsewhere: &RegistrySource {
                place: elsewhere.as_ref(),
                lock: &self.lock.lock,
                packages: pinned.as_deref().unwrap_or_default(),
                cache: &self.cache,
                require: &|| if elsewhere.is_some() { sandbox.require(arch) } else { Ok(()) },
                progress: self.progress,
            },
        };
        let prepared = request.prepare(&self.cache, self.progress)?;
        if sandbox != Sandbox::None {
            self.pin_packages(purpose, &wanted.own, &prepared.image.about.packages)?;
        }
        let is_made_here =
            !prepared.image.was_cached && registry::pulled_from(&prepared.image.about).is_none();
        let prepared = PreparedCluster {
            base: PreparedBase::new(prepared.image, arch),
            key: prepared.key,
            downloads: downloads(&inputs.changes),
            inputs: records(base, inputs),
        };
        if let Some(place) = self.registry.clone()
            && self.cluster.registry.push
            && is_made_here
            && !self.options.offline
        {
            self.push(&place, wanted, &prepared)?;
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
        let request = prepare::Request {
            cluster: self.cluster,
            inputs: &inputs,
            base: &base,
            arch,
            own: &wanted.own,
            sandbox,
            locked: &pinned(pins, purpose).unwrap_or_default(),
            force: newest && sandbox != Sandbox::None,
            offline: true,
            shell_on_failure: false,
            elsewhere: &RegistrySource {
                place: None,
                lock: &look.lock.lock,
                packages: &[],
                cache: &look.cache,
                require: &|| Ok(()),
                progress: self.progress,
            },
        };
        request.status(&look.cache)
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
