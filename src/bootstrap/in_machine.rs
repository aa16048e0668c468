//! The job of bootstrapping, done in a machine of its own.

use std::path::{Path, PathBuf};

use super::job::BootstrapJob;
use crate::cache::{Cache, Package};
use crate::config::Arch;
use crate::debian::machine::{self, MachineParts};
use crate::debian::machine_root;
use crate::sandbox::vm::{self, JobMachine};
use crate::util::error::{Error, Result};
use crate::util::progress::Progress;

/// Where mmdebstrap gets packages from when no mirror is named (mmdebstrap(1), "MIRROR").
const MIRRORS: &str = "http://deb.debian.org/debian http://security.debian.org/debian-security";

/// Does the job, for a base of `arch`, as of `epoch` (seconds since 1970). What the machine is made of, and
/// writes to, lies in a folder below `folder`, and is gone afterwards.
pub(super) fn run(
    mut job: BootstrapJob,
    arch: Arch,
    epoch: i64,
    cache: &Cache,
    folder: &Path,
    progress: &dyn Progress,
) -> Result<Vec<Package>> {
    if let Some(mirror) = job.mirror.as_ref().filter(|it| it.starts_with("file:")) {
        return Err(Error::input(format!(
            "the mirror `{mirror}` is a folder of this machine, which the sandbox `vm` does not see"
        ))
        .hint("name an address of http or https"));
    }
    let parts = MachineParts::assemble(arch, cache, folder, false, progress)?;
    let root = parts.folder().join("root.tar");
    machine_root::write(arch, cache, &root, progress)?;

    let (image, log) = (job.partition.disk.clone(), job.log.clone());
    job.partition.disk = vm::DISK.into();
    job.log = vm::LOG.into();
    let mut outputs: Vec<(PathBuf, PathBuf)> = Vec::new();
    for (number, (_, to)) in job.keep.iter_mut().enumerate() {
        let there = vm::outgoing(number);
        outputs.push((std::mem::replace(to, there.clone()), there));
    }
    let machine = JobMachine {
        inputs: vec![(root, vm::inside(0))],
        root: Some(vm::inside(0)),
        outputs,
        epoch: Some(epoch),
        mirrors: Some(machine::mirrors(job.mirror.as_deref().unwrap_or(MIRRORS), "")?),
        ..parts.machine(&image, &log)
    };
    vm::run(machine, &job, progress)
}
