//! `.ova`: the template in one file, for products that import rather than open.
//!
//! A ustar archive whose first member is the OVF (DSP0243, section 5.4). It cannot hold linked
//! clones: a machine made from it takes its name from guestinfo, as any clone made by hand.

use std::fs::File;
use std::io::{self, BufWriter, Read, Seek as _};
use std::path::Path;

use tar::{Builder, EntryType, Header};

use super::definition::{ArtifactFormat, Reading, SharedArtifact};
use super::vmdk;
use crate::apply;
use crate::artifact::batch::Batch;
use crate::disk::{self, Disk as _, Raw};
use crate::util::error::{Error, Result};
use crate::util::sha256::Sha256;
use crate::vmware::Ovf;

pub(super) static FORMAT: ArtifactFormat = ArtifactFormat {
    name: "ova",
    variants: &[],
    node: None,
    shared: Some(SharedArtifact {
        ending: ".ova",
        parent: None,
        variant: None,
        is_public: false,
        is_parallel: true,
        write,
    }),
    disk_in_bundle: None,
    reading: Reading::Never,
    runs_in_place: false,
    has_bmap: false,
    whole: None,
    options: |cluster, _| format!("{:?}", cluster.vm),
};

/// What a ustar header can say of a member's size, in bytes.
const LARGEST_MEMBER: u64 = 0o777_7777_7777;

fn write(path: &Path, batch: &Batch<'_>) -> Result<()> {
    let name = &batch.cluster.name;
    let (ovf_name, disk_name) = (format!("{name}.ovf"), format!("{name}-disk1.vmdk"));

    // Only when it is packed is it known how large it is, which both the OVF and the archive say
    // before it.
    let mut disk = tempfile::tempfile_in(path.parent().unwrap_or(Path::new(".")))?;
    vmdk::write_packed(&disk, &disk_name, batch)?;
    let packed = disk.metadata()?.len();
    if packed > LARGEST_MEMBER {
        return Err(Error::failure(format!("{packed} packed bytes are too many for an OVA"))
            .hint("`vmwarevm` has no such limit"));
    }
    let ovf = Ovf {
        name,
        arch: batch.prepared.arch,
        vm: &batch.cluster.vm,
        capacity: batch.prepared.disk.size(),
        disk_name: &disk_name,
        packed,
    };
    let ovf = ovf.render();
    let manifest = format!(
        "SHA256({ovf_name})= {}\nSHA256({disk_name})= {}\n",
        Sha256::of(&ovf),
        disk::sha256_of_disk(&Raw::from_file(disk.try_clone()?, false)?)?,
    );

    let mut archive = Archive {
        builder: Builder::new(BufWriter::with_capacity(1 << 20, File::create_new(path)?)),
        time: u64::try_from(apply::clock()?).unwrap_or_default(),
    };
    archive.add(&ovf_name, ovf.len() as u64, ovf.as_bytes())?;
    archive.add(&format!("{name}.mf"), manifest.len() as u64, manifest.as_bytes())?;
    disk.rewind()?;
    archive.add(&disk_name, packed, disk)?;
    let out = archive.builder.into_inner()?;
    out.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
    Ok(())
}

struct Archive {
    builder: Builder<BufWriter<File>>,
    /// Seconds since 1970.
    time: u64,
}

impl Archive {
    fn add(&mut self, name: &str, size: u64, content: impl Read) -> Result<()> {
        let mut header = Header::new_ustar();
        header.set_path(name)?;
        header.set_entry_type(EntryType::Regular);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(self.time);
        header.set_size(size);
        header.set_cksum();
        self.builder.append(&header, content)?;
        Ok(())
    }
}
