//! What the worker does: a root file system is prepared.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use super::PrepareJob;
use super::diversions::Diversions;
use super::fat_folders::FatFolders;
use super::files::{put, source_file};
use super::initramfs::PostponedInitramfs;
use super::root_folder::RootFolder;
use crate::apply;
use crate::cache::Package;
use crate::change::{Action, Change, Checksum, PackageState};
use crate::debian::{self, Apt, Archives, HostApt, Log, PackageSource};
use crate::fs::{LiveTree, Tree};
use crate::guest::vendor_setup::{self, FirstUser};
use crate::guest::{first_boot, generalise};
use crate::sandbox::{Chroot, Guest, Job, Sandbox, shell, vm};
use crate::util::error::{Context, Result};
use crate::util::progress::Progress;
use crate::util::sha256::Sha256;

/// Where apt reads in the sandbox `vm` how it gets out; gone with the root's `/run`.
const WAY_OUT: &str = "/run/nodeforge-apt.conf";

impl Job for PrepareJob {
    /// Returns what is installed then.
    fn run(&self, scratch: &Path, progress: &dyn Progress) -> Result<Vec<Package>> {
        fs::create_dir_all(scratch)?;
        let mut log = Log::create(&self.log)?;
        progress.stage("opening the root file system");
        let root = RootFolder::open(self.sandbox, &self.base, &self.partition, scratch)?;
        let fat = FatFolders::open(&self.partition.disk, &self.fat, scratch)?;
        let installed = self.install(root.path(), &fat, scratch, &mut log, progress)?;
        progress.stage("applying the profile");
        let files = self.open_files()?;
        let chroot = Chroot::enter(root.path(), &fat.binds())?;
        finish(&self.changes, &files)?;
        chroot.leave()?;
        progress.stage("closing the root file system");
        root.close()?;
        fat.close(&self.partition.disk)?;
        Ok(installed)
    }
}

impl PrepareJob {
    /// The files from elsewhere, while they can still be reached.
    fn open_files(&self) -> Result<BTreeMap<Sha256, File>> {
        let open = |(sha256, path): (&Sha256, &PathBuf)| {
            let file = File::open(path).context(|| format!("cannot open `{}`", path.display()))?;
            Ok((*sha256, file))
        };
        self.files.iter().map(open).collect()
    }

    /// Brings sources and packages into the root; returns what is installed then.
    fn install(
        &self,
        root: &Path,
        fat: &FatFolders<'_>,
        scratch: &Path,
        log: &mut Log,
        progress: &dyn Progress,
    ) -> Result<Vec<Package>> {
        let mut archives = Archives::open(&self.archives, scratch)?;
        let files = archives.locked(&self.locked)?;
        let source = match files {
            Some(files) if !self.locked.is_empty() => PackageSource::Files(files),
            _ if self.offline && self.changes.iter().any(Change::installs) => {
                return Err(debian::not_cached(&self.locked));
            }
            Some(_) | None => PackageSource::Repositories,
        };
        let host_apt = match self.foreign.filter(|_| self.changes.iter().any(is_of_package)) {
            Some(arch) => {
                let chroot = Chroot::enter(root, &[])?;
                let foreign =
                    LiveTree.read(Path::new("/var/lib/dpkg/arch"), 4096)?.unwrap_or_default();
                chroot.leave()?;
                HostApt::gather(
                    arch,
                    &String::from_utf8_lossy(&foreign),
                    root,
                    &scratch.join("host-apt"),
                )?
            }
            None => None,
        };

        let mut binds = fat.binds();
        binds.extend(host_apt.as_ref().map(HostApt::bind));
        binds.extend(archives.binds());
        let guest = archives.show(Guest::open(root, &binds, scratch)?);
        let before = guest.inside(|| debian::installed(&LiveTree))?;
        let run = Run { guest: &guest, host_apt: host_apt.as_ref(), progress };
        let done = self.install_packages(&run, &mut archives, &source, log);
        if done.is_err() && self.shell_on_failure {
            shell::open(&guest, progress);
        }
        done?;
        let mut after = guest.inside(|| debian::installed(&LiveTree))?;
        archives.add_hashes(&mut after, &before);
        debian::check(&after, &self.locked)?;
        Ok(after)
    }

    /// Brings sources and packages into the root.
    fn install_packages(
        &self,
        run: &Run<'_>,
        archives: &mut Archives,
        source: &PackageSource,
        log: &mut Log,
    ) -> Result<()> {
        let Run { guest, host_apt, progress } = *run;
        let wanted: Vec<(String, PackageState)> =
            self.changes.iter().filter_map(Change::package).collect();
        let sources: Vec<Change> = self.changes.iter().filter_map(source_file).collect();
        // Without name servers apt will say so itself, and many builds need none.
        let resolv_conf = fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
        let last_word = (self.sandbox == Sandbox::Vm).then_some(WAY_OUT);
        let diverted = guest.inside(|| {
            // Packages' own presets must decide while they are installed.
            LiveTree.remove(Path::new(first_boot::PRESET))?;
            apply::apply(&mut LiveTree, &sources)?;
            if wanted.is_empty() {
                return Ok(None);
            }
            if let Some(path) = last_word {
                fs::write(path, debian::only_way_out(vm::WAY_OUT))?;
            }
            let diversions = Diversions::install(&resolv_conf)?;
            host_apt.map_or(Ok(()), HostApt::install)?;
            Ok(Some((diversions, PostponedInitramfs::install()?)))
        })?;
        let Some((diversions, postponed)) = diverted else { return Ok(()) };
        let from_host = host_apt.is_some();
        let mut apt = Apt { guest, archives, log, progress, from_host, last_word };
        apt.apply(&wanted, source, &self.locked)?;
        postponed.make_up(guest, log, progress)?;
        guest.inside(|| {
            host_apt.map_or(Ok(()), HostApt::uninstall)?;
            diversions.restore()
        })
    }
}

/// What packages are installed with.
struct Run<'a> {
    guest: &'a Guest,
    /// This machine's apt, for a root of another processor.
    host_apt: Option<&'a HostApt>,
    progress: &'a dyn Progress,
}

fn is_of_package(change: &Change) -> bool {
    change.package().is_some()
}

/// Everything but packages, then what makes the root fit to be shared by many machines.
fn finish(changes: &[Change], files: &BTreeMap<Sha256, File>) -> Result<()> {
    let own = vendor_setup::switch_off(&LiveTree, changes, FirstUser::Made)?;
    apply::apply(&mut LiveTree, &own)?;
    for change in changes {
        match &change.action {
            Action::Package { .. } | Action::AptSource { .. } | Action::Grow { .. } => {}
            Action::Download { checksum: Checksum::Sha256(sha256), path, mode, .. } => {
                let file = files.get(sha256).map(File::try_clone).transpose()?;
                put(&mut LiveTree, file, Path::new(path), *mode)?;
            }
            Action::Download { .. }
            | Action::Images(_)
            | Action::File { .. }
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
            | Action::Timezone { .. } => {
                apply::apply(&mut LiveTree, std::slice::from_ref(change))?;
            }
        }
    }
    apply::apply(&mut LiveTree, &first_boot::presets())?;
    generalise(&mut LiveTree)
}
