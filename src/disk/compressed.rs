//! Compressed images, decompressed once into a file without a name.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::fs::FileExt;
use std::thread;

use flate2::bufread::GzDecoder;
use liblzma::bufread::XzDecoder;
use liblzma::stream::MtStreamBuilder;

use super::cluster::{CLUSTER, cluster_buffer};
use super::clusters::is_zero;
use super::format::Format;
use super::raw::Raw;
use super::scratch::Scratch;
use crate::disk::unpacked;
use crate::util::error::{Context, Error, Result};
use crate::util::interrupt;
use crate::util::room::{self, FolderUse};

/// Memory of the xz decoder in bytes: what its threads may use together before it goes on with
/// fewer of them, and what one may need at all. `xz -9` needs 65 MiB.
const XZ_THREADS_MEMORY: u64 = 192 << 20;
const XZ_MEMORY: u64 = 256 << 20;
/// log2 of the largest zstd window: `zstd --long`, but not `--ultra --long=31`.
const ZSTD_WINDOW: u32 = 27;

/// What helps where an image is as large as it says.
const DECOMPRESS: &str = "if that is right, decompress it first";

/// Decompresses a whole file; what follows the compressed data is an error.
///
/// Blocks of zeros become holes, so a mostly empty disk takes little room.
pub(super) fn decompress(file: File, format: Format, scratch: &Scratch) -> Result<Raw> {
    refuse_larger(&file, format, scratch.limit)?;
    let target = tempfile::tempfile_in(&scratch.folder)
        .context(|| format!("making a file in `{}`", scratch.folder.display()))?;
    let input = BufReader::with_capacity(256 * 1024, file);
    unpack(decoder(input, format)?, &target, scratch.limit)
        .map_err(|error| room::explain(error, &scratch.folder, FolderUse::Scratch, None))?;
    Raw::from_file(target, false)
}

/// Fails where a file says that it unpacks to more than `limit` bytes: before any time is spent on it.
pub(crate) fn refuse_larger(file: &File, format: Format, limit: u64) -> Result<()> {
    match unpacked::size(file, format)? {
        Some(size) if size > limit => {
            Err(Error::input(format!("it unpacks to more than {limit} bytes: it says {size}"))
                .hint(DECOMPRESS))
        }
        _ => Ok(()),
    }
}

/// What a compressed stream holds; what follows the compressed data is an error. Reading it fails once the
/// process was asked to stop, however much comes of how little.
pub(crate) fn decoder<'a>(
    input: impl BufRead + Send + 'a,
    format: Format,
) -> Result<Box<dyn Read + Send + 'a>> {
    Ok(Box::new(Interruptible(decode(Interruptible(input), format)?)))
}

fn decode<'a>(
    input: impl BufRead + Send + 'a,
    format: Format,
) -> Result<Box<dyn Read + Send + 'a>> {
    match format {
        Format::Xz => Ok(Box::new(XzStreams { current: Some(xz(input)?) })),
        Format::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(input)?;
            decoder.window_log_max(ZSTD_WINDOW)?;
            Ok(Box::new(decoder))
        }
        Format::Gzip => Ok(Box::new(GzipMembers { current: Some(GzDecoder::new(input)) })),
        Format::Raw | Format::Device | Format::Qcow2 | Format::Vmdk => {
            Err(Error::failure(format!("{} is not compressed", format.name())))
        }
    }
}

/// A stream that ends with an error once the process was asked to stop.
struct Interruptible<R>(R);

impl<R: Read> Read for Interruptible<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        interrupt::check()?;
        self.0.read(buffer)
    }
}

impl<R: BufRead> BufRead for Interruptible<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        interrupt::check()?;
        self.0.fill_buf()
    }

    fn consume(&mut self, length: usize) {
        self.0.consume(length);
    }
}

