//! A base made from Debian's packages, with the disk layout of Debian's cloud images.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::about::Package;
use super::cache::{Cache, CachedImage, Made};
use super::layout::{Layout, SECTOR};
use super::loader;
use crate::config::{Arch, Bootstrap, Layout as DiskLayout};
use crate::digest::{hex, sha256};
use crate::disk::{Raw, Slice};
use crate::error::{Context, Error, Result};
use crate::fs::{Attributes, Fat, Namespace, Tree};
use crate::plan::{Action, Change, Content, Origin, Owner, UnitState};
use crate::prepare::mkfs::{Ext4, Place};
use crate::prepare::sandbox::{self, Chroot, Order};
use crate::prepare::{
    Job, LiveTree, Log, STATUS, Watcher, clock, failure, first_boot, generalise, installed,
};
use crate::progress::Progress;
use crate::stamp;
use crate::tool::{self, Tool};

/// Raised when the same words in a cluster file come to mean another base.
const RECIPE: u32 = 1;

/// Virtual size in bytes: room for a cluster's packages; `[disk] size` makes it larger.
const SIZE: u64 = 2 << 30;

/// What every base has, besides kernel and boot loader: what Debian's cloud images have, less
/// cloud-init and its kin, whose part nodeforge does.
const PACKAGES: [&str; 14] = [
    "ca-certificates",
    "dbus",
    "e2fsprogs",
    "grub2-common",
    "initramfs-tools",
    "iproute2",
    "kmod",
    "netbase",
    "openssh-server",
    "sudo",
    "systemd-resolved",
    "systemd-sysv",
    "udev",
    "zstd",
];

/// Documentation and translations that nobody reads on a node. Licences stay.
const DPKG_EXCLUDES: &str = "path-exclude=/usr/share/man/*\n\
                             path-exclude=/usr/share/info/*\n\
                             path-exclude=/usr/share/locale/*\n\
                             path-exclude=/usr/share/doc/*\n\
                             path-include=/usr/share/doc/*/copyright\n";
const DPKG_EXCLUDES_FILE: &str = "/etc/dpkg/dpkg.cfg.d/50-nodeforge";

/// DHCP and router advertisements on every wired interface, for whom nothing else is said.
const NETWORK: &str = "[Match]\nName=en* eth*\n\n[Network]\nDHCP=yes\n";

/// Before the kernel is installed: its initramfs takes the fsck of this type along. By itself it
/// would look for the root's device, which is not there yet.
const FSCK_HOOK: &str = r#"mkdir -p "$1/etc/initramfs-tools/conf.d" &&
    echo FSTYPE=ext4 >"$1/etc/initramfs-tools/conf.d/root""#;

/// The base, from the cache or made now.
pub fn bootstrap(base: &Bootstrap, cache: &Cache, progress: &dyn Progress) -> Result<CachedImage> {
    if base.layout != DiskLayout::Uefi {
        return Err(Error::input("only bases with `layout = \"uefi\"` can be made from packages"));
    }
    if base.arch != host_arch() {
        return Err(Error::input(
            "a base can only be made from packages for this machine's processor",
        ));
    }
    let from = serde_json::json!({
        "recipe": RECIPE,
        "suite": base.suite,
        "arch": debian_name(base.arch),
        "layout": "uefi",
        "mirror": base.mirror,
    });
    let key = hex(&sha256(from.to_string().as_bytes()));
    let log = cache.folder("logs")?.join(format!("bootstrap-{}.log", &key[..12]));
    cache.image("bases", &key, false, progress, |folder, disk| {
        tool::require("mmdebstrap", "mmdebstrap")?;
        let layout = Layout::new(base);
        let image = Raw::create(disk, SIZE)?;
        layout.write(&image)?;
        let scratch = folder.join("scratch");
        let loader_image = folder.join("loader.efi");
        let root = Layout::root(SIZE);
        let job = RootJob {
            suite: base.suite.clone(),
            arch: debian_name(base.arch).into(),
            mirror: base.mirror.clone(),
            packages: packages(base.arch),
            changes: changes(&layout),
            ext4: ext4(base, &layout),
            place: Place {
                disk: disk.to_owned(),
                offset: root.start * SECTOR,
                size: root.sectors * SECTOR,
            },
            keep: (loader::names(base.arch).image.into(), loader_image.clone()),
            log,
        };
        let order = Order { job: Job::Bootstrap(job), scratch, temporary: folder.to_owned() };
        let packages: Vec<Package> = sandbox::run(&order, progress)?;
        progress.stage("installing the boot loader");
        let loader_bytes = fs::read(&loader_image).context(|| "reading GRUB's image")?;
        fs::remove_file(&loader_image)?;
        make_esp(&layout, disk, &loader_bytes)?;
        Ok(Made { from, sha256: None, packages })
    })
}

/// The processor of this machine, when it is one that bases are made for.
fn host_arch() -> Arch {
    if cfg!(target_arch = "aarch64") { Arch::Arm64 } else { Arch::Amd64 }
}

fn debian_name(arch: Arch) -> &'static str {
    match arch {
        Arch::Amd64 => "amd64",
        Arch::Arm64 => "arm64",
    }
}

fn packages(arch: Arch) -> Vec<String> {
    let names = loader::names(arch);
    PACKAGES.into_iter().chain([names.kernel, names.package]).map(str::to_owned).collect()
}

