//! What the worker does: a root file system from packages, by mmdebstrap.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::job::{BootstrapJob, DPKG_EXCLUDES};
use crate::apply;
use crate::cache::Package;
use crate::debian::{self, Log, Watcher, failure};
use crate::fs::LiveTree;
use crate::guest::generalise;
use crate::sandbox::{Chroot, Job};
use crate::util::clock;
use crate::util::error::{Context, Result};
use crate::util::progress::Progress;

/// Before the kernel is installed: its initramfs takes the fsck of this type along. By itself it
/// would look for the root's device, which is not there yet.
const FSCK_HOOK: &str = r#"mkdir -p "$1/etc/initramfs-tools/conf.d" &&
    echo FSTYPE=ext4 >"$1/etc/initramfs-tools/conf.d/root""#;

impl Job for BootstrapJob {
    /// Returns what is installed.
    fn run(&self, scratch: &Path, progress: &dyn Progress) -> Result<Vec<Package>> {
        fs::create_dir_all(scratch)?;
        let root = scratch.join("root");
        progress.stage("bootstrapping Debian");
        self.debootstrap(&root, progress)?;

        progress.stage("configuring the base");
        for (from, to) in &self.keep {
            let from = root.join(from);
            fs::copy(&from, to).context(|| format!("cannot copy `{}`", from.display()))?;
        }
        let chroot = Chroot::enter(&root, &[])?;
        apply::apply(&mut LiveTree, &self.changes)?;
        generalise(&mut LiveTree)?;
        let packages = debian::installed(&LiveTree)?;
        chroot.leave()?;

        progress.stage("writing the root file system");
        self.ext4.make(&self.partition, &root, clock::now()?)?;
        Ok(packages)
    }
}

impl BootstrapJob {
    fn debootstrap(&self, root: &Path, progress: &dyn Progress) -> Result<()> {
        // Its temporary files go the way of the root when it is killed. It hides the variable from
        // programs of the image itself.
        let temporary = root.with_extension("tmp");
        fs::create_dir(&temporary)?;
        let mut command = Command::new("mmdebstrap");
        command
            .env("TMPDIR", &temporary)
            .args(["--mode=root", "--variant=minbase", "--format=directory", "--verbose"])
            .arg(format!("--architectures={}", self.arch))
            .arg(format!("--include={}", self.packages.join(",")))
            .arg("--aptopt=APT::Install-Recommends \"false\"")
            .arg("--aptopt=Acquire::Languages \"none\"")
            .arg("--aptopt=Acquire::Retries \"3\"")
            .args(DPKG_EXCLUDES.lines().map(|line| format!("--dpkgopt={line}")))
            .arg("--dpkgopt=force-unsafe-io")
            .arg(format!("--essential-hook={FSCK_HOOK}"))
            .args(self.make.iter().map(|words| format!("--customize-hook={words}")))
            // That they can be run is seen to already, in a table it does not look at.
            .arg("--skip=check/qemu")
            .arg(&self.suite)
            .arg(root)
            .args(&self.mirror);
        let mut log = Log::create(&self.log)?;
        let mut watcher = Watcher::new(progress);
        let status = log.follow(command, |line| watcher.line(line))?;
        if status.success() {
            return Ok(());
        }
        Err(failure(&log, "`mmdebstrap` failed"))
    }
}
