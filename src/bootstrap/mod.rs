//! A base made from Debian's packages, with the disk layout of Debian's cloud images or of
//! Raspberry Pi OS.

mod bios;
mod in_machine;
mod job;
mod layout;
mod loader;
mod raspberry_pi;
#[cfg(target_os = "linux")]
mod work;

use std::fs;
use std::path::Path;
use std::sync::Arc;

use serde_json::Value;

use crate::cache::{About, BASES, Cache, CachedImage, EPOCH, Made, Package, lock};
use crate::change::{Action, Change, Content, Owner, Requester, UnitState};
use crate::config::{Arch, Bootstrap, Layout};
use crate::disk::{Raw, Slice};
use crate::fs::ImagePartition;
use crate::fs::mkfs::NewExt4;
use crate::fs::{Attributes, Fat, Namespace, Tree};
use crate::guest::first_boot;
use crate::sandbox::Sandbox;
#[cfg(target_os = "linux")]
use crate::sandbox::{self, Environment};
use crate::util::clock;
use crate::util::error::{Context, Error, Result};
use crate::util::new_files;
use crate::util::process::{self, Tool};
use crate::util::progress::Progress;
use crate::util::sha256::Sha256;
use layout::{BootstrapLayout, SECTOR};

use job::DPKG_EXCLUDES;

pub(crate) use job::BootstrapJob;

/// Raised when the same words in a cluster file come to mean another base.
const fn recipe_of(layout: Layout) -> u32 {
    match layout {
        Layout::Uefi | Layout::BiosUefi | Layout::RaspberryPi => 3,
    }
}

/// Virtual size in bytes: room for a cluster's packages; `[disk] size` makes it larger.
const SIZE: u64 = 2 << 30;

/// What every base has, besides kernel and boot loader: what Debian's cloud images have, less
/// cloud-init and the like, whose part nodeforge does.
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

const DPKG_EXCLUDES_FILE: &str = "/etc/dpkg/dpkg.cfg.d/50-nodeforge";

/// DHCP and router advertisements on every wired interface, unless another file says otherwise.
const NETWORK: &str = "[Match]\nName=en* eth*\n\n[Network]\nDHCP=yes\n";

