//! A prepared base goes from the cache to a registry: only what the registry lacks.

use std::collections::HashMap;
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread;

use super::connection::{self, RegistryConnection, RepositoryAccess};
use super::index::{DISK_LIMIT, Frame, IndexEntry, MOST_WINDOWS, WindowIndex};
use super::manifest::{
    BlobPart, CONFIG, INDEX, MANIFEST, MOST_PACKS, PreparedConfig, PreparedManifest,
};
use super::packs::{FullPack, pack};
use super::reuse::{ReuseRequest, Reused, VOUCHED, WantedWindows};
use super::seeds::{DiskWindow, windows};
use crate::cache::CachedImage;
use crate::config::{Arch, ManifestName, RegistryReference};
use crate::util::error::{Error, Result};
use crate::util::progress::Progress;
use crate::util::sha256::Sha256;

/// How many packs are sent at once, each of which is in memory then.
const CONNECTIONS: usize = 2;

/// A prepared base that is to be pushed.
#[derive(Clone, Copy)]
pub struct PushRequest<'a> {
    /// The repository.
    pub place: &'a RegistryReference,
    /// What it is to be called there.
    pub tags: &'a [String],
    /// The hash of everything that went in: 64 hexadecimal digits.
    pub key: &'a str,
    /// What its programs run on.
    pub arch: Arch,
    /// The base.
    pub image: &'a CachedImage,
    /// Manifests that something vouches for: what they say of packs is believed.
    pub trusted: &'a [Sha256],
    /// The only manifest that may come of it; `None` is any.
    pub expected: Option<Sha256>,
}

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

/// Pushes a prepared base. The repository keeps what it has; of several that push the same, each may be the last one.
/// `None` where something else would come of it than what is expected: then no tag was moved.
pub fn push(request: PushRequest<'_>, progress: &dyn Progress) -> Result<Option<Pushed>> {
    progress.stage("pushing the prepared base");
    let doing = format!("pushing to `{}`", request.place.repository());
    let pushed = RegistryConnection::open(request.place, RepositoryAccess::PushAndPull, progress)
        .and_then(|registry| Sender { registry: &registry, sent: Mutex::new(0) }.push(request));
    pushed.map_err(|error| connection::explain(error, &doing))
}

struct Sender<'a> {
    registry: &'a RegistryConnection<'a>,
    /// Bytes of blobs that were sent.
    sent: Mutex<u64>,
}

impl Sender<'_> {
    fn push(&self, request: PushRequest<'_>) -> Result<Option<Pushed>> {
        let PushRequest { tags, image, .. } = request;
        let registry = self.registry;
        registry.progress.message("looking for what the registry has of it");
        let config = PreparedConfig::new(request.key, request.arch, &image.about)?.to_json()?;
        PreparedConfig::parse(&config)?;
        let mut all = Vec::new();
        windows(&*image.disk, |window| {
            all.push(window);
            Ok(())
        })?;
        let size = image.about.size;
        // Before anything is sent: nobody could pull it.
        if all.len() > MOST_WINDOWS || size > DISK_LIMIT {
            return Err(Error::failure("the disk is larger than what registries are used for")
                .hint("32 GiB of data on 2 TiB are the most"));
        }
        let mut wanted = WantedWindows::new();
        for window in &all {
            wanted.entry(window.sum).or_insert(window.at);
        }
        let trusted = request.trusted;
        let reused = ReuseRequest { registry, tags, trusted, wanted: &wanted, size }.find()?;
        let is_new = |it: &&DiskWindow| {
            wanted.get(&it.sum) == Some(&it.at) && !reused.frames.contains_key(&it.sum)
        };
        let new: Vec<_> = all.iter().filter(is_new).copied().collect();
        let count = wanted.len();
        drop(wanted);
        let (packs, frames) = self.send_packs(image, &new, reused)?;
        let windows = all.iter().map(|it| IndexEntry(it.at, it.sum, frames[&it.sum])).collect();
        drop((all, frames));
        let index = WindowIndex { size, sha256: image.about.sha256, windows }.into_bytes(&packs)?;
        // What goes out is looked at as whoever pulls it will.
        WindowIndex::parse(&index, &packs)?;
        let parts = (BlobPart::of(CONFIG, &config), BlobPart::of(INDEX, &index));
        let manifest = PreparedManifest::new(parts.0.clone(), parts.1.clone(), packs).to_json()?;
        PreparedManifest::parse(&manifest)?;
        let digest = Sha256::of(&manifest);
        if request.expected.is_some_and(|it| it != digest) {
            return Ok(None);
        }
        self.send_part(&parts.1, &index.into())?;
        self.send_part(&parts.0, &config.into())?;
        let kept = format!("{VOUCHED}{digest}");
        for tag in std::iter::once(&kept).chain(tags) {
            registry.put_manifest(&ManifestName::Tag(tag.clone()), MANIFEST, &manifest)?;
        }
        Ok(Some(Pushed {
            place: registry.place.with(&ManifestName::Digest(digest)),
            digest,
            sent: *self.sent.lock().expect("no thread panicked"),
            windows: count,
            known: count - new.len(),
        }))
    }

    /// Packs and sends windows; returns all packs, and where in them each window is.
    fn send_packs(
        &self,
        image: &CachedImage,
        new: &[DiskWindow],
        reused: Reused,
    ) -> Result<(Vec<BlobPart>, HashMap<Sha256, Frame>)> {
        let Reused { mut packs, mut frames } = reused;
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
                    if packs.len() == MOST_PACKS {
                        return Err(Error::failure(format!(
                            "the disk makes more than the {MOST_PACKS} packs that registries take"
                        )));
                    }
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

    fn send_part(&self, part: &BlobPart, bytes: &Arc<[u8]>) -> Result<()> {
        if self.registry.put_blob(part, bytes)? {
            *self.sent.lock().expect("no thread panicked") += part.size;
        }
        Ok(())
    }
}
