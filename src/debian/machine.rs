//! What the sandbox `vm` boots: Debian's kernel for virtual machines, and an initramfs with the few
//! programs that a worker calls, both from Debian's packages.

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::cpio::Cpio;
use super::repository::{DebianList, Offer};
use crate::cache::{Cache, PARTS, package_files};
use crate::config::Arch;
use crate::disk::{self, Format, sha256_of_file};
use crate::download::{Client, Hashes, Route, Wanted, download};
use crate::sandbox::vm::{self, JobMachine, Mirrors, Upstream};
use crate::util::error::{Context as _, Error, Result};
use crate::util::file_lock::FileLock;
use crate::util::interrupt;
use crate::util::progress::Progress;
use crate::util::sha256::Sha256;

/// Raised when other files are taken from the packages.
const RECIPE: u32 = 1;
/// Where the cache remembers which packages make a machine.
const FOLDER: &str = "machines";
/// For how long Debian is not asked for a newer kernel.
const FRESH: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// The most bytes of a package.
const LIMIT: u64 = 1 << 30;
/// Where the worker is in the machine; the kernel starts it as the first process.
const WORKER: &str = "usr/bin/nodeforge";

/// Packages, and which of their files are taken: those whose path has one of these in it.
const PACKAGES: [(&str, &[&str]); 11] = [
    (
        "libc6",
        &["/ld-linux", "/libc.so.", "/libm.so.", "/libpthread.so.", "/libdl.so.", "/librt.so."],
    ),
    ("libgcc-s1", &["/libgcc_s.so."]),
    (
        "e2fsprogs",
        &["/sbin/e2fsck", "/sbin/mke2fs", "/sbin/resize2fs", "/sbin/tune2fs", "/mke2fs.conf"],
    ),
    ("libext2fs2t64", &[".so."]),
    ("libcom-err2", &[".so."]),
    ("libblkid1", &[".so."]),
    ("libuuid1", &[".so."]),
    ("libmount1", &[".so."]),
    ("libselinux1", &[".so."]),
    ("libpcre2-8-0", &[".so."]),
    ("util-linux", &["/bin/unshare", "/sbin/fstrim"]),
];
/// And of the kernel's.
const KERNEL: [&str; 2] = ["boot/vmlinuz-", "/drivers/block/virtio_blk.ko"];

/// Folders and links of every Debian, which no package above has.
const FOLDERS: [&str; 12] = [
    "dev",
    "etc",
    "proc",
    "run",
    "sys",
    "tmp",
    "usr",
    "usr/bin",
    "usr/lib",
    "usr/lib64",
    "usr/sbin",
    "work",
];
const LINKS: [(&str, &str); 4] =
    [("bin", "usr/bin"), ("sbin", "usr/sbin"), ("lib", "usr/lib"), ("lib64", "usr/lib64")];

/// A kernel and its initramfs, held in the cache.
pub(crate) struct MachineSystem {
    pub(crate) kernel: PathBuf,
    /// Everything but the worker.
    pub(crate) initramfs: PathBuf,
    _in_use: [Arc<FileLock>; 2],
}

/// All that one machine boots from, in a folder of its own, which is gone with this.
pub(crate) struct MachineParts {
    arch: Arch,
    system: MachineSystem,
    /// With the worker in it.
    initramfs: PathBuf,
    /// For what else the machine needs, and writes.
    folder: tempfile::TempDir,
}

impl MachineParts {
    /// Those of a machine for programs of `arch`, in a folder below `folder`.
    pub(crate) fn assemble(
        arch: Arch,
        cache: &Cache,
        folder: &Path,
        offline: bool,
        progress: &dyn Progress,
    ) -> Result<Self> {
        let worker = vm::worker(arch)?;
        let folder = tempfile::Builder::new()
            .prefix("machine.")
            .tempdir_in(folder)
            .context(|| format!("making a folder in `{}`", folder.display()))?;
        let system = system(arch, cache, folder.path(), offline, progress)?;
        let initramfs = folder.path().join("initramfs");
        with_worker(&system, &worker, &initramfs)?;
        Ok(Self { arch, system, initramfs, folder })
    }

