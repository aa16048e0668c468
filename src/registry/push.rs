//! A prepared base goes from the cache to a registry: only what the registry lacks.

use std::collections::{HashMap, HashSet};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread;

use super::connection::{self, RegistryConnection, RepositoryAccess};
use super::index::{Frame, IndexEntry, WindowIndex};
use super::manifest::{
    BlobPart, CONFIG, INDEX, MANIFEST, MOST_PACKS, PreparedConfig, PreparedManifest,
};
use super::packs::{FullPack, pack};
use super::seeds::{DiskWindow, windows};
use crate::cache::CachedImage;
use crate::config::{Arch, ManifestName, RegistryReference};
use crate::util::error::{Error, Result};
use crate::util::parallel::parallel;
use crate::util::progress::Progress;
use crate::util::sha256::Sha256;

/// How many packs are sent at once, each of which is in memory then.
const CONNECTIONS: usize = 2;
/// How many questions are asked at once.
const QUESTIONS: usize = 8;
/// Of how many others of the repository, beside those under the same tags, packs are taken over.
const OTHERS: usize = 4;

/// A prepared base that was pushed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pushed {
    /// Its repository and its digest.
    pub place: RegistryReference,
    /// Of its manifest.
    pub digest: Sha256,
    /// Bytes of the blobs that were sent.
    pub sent: u64,
    /// Windows of the disk that hold anything but zeros, each content once.
    pub windows: usize,
    /// Those of them that the registry had.
    pub known: usize,
}

/// Packs on their way to the threads that send them.
type PackQueue = Receiver<(BlobPart, Arc<[u8]>)>;

/// Packs that a registry has, and where in them which window is.
#[derive(Default)]
struct Known {
    packs: Vec<BlobPart>,
    frames: HashMap<Sha256, Frame>,
}

/// Pushes a prepared base under tags. The repository keeps what it has; of several that push the same, each may be the
/// last one.
pub fn push(
    place: &RegistryReference,
    tags: &[String],
    (key, arch, image): (&str, Arch, &CachedImage),
    progress: &dyn Progress,
) -> Result<Pushed> {
    progress.stage("pushing the prepared base");
    let doing = format!("pushing to `{}`", place.repository());
    let registry = RegistryConnection::open(place, RepositoryAccess::PushAndPull, progress)?;
    let sender = Sender { registry: &registry, sent: Mutex::new(0) };
    sender.push(tags, (key, arch, image)).map_err(|error| connection::explain(error, &doing))
}

struct Sender<'a> {
    registry: &'a RegistryConnection<'a>,
    /// Bytes of blobs that were sent.
    sent: Mutex<u64>,
}