/// A decoder for one xz stream, on all cores when its blocks say how long they are.
fn xz<R: BufRead>(input: R) -> io::Result<XzDecoder<R>> {
    let threads = thread::available_parallelism().map_or(1, |count| count.get().min(64));
    let stream = MtStreamBuilder::new()
        .threads(u32::try_from(threads).unwrap_or(1))
        .memlimit_threading(XZ_THREADS_MEMORY)
        .memlimit_stop(XZ_MEMORY)
        .decoder()?;
    Ok(XzDecoder::new_stream(input, stream))
}

/// Streams one after the other, as `cat a.xz b.xz` and `pixz` make them: the decoder
/// that uses all cores stops after the first.
struct XzStreams<R: BufRead> {
    /// `None` after the last.
    current: Option<XzDecoder<R>>,
}

impl<R: BufRead> Read for XzStreams<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while let Some(mut decoder) = self.current.take() {
            let length = decoder.read(buffer)?;
            if length > 0 {
                self.current = Some(decoder);
                return Ok(length);
            }
            let mut input = decoder.into_inner();
            skip_padding(&mut input)?;
            if !input.fill_buf()?.is_empty() {
                self.current = Some(xz(input)?);
            }
        }
        Ok(0)
    }
}

/// Members one after the other, and zeros after the last, as gzip(1) reads them: tapes and `dd` pad with zeros.
struct GzipMembers<R: BufRead> {
    /// `None` after the last.
    current: Option<GzDecoder<R>>,
}

impl<R: BufRead> Read for GzipMembers<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while let Some(mut decoder) = self.current.take() {
            let length = decoder.read(buffer)?;
            if length > 0 || buffer.is_empty() {
                self.current = Some(decoder);
                return Ok(length);
            }
            let mut input = decoder.into_inner();
            let zeros = skip_zeros(&mut input)?;
            match input.fill_buf()? {
                [] => {}
                // gzip(1) looks for another member right after one only.
                rest if zeros == 0 && is_member(rest) => {
                    self.current = Some(GzDecoder::new(input));
                }
                _ => {
                    return Err(io::Error::new(
                        io::ErrorKind::InvalidData,
                        "garbage after the data",
                    ));
                }
            }
        }
        Ok(0)
    }
}

/// Whether a gzip member may begin so: its magic, as far as it is at hand (RFC 1952, section 2.3.1).
fn is_member(rest: &[u8]) -> bool {
    rest.starts_with(&[0x1f, 0x8b]) || rest == [0x1f]
}

/// Between streams there may be zeros, in fours.
fn skip_padding(input: &mut impl BufRead) -> io::Result<()> {
    if !skip_zeros(input)?.is_multiple_of(4) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "garbage after the data"));
    }
    Ok(())
}

/// Reads zeros, and says how many there were.
fn skip_zeros(input: &mut impl BufRead) -> io::Result<usize> {
    let mut skipped = 0;
    loop {
        let available = input.fill_buf()?;
        let zeros = available.iter().take_while(|byte| **byte == 0).count();
        let ended = zeros < available.len() || available.is_empty();
        input.consume(zeros);
        skipped += zeros;
        if ended {
            return Ok(skipped);
        }
    }
}

/// Copies a stream to a file, cluster by cluster, and leaves zeros out.
fn unpack(mut stream: impl Read, target: &File, limit: u64) -> Result<()> {
    let mut cluster = cluster_buffer();
    let mut offset = 0;
    loop {
        let length = fill(&mut stream, &mut cluster)?;
        if offset + length as u64 > limit {
            return Err(
                Error::input(format!("it unpacks to more than {limit} bytes")).hint(DECOMPRESS)
            );
        }
        if !is_zero(&cluster[..length]) {
            target.write_all_at(&cluster[..length], offset)?;
        }
        offset += length as u64;
        if (length as u64) < CLUSTER {
            break;
        }
    }
    target.set_len(offset)?;
    Ok(())
}

/// Fills the buffer as far as the stream goes.
fn fill(stream: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match stream.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(length) => filled += length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