/// The publisher's features, which newer suites have more of.
fn ext4(base: &Bootstrap, layout: &Layout) -> Ext4 {
    let mut features = vec![
        "has_journal",
        "ext_attr",
        "resize_inode",
        "dir_index",
        "filetype",
        "extent",
        "64bit",
        "flex_bg",
        "sparse_super",
        "large_file",
        "huge_file",
        "dir_nlink",
        "extra_isize",
        "metadata_csum",
    ];
    if base.suite != "bookworm" {
        features.extend(["metadata_csum_seed", "orphan_file"]);
    }
    Ext4 {
        uuid: layout.root_uuid.to_string(),
        label: String::new(),
        features: features.into_iter().map(str::to_owned).collect(),
        hash_seed: Some(layout.hash_seed.to_string()),
        block_size: 4096,
        inode_size: 256,
        bytes_per_inode: 16_384,
        reserved_percent: 5.0,
    }
}

/// What packages alone do not bring.
fn changes(layout: &Layout) -> Vec<Change> {
    let file = |path: &str, text: String| Action::File {
        path: path.into(),
        content: Content::public(text),
        mode: 0o644,
        owner: Owner::root(),
    };
    let enable = |name: &str| Action::Unit { name: name.into(), state: UnitState::Enabled };
    let actions = [
        // mmdebstrap's own copy also says `force-unsafe-io`, which is not for a running node.
        Action::Remove { path: "/etc/dpkg/dpkg.cfg.d/99mmdebstrap".into() },
        // Devices that root can make and others cannot; a booting kernel brings its own.
        Action::Remove { path: "/dev/*".into() },
        file(DPKG_EXCLUDES_FILE, DPKG_EXCLUDES.into()),
        file("/etc/fstab", loader::fstab(layout)),
        file("/boot/grub/grub.cfg", loader::root_menu(layout)),
        file("/etc/default/grub", loader::defaults(layout)),
        file("/etc/systemd/network/90-dhcp.network", NETWORK.into()),
        file(
            "/etc/hosts",
            "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n".into(),
        ),
        Action::Directory { path: "/boot/efi".into(), mode: 0o700, owner: Owner::root() },
        Action::Symlink {
            path: "/etc/resolv.conf".into(),
            target: "../run/systemd/resolve/stub-resolv.conf".into(),
        },
        enable("systemd-networkd.service"),
        enable("systemd-resolved.service"),
        enable("ssh.service"),
    ];
    let mut changes: Vec<Change> =
        actions.into_iter().map(|action| Change { action, origin: Origin::Nodeforge }).collect();
    changes.extend(first_boot());
    changes
}

/// Makes the EFI system partition and fills it.
fn make_esp(layout: &Layout, disk: &Path, loader_image: &[u8]) -> Result<()> {
    let esp = layout.esp();
    Tool::new("mkfs.vfat", "dosfstools")
        .args(["-F", "16", "--invariant", "-i", &format!("{:08x}", layout.esp_volume)])
        .arg(format!("--offset={}", esp.start))
        .arg(disk)
        .arg((esp.sectors * SECTOR / 1024).to_string())
        .run()
        .context(|| "making the EFI system partition")?;
    let image = Arc::new(Raw::open_writable(disk)?);
    let range = esp.start * SECTOR..(esp.start + esp.sectors) * SECTOR;
    let fat = Fat::open(Arc::new(Slice::new(image, range)?), clock())?;
    let mut tree = Namespace::new(Box::new(fat));
    let attributes = Attributes { mode: 0o755, uid: 0, gid: 0 };
    for folder in ["/EFI", "/EFI/BOOT", "/EFI/debian"] {
        tree.create_dir(Path::new(folder), attributes)?;
    }
    let fallback = format!("/EFI/BOOT/{}", loader::names(layout.arch).fallback);
    tree.write(Path::new(&fallback), loader_image, None)?;
    tree.write(Path::new("/EFI/debian/grub.cfg"), loader::esp_menu(layout).as_bytes(), None)?;
    tree.flush()
}

/// Makes a root file system from packages; done in the sandbox.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct RootJob {
    suite: String,
    arch: String,
    mirror: Option<String>,
    packages: Vec<String>,
    changes: Vec<Change>,
    ext4: Ext4,
    place: Place,
    /// A file of the root, and where it is to be copied.
    keep: (PathBuf, PathBuf),
    log: PathBuf,
}

impl RootJob {
    /// Does it; returns what is installed.
    pub(crate) fn run(&self, scratch: &Path, progress: &dyn Progress) -> Result<Vec<Package>> {
        fs::create_dir_all(scratch)?;
        let root = scratch.join("root");
        progress.stage("bootstrapping Debian");
        self.debootstrap(&root, progress)?;

        progress.stage("configuring the base");
        let from = root.join(&self.keep.0);
        fs::copy(&from, &self.keep.1).context(|| format!("copying `{}`", from.display()))?;
        let chroot = Chroot::enter(&root, &[])?;
        stamp::apply(&mut LiveTree, &self.changes)?;
        generalise(&mut LiveTree)?;
        let status = fs::read_to_string(STATUS).context(|| "reading the list of packages")?;
        chroot.leave()?;

        progress.stage("writing the root file system");
        self.ext4.make(&self.place, &root)?;
        Ok(installed(&status))
    }

    fn debootstrap(&self, root: &Path, progress: &dyn Progress) -> Result<()> {
        let mut command = Command::new("mmdebstrap");
        command
            .args(["--mode=root", "--variant=minbase", "--format=directory", "--verbose"])
            .arg(format!("--architectures={}", self.arch))
            .arg(format!("--include={}", self.packages.join(",")))
            .arg("--aptopt=APT::Install-Recommends \"false\"")
            .arg("--aptopt=Acquire::Languages \"none\"")
            .arg("--aptopt=Acquire::Retries \"3\"")
            .args(DPKG_EXCLUDES.lines().map(|line| format!("--dpkgopt={line}")))
            .arg("--dpkgopt=force-unsafe-io")
            .arg(format!("--essential-hook={FSCK_HOOK}"))
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
