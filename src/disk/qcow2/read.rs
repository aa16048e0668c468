//! The reader: the clusters of one image, and through its backing file names all that it lies on.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use flate2::bufread::DeflateDecoder;

use super::header::{BackingName, Compression, Header};
use super::tables::{PACKED, Tables};
use crate::disk::Disk;
use crate::disk::chain::Chain;
use crate::disk::format::Format;
use crate::disk::layered::{ByteSource, Layered, LayeredDisk, damaged};
use crate::util::error::{Context, Result};

/// log2 of the largest zstd window: a cluster has 2 MiB at most.
const ZSTD_WINDOW: u32 = 22;

/// Opens the file that an image names as its backing, which may be of any format.
pub(in crate::disk) type OpenBacking =
    fn(&Path, &BackingName, &mut Chain<'_>) -> Result<Arc<dyn Disk>>;

/// A qcow2 image open for reading.
struct Qcow2Image {
    file: File,
    length: u64,
    tables: Tables,
    /// The compressed cluster read last, with its entry: file systems read it block by block.
    unpacked: Mutex<UnpackedCluster>,
    backing: Option<Arc<dyn Disk>>,
}

type UnpackedCluster = Option<(u64, Arc<Vec<u8>>)>;

/// Opens an image, whose file is `file`, and, through its backing file names, all that it lies on.
pub(in crate::disk) fn open_chain(
    path: &Path,
    file: File,
    chain: &mut Chain<'_>,
    open_backing: OpenBacking,
) -> Result<Arc<dyn Disk>> {
    chain.enter(path, Format::Qcow2)?;
    let context = || format!("`{}` cannot be read as qcow2", path.display());
    let header = Header::read(&file).context(context)?;
    let backing = match &header.backing {
        Some(backing) => Some(open_backing(path, backing, chain)?),
        None => None,
    };
    let length = file.metadata()?.len();
    let (tables, unpacked) = (Tables::new(header), Mutex::new(None));
    Ok(Arc::new(LayeredDisk(Qcow2Image { file, length, tables, unpacked, backing })))
}

impl Qcow2Image {
    /// Unpacks the compressed cluster in which `offset` lies and which `entry` describes, and copies
    /// from it.
    fn read_packed(&self, buffer: &mut [u8], entry: u64, offset: u64) -> io::Result<()> {
        let cluster_size = self.tables.header().cluster_size();
        let start = usize::try_from(offset % cluster_size).map_err(io::Error::other)?;
        let held = self.unpacked().clone();
        let cluster = if let Some((_, cluster)) = held.filter(|(held, _)| *held == entry) {
            cluster
        } else {
            let first = offset - offset % cluster_size;
            let cluster = self.unpack(entry, cluster_size.min(self.size() - first))?;
            let cluster = Arc::new(cluster);
            *self.unpacked() = Some((entry, Arc::clone(&cluster)));
            cluster
        };
        let part = cluster.get(start..start + buffer.len());
        buffer.copy_from_slice(part.ok_or_else(|| damaged("a cluster ends too early"))?);
        Ok(())
    }

    /// The first `wanted` bytes of the compressed cluster that `entry` describes.
    fn unpack(&self, entry: u64, wanted: u64) -> io::Result<Vec<u8>> {
        let (place, length) = self.tables.packed(entry);
        // Of the last sector, what nobody needs may be missing.
        let length = length.min(self.length.saturating_sub(place));
        let mut packed = vec![0; usize::try_from(length).map_err(io::Error::other)?];
        self.file.read_exact_at(&mut packed, place)?;
        let mut cluster = vec![0; usize::try_from(wanted).map_err(io::Error::other)?];
        let unpacked = match self.tables.header().compression {
            Compression::Deflate => DeflateDecoder::new(packed.as_slice()).read_exact(&mut cluster),
            Compression::Zstd => {
                let mut decoder = zstd::stream::read::Decoder::with_buffer(packed.as_slice())?;
                decoder.window_log_max(ZSTD_WINDOW)?;
                decoder.single_frame().read_exact(&mut cluster)
            }
        };
        unpacked.map_err(|_| damaged("a compressed cluster is damaged"))?;
        Ok(cluster)
    }

    /// A thread that panicked while it held the lock left a whole cluster or none.
    fn unpacked(&self) -> MutexGuard<'_, UnpackedCluster> {
        self.unpacked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads from clusters that must begin inside the file; the end of the last one may be
    /// missing, as QEMU leaves it when nothing but zeros would follow.
    fn read_plain(&self, buffer: &mut [u8], place: u64) -> io::Result<()> {
        let last = place + (buffer.len() as u64).saturating_sub(1);
        if last - last % self.tables.header().cluster_size() >= self.length {
            return Err(damaged("the image is cut short"));
        }
        let inside = self.length.saturating_sub(place).min(buffer.len() as u64);
        let (data, past) = buffer.split_at_mut(usize::try_from(inside).map_err(io::Error::other)?);
        past.fill(0);
        self.file.read_exact_at(data, place)
    }
}

impl Layered for Qcow2Image {
    fn size(&self) -> u64 {
        self.tables.header().size
    }

    fn source(&self, offset: u64, wanted: u64) -> io::Result<(ByteSource, u64)> {
        self.tables.source(&self.file, offset, wanted)
    }

    fn read_here(&self, buffer: &mut [u8], place: u64, offset: u64) -> io::Result<()> {
        if place & PACKED != 0 {
            return self.read_packed(buffer, place, offset);
        }
        self.read_plain(buffer, place)
    }

    fn below(&self) -> Option<&Arc<dyn Disk>> {
        self.backing.as_ref()
    }
}
