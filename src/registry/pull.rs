//! A prepared base comes from a registry into the cache: only what the cache lacks.

use std::collections::{BTreeMap, HashSet};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::{fs, io};

use super::connection::{self, RegistryConnection, RepositoryAccess};
use super::index::{Frame, IndexEntry, UNIT, WindowIndex};
use super::manifest::{BlobPart, PreparedConfig, PreparedManifest};
use super::packs::{FrameCutter, stretches, unpack};
use super::seeds::{MissingWindows, read, windows};
use crate::cache::{About, Cache, CachedImage, Made, PARTS, PREPARED, PulledFrom, lock};
use crate::config::{ManifestName, RegistryReference};
use crate::disk::{Disk, Raw, sha256_of_disk};
use crate::download::Retry;
use crate::util::error::{Context as _, Error, ErrorKind, Result};
use crate::util::new_files;
use crate::util::parallel::parallel;
use crate::util::progress::Progress;
use crate::util::room::{self, FolderUse};
use crate::util::sha256::Sha256;

/// How many packs come at once.
const CONNECTIONS: usize = 4;
/// How many disks of the cache are looked through for windows.
const SEEDS: usize = 4;

/// A prepared base that a registry has. Of it only the manifest was read.
pub struct FoundBase<'a> {
    registry: RegistryConnection<'a>,
    /// Its repository and its digest.
    pub place: RegistryReference,
    /// Of its manifest.
    pub digest: Sha256,
    manifest: PreparedManifest,
}

/// A prepared base that was pulled.
pub struct Pulled {
    /// In the cache.
    pub image: CachedImage,
    /// What its registry said of it.
    pub config: PreparedConfig,
    /// Of its manifest.
    pub digest: Sha256,
    /// Bytes that came for it; 0 when the cache had it.
    pub fetched: u64,
}

/// Looks whether a registry has a prepared base; `None` when there is no such tag or digest.
pub fn find<'a>(
    place: &RegistryReference,
    target: &ManifestName,
    progress: &'a dyn Progress,
) -> Result<Option<FoundBase<'a>>> {
    let shown = place.with(target);
    let doing = format!("looking for `{shown}`");
    let registry = RegistryConnection::open(place, RepositoryAccess::Pull, progress)?;
    let explain = |error| connection::explain(error, &doing);
    let Some(raw) = registry.manifest(target).map_err(explain)? else { return Ok(None) };
    let manifest = PreparedManifest::parse(&raw.bytes)
        .map_err(|error| error.context(format!("`{shown}` cannot be used")))?;
    let place = place.with(&ManifestName::Digest(raw.digest));
    Ok(Some(FoundBase { registry, place, digest: raw.digest, manifest }))
}

/// Pulls a prepared base into the cache, under the key that it has for clusters.
pub fn pull(found: &FoundBase<'_>, cache: &Cache, progress: &dyn Progress) -> Result<Pulled> {
    let config = found.config()?;
    let fetched = AtomicU64::new(0);
    // The same disk under another manifest is pulled again, most of it from the cache: what is written down there of
    // where it is from is what lock files are compared with.
    let is_same = |about: &About| {
        about.sha256 == config.sha256
            && about.pulled.as_ref().is_none_or(|it| it.digest == found.digest)
    };
    let image = cache.image(PREPARED, &config.key, is_same, progress, |_, disk| {
        let (made, bytes) = found.make(&config, cache, disk, progress)?;
        fetched.store(bytes, Ordering::Relaxed);
        Ok(made)
    })?;
    Ok(Pulled { image, config, digest: found.digest, fetched: fetched.into_inner() })
}

/// What a pull is at.
struct PullState<'a> {
    index: &'a WindowIndex,
    disk: Raw,
    wanted: MissingWindows,
    /// Bytes that came, and that there are to come.
    done: Mutex<u64>,
    total: u64,
    fetched: AtomicU64,
    /// Whether the registry was seen to send whole blobs only.
    is_whole_only: AtomicBool,
    progress: &'a dyn Progress,
}