    /// Where files for this one machine can lie.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The machine for a job on the raw image `image`, with its log at `log`. It is given nothing else, hands
    /// back nothing, and reaches nobody.
    pub(crate) fn machine<'a>(&'a self, image: &'a Path, log: &'a Path) -> JobMachine<'a> {
        JobMachine {
            arch: self.arch,
            kernel: &self.system.kernel,
            initramfs: &self.initramfs,
            init: WORKER,
            image,
            folder: self.folder(),
            log,
            inputs: Vec::new(),
            root: None,
            outputs: Vec::new(),
            epoch: None,
            packages: self.folder().to_owned(),
            is_package: |_| false,
            mirrors: None,
        }
    }
}

/// What a machine may connect to, through this host's proxies: the mirrors in these texts, which the cluster
/// and only its image name.
pub(crate) fn mirrors(asked_for: &str, of_image: &str) -> Result<Mirrors> {
    let [http, https] = [Route::from_environment("http")?, Route::from_environment("https")?];
    let find_proxy = move |scheme: &str, host: &str| {
        let route = if scheme == "https" { &https } else { &http };
        Ok(route.plain_proxy(host)?.map(|(host, port, authorization)| Upstream {
            host,
            port,
            authorization,
        }))
    };
    Ok(Mirrors::new(asked_for, of_image, Box::new(find_proxy)))
}

/// What a machine is made of.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct MachineRecord {
    recipe: u32,
    /// The kernel's package and version, for people.
    name: String,
    /// Address and hash of each package, the kernel's first.
    packages: Vec<(String, Sha256)>,
    /// Of the kernel and the initramfs that were made of them.
    kernel: Sha256,
    initramfs: Sha256,
    /// When Debian made the list that they are from, in seconds since 1970.
    #[serde(default)]
    date: u64,
}

/// The machine for programs of `arch`, from the cache or from Debian's packages of today. It is made in
/// the folder `staging`, which is the caller's to remove.
fn system(
    arch: Arch,
    cache: &Cache,
    staging: &Path,
    offline: bool,
    progress: &dyn Progress,
) -> Result<MachineSystem> {
    let path = record_file(arch, cache)?;
    let known = known(&path);
    let seen = known.as_ref().map_or(0, |(record, _)| record.date);
    choose(
        known,
        offline,
        |record| take(record, cache, staging, offline, progress),
        || {
            progress.stage("looking for Debian's kernel");
            let record = newest(arch, cache, staging, seen, progress)
                .context(|| "cannot get the kernel of the sandbox `vm`")?;
            let text =
                serde_json::to_vec(&record).map_err(|error| Error::failure(error.to_string()))?;
            Cache::write(&path, &text)?;
            Ok(record)
        },
        |text| progress.warn(text),
    )
}

/// The date of the newest list of Debian's that was seen, in seconds since 1970; 0 for none.
pub(super) fn seen(arch: Arch, cache: &Cache) -> Result<u64> {
    Ok(known(&record_file(arch, cache)?).map_or(0, |(record, _)| record.date))
}

fn record_file(arch: Arch, cache: &Cache) -> Result<PathBuf> {
    Ok(cache.folder(FOLDER)?.join(format!("{}.json", arch.name())))
}