/// The base, from the cache or made now; with `force` in any case, from the packages of today.
///
/// It is made as of `SOURCE_DATE_EPOCH`, else as of `epoch` (seconds since 1970), else as of now.
/// When neither says, any that is in the cache will do. `sandbox` is where programs of it run; `None` is the
/// best that this host allows.
pub fn bootstrap(
    base: &Bootstrap,
    sandbox: Option<Sandbox>,
    cache: &Cache,
    epoch: Option<i64>,
    force: bool,
    offline: bool,
    progress: &dyn Progress,
) -> Result<CachedImage> {
    if base.layout == Layout::RaspberryPi && base.arch != Arch::Arm64 {
        return Err(Error::input("a Raspberry Pi is arm64, not amd64"));
    }
    if base.layout == Layout::BiosUefi && base.arch != Arch::Amd64 {
        return Err(Error::input("a machine with a BIOS is amd64, not arm64")
            .hint("`layout = \"uefi\"` is for every arm64 machine that is no Raspberry Pi"));
    }
    let recipe = serde_json::json!({
        "recipe": recipe_of(base.layout),
        "suite": base.suite,
        "arch": base.arch.name(),
        "layout": base.layout.name(),
        "mirror": base.mirror,
    });
    let hash = |it: &Value| Sha256::of(it.to_string()).to_string();
    let cached = || if force { Ok(None) } else { newest(cache, &recipe) };
    let mut _turn = None;
    let known = match clock::fixed()?.or(epoch) {
        Some(epoch) => Some(epoch),
        None => cached()?,
    };
    let epoch = if let Some(epoch) = known {
        epoch
    } else {
        // A process that had to wait takes what the other made.
        _turn = Some(lock(&cache.folder(BASES)?, &hash(&recipe), progress)?);
        cached()?.map_or_else(clock::now, Ok)?
    };
    let mut from = recipe.clone();
    from[EPOCH] = epoch.into();
    let key = hash(&from);
    let log = cache.folder("logs")?.join(format!("bootstrap-{}.log", &key[..12]));
    let fits = |_: &About| !force;
    cache.image(BASES, &key, fits, progress, |folder, disk| {
        if offline {
            return Err(Error::failure("the cache does not have the base made from packages")
                .hint("without `--offline` it is made"));
        }
        let sandbox = sandbox.unwrap_or_else(|| Sandbox::choose_for_folder(base.arch));
        if sandbox != Sandbox::Vm {
            process::require("mmdebstrap", "mmdebstrap")?;
        }
        // For the firmware's partition, which is made here.
        process::require("mkfs.vfat", "dosfstools")?;
        let layout = BootstrapLayout::new(base);
        let image = Raw::create(disk, SIZE)?;
        layout.write(&image)?;
        let loader_image = folder.join("loader.efi");
        let bios = bios::BiosImages::in_folder(folder);
        let has_bios = base.layout == Layout::BiosUefi;
        let mut keep = Vec::new();
        if base.layout.has_esp() {
            keep.push((loader::names(base.arch).image.into(), loader_image.clone()));
        }
        if has_bios {
            keep.extend(bios.in_root());
        }
        let root = layout.root(SIZE);
        let job = BootstrapJob {
            suite: base.suite.clone(),
            arch: base.arch.name().into(),
            mirror: base.mirror.clone(),
            packages: packages(&layout),
            changes: changes(&layout),
            ext4: ext4(base, &layout),
            partition: ImagePartition {
                disk: disk.to_owned(),
                offset: root.start * SECTOR,
                size: root.sectors * SECTOR,
            },
            keep,
            make: has_bios.then(|| bios::recipe(&layout)),
            log,
        };
        let log = job.log.clone();
        let done = if sandbox == Sandbox::Vm {
            in_machine::run(job, base.arch, epoch, cache, folder, progress)
        } else {
            run(&job, sandbox, base.arch, epoch, folder, progress)
        };
        new_files::give_path(&log);
        let packages = done?;
        progress.stage("installing the boot loader");
        match base.layout {
            Layout::Uefi | Layout::BiosUefi => {
                let loader = fs::read(&loader_image).context(|| "cannot read GRUB's image")?;
                fs::remove_file(&loader_image)?;
                make_esp(&layout, disk, &loader, epoch)?;
                if has_bios {
                    bios.install(disk)?;
                }
            }
            Layout::RaspberryPi => make_bootfs(&layout, disk, epoch)?,
        }
        Ok(Made::here(from, None, packages))
    })
}

/// Does the job in a sandbox of this host's kernel.
#[cfg(target_os = "linux")]
fn run(
    job: &BootstrapJob,
    sandbox: Sandbox,
    arch: Arch,
    epoch: i64,
    folder: &Path,
    progress: &dyn Progress,
) -> Result<Vec<Package>> {
    let environment = Environment {
        arch: Some(arch),
        scratch: folder.join("scratch"),
        temporary: folder.to_owned(),
        has_terminal: false,
        epoch: Some(epoch),
    };
    sandbox::run(sandbox, job, environment, progress)
}

#[cfg(not(target_os = "linux"))]
fn run(
    _job: &BootstrapJob,
    sandbox: Sandbox,
    arch: Arch,
    _epoch: i64,
    _folder: &Path,
    _progress: &dyn Progress,
) -> Result<Vec<Package>> {
    sandbox.require(arch)?;
    Err(Error::failure("a base can be bootstrapped in a machine only here"))
}

/// As of when the newest base that the cache has of a recipe was made.
fn newest(cache: &Cache, recipe: &Value) -> Result<Option<i64>> {
    let epoch_of = |about: About| {
        let mut from = about.from;
        let epoch = from.as_object_mut()?.remove(EPOCH)?.as_i64();
        epoch.filter(|_| from == *recipe)
    };
    let mut newest = None;
    for key in cache.keys(BASES)? {
        newest = newest.max(cache.peek(BASES, &key)?.and_then(epoch_of));
    }
    Ok(newest)
}

