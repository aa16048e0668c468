//! The reader: imago finds and unpacks clusters, backing files are opened here.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use imago::qcow2::Qcow2;
use imago::{FormatAccess, Mapping};

use super::header::Header;
use crate::disk::chain::{self, Chain};
use crate::disk::layered::{Layered, LayeredDisk, Source, damaged};
use crate::disk::{Disk, open};
use crate::util::error::{Context, Result};

/// A qcow2 image open for reading.
struct Image {
    file: File,
    length: u64,
    header: Header,
    access: FormatAccess<imago::file::File>,
    /// The compressed cluster read last, with its index: file systems read it block by block.
    unpacked: Mutex<Unpacked>,
    backing: Option<Arc<dyn Disk>>,
}

type Unpacked = Option<(u64, Arc<Vec<u8>>)>;

/// Opens an image and, through its backing file names, all that it lies on.
///
/// A name may stay in the image's own folder; an absolute one may lead anywhere, but only to
/// an image: qcow2, VMDK, or a raw one with a boot sector. A stranger's image can so
/// not show its user's other files as a disk.
pub(in crate::disk) fn open_chain(path: &Path, chain: &mut Chain) -> Result<Arc<dyn Disk>> {
    chain.enter(path)?;
    let file = chain::open_regular(path)?;
    let context = || format!("`{}` cannot be read as qcow2", path.display());
    let header = Header::read(&file).context(context)?;
    let backing = match &header.backing {
        Some(backing) => Some(open::open_backing(path, backing, chain)?),
        None => None,
    };
    let access = access(&file).context(context)?;
    let length = file.metadata()?.len();
    let unpacked = Mutex::new(None);
    Ok(Arc::new(LayeredDisk(Image { file, length, header, access, unpacked, backing })))
}

/// imago's view of one image alone, with nothing below.
fn access(file: &File) -> io::Result<FormatAccess<imago::file::File>> {
    let storage = imago::file::File::try_from(file.try_clone()?)?;
    let mut image = Qcow2::<_, FormatAccess<_>>::open_image(storage, false)?;
    image.set_backing(None);
    image.set_data_file(None);
    Ok(FormatAccess::new(image))
}

impl Image {
    /// Unpacks the compressed cluster in which `offset` lies, and copies from it.
    fn read_packed(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let cluster_size = self.header.cluster_size();
        let index = offset / cluster_size;
        let start = usize::try_from(offset % cluster_size).map_err(io::Error::other)?;
        let held = self.unpacked().clone();
        let cluster = if let Some((_, cluster)) = held.filter(|(held, _)| *held == index) {
            cluster
        } else {
            let length = cluster_size.min(self.size() - index * cluster_size);
            let mut cluster = vec![0; usize::try_from(length).map_err(io::Error::other)?];
            self.access.read(cluster.as_mut_slice(), index * cluster_size)?;
            let cluster = Arc::new(cluster);
            *self.unpacked() = Some((index, Arc::clone(&cluster)));
            cluster
        };
        let part = cluster.get(start..start + buffer.len());
        buffer.copy_from_slice(part.ok_or_else(|| damaged("a cluster ends too early"))?);
        Ok(())
    }

    /// A thread that panicked while it held the lock left a whole cluster or none.
    fn unpacked(&self) -> MutexGuard<'_, Unpacked> {
        self.unpacked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads from clusters that must begin inside the file; the end of the last one may be
    /// missing, as QEMU leaves it when nothing but zeros would follow.
    fn read_plain(&self, buffer: &mut [u8], place: u64) -> io::Result<()> {
        let last = place + (buffer.len() as u64).saturating_sub(1);
        if last - last % self.header.cluster_size() >= self.length {
            return Err(damaged("the image is cut short"));
        }
        let inside = self.length.saturating_sub(place).min(buffer.len() as u64);
        let (data, past) = buffer.split_at_mut(usize::try_from(inside).map_err(io::Error::other)?);
        past.fill(0);
        self.file.read_exact_at(data, place)
    }
}

/// The place of compressed clusters, which have no offset of their own.
const PACKED: u64 = u64::MAX;

impl Layered for Image {
    fn size(&self) -> u64 {
        self.header.size
    }

    fn source(&self, offset: u64, wanted: u64) -> io::Result<(Source, u64)> {
        let in_cluster = self.header.cluster_size() - offset % self.header.cluster_size();
        let (mapping, length) = self.access.get_mapping(offset, wanted)?;
        if length == 0 {
            return Err(damaged("a cluster has no length"));
        }
        #[expect(
            clippy::wildcard_enum_match_arm,
            reason = "the library adds kinds of clusters; none is read unseen"
        )]
        let read = match mapping {
            Mapping::Raw { offset, .. } => (Source::Here(offset), length),
            Mapping::Zero { explicit: true, .. } => (Source::Zeros, length),
            Mapping::Zero { .. } => (Source::Below, length),
            Mapping::Special { .. } => (Source::Here(PACKED), length.min(in_cluster)),
            _ => return Err(damaged("a cluster of unknown kind")),
        };
        Ok(read)
    }

    fn read_here(&self, buffer: &mut [u8], place: u64, offset: u64) -> io::Result<()> {
        if place == PACKED {
            return self.read_packed(buffer, offset);
        }
        self.read_plain(buffer, place)
    }

    fn below(&self) -> Option<&Arc<dyn Disk>> {
        self.backing.as_ref()
    }
}