impl Sender<'_> {
    fn push(
        &self,
        tags: &[String],
        (key, arch, image): (&str, Arch, &CachedImage),
    ) -> Result<Pushed> {
        let registry = self.registry;
        let known = self.known(tags)?;
        registry.progress.message("looking for what the registry has of it");
        let mut all = Vec::new();
        windows(&*image.disk, |window| {
            all.push(window);
            Ok(())
        })?;
        let kept = self.kept(known, &all)?;
        let (new, count) = missing(&all, &kept);
        let (packs, frames) = self.send_packs(image, &new, kept)?;
        if packs.len() > MOST_PACKS {
            return Err(Error::failure(format!(
                "the disk makes {} packs, and registries take {MOST_PACKS}",
                packs.len()
            )));
        }
        let windows = all.iter().map(|it| IndexEntry(it.at, it.sum, frames[&it.sum])).collect();
        let index = WindowIndex { size: image.about.size, sha256: image.about.sha256, windows };
        let index = self.send(INDEX, index.to_bytes(&packs)?)?;
        let config = PreparedConfig::new(key, arch, &image.about).to_json()?;
        let config = self.send(CONFIG, config)?;
        let manifest = PreparedManifest::new(config, index, packs).to_json()?;
        for tag in tags {
            registry.put_manifest(&ManifestName::Tag(tag.clone()), MANIFEST, &manifest)?;
        }
        let digest = Sha256::of(&manifest);
        Ok(Pushed {
            place: registry.place.with(&ManifestName::Digest(digest)),
            digest,
            sent: *self.sent.lock().expect("no thread panicked"),
            windows: count,
            known: count - new.len(),
        })
    }

    /// What the repository has of this base and of others that may share windows with it.
    fn known(&self, tags: &[String]) -> Result<Known> {
        let mut known = Known::default();
        for tag in tags {
            let target = ManifestName::Tag(tag.clone());
            let Some(raw) = self.registry.manifest(&target)? else { continue };
            let manifest = PreparedManifest::parse(&raw.bytes).map_err(|error| {
                error
                    .context(format!(
                        "`{}` is something else already",
                        self.registry.place.with(&target)
                    ))
                    .hint("choose another tag, or another repository")
            })?;
            self.learn(&manifest, &mut known)?;
        }
        // Names that people gave; others are keys, and of signatures.
        let is_name = |tag: &&String| {
            !tags.contains(*tag) && tag.parse::<Sha256>().is_err() && !tag.starts_with("sha256-")
        };
        let others = self.registry.tags()?;
        for tag in others.iter().filter(is_name).take(OTHERS) {
            // What is not of ours is none of our business.
            if let Some(raw) = self.registry.manifest(&ManifestName::Tag(tag.clone()))?
                && let Ok(manifest) = PreparedManifest::parse(&raw.bytes)
            {
                self.learn(&manifest, &mut known)?;
            }
        }
        Ok(known)
    }

    fn learn(&self, manifest: &PreparedManifest, known: &mut Known) -> Result<()> {
        let bytes = self.registry.small_blob(manifest.index())?;
        // One that cannot be read, or is another's, saves nothing.
        let Ok(index) = WindowIndex::parse(&bytes, manifest.packs()) else { return Ok(()) };
        let numbers: Vec<u32> = manifest
            .packs()
            .iter()
            .map(|pack| {
                let number = known.packs.iter().position(|it| it == pack).unwrap_or_else(|| {
                    known.packs.push(pack.clone());
                    known.packs.len() - 1
                });
                u32::try_from(number).expect("a manifest names some hundred packs")
            })
            .collect();
        for IndexEntry(_, sum, frame) in index.windows {
            let frame = Frame { pack: numbers[frame.pack as usize], ..frame };
            known.frames.entry(sum).or_insert(frame);
        }
        Ok(())
    }

    /// Those packs that are worth keeping: at least half of each is used, and the repository still has it.
    fn kept(&self, known: Known, all: &[DiskWindow]) -> Result<Known> {
        let mut used = vec![0_u64; known.packs.len()];
        let sums: HashSet<Sha256> = all.iter().map(|it| it.sum).collect();
        for frame in sums.iter().filter_map(|sum| known.frames.get(sum)) {
            used[frame.pack as usize] += u64::from(frame.length);
        }
        let is_kept = parallel(
            QUESTIONS,
            &known.packs.iter().zip(&used).collect::<Vec<_>>(),
            |(pack, used)| {
                Ok(**used > 0 && **used * 2 >= pack.size && self.registry.has_blob(pack.digest)?)
            },
        )?;
        let mut kept = Known::default();
        let mut numbers = HashMap::new();
        for (number, pack) in
            known.packs.into_iter().enumerate().filter(|(number, _)| is_kept[*number])
        {
            numbers.insert(number, u32::try_from(kept.packs.len()).expect("some hundred packs"));
            kept.packs.push(pack);
        }
        for (sum, frame) in known.frames.into_iter().filter(|(sum, _)| sums.contains(sum)) {
            if let Some(pack) = numbers.get(&(frame.pack as usize)) {
                kept.frames.insert(sum, Frame { pack: *pack, ..frame });
            }
        }
        Ok(kept)
    }

    /// Packs and sends windows; returns all packs, and where in them each window is.
    fn send_packs(
        &self,
        image: &CachedImage,
        new: &[DiskWindow],
        kept: Known,
    ) -> Result<(Vec<BlobPart>, HashMap<Sha256, Frame>)> {
        let Known { mut packs, mut frames } = kept;
        let mut done = 0;
        thread::scope(|scope| {
            // Nothing waits in between: each pack is tens of megabytes.
            let (give, full) = sync_channel::<(BlobPart, Arc<[u8]>)>(0);
            let full = Arc::new(Mutex::new(full));
            let threads: Vec<_> = (0..CONNECTIONS)
                .map(|_| {
                    let full = Arc::clone(&full);
                    scope.spawn(move || self.send_all(&full))
                })
                .collect();
            drop(full);
            let packed = pack(
                &*image.disk,
                new,
                |FullPack { part, bytes, frames: found }| {
                    let pack = u32::try_from(packs.len()).expect("some hundred packs");
                    for (sum, offset, length) in found {
                        frames.insert(sum, Frame { pack, offset, length });
                    }
                    packs.push(part.clone());
                    give.send((part, bytes)).map_err(|_| Error::failure("nobody sends any more"))
                },
                |windows| {
                    done += windows;
                    self.registry.progress.position(done, new.len() as u64);
                },
            );
            drop(give);
            for thread in threads {
                // Why nobody sends any more comes first.
                thread
                    .join()
                    .map_err(|_| Error::failure("a thread of nodeforge ended unexpectedly"))??;
            }
            packed
        })?;
        Ok((packs, frames))
    }

    /// Sends packs until there are no more.
    fn send_all(&self, full: &Mutex<PackQueue>) -> Result<()> {
        loop {
            let next = full.lock().expect("no thread panicked").recv();
            let Ok((part, bytes)) = next else { return Ok(()) };
            self.send_part(&part, &bytes)?;
        }
    }

    fn send(&self, media_type: &str, bytes: Vec<u8>) -> Result<BlobPart> {
        let part = BlobPart::of(media_type, &bytes);
        self.send_part(&part, &bytes.into())?;
        Ok(part)
    }

    fn send_part(&self, part: &BlobPart, bytes: &Arc<[u8]>) -> Result<()> {
        if self.registry.put_blob(part, bytes)? {
            *self.sent.lock().expect("no thread panicked") += part.size;
        }
        Ok(())
    }
}

/// The windows that have to be sent, each content once, and how many contents there are.
fn missing(all: &[DiskWindow], kept: &Known) -> (Vec<DiskWindow>, usize) {
    let mut seen = HashSet::new();
    let each: Vec<_> = all.iter().filter(|it| seen.insert(it.sum)).copied().collect();
    let count = each.len();
    (each.into_iter().filter(|it| !kept.frames.contains_key(&it.sum)).collect(), count)
}