impl FoundBase<'_> {
    /// What it was made of.
    pub fn config(&self) -> Result<PreparedConfig> {
        let doing = format!("reading `{}`", self.place);
        let bytes = self.registry.small_blob(&self.manifest.config);
        let bytes = bytes.map_err(|error| connection::explain(error, &doing))?;
        PreparedConfig::parse(&bytes)
            .map_err(|error| error.context(format!("`{}` cannot be used", self.place)))
    }

    /// Makes its disk at a path of the cache where nothing is yet. Returns what the cache is to know of it, and how many
    /// bytes came. What came of one that broke off is kept for the next try.
    pub(crate) fn make(
        &self,
        config: &PreparedConfig,
        cache: &Cache,
        disk: &Path,
        progress: &dyn Progress,
    ) -> Result<(Made, u64)> {
        progress.stage("pulling the prepared base");
        let doing = format!("pulling `{}`", self.place);
        let explain = |error| connection::explain(error, &doing);
        let bytes = self.registry.small_blob(self.manifest.index()).map_err(explain)?;
        let index = WindowIndex::parse(&bytes, self.manifest.packs())
            .map_err(|error| error.context(format!("`{}` cannot be used", self.place)))?;
        let fetched = bytes.len() as u64 + self.manifest.config.size;
        drop(bytes);
        if (index.size, index.sha256) != (config.size, config.sha256) {
            return Err(Error::failure("its index is of another disk than its configuration")
                .context(format!("`{}` cannot be used", self.place)));
        }
        // Two bases can be the same disk, and `cache prune` removes what nobody works at.
        let name = format!("prepared-{}", index.sha256);
        let _lock = lock(&cache.folder(PREPARED)?, &name, progress)?;
        let part = cache.folder(PARTS)?.join(format!("{name}.part"));
        let transfer = PullState::begin(&index, &part, cache, progress)?;
        let sent = self.fetch(&transfer).map_err(explain)?;
        drop(transfer);
        fs::rename(&part, disk).context(|| format!("moving the image to `{}`", disk.display()))?;
        progress.message("comparing all of it");
        if sha256_of_disk(&Raw::open(disk)?)? != index.sha256 {
            return Err(explain(Error::failure(
                "the disk is not what it should be when all of it is there",
            )));
        }
        let from =
            PulledFrom { repository: self.place.repository().to_string(), digest: self.digest };
        let made = Made {
            from: config.origin()?,
            sha256: Some(index.sha256),
            packages: config.packages.clone(),
            pulled: Some(from),
        };
        Ok((made, fetched + sent))
    }

    /// Fetches what is still wanted; returns how many bytes came.
    fn fetch(&self, transfer: &PullState<'_>) -> Result<u64> {
        let mut packs: BTreeMap<u32, Vec<(Frame, Sha256)>> = BTreeMap::new();
        let mut known = HashSet::new();
        for IndexEntry(_, sum, frame) in &transfer.index.windows {
            if transfer.wanted.contains_key(sum) && known.insert(*sum) {
                packs.entry(frame.pack).or_default().push((*frame, *sum));
            }
        }
        drop(known);
        let packs: Vec<_> = packs.into_iter().collect();
        parallel(CONNECTIONS, &packs, |(number, frames)| {
            let part = &self.manifest.packs()[*number as usize];
            let mut frames = frames.clone();
            frames.sort_unstable();
            self.fetch_pack(transfer, part, frames)
        })?;
        Ok(transfer.fetched.load(Ordering::Relaxed))
    }

    fn fetch_pack(
        &self,
        transfer: &PullState<'_>,
        part: &BlobPart,
        frames: Vec<(Frame, Sha256)>,
    ) -> Result<()> {
        let stretches = stretches(frames);
        for (number, stretch) in stretches.iter().enumerate() {
            if number > 0 && transfer.is_whole_only.load(Ordering::Relaxed) {
                // The rest at once: each request would bring all of it again.
                let rest: Vec<_> =
                    stretches[number..].iter().flat_map(|it| it.frames.iter().copied()).collect();
                return self.fetch_frames(transfer, part, &rest);
            }
            self.fetch_frames(transfer, part, &stretch.frames)?;
        }
        Ok(())
    }

    /// Fetches frames of a pack by one request, or more when connections break.
    fn fetch_frames(
        &self,
        transfer: &PullState<'_>,
        part: &BlobPart,
        frames: &[(Frame, Sha256)],
    ) -> Result<()> {
        let mut cutter = FrameCutter::new(frames);
        let mut retry = Retry::new();
        let mut buffer = vec![0; UNIT];
        loop {
            let (Some((first, _)), Some((last, _))) = (cutter.left().first(), cutter.left().last())
            else {
                return Ok(());
            };
            let (start, end) = (first.offset, last.offset + u64::from(last.length));
            let before = cutter.left().len();
            cutter.forget();
            let came = self.registry.read_blob(part, start, end, &mut |at, piece| {
                transfer.fetched.fetch_add(piece.len() as u64, Ordering::Relaxed);
                if at < start {
                    transfer.is_whole_only.store(true, Ordering::Relaxed);
                }
                cutter.take(at, piece, |sum, frame| transfer.write(sum, frame, &mut buffer))
            });
            match came {
                Ok(()) if cutter.left().len() == before => {
                    return Err(Error::failure("frames of a pack overlap"));
                }
                Ok(()) => {}
                Err(fault) => {
                    retry.reached((frames.len() - cutter.left().len()) as u64);
                    retry.wait(fault, self.registry.progress)?;
                }
            }
        }
    }
}

