//! A base made from Debian's packages, with the disk layout of Debian's cloud images or of
//! Raspberry Pi OS.

#[cfg(target_os = "linux")]
mod layout;
#[cfg(target_os = "linux")]
mod loader;
#[cfg(target_os = "linux")]
mod raspberry_pi;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::apply;
use crate::cache::{About, BASES, Cache, CachedImage, EPOCH, Made, Package, lock};
use crate::change::{Action, Change, Content, Owner, Requester, UnitState};
use crate::config::{Arch, Bootstrap, Layout as DiskLayout};
use crate::debian::{self, Log, Watcher, failure};
use crate::disk::{Raw, Slice};
use crate::fs::mkfs::NewExt4;
use crate::fs::{Attributes, Fat, LiveTree, Namespace, Tree};
use crate::guest::{first_boot, generalise};
use crate::prepare::{Job, Place};
use crate::sandbox::{self, Chroot, Emulator, Order};
use crate::util::clock;
use crate::util::error::{Context, Error, Result};
use crate::util::process::{self, Tool};
use crate::util::progress::Progress;
use crate::util::sha256::Sha256;
use layout::{Layout, SECTOR};

/// Raised when the same words in a cluster file come to mean another base.
const RECIPE: u32 = 1;

/// Virtual size in bytes: room for a cluster's packages; `[disk] size` makes it larger.
const SIZE: u64 = 2 << 30;