/// What was written down, while it is young; else the newest. Each stands in for the other: Debian removes
/// packages that the cache may have lost, and cannot always be reached.
fn choose<T>(
    known: Option<(MachineRecord, bool)>,
    offline: bool,
    take: impl Fn(&MachineRecord) -> Result<T>,
    newest: impl FnOnce() -> Result<MachineRecord>,
    warn: impl FnOnce(&str),
) -> Result<T> {
    if offline {
        return known.map_or_else(|| Err(not_cached()), |(record, _)| take(&record));
    }
    let mut old = None;
    match known {
        Some((record, true)) => match take(&record) {
            Ok(taken) => return Ok(taken),
            Err(_) => interrupt::check()?,
        },
        other => old = other,
    }
    let error = match newest() {
        Ok(record) => return take(&record),
        Err(error) => error,
    };
    interrupt::check()?;
    let Some(taken) = old.and_then(|(record, _)| take(&record).ok()) else { return Err(error) };
    warn(&format!("an old kernel is used in the sandbox `vm`: {error}"));
    Ok(taken)
}

fn not_cached() -> Error {
    Error::failure("the cache does not have the kernel of the sandbox `vm`")
        .hint("without `--offline` it is fetched")
}

/// What an earlier run wrote down, and whether it is young enough.
fn known(path: &Path) -> Option<(MachineRecord, bool)> {
    let record: MachineRecord = serde_json::from_slice(&fs::read(path).ok()?).ok()?;
    let written = fs::metadata(path).and_then(|it| it.modified()).ok()?;
    let age = SystemTime::now().duration_since(written).unwrap_or_default();
    (record.recipe == RECIPE).then_some((record, age < FRESH))
}

/// Makes a machine of the newest packages.
fn newest(
    arch: Arch,
    cache: &Cache,
    staging: &Path,
    seen: u64,
    progress: &dyn Progress,
) -> Result<MachineRecord> {
    let client = Client::new()?;
    let list = DebianList::fetch(&client, arch, seen, progress)?;
    let newest = list.find(&format!("linux-image-cloud-{}", arch.name()))?;
    let name =
        newest.needs.iter().find(|it| it.starts_with("linux-image-")).ok_or_else(|| {
            Error::failure(format!("the package {} names no kernel", newest.name))
        })?;
    let kernel = list.find(name)?;
    let mut offers = vec![kernel.clone()];
    for (name, _) in PACKAGES {
        offers.push(list.find(name)?);
    }
    let packages: Vec<(String, Sha256)> =
        offers.into_iter().map(|Offer { url, sha256, .. }| (url, sha256)).collect();
    let made = make(&packages, cache, false, staging, progress)?;
    let record = MachineRecord {
        recipe: RECIPE,
        name: format!("{} {}", kernel.name, kernel.version),
        packages,
        kernel: sha256_of_file(&made.0)?,
        initramfs: sha256_of_file(&made.1)?,
        date: list.date,
    };
    keep(&record, cache, &made, progress)?;
    Ok(record)
}

/// Both files, which are made again when the cache has lost one.
fn take(
    record: &MachineRecord,
    cache: &Cache,
    staging: &Path,
    offline: bool,
    progress: &dyn Progress,
) -> Result<MachineSystem> {
    let is_there =
        |hash: &Sha256| cache.folder("files").is_ok_and(|it| it.join(hash.to_string()).exists());
    if ![record.kernel, record.initramfs].iter().all(is_there) {
        let made = make(&record.packages, cache, offline, staging, progress)?;
        return keep(record, cache, &made, progress);
    }
    keep(record, cache, &(PathBuf::new(), PathBuf::new()), progress)
}

/// Puts both files into the cache, unless they are there.
fn keep(
    record: &MachineRecord,
    cache: &Cache,
    (kernel, initramfs): &(PathBuf, PathBuf),
    progress: &dyn Progress,
) -> Result<MachineSystem> {
    let file = |sha256: Sha256, made: &Path| {
        cache.file(sha256, progress, |place| {
            if made.as_os_str().is_empty() || sha256_of_file(made)? != sha256 {
                return Err(Error::failure("the cache's kernel for the sandbox `vm` is damaged")
                    .hint("`nodeforge cache prune --all` empties the cache"));
            }
            fs::copy(made, place).map(drop).context(|| format!("writing `{}`", place.display()))
        })
    };
    let (kernel, kernel_lock) = file(record.kernel, kernel)?;
    let (initramfs, initramfs_lock) = file(record.initramfs, initramfs)?;
    Ok(MachineSystem { kernel, initramfs, _in_use: [kernel_lock, initramfs_lock] })
}