impl<'a> PullState<'a> {
    /// Begins one into a part, where another may have broken off. What it has, and what other disks of the cache have,
    /// is not wanted any more.
    fn begin(
        index: &'a WindowIndex,
        part: &Path,
        cache: &Cache,
        progress: &'a dyn Progress,
    ) -> Result<Self> {
        let context = || format!("opening `{}`", part.display());
        let file = new_files::open_or_make(part).context(context)?;
        let occupied = file.metadata().context(context)?.blocks() * 512;
        let folder = part.parent().unwrap_or(Path::new("."));
        let needed = (index.windows.len() * UNIT) as u64;
        room::require(folder, FolderUse::Cache, needed.saturating_sub(occupied))?;
        file.set_len(index.size).context(context)?;
        let disk = Raw::from_file(file, true)?;
        let mut places: MissingWindows = MissingWindows::new();
        for IndexEntry(at, sum, _) in &index.windows {
            places.entry(*sum).or_default().push(*at);
        }
        keep(index, &disk, &mut places)?;
        seed(&mut places, &disk, cache, progress)?;
        let mut total = 0;
        let mut known = HashSet::new();
        for IndexEntry(_, sum, frame) in &index.windows {
            if places.contains_key(sum) && known.insert(*sum) {
                total += u64::from(frame.length);
            }
        }
        Ok(Self {
            index,
            disk,
            wanted: places,
            done: Mutex::new(0),
            total,
            fetched: AtomicU64::new(0),
            is_whole_only: AtomicBool::new(false),
            progress,
        })
    }

    /// Writes a window to all its places.
    fn write(&self, sum: Sha256, frame: &[u8], buffer: &mut [u8]) -> Result<()> {
        let places = self.wanted.get(&sum).map(Vec::as_slice).unwrap_or_default();
        let Some(first) = places.first() else { return Ok(()) };
        let bytes = unpack(frame, sum, self.index.length_of(*first), buffer)?;
        for at in places {
            self.disk.write_at(bytes, at * UNIT as u64)?;
        }
        let mut done = self.done.lock().expect("no thread panicked");
        *done += frame.len() as u64;
        self.progress.bytes(*done, Some(self.total));
        Ok(())
    }
}

/// Keeps the windows of an earlier try that are right, and copies them to wherever else they belong. What should be
/// zeros becomes zeros; all else is written over later.
fn keep(index: &WindowIndex, disk: &Raw, places: &mut MissingWindows) -> Result<()> {
    let (mut have, mut stray) = (Vec::new(), Vec::new());
    windows(disk, |window| {
        match index.windows.binary_search_by_key(&window.at, |it| it.0) {
            Ok(found) if index.windows[found].1 == window.sum => have.push(window),
            Ok(_) => {}
            Err(_) => stray.push(window.at),
        }
        Ok(())
    })?;
    for at in stray {
        disk.write_at(&vec![0; index.length_of(at)], at * UNIT as u64)?;
    }
    let mut buffer = vec![0; UNIT];
    for window in have {
        let Some(all) = places.remove(&window.sum) else { continue };
        let bytes = read(disk, window.at, &mut buffer)?;
        for at in all.into_iter().filter(|at| *at != window.at) {
            disk.write_at(bytes, at * UNIT as u64)?;
        }
    }
    Ok(())
}

