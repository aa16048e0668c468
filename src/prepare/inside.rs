//! Preparing a root file system, inside the sandbox.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Seek as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::Sandbox;
use super::apt::{ARCHIVES, Apt, LISTS, link_archives};
use super::firmware::{Firmware, FirmwarePart};
use super::generalise::generalise;
use super::lent::Lent;
use super::live::LiveTree;
use super::log::Log;
use super::mkfs::Place;
use super::packages;
use super::root::Root;
use super::sandbox::Chroot;
use crate::config::Checksum;
use crate::error::{Context, Error, Result};
use crate::fs::{Attributes, Tree};
use crate::plan::{Action, Change, Content, Origin, Owner, PackageState, UnitState};
use crate::progress::Progress;
use crate::source::Package;
use crate::stamp;

/// Written last: while it is there, apt's packages would find their units forbidden.
pub(crate) const PRESET: &str = "/etc/systemd/system-preset/00-nodeforge.preset";

/// A root file system to be prepared.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct PrepareJob {
    /// How the root is made reachable.
    pub sandbox: Sandbox,
    /// The image that is only read; its root is what [`Sandbox::Userns`] unpacks.
    pub base: PathBuf,
    /// The image being made, grown already; its root partition.
    pub place: Place,
    /// Its FAT file systems.
    pub firmware: Vec<FirmwarePart>,
    /// What is to be done, in this order; packages and their sources come first.
    pub changes: Vec<Change>,
    /// Verified files from elsewhere, by their SHA-256.
    pub files: BTreeMap<String, PathBuf>,
    /// The .deb files of earlier builds.
    pub archives: PathBuf,
    /// Where apt's output goes.
    pub log: PathBuf,
}

impl PrepareJob {
    /// Does it; returns what is installed then.
    pub(super) fn run(&self, scratch: &Path, progress: &dyn Progress) -> Result<Vec<Package>> {
        fs::create_dir_all(scratch)?;
        let mut log = Log::create(&self.log)?;
        progress.stage("opening the root file system");
        let root = Root::open(self.sandbox, &self.base, &self.place, scratch)?;
        let firmware = Firmware::open(&self.place.disk, &self.firmware, scratch)?;
        self.install(root.path(), &firmware, scratch, &mut log, progress)?;
        progress.stage("applying the profile");
        let mut files = self.open_files()?;
        let chroot = Chroot::enter(root.path(), &firmware.lent())?;
        finish(&self.changes, &mut files)?;
        let status = fs::read_to_string(packages::STATUS)
            .context(|| "reading the image's list of packages")?;
        chroot.leave()?;
        progress.stage("closing the root file system");
        root.close()?;
        firmware.close(&self.place.disk)?;
        Ok(packages::installed(&status))
    }

    /// The files from elsewhere, while they can still be reached.
    fn open_files(&self) -> Result<BTreeMap<String, File>> {
        let open = |(sha256, path): (&String, &PathBuf)| {
            let file = File::open(path).context(|| format!("opening `{}`", path.display()))?;
            Ok((sha256.clone(), file))
        };
        self.files.iter().map(open).collect()
    }

    /// Brings sources and packages into the root.
    fn install(
        &self,
        root: &Path,
        firmware: &Firmware<'_>,
        scratch: &Path,
        log: &mut Log,
        progress: &dyn Progress,
    ) -> Result<()> {
        let (archives, lists) = (scratch.join("archives"), scratch.join("lists"));
        fs::create_dir_all(archives.join("partial"))?;
        fs::create_dir_all(lists.join("partial"))?;
        link_archives(&self.archives, &archives)?;
        // Without name servers apt will say so itself, and many builds need none.
        let resolv_conf = fs::read_to_string("/etc/resolv.conf").unwrap_or_default();

        let mut lent = firmware.lent();
        lent.extend([(archives.as_path(), ARCHIVES), (lists.as_path(), LISTS)]);
        let chroot = Chroot::enter_to_run(root, &lent)?;
        install(&self.changes, &resolv_conf, log, progress)?;
        chroot.leave()?;
        link_archives(&archives, &self.archives)
    }
}

/// Brings sources and packages into the root this process is in.
fn install(
    changes: &[Change],
    resolv_conf: &str,
    log: &mut Log,
    progress: &dyn Progress,
) -> Result<()> {
    let wanted: Vec<(String, PackageState)> = changes
        .iter()
        .filter_map(|change| match &change.action {
            Action::Package { name, state } => Some((name.clone(), *state)),
            _ => None,
        })
        .collect();
    let sources: Vec<Change> = changes.iter().filter_map(source_file).collect();
    // Packages' own presets must decide while they are installed.
    LiveTree.remove(Path::new(PRESET))?;
    stamp::apply(&mut LiveTree, &sources)?;
    if wanted.is_empty() {
        return Ok(());
    }
    let lent = Lent::install(resolv_conf)?;
    Apt { log, progress }.apply(&wanted)?;
    lent.give_back()
}

/// The file that an apt source, or what apt reads beside it, comes down to.
fn source_file(change: &Change) -> Option<Change> {
    let action = match &change.action {
        Action::AptSource { name, text, .. } => Action::File {
            path: format!("/etc/apt/sources.list.d/{name}.sources"),
            content: Content::public(text.clone()),
            mode: 0o644,
            owner: Owner::root(),
        },
        Action::File { path, .. } if path.starts_with("/etc/apt/") => change.action.clone(),
        _ => return None,
    };
    Some(Change { action, origin: change.origin.clone() })
}

/// Everything but packages, then what makes the root fit to be shared by many machines.
fn finish(changes: &[Change], files: &mut BTreeMap<String, File>) -> Result<()> {
    for change in changes {
        match &change.action {
            Action::Package { .. } | Action::AptSource { .. } | Action::Grow { .. } => {}
            Action::Download { checksum: Checksum::Sha256(sha256), path, mode, .. } => {
                put(files.get_mut(sha256), Path::new(path), *mode)?;
            }
            _ => stamp::apply(&mut LiveTree, std::slice::from_ref(change))?,
        }
    }
    stamp::apply(&mut LiveTree, &first_boot())?;
    generalise(&mut LiveTree)
}

/// Puts a file from elsewhere where it belongs.
fn put(file: Option<&mut File>, path: &Path, mode: u32) -> Result<()> {
    let put = || {
        let file = file.ok_or_else(|| Error::failure("it was not fetched"))?;
        file.rewind()?;
        let size = file.metadata()?.len();
        stamp::create_parents(&mut LiveTree, path)?;
        LiveTree.write_from(path, file, size, Some(Attributes { mode, uid: 0, gid: 0 }))
    };
    put().context(|| format!("writing `{}`", path.display()))
}

/// A first boot runs `systemctl preset-all`, and Debian ships no `disable *`: without one, every
/// unit that was left off on purpose would come on. And nobody is there to answer questions.
pub(crate) fn first_boot() -> [Change; 2] {
    let preset = Action::File {
        path: PRESET.into(),
        content: Content::public("disable *\n"),
        mode: 0o644,
        owner: Owner::root(),
    };
    let questions =
        Action::Unit { name: "systemd-firstboot.service".into(), state: UnitState::Masked };
    [preset, questions].map(|action| Change { action, origin: Origin::Nodeforge })
}
