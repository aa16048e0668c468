//! What comes over the line becomes a raw image: decompressed, unpacked, sparse, hashed.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, BufReader, Cursor, Read};
use std::os::unix::fs::FileExt as _;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use sha2::Digest as _;

use crate::disk::{self, CLUSTER, Format};
use crate::util::error::{Context as _, Error};
use crate::util::interrupt;
use crate::util::sha256::Sha256;

/// Bytes read, hashed and written at once.
const BLOCK: usize = 1 << 20;
/// Blocks under way between decoder and hash.
const BLOCKS: usize = 4;
/// Enough of a file to tell what it is.
const HEAD: usize = 512;
/// The most that may come between two files of a tar archive, in bytes: a sparse file's map of a
/// hundred thousand holes needs half of it.
const HEADERS: u64 = 8 << 20;

/// Why no image came out.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// What came is not an image.
    Content(Error),
    /// It may be one, but could not be written.
    Disk(Error),
}

impl Trouble {
    fn context(self, message: impl Into<String>) -> Self {
        match self {
            Self::Content(error) => Self::Content(error.context(message)),
            Self::Disk(error) => Self::Disk(error.context(message)),
        }
    }
}

impl From<Trouble> for Error {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Content(error) | Trouble::Disk(error) => error,
        }
    }
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Self::Content(error)
    }
}

/// Reading is what fails unless somebody says otherwise.
impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Self::Content(error.into())
    }
}

/// What a stream turned out to be.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Unpacked {
    /// A raw image, now in the file.
    Image { size: u64, sha256: Sha256 },
    /// A qcow2 image: it must be whole before it can be read. Nothing was written.
    Container,
    /// Not looked into: kept as it came.
    File,
}

/// Writes `input` as it is.
pub(crate) fn keep(
    mut input: impl Read,
    mut output: &File,
    limit: u64,
) -> Result<Unpacked, Trouble> {
    let length = io::copy(&mut input.by_ref().take(limit + 1), &mut output)
        .context(|| "writing the file")
        .map_err(Trouble::Disk)?;
    if length > limit {
        return Err(Error::failure(format!("the file has more than {limit} bytes")).into());
    }
    Ok(Unpacked::File)
}

/// Writes the raw image that `input` holds into an empty file. An image of more than `limit`
/// bytes is an error, and so is anything after its end.
pub(crate) fn unpack(
    input: impl Read + Send,
    output: &File,
    limit: u64,
) -> Result<Unpacked, Trouble> {
    let mut input = BufReader::with_capacity(BLOCK / 4, input);
    let head = peek(&mut input)?;
    refuse_web_page(&head)?;
    let format = disk::probe_bytes(&head)?;
    if disk::announced(&head, format).is_some_and(|size| size > limit) {
        return Err(too_large(limit));
    }
    let mut input = Cursor::new(head).chain(input);
    match format {
        Format::Qcow2 => {
            // It comes from the network, which is looked after.
            io::copy(&mut input, &mut io::sink())?;
            Ok(Unpacked::Container)
        }
        Format::Raw | Format::Device => pour_any(input, output, limit),
        Format::Xz | Format::Zstd | Format::Gzip => {
            let decoder = disk::decoder(input, format)?;
            pour_any(decoder, output, limit)
                .map_err(|it| it.context(format!("it cannot be decompressed as {}", format.name())))
        }
        Format::Vmdk => Err(Error::input("a VMDK image cannot be a base from elsewhere")
            .hint("download it, and name the file as `path` under [base]")
            .into()),
    }
}

/// A raw image, or an archive of one.
fn pour_any(mut input: impl Read, output: &File, limit: u64) -> Result<Unpacked, Trouble> {
    let head = peek(&mut input)?;
    let inner = disk::probe_bytes(&head)?;
    if inner != Format::Raw {
        return Err(Error::input(format!("it holds a {} image", inner.name()))
            .hint("decompress it, and name the file that comes out as `path` under [base]")
            .into());
    }
    let is_archive = disk::is_archive(&head);
    let input = Cursor::new(head).chain(input);
    if is_archive { pour_archived(input, output, limit) } else { pour(input, output, limit) }
}

/// The image of a tar archive: Debian's hold one sparse file `disk.raw`.
fn pour_archived(input: impl Read, output: &File, limit: u64) -> Result<Unpacked, Trouble> {
    let budget = Cell::new(HEADERS);
    let mut archive = tar::Archive::new(Budgeted { input, left: &budget });
    let mut image = None;
    for entry in archive.entries()? {
        let mut entry = entry?;
        budget.set(u64::MAX);
        if is_image(&mut entry)? {
            if image.is_some() {
                return Err(Error::input("the archive holds more than one image").into());
            }
            image = Some(pour(&mut entry, output, limit)?);
        }
        io::copy(&mut entry.take(limit), &mut io::sink())?;
        budget.set(HEADERS);
    }
    budget.set(u64::MAX);
    // What follows the archive is read too, for the checksums at the compressed stream's end.
    let mut rest = archive.into_inner().take(limit);
    io::copy(&mut rest, &mut io::sink())?;
    image.ok_or_else(|| {
        Error::input("the archive holds no image: no file `*.raw` or `*.img`").into()
    })
}