/// Copies windows that other disks of the cache have, the ones that were used last first.
fn seed(
    places: &mut MissingWindows,
    to: &Raw,
    cache: &Cache,
    progress: &dyn Progress,
) -> Result<()> {
    let images = cache.list()?.into_iter().filter(|it| it.is_image() && it.about.is_some());
    for kept in images.take(SEEDS) {
        if places.is_empty() {
            break;
        }
        // One that is damaged or cannot be read saves nothing, and is no reason to have nothing.
        let Ok(Some(image)) = cache.find(&kept.kind, &kept.key) else { continue };
        progress.message("looking for what the cache has of it");
        match seed_from(&*image.disk, places, to) {
            Err(error) if error.kind() == ErrorKind::Interrupted => return Err(error),
            Ok(Ok(())) | Err(_) => {}
            // The disk that is put together cannot be written.
            Ok(Err(error)) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Copies windows of one other disk. The outer error is that disk's.
fn seed_from(image: &dyn Disk, places: &mut MissingWindows, to: &Raw) -> Result<io::Result<()>> {
    let mut found = Vec::new();
    windows(image, |window| {
        if places.contains_key(&window.sum) {
            found.push(window);
        }
        Ok(())
    })?;
    let mut buffer = vec![0; UNIT];
    for window in found {
        let bytes = read(image, window.at, &mut buffer)?;
        if Sha256::of(bytes) != window.sum {
            continue;
        }
        let all = places.remove(&window.sum).unwrap_or_default();
        let written = all.into_iter().try_for_each(|at| to.write_at(bytes, at * UNIT as u64));
        if written.is_err() {
            return Ok(written);
        }
    }
    Ok(Ok(()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_an_earlier_try_only_what_is_right_stays() {
        let window = |byte: u8| vec![byte; UNIT];
        let entry = |at, byte: u8| {
            IndexEntry(at, Sha256::of(window(byte)), Frame { pack: 0, offset: 0, length: 1 })
        };
        let index = WindowIndex {
            size: 6 * UNIT as u64,
            sha256: Sha256::of("whole"),
            windows: vec![entry(0, 1), entry(2, 2), entry(3, 1), entry(5, 3)],
        };
        let folder = tempfile::tempdir().unwrap();
        let disk = Raw::create(&folder.path().join("part"), index.size).unwrap();
        // Right, one that should be zeros, one that is another, one that is not there yet.
        for (at, byte) in [(0, 1), (1, 9), (2, 9)] {
            disk.write_at(&window(byte), at * UNIT as u64).unwrap();
        }
        let mut places = MissingWindows::new();
        for IndexEntry(at, sum, _) in &index.windows {
            places.entry(*sum).or_default().push(*at);
        }
        keep(&index, &disk, &mut places).unwrap();
        let mut left: Vec<_> = places.into_values().flatten().collect();
        left.sort_unstable();
        assert_eq!(left, [2, 5]);
        let mut bytes = window(7);
        for (at, byte) in [(0, 1), (1, 0), (3, 1)] {
            disk.read_at(&mut bytes, at * UNIT as u64).unwrap();
            assert_eq!(bytes, window(byte), "{at}");
        }
    }

    #[test]
    fn a_disk_that_cannot_be_read_saves_nothing_and_fails_nothing() {
        struct Broken;
        impl Disk for Broken {
            fn size(&self) -> u64 {
                UNIT as u64
            }
            fn read_at(&self, _: &mut [u8], _: u64) -> io::Result<()> {
                Err(io::Error::other("a bad sector"))
            }
            fn next_data(&self, from: u64) -> io::Result<Option<std::ops::Range<u64>>> {
                Ok((from == 0).then_some(0..UNIT as u64))
            }
        }
        let folder = tempfile::tempdir().unwrap();
        let disk = Raw::create(&folder.path().join("part"), UNIT as u64).unwrap();
        let mut places = MissingWindows::from([(Sha256::of("x"), vec![0])]);
        seed_from(&Broken, &mut places, &disk).unwrap_err();
        assert_eq!(places.len(), 1);
    }
}