fn packages(layout: &BootstrapLayout) -> Vec<String> {
    let names = loader::names(layout.arch);
    let own = match layout.kind {
        Layout::Uefi => vec![names.kernel, names.package, "grub2-common"],
        Layout::BiosUefi => vec![names.kernel, names.package, bios::PACKAGE, "grub2-common"],
        Layout::RaspberryPi => vec![raspberry_pi::KERNEL],
    };
    PACKAGES.into_iter().chain(own).map(str::to_owned).collect()
}

/// The publisher's features, which newer suites have more of.
fn ext4(base: &Bootstrap, layout: &BootstrapLayout) -> NewExt4 {
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
    if base.layout.has_esp() {
        features.extend(["64bit", "huge_file"]);
    }
    if base.suite != "bookworm" {
        features.extend(["metadata_csum_seed", "orphan_file"]);
    }
    NewExt4 {
        uuid: layout.root_uuid.to_string(),
        label: match base.layout {
            Layout::Uefi | Layout::BiosUefi => String::new(),
            Layout::RaspberryPi => "rootfs".into(),
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
fn changes(layout: &BootstrapLayout) -> Vec<Change> {
    let file = |path: &str, text: String| Action::File {
        path: path.into(),
        content: Content::public(text),
        mode: 0o644,
        owner: Owner::root(),
    };
    let enable = |name: &str| Action::Unit { name: name.into(), state: UnitState::Enabled };
    let own = match layout.kind {
        Layout::Uefi | Layout::BiosUefi => {
            let mut own = vec![
                file("/etc/fstab", loader::fstab(layout)),
                file("/boot/grub/grub.cfg", loader::root_menu(layout)),
                file("/etc/default/grub", loader::defaults(layout)),
                Action::Directory { path: "/boot/efi".into(), mode: 0o700, owner: Owner::root() },
            ];
            if layout.kind == Layout::BiosUefi {
                own.push(bios::spent());
            }
            own
        }
        Layout::RaspberryPi => {
            let mut own = vec![
                file("/etc/fstab", raspberry_pi::fstab(layout)),
                Action::Directory {
                    path: "/boot/firmware".into(),
                    mode: 0o755,
                    owner: Owner::root(),
                },
                Action::Remove { path: raspberry_pi::FSTYPE_FILE.into() },
            ];
            let files = raspberry_pi::SETTINGS.into_iter().chain([raspberry_pi::INITRAMFS]);
            own.extend(files.map(|(path, text)| file(path, text.into())));
            own.push(enable(raspberry_pi::ENABLED));
            own
        }
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
        .map(|action| Change::new(action, Requester::Nodeforge))
        .collect();
    changes.extend(first_boot::presets());
    changes
}

/// Makes the EFI system partition and fills it.
fn make_esp(layout: &BootstrapLayout, disk: &Path, loader_image: &[u8], epoch: i64) -> Result<()> {
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
fn make_bootfs(layout: &BootstrapLayout, disk: &Path, epoch: i64) -> Result<()> {
    // Clusters of one sector, as the publisher has them since 2026-04.
    let mut tree = make_fat(layout, disk, &["-F", "32", "-s", "1", "-n", "bootfs"], epoch)?;
    tree.write(Path::new("/cmdline.txt"), raspberry_pi::command_line(layout).as_bytes(), None)?;
    tree.write(Path::new("/config.txt"), raspberry_pi::CONFIG.as_bytes(), None)?;
    tree.flush()
}

/// Makes the FAT of the partition that firmware reads.
fn make_fat(
    layout: &BootstrapLayout,
    disk: &Path,
    options: &[&str],
    epoch: i64,
) -> Result<Namespace> {
    let part = layout.firmware();
    Tool::new("mkfs.vfat", "dosfstools")
        .env(clock::EPOCH, epoch.to_string())
        .args(options)
        .args(["--invariant", "-i", &format!("{:08x}", layout.firmware_volume)])
        .arg(format!("--offset={}", part.start))
        .arg(disk)
        .arg((part.sectors * SECTOR / 1024).to_string())
        .run()
        .context(|| "cannot make the firmware's file system")?;
    let image = Arc::new(Raw::open_writable(disk)?);
    let range = part.start * SECTOR..(part.start + part.sectors) * SECTOR;
    let fat = Fat::open(Arc::new(Slice::new(image, range)?), epoch)?;
    Ok(Namespace::new(Box::new(fat)))
}