/// What every base has, besides kernel and boot loader: what Debian's cloud images have, less
/// cloud-init and its kin, whose part nodeforge does.
const PACKAGES: [&str; 13] = [
    "ca-certificates",
    "dbus",
    "e2fsprogs",
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

/// The base, from the cache or made now; with `anew` in any case, from the packages of today.
///
/// It is made as of `SOURCE_DATE_EPOCH`, else as of `epoch` (seconds since 1970), else as of now.
/// When neither says, any that is in the cache will do.
pub fn bootstrap(
    base: &Bootstrap,
    cache: &Cache,
    epoch: Option<i64>,
    anew: bool,
    offline: bool,
    progress: &dyn Progress,
) -> Result<CachedImage> {
    if base.layout == DiskLayout::RaspberryPi && base.arch != Arch::Arm64 {
        return Err(Error::input("a Raspberry Pi is arm64, not amd64"));
    }
    let recipe = serde_json::json!({
        "recipe": RECIPE,
        "suite": base.suite,
        "arch": base.arch.name(),
        "layout": match base.layout {
            DiskLayout::Uefi => "uefi",
            DiskLayout::RaspberryPi => "raspberry-pi",
        },
        "mirror": base.mirror,
    });
    let hash = |it: &Value| Sha256::of(it.to_string()).to_string();
    let cached = || if anew { None } else { newest(cache, &recipe) };
    let mut _turn = None;
    let epoch = if let Some(epoch) = clock::fixed()?.or(epoch).or_else(cached) {
        epoch
    } else {
        // Who has to wait takes what the other made.
        _turn = Some(lock(&cache.folder(BASES)?, &hash(&recipe), progress)?);
        cached().map_or_else(clock::now, Ok)?
    };
    let mut from = recipe.clone();
    from[EPOCH] = epoch.into();
    let key = hash(&from);
    let log = cache.folder("logs")?.join(format!("bootstrap-{}.log", &key[..12]));
    let fits = |_: &About| !anew;
    cache.image(BASES, &key, fits, progress, |folder, disk| {
        if offline {
            return Err(Error::failure("the cache does not have the base made from packages")
                .hint("without `--offline` it is made"));
        }
        process::require("mmdebstrap", "mmdebstrap")?;
        let emulator = Emulator::find(base.arch)?;
        let layout = Layout::new(base);
        let image = Raw::create(disk, SIZE)?;
        layout.write(&image)?;
        let scratch = folder.join("scratch");
        let loader_image = folder.join("loader.efi");
        let root = layout.root(SIZE);
        let job = RootJob {
            suite: base.suite.clone(),
            arch: base.arch.name().into(),
            mirror: base.mirror.clone(),
            packages: packages(&layout),
            changes: changes(&layout),
            ext4: ext4(base, &layout),
            place: Place {
                disk: disk.to_owned(),
                offset: root.start * SECTOR,
                size: root.sectors * SECTOR,
            },
            keep: (layout.kind == DiskLayout::Uefi)
                .then(|| (loader::names(base.arch).image.into(), loader_image.clone())),
            log,
        };
        let order = Order {
            job: Job::Bootstrap(job),
            scratch,
            temporary: folder.to_owned(),
            own_users: emulator.is_some(),
            emulator,
            has_terminal: false,
            epoch: Some(epoch),
        };
        let packages: Vec<Package> = sandbox::run(&order, progress)?;
        progress.stage("installing the boot loader");
        match base.layout {
            DiskLayout::Uefi => {
                let loader = fs::read(&loader_image).context(|| "reading GRUB's image")?;
                fs::remove_file(&loader_image)?;
                make_esp(&layout, disk, &loader, epoch)?;
            }
            DiskLayout::RaspberryPi => make_bootfs(&layout, disk, epoch)?,
        }
        Ok(Made { from, sha256: None, packages })
    })
}

/// As of when the newest base that the cache has of a recipe was made.
fn newest(cache: &Cache, recipe: &Value) -> Option<i64> {
    let epoch_of = |key: &String| {
        let mut from = cache.peek(BASES, key)?.from;
        let epoch = from.as_object_mut()?.remove(EPOCH)?.as_i64();
        epoch.filter(|_| from == *recipe)
    };
    cache.keys(BASES).iter().filter_map(epoch_of).max()
}

fn packages(layout: &Layout) -> Vec<String> {
    let names = loader::names(layout.arch);
    let own = match layout.kind {
        DiskLayout::Uefi => vec![names.kernel, names.package, "grub2-common"],
        DiskLayout::RaspberryPi => vec![raspberry_pi::KERNEL],
    };
    PACKAGES.into_iter().chain(own).map(str::to_owned).collect()
}

/// The publisher's features, which newer suites have more of.
fn ext4(base: &Bootstrap, layout: &Layout) -> NewExt4 {
    let mut features = vec![
        "has_journal",
        "ext_attr",
        "resize_inode",
        "dir_index",
        "filetype",
        "extent",
        "flex_bg",
        "sparse_super",
        "large_file",
        "dir_nlink",
        "extra_isize",
        "metadata_csum",
    ];
    if base.layout == DiskLayout::Uefi {
        features.extend(["64bit", "huge_file"]);
    }
    if base.suite != "bookworm" {
        features.extend(["metadata_csum_seed", "orphan_file"]);
    }
    NewExt4 {
        uuid: layout.root_uuid.to_string(),
        label: match base.layout {
            DiskLayout::Uefi => String::new(),
            DiskLayout::RaspberryPi => "rootfs".into(),
        },
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
    let own = match layout.kind {
        DiskLayout::Uefi => vec![
            file("/etc/fstab", loader::fstab(layout)),
            file("/boot/grub/grub.cfg", loader::root_menu(layout)),
            file("/etc/default/grub", loader::defaults(layout)),
            Action::Directory { path: "/boot/efi".into(), mode: 0o700, owner: Owner::root() },
        ],
        DiskLayout::RaspberryPi => vec![
            file("/etc/fstab", raspberry_pi::fstab(layout)),
            Action::Directory { path: "/boot/firmware".into(), mode: 0o755, owner: Owner::root() },
        ],
    };
    let actions = [
        // mmdebstrap's own copy also says `force-unsafe-io`, which is not for a running node.
        Action::Remove { path: "/etc/dpkg/dpkg.cfg.d/99mmdebstrap".into() },
        // Devices that root can make and others cannot; a booting kernel brings its own.
        Action::Remove { path: "/dev/*".into() },
        file(DPKG_EXCLUDES_FILE, DPKG_EXCLUDES.into()),
        file("/etc/systemd/network/90-dhcp.network", NETWORK.into()),
        file(
            "/etc/hosts",
            "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n".into(),
        ),
        Action::Symlink {
            path: "/etc/resolv.conf".into(),
            target: "../run/systemd/resolve/stub-resolv.conf".into(),
        },
        enable("systemd-networkd.service"),
        enable("systemd-resolved.service"),
        enable("ssh.service"),
    ];
    let mut changes: Vec<Change> = own
        .into_iter()
        .chain(actions)
        .map(|action| Change { action, origin: Requester::Nodeforge })
        .collect();
    changes.extend(first_boot::presets());
    changes
}

/// Makes the EFI system partition and fills it.
fn make_esp(layout: &Layout, disk: &Path, loader_image: &[u8], epoch: i64) -> Result<()> {
    let mut tree = make_fat(layout, disk, &["-F", "16"], epoch)?;
    let attributes = Attributes { mode: 0o755, uid: 0, gid: 0 };
    for folder in ["/EFI", "/EFI/BOOT", "/EFI/debian"] {
        tree.create_dir(Path::new(folder), attributes)?;
    }
    let fallback = format!("/EFI/BOOT/{}", loader::names(layout.arch).fallback);
    tree.write(Path::new(&fallback), loader_image, None)?;
    tree.write(Path::new("/EFI/debian/grub.cfg"), loader::esp_menu(layout).as_bytes(), None)?;
    tree.flush()
}

/// Makes the partition that the Pi's firmware reads and fills it.
fn make_bootfs(layout: &Layout, disk: &Path, epoch: i64) -> Result<()> {
    // Clusters of one sector, as the publisher has them since 2026-04.
    let mut tree = make_fat(layout, disk, &["-F", "32", "-s", "1", "-n", "bootfs"], epoch)?;
    tree.write(Path::new("/cmdline.txt"), raspberry_pi::command_line(layout).as_bytes(), None)?;
    tree.write(Path::new("/config.txt"), raspberry_pi::CONFIG.as_bytes(), None)?;
    tree.flush()
}

/// Makes the FAT of the partition that firmware reads.
fn make_fat(layout: &Layout, disk: &Path, options: &[&str], epoch: i64) -> Result<Namespace> {
    let part = layout.firmware();
    Tool::new("mkfs.vfat", "dosfstools")
        .env(clock::EPOCH, epoch.to_string())
        .args(options)
        .args(["--invariant", "-i", &format!("{:08x}", layout.firmware_volume)])
        .arg(format!("--offset={}", part.start))
        .arg(disk)
        .arg((part.sectors * SECTOR / 1024).to_string())
        .run()
        .context(|| "making the firmware's file system")?;
    let image = Arc::new(Raw::open_writable(disk)?);
    let range = part.start * SECTOR..(part.start + part.sectors) * SECTOR;
    let fat = Fat::open(Arc::new(Slice::new(image, range)?), epoch)?;
    Ok(Namespace::new(Box::new(fat)))
}

/// Makes a root file system from packages; done in the sandbox.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct RootJob {
    suite: String,
    arch: String,
    mirror: Option<String>,
    packages: Vec<String>,
    changes: Vec<Change>,
    ext4: NewExt4,
    place: Place,
    /// A file of the root, and where it is to be copied.
    keep: Option<(PathBuf, PathBuf)>,
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
        if let Some((from, to)) = &self.keep {
            let from = root.join(from);
            fs::copy(&from, to).context(|| format!("copying `{}`", from.display()))?;
        }
        let chroot = Chroot::enter(&root, &[])?;
        apply::apply(&mut LiveTree, &self.changes)?;
        generalise(&mut LiveTree)?;
        let packages = debian::installed(&LiveTree)?;
        chroot.leave()?;

        progress.stage("writing the root file system");
        self.ext4.make(&self.place, &root, clock::now()?)?;
        Ok(packages)
    }

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
