//! Everybody who wants to see the bytes of a download, each in a thread of its own.

use std::fs::File;
use std::io::{self, Read};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{Scope, ScopedJoinHandle};

use super::checksums::{FoundHashes, Hasher};
use super::unpack::{Trouble, Unpacked};
use super::wanted::Wanted;
use crate::download::unpack;
use crate::util::error::{Error, Result};

/// Bytes passed on at once.
pub(crate) type Chunk = Arc<Vec<u8>>;

/// Chunks that may wait for the slowest.
const WAITING: usize = 32;

/// Somebody wants no more: ask for the verdicts to learn why.
pub(crate) struct Gone;

/// Hashes, signature and image of one stream.
pub(crate) struct Sinks<'scope> {
    senders: Vec<SyncSender<Chunk>>,
    hashes: ScopedJoinHandle<'scope, FoundHashes>,
    signature: Option<ScopedJoinHandle<'scope, Result<()>>>,
    image: ScopedJoinHandle<'scope, Result<Unpacked, Trouble>>,
}

/// What they found.
pub(crate) struct Verdicts {
    pub(crate) hashes: FoundHashes,
    pub(crate) signature: Result<()>,
    pub(crate) image: Result<Unpacked, Trouble>,
}

impl<'scope> Sinks<'scope> {
    pub(crate) fn start<'env>(
        scope: &'scope Scope<'scope, 'env>,
        wanted: &'env Wanted<'env>,
        output: &'env File,
    ) -> Self {
        let mut senders = Vec::new();
        let mut listen = || -> Receiver<Chunk> {
            let (sender, receiver) = sync_channel(WAITING);
            senders.push(sender);
            receiver
        };
        let chunks = listen();
        let with_sha512 = wanted.hashes.sha512.is_some();
        let hashes = scope.spawn(move || {
            let mut hasher = Hasher::new(with_sha512);
            for chunk in chunks {
                hasher.update(&chunk);
            }
            hasher.finish()
        });
        let signature = wanted.verifier.map(|verifier| {
            let chunks = listen();
            scope.spawn(move || verifier.verify(Chunks::new(chunks)))
        });
        let chunks = listen();
        let receive = if wanted.is_image { unpack::unpack } else { unpack::keep };
        let image = scope.spawn(move || receive(Chunks::new(chunks), output, wanted.limit));
        Self { senders, hashes, signature, image }
    }

    /// Passes a chunk to all; waits for the slowest.
    pub(crate) fn send(&self, chunk: &Chunk) -> Result<(), Gone> {
        self.senders.iter().try_for_each(|it| it.send(Arc::clone(chunk)).map_err(|_| Gone))
    }

    /// The stream is over: what is to be said of it?
    pub(crate) fn finish(self) -> Result<Verdicts> {
        drop(self.senders);
        let lost = |_| Error::failure("a thread of nodeforge ended unexpectedly");
        Ok(Verdicts {
            hashes: self.hashes.join().map_err(lost)?,
            signature: self.signature.map_or(Ok(Ok(())), |it| it.join().map_err(lost))?,
            image: self.image.join().map_err(lost)?,
        })
    }
}

/// Chunks from another thread as a stream.
struct Chunks {
    receiver: Receiver<Chunk>,
    current: Chunk,
    used: usize,
}

impl Chunks {
    fn new(chunks: Receiver<Chunk>) -> Self {
        Self { receiver: chunks, current: Chunk::default(), used: 0 }
    }
}

impl Read for Chunks {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.used == self.current.len() {
            let Ok(next) = self.receiver.recv() else { return Ok(0) };
            self.current = next;
            self.used = 0;
        }
        let rest = &self.current[self.used..];
        let length = rest.len().min(buffer.len());
        buffer[..length].copy_from_slice(&rest[..length]);
        self.used += length;
        Ok(length)
    }
}
