//! apt, run inside an image's root.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;
use std::{fs, io};

use super::apt_output::{Watcher, failure};
use super::host_apt::HostApt;
use super::log::Log;
use crate::cache::Package;
use crate::change::PackageState;
use crate::util::error::{Context, Result};
use crate::util::progress::Progress;

/// What every call gets. The image is thrown away when it fails, so nothing is synced on the way;
/// questions cannot be answered; the image is as small as its publisher's.
const OPTIONS: [&str; 14] = [
    "Dpkg::Use-Pty=0",
    "Dpkg::Options::=--force-unsafe-io",
    "Dpkg::Options::=--force-confdef",
    "Dpkg::Options::=--force-confold",
    "APT::Install-Recommends=0",
    "APT::Sandbox::User=root",
    "APT::Keep-Downloaded-Packages=1",
    "APT::Update::Error-Mode=any",
    "APT::Get::Assume-Yes=1",
    "APT::Get::allow-downgrades=1",
    "Acquire::Languages=none",
    "Acquire::Retries=3",
    "Acquire::http::Timeout=30",
    "Acquire::https::Timeout=30",
];

/// Where apt keeps .deb files: a bind mount, so that they never reach the image.
pub(crate) const ARCHIVES: &str = "/var/cache/apt/archives";
/// Where apt keeps its lists: likewise.
pub(crate) const LISTS: &str = "/var/lib/apt/lists";

/// Where packages come from.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum PackageSource {
    /// The repositories, looked at afresh.
    Repositories,
    /// These .deb files, which are all that is needed.
    Files(Vec<String>),
}

/// apt in the root that this process is in.
pub(crate) struct Apt<'a> {
    pub(crate) log: &'a mut Log,
    pub(crate) progress: &'a dyn Progress,
    /// Whether it is the host's, for a root of another processor.
    pub(crate) from_host: bool,
}

impl Apt<'_> {
    /// Brings packages into their states, with a fresh look at the repositories.
    ///
    /// `locked` are all packages that an earlier build installed; empty when there was none.
    pub(crate) fn apply(
        &mut self,
        wanted: &[(String, PackageState)],
        source: &PackageSource,
        locked: &[Package],
    ) -> Result<()> {
        let of = |state: PackageState| -> Vec<&str> {
            wanted.iter().filter(|it| it.1 == state).map(|it| it.0.as_str()).collect()
        };
        let (install, remove, hold) =
            (of(PackageState::Installed), of(PackageState::Removed), of(PackageState::Held));
        let upgrade = !of(PackageState::Upgraded).is_empty();
        let changes = upgrade || !install.is_empty();
        if changes && *source == PackageSource::Repositories {
            self.progress.stage("reading package lists");
            self.get("update", &[])?;
        }
        if !remove.is_empty() {
            self.progress.stage("removing packages");
            self.get("purge", &remove)?;
        }
        if changes {
            let exact: Vec<String> = match source {
                PackageSource::Files(files) => files.clone(),
                PackageSource::Repositories => locked.iter().map(Package::exact).collect(),
            };
            // What is locked has the upgraded ones among it.
            let all: Vec<&str> = if exact.is_empty() {
                if upgrade {
                    self.progress.stage("upgrading packages");
                    self.get("dist-upgrade", &[])?;
                }
                install.clone()
            } else {
                exact.iter().map(String::as_str).collect()
            };
            if !all.is_empty() {
                self.progress.stage("installing packages");
                let manual = if exact.is_empty() { String::new() } else { manual()? };
                self.get("install", &all)?;
                self.mark_as_needed(locked, &install, &manual)?;
            }
            if upgrade {
                self.get("autopurge", &[])?;
            }
        }
        if !hold.is_empty() {
            let mut command = Command::new("apt-mark");
            command.arg("hold").args(&hold);
            self.run(command, "`apt-mark hold`")?;
        }
        Ok(())
    }

    /// What was named only because it is locked is there for others' sake.
    fn mark_as_needed(&mut self, locked: &[Package], install: &[&str], manual: &str) -> Result<()> {
        let is_asked_for = |package: &&Package| {
            install.iter().any(|name| name.split(['=', ':', '/']).next() == Some(&package.name))
        };
        // Nor does an upgrade change why something is there.
        let was_asked_for = |package: &&Package| manual.lines().any(|name| name == package.name);
        let others: Vec<_> =
            locked.iter().filter(|it| !is_asked_for(it) && !was_asked_for(it)).collect();
        if others.is_empty() {
            return Ok(());
        }
        let mut command = Command::new("apt-mark");
        command.arg("auto").args(others.iter().map(|it| &it.name));
        self.run(command, "`apt-mark auto`")
    }

    fn get(&mut self, verb: &str, packages: &[&str]) -> Result<()> {
        let mut command = Command::new("apt-get");
        for option in OPTIONS {
            command.args(["-o", option]);
        }
        command.arg(verb).arg("--").args(packages);
        self.run(command, &format!("`apt-get {verb}`"))
    }

    fn run(&mut self, mut command: Command, what: &str) -> Result<()> {
        command.env("DEBIAN_FRONTEND", "noninteractive").env("DEBCONF_NOWARNINGS", "yes");
        if self.from_host {
            command.envs(HostApt::environment());
        }
        let mut watcher = Watcher::new(self.progress);
        let status = self.log.follow(command, |line| watcher.line(line))?;
        if status.success() {
            return Ok(());
        }
        Err(failure(self.log, &format!("{what} failed")))
    }
}

/// The packages that were asked for by name, a line each.
fn manual() -> Result<String> {
    let output = Command::new("apt-mark").arg("showmanual").output();
    let output = output.context(|| "cannot run `apt-mark showmanual`")?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Gives every .deb of one folder a name in another on the same file system; of two files with
/// one name, the newcomer stays.
pub(crate) fn link_archives(from: &Path, to: &Path) -> Result<()> {
    let link = || {
        for entry in fs::read_dir(from)? {
            let entry = entry?;
            let name = entry.file_name();
            if !name.as_encoded_bytes().ends_with(b".deb") || !entry.file_type()?.is_file() {
                continue;
            }
            let target = to.join(&name);
            match fs::metadata(&target) {
                Ok(there) if there.ino() == entry.metadata()?.ino() => continue,
                Ok(_) => fs::remove_file(&target)?,
                Err(_) => {}
            }
            match fs::hard_link(entry.path(), &target) {
                Ok(()) => {}
                // Another build was faster with the same package, or it was pruned this moment.
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::AlreadyExists | io::ErrorKind::NotFound
                    ) => {}
                Err(error) => return Err(error),
            }
        }
        io::Result::Ok(())
    };
    link().context(|| format!("cannot link packages into `{}`", to.display()))
}