fn is_image(entry: &mut tar::Entry<'_, impl Read>) -> Result<bool, Trouble> {
    let kind = entry.header().entry_type();
    let path = entry.path()?.into_owned();
    let has_name = path.extension().is_some_and(|it| it == "raw" || it == "img");
    if !has_name || !(kind.is_file() || kind.is_gnu_sparse()) {
        return Ok(false);
    }
    let mut extensions = entry.pax_extensions()?.into_iter().flatten().flatten();
    if extensions.any(|it| it.key_bytes().starts_with(b"GNU.sparse")) {
        return Err(Error::input(
            "the archive stores its image sparsely in a way nodeforge cannot read",
        )
        .hint("make it with `tar --format=gnu --sparse`")
        .into());
    }
    Ok(true)
}

/// A stream of which only so much may be read: what a library keeps in memory of it is bounded.
struct Budgeted<'a, R> {
    input: R,
    left: &'a Cell<u64>,
}

impl<R: Read> Read for Budgeted<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left.get() == 0 {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "its headers have no end"));
        }
        let most = usize::try_from(self.left.get()).map_or(buffer.len(), |it| it.min(buffer.len()));
        let length = self.input.read(&mut buffer[..most])?;
        self.left.set(self.left.get() - length as u64);
        Ok(length)
    }
}

/// Writes what is not zeros, and hashes all of it in a thread of its own.
fn pour(mut input: impl Read, output: &File, limit: u64) -> Result<Unpacked, Trouble> {
    let (full, to_hash) = sync_channel::<Vec<u8>>(BLOCKS);
    let (empty, to_fill) = sync_channel::<Vec<u8>>(BLOCKS + 2);
    thread::scope(|scope| {
        let hash = scope.spawn(move || hash_blocks(&to_hash, &empty));
        let poured = pour_blocks(&mut input, output, limit, &full, &to_fill);
        drop(full);
        let sha256 =
            hash.join().map_err(|_| Error::failure("a thread of nodeforge ended unexpectedly"))?;
        Ok(Unpacked::Image { size: poured?, sha256 })
    })
}

fn pour_blocks(
    input: &mut impl Read,
    output: &File,
    limit: u64,
    full: &SyncSender<Vec<u8>>,
    empty: &Receiver<Vec<u8>>,
) -> Result<u64, Trouble> {
    let mut offset = 0;
    loop {
        let mut block = empty.try_recv().unwrap_or_else(|_| Vec::with_capacity(BLOCK));
        block.clear();
        input.by_ref().take(BLOCK as u64).read_to_end(&mut block)?;
        // What came so far is good: it is to be kept.
        interrupt::check().map_err(Trouble::Disk)?;
        if block.is_empty() {
            break;
        }
        if offset + block.len() as u64 > limit {
            return Err(too_large(limit));
        }
        write_occupied(output, &block, offset)
            .context(|| "writing the image")
            .map_err(Trouble::Disk)?;
        offset += block.len() as u64;
        // The hash only ends before us when it panicked, which joining it tells.
        drop(full.send(block));
    }
    if offset == 0 || !offset.is_multiple_of(512) {
        return Err(Error::failure(format!(
            "it is not a disk image: {offset} bytes are not a whole number of sectors"
        ))
        .into());
    }
    output.set_len(offset).context(|| "writing the image").map_err(Trouble::Disk)?;
    Ok(offset)
}

fn too_large(limit: u64) -> Trouble {
    Error::failure(format!("the image has more than {limit} bytes"))
        .hint("if that is right, `max_size` in the catalogue allows it")
        .into()
}

fn hash_blocks(full: &Receiver<Vec<u8>>, empty: &SyncSender<Vec<u8>>) -> Sha256 {
    let mut hash = sha2::Sha256::new();
    for block in full {
        hash.update(&block);
        // It is not needed any more when the other side is done.
        drop(empty.try_send(block));
    }
    Sha256::finish(hash)
}

/// Leaves holes for clusters of zeros.
fn write_occupied(output: &File, block: &[u8], offset: u64) -> io::Result<()> {
    let cluster = usize::try_from(CLUSTER).expect("64 KiB");
    let mut at = 0;
    while at < block.len() {
        let end = |from: usize| (from + cluster).min(block.len());
        if disk::is_zero(&block[at..end(at)]) {
            at = end(at);
            continue;
        }
        let mut until = end(at);
        while until < block.len() && !disk::is_zero(&block[until..end(until)]) {
            until = end(until);
        }
        output.write_all_at(&block[at..until], offset + at as u64)?;
        at = until;
    }
    Ok(())
}

/// The first bytes, as far as there are any.
pub(crate) fn peek(input: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut head = Vec::with_capacity(HEAD);
    input.by_ref().take(HEAD as u64).read_to_end(&mut head)?;
    Ok(head)
}

/// A login page of a hotel, an error page of a mirror.
fn refuse_web_page(head: &[u8]) -> Result<(), Trouble> {
    let text = String::from_utf8_lossy(head).trim_start().to_ascii_lowercase();
    if text.starts_with("<!doctype") || text.starts_with("<html") || text.starts_with("<?xml") {
        return Err(Error::failure("what came is a web page, not an image")
            .hint("open the address in a browser: it may want a login")
            .into());
    }
    Ok(())
}