/// Unpacks packages into a kernel and an initramfs in `folder`.
fn make(
    packages: &[(String, Sha256)],
    cache: &Cache,
    offline: bool,
    folder: &Path,
    progress: &dyn Progress,
) -> Result<(PathBuf, PathBuf)> {
    let (kernel, initramfs) = (folder.join("vmlinuz"), folder.join("machine.cpio"));
    // Of a try that failed.
    for path in [&kernel, &initramfs].into_iter().filter(|it| it.exists()) {
        fs::remove_file(path)?;
    }
    let create =
        |path: &Path| File::create_new(path).context(|| format!("creating `{}`", path.display()));
    let mut cpio = Cpio::new(BufWriter::new(create(&initramfs)?));
    for path in FOLDERS {
        cpio.folder(path)?;
    }
    for (path, target) in LINKS {
        cpio.link(Path::new(path), Path::new(target))?;
    }
    cpio.device("dev/console", (5, 1))?;
    cpio.device("dev/null", (1, 3))?;
    progress.stage("getting Debian's kernel");
    let wanted = std::iter::once(&KERNEL[..]).chain(PACKAGES.iter().map(|it| it.1));
    for ((url, sha256), wanted) in packages.iter().zip(wanted) {
        let (package, _in_use) = package(url, *sha256, cache, offline, progress)?;
        let mut unpack = || -> Result<()> {
            let file = File::open(&package)?;
            let mut archive = tar::Archive::new(package_files(BufReader::new(file))?);
            for entry in archive.entries()? {
                let mut entry = entry?;
                let path = entry.path()?.into_owned();
                let path = path.strip_prefix(".").unwrap_or(&path);
                let name = path.to_string_lossy().into_owned();
                if !wanted.iter().any(|it| name.contains(it)) {
                    continue;
                }
                if name.starts_with("boot/vmlinuz-") {
                    io::copy(&mut entry, &mut create(&kernel)?)?;
                } else {
                    add(&mut cpio, path, &name, &mut entry)?;
                }
            }
            Ok(())
        };
        unpack().context(|| format!("cannot unpack `{url}`"))?;
    }
    if !kernel.exists() {
        return Err(Error::failure("the kernel's package has no kernel"));
    }
    cpio.finish()?.flush()?;
    Ok((kernel, initramfs))
}

/// Adds a file of a package and the folders above it.
fn add(
    cpio: &mut Cpio<impl io::Write>,
    path: &Path,
    name: &str,
    entry: &mut tar::Entry<'_, impl io::Read>,
) -> Result<()> {
    let kind = entry.header().entry_type();
    if kind.is_dir() {
        return Ok(());
    }
    let above: Vec<&Path> = path.ancestors().skip(1).collect();
    for folder in above.into_iter().rev().filter(|it| !it.as_os_str().is_empty()) {
        cpio.folder(&folder.to_string_lossy())?;
    }
    if let Some(target) = entry.link_name()?.filter(|_| kind.is_symlink()) {
        cpio.link(path, &target)?;
    } else if name.ends_with(".ko.xz") {
        // What the kernel could unpack itself, it would have to unpack each time.
        let (mut packed, mut module) = (Vec::new(), Vec::new());
        io::copy(entry, &mut packed)?;
        io::copy(&mut disk::decoder(&*packed, Format::Xz)?, &mut module)?;
        let file = path.file_stem().map(PathBuf::from).unwrap_or_default();
        let size = module.len() as u64;
        cpio.file(&Path::new("usr/lib/modules").join(file), size, &mut &*module)?;
    } else if kind.is_file() {
        cpio.file(path, entry.size(), entry)?;
    }
    Ok(())
}

