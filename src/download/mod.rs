//! A file from elsewhere becomes a raw image: resumed, retried, hashed, verified and unpacked in
//! one pass.
//!
//! What came is kept in a part until all of it is here and found good. An interrupted download
//! leaves its part for the next run; one that is found bad leaves nothing.

pub(crate) mod checksums;
mod connection;
pub(crate) mod container;
mod http;
pub(crate) mod openpgp;
mod pace;
mod part;
mod proxy;
mod registry;
mod registry_image;
mod retry;
mod sinks;
mod stream;
pub(crate) mod unpack;
mod wanted;

pub(crate) use checksums::{FoundHashes, Hashes};
pub(crate) use http::{Client, Method, Plain, Response, UploadMethod, shown, text};
pub(crate) use openpgp::signed_text;
pub(crate) use openpgp::{Certificate, Verifier, with_fingerprint};
pub(crate) use proxy::{Route, host_of};
pub(crate) use registry::{Challenge, TokenSource, token};
pub(crate) use registry_image::{
    BlobDescriptor, ImageManifest, ImageReference, MANIFEST_LIMIT, read_digest,
};
pub(crate) use retry::{Fault, Retry};
pub(crate) use stream::{BodyStream, StreamTrouble};
pub(crate) use unpack::{Trouble, Unpacked, unpack};

use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;
use std::thread;

use crate::util::error::{Context as _, Error, Result};
use crate::util::interrupt;
use crate::util::progress::Progress;
use crate::util::room::{self, FolderUse};
use crate::util::sha256::Sha256;
use connection::{Interruption, receive};
use part::PartialFile;
use sinks::{Sinks, Verdicts};
use wanted::CHUNK;

pub(crate) use wanted::Wanted;

/// How often a download begins from the start before we give up.
const BEGINNINGS: u32 = 3;
/// A download that is all it had to be.
pub(crate) struct Delivered {
    /// Of the file as it came.
    pub(crate) hashes: FoundHashes,
    /// Its length in bytes.
    pub(crate) size: u64,
    /// SHA-256 of the raw image, or the file.
    pub(crate) raw_sha256: Sha256,
}

/// Why a pass over the file came to nothing.
enum DownloadFailure {
    /// What came is wrong.
    Bad(Error),
    /// The server has another file than the one we have a part of.
    Changed,
    /// The server has the same file, and sends it from its beginning only.
    Unresumable,
    /// It could not go on; what came so far may be good.
    Stopped(Error),
}

/// Downloads a file whose part is in the folder `parts`, and writes it, or its raw image, to `disk`.
pub(crate) fn download(
    client: &Client,
    wanted: &Wanted<'_>,
    parts: &Path,
    disk: &Path,
    progress: &dyn Progress,
) -> Result<Delivered> {
    let mut part = PartialFile::open(parts, wanted.key, wanted.url)?;
    let mut retry = Retry::new();
    let mut can_resume = true;
    let mut beginnings = 0;
    while beginnings < BEGINNINGS {
        let is_resumed = part.length() > 0;
        match pass(client, wanted, &mut part, disk, &mut retry, progress) {
            Ok(delivered) => {
                part.remove()?;
                return Ok(delivered);
            }
            Err(DownloadFailure::Stopped(error)) => {
                let kept = part.length();
                let needed = part.total().map(|total| total.saturating_sub(kept));
                let error = room::explain(error, parts, FolderUse::Cache, needed);
                if kept == 0 {
                    part.remove()?;
                    return Err(error);
                }
                if !can_resume {
                    return Err(error);
                }
                return Err(error.hint(format!("run it again: it goes on after {kept} bytes")));
            }
            Err(DownloadFailure::Bad(error)) if !is_resumed => {
                part.remove()?;
                return Err(error);
            }
            Err(DownloadFailure::Bad(_)) => {
                progress.warn("what an earlier run left cannot be used: starting over");
                (retry, beginnings) = (Retry::new(), beginnings + 1);
            }
            Err(DownloadFailure::Changed) => {
                progress.warn("the server has another file now: starting over");
                (retry, beginnings) = (Retry::new(), beginnings + 1);
            }
            // No news of the file: what broke the connection is counted, however often it does.
            Err(DownloadFailure::Unresumable) => {
                progress.warn("the server cannot resume: starting over");
                can_resume = false;
            }
        }
        part.clear()?;
    }
    part.remove()?;
    Err(Error::failure(format!("`{}` changes while it is downloaded", wanted.url))
        .hint("try again later: the publisher may be replacing it"))
}