/// A package in the cache, which stays while it is held.
pub(super) fn package(
    url: &str,
    sha256: Sha256,
    cache: &Cache,
    offline: bool,
    progress: &dyn Progress,
) -> Result<(PathBuf, Arc<FileLock>)> {
    cache.file(sha256, progress, |place| {
        if offline {
            return Err(not_cached());
        }
        let wanted = Wanted {
            url,
            hashes: Hashes { sha256: Some(sha256), sha512: None },
            verifier: None,
            is_image: false,
            limit: LIMIT,
            key: &sha256.to_string(),
        };
        download(&Client::new()?, &wanted, &cache.folder(PARTS)?, place, progress).map(drop)
    })
}

/// Writes the initramfs of one machine: what all have, and the worker.
fn with_worker(system: &MachineSystem, worker: &Path, to: &Path) -> Result<()> {
    let write = || -> Result<()> {
        let mut all = BufWriter::new(File::create_new(to)?);
        io::copy(&mut File::open(&system.initramfs)?, &mut all)?;
        let mut cpio = Cpio::new(all);
        let mut program = File::open(worker)?;
        let size = program.metadata()?.len();
        cpio.file(Path::new(WORKER), size, &mut program)?;
        cpio.finish()?.flush()?;
        Ok(())
    };
    write().context(|| format!("cannot write `{}`", to.display()))
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};

    use super::*;

    fn record(name: &str) -> MachineRecord {
        MachineRecord {
            recipe: RECIPE,
            name: name.into(),
            packages: Vec::new(),
            kernel: Sha256::of("kernel"),
            initramfs: Sha256::of("initramfs"),
            date: 0,
        }
    }

    /// What is used, how often Debian was asked, and what was warned of.
    fn chosen(
        known: Option<bool>,
        offline: bool,
        is_cached: bool,
        is_reached: bool,
    ) -> (Result<String, String>, u32, String) {
        let (asked, warned) = (Cell::new(0), RefCell::new(String::new()));
        let take = |it: &MachineRecord| {
            let is_there = is_cached || it.name == "new";
            is_there.then(|| it.name.clone()).ok_or_else(|| Error::failure("404 Not Found"))
        };
        let newest = || {
            asked.set(asked.get() + 1);
            is_reached.then(|| record("new")).ok_or_else(|| Error::failure("no route to host"))
        };
        let known = known.map(|is_fresh| (record("old"), is_fresh));
        let used = choose(known, offline, take, newest, |it| warned.replace(it.into()).clear());
        let used = used.map_err(|it| it.problems()[0].message.clone());
        (used, asked.get(), warned.into_inner())
    }

    #[test]
    fn a_kernel_of_the_cache_and_debians_newest_stand_in_for_each_other() {
        let ok = |name: &str, asked: u32| (Ok(name.to_owned()), asked, String::new());
        let fails = |message: &str, asked: u32| (Err(message.to_owned()), asked, String::new());
        assert_eq!(chosen(None, false, true, true), ok("new", 1));
        assert_eq!(chosen(None, false, true, false), fails("no route to host", 1));
        assert_eq!(chosen(Some(true), false, true, false), ok("old", 0));
        assert_eq!(chosen(Some(true), false, false, true), ok("new", 1));
        assert_eq!(chosen(Some(true), false, false, false), fails("no route to host", 1));
        assert_eq!(chosen(Some(false), false, true, true), ok("new", 1));
        assert_eq!(chosen(Some(false), false, false, false), fails("no route to host", 1));
        let told = "an old kernel is used in the sandbox `vm`: no route to host";
        let old = (Ok("old".to_owned()), 1, told.to_owned());
        assert_eq!(chosen(Some(false), false, true, false), old);
        // Without a network.
        assert_eq!(chosen(Some(false), true, true, true), ok("old", 0));
        assert_eq!(chosen(Some(false), true, false, true), fails("404 Not Found", 0));
        let (used, asked, _) = chosen(None, true, true, true);
        assert!(used.is_err() && asked == 0);
    }
}