/// One pass over the whole file: first what is here, then what the server sends.
fn pass(
    client: &Client,
    wanted: &Wanted<'_>,
    part: &mut PartialFile,
    disk: &Path,
    retry: &mut Retry,
    progress: &dyn Progress,
) -> Result<Delivered, DownloadFailure> {
    let output = File::create(disk)
        .context(|| format!("creating `{}`", disk.display()))
        .map_err(DownloadFailure::Stopped)?;
    let verdicts = thread::scope(|scope| {
        let sinks = Sinks::start(scope, wanted, &output);
        let fed = feed(client, wanted, part, &sinks, retry, progress);
        let verdicts = sinks.finish().map_err(DownloadFailure::Stopped)?;
        match fed {
            Ok(()) => judge(wanted, verdicts),
            // The receiver that stopped says why.
            Err(Interruption::Refused) => match verdicts.image {
                Err(trouble) => Err(failure(wanted, trouble)),
                Ok(_) => judge(wanted, verdicts),
            },
            Err(Interruption::Changed) => Err(DownloadFailure::Changed),
            Err(Interruption::Unresumable) => Err(DownloadFailure::Unresumable),
            Err(Interruption::Stopped(error)) => Err(DownloadFailure::Stopped(error)),
            Err(Interruption::Fault(_) | Interruption::Slow(_)) => {
                unreachable!("feeding waits faults out")
            }
        }
    })?;
    let Verdicts { hashes, image, .. } = verdicts;
    let raw_sha256 = match image.map_err(|trouble| failure(wanted, trouble))? {
        Unpacked::Image { sha256, .. } => sha256,
        Unpacked::Container => container::container(part.path(), disk, wanted.limit)
            .map_err(|trouble| failure(wanted, trouble))?,
        Unpacked::File => hashes.sha256,
    };
    Ok(Delivered { hashes, size: part.length(), raw_sha256 })
}

/// Whether the file is what it must be; its hash says more than what unpacking it choked on.
fn judge(wanted: &Wanted<'_>, verdicts: Verdicts) -> Result<Verdicts, DownloadFailure> {
    wanted.hashes.check(&verdicts.hashes, wanted.url).map_err(|error| {
        DownloadFailure::Bad(
            error.hint("nothing of it was kept; if it happens again, ask the publisher"),
        )
    })?;
    match &verdicts.signature {
        Ok(()) => Ok(verdicts),
        Err(error) => Err(DownloadFailure::Bad(
            error.clone().context(format!("`{}` is not genuine", wanted.url)),
        )),
    }
}

fn failure(wanted: &Wanted<'_>, trouble: Trouble) -> DownloadFailure {
    match trouble {
        Trouble::Content(error) => {
            DownloadFailure::Bad(error.context(format!("`{}` is not a usable image", wanted.url)))
        }
        Trouble::Disk(error) => DownloadFailure::Stopped(error),
    }
}

/// Passes all of the file on: what is here, then the rest, tried again until it is whole.
fn feed(
    client: &Client,
    wanted: &Wanted<'_>,
    part: &mut PartialFile,
    sinks: &Sinks<'_>,
    retry: &mut Retry,
    progress: &dyn Progress,
) -> Result<(), Interruption> {
    replay(part, sinks, progress)?;
    while !part.is_whole() {
        match receive(client, wanted, part, sinks, progress) {
            Ok(()) => break,
            Err(Interruption::Fault(fault)) => {
                retry.reached(part.length());
                retry.wait(fault, progress).map_err(Interruption::Stopped)?;
            }
            // What little came does not count: it would never end.
            Err(Interruption::Slow(error)) => {
                let fault = Fault::passing(error);
                retry.wait(fault, progress).map_err(Interruption::Stopped)?;
            }
            Err(other) => return Err(other),
        }
    }
    Ok(())
}

fn replay(
    part: &mut PartialFile,
    sinks: &Sinks<'_>,
    progress: &dyn Progress,
) -> Result<(), Interruption> {
    if part.length() == 0 {
        return Ok(());
    }
    progress.message("going on where an earlier run ended");
    let (mut done, total) = (0, part.total());
    let mut file = part.reader().map_err(Interruption::Stopped)?;
    loop {
        interrupt::check().map_err(Interruption::Stopped)?;
        let mut chunk = Vec::with_capacity(CHUNK);
        let read = file.by_ref().take(CHUNK as u64).read_to_end(&mut chunk);
        let length =
            read.context(|| "reading what an earlier run left").map_err(Interruption::Stopped)?;
        if length == 0 {
            return Ok(());
        }
        sinks.send(&Arc::new(chunk))?;
        done += length as u64;
        progress.bytes(done, total);
    }
}
