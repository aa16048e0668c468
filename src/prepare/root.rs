//! A base's root file system as a folder, in one of two ways, and back into the image.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::mount::UnmountFlags;

use super::mkfs::{Ext4, Place};
use super::unpack::{Device, unpack};
use super::{Sandbox, clock};
use crate::disk::{Raw, Slice};
use crate::error::{Context, Result};
use crate::fs::{self as trees, Namespace, Tree};
use crate::tool::Tool;

/// A root file system that can be worked in.
pub(super) struct Root<'a> {
    folder: PathBuf,
    place: &'a Place,
    way: Way,
}

enum Way {
    /// The image itself is mounted.
    Mounted,
    /// Unpacked, to be packed again into a file system like the one it came from.
    Unpacked { ext4: Ext4, devices: Vec<Device> },
}

impl<'a> Root<'a> {
    /// Makes the root reachable below `scratch`.
    pub(super) fn open(
        sandbox: Sandbox,
        base: &Path,
        place: &'a Place,
        scratch: &Path,
    ) -> Result<Self> {
        let folder = scratch.join("root");
        fs::create_dir_all(&folder)?;
        let way = match sandbox {
            Sandbox::Loop => {
                mount(place, &folder)?;
                Way::Mounted
            }
            Sandbox::Userns => {
                let ext4 = Ext4::read(base, place.offset)?;
                let devices = unpack(base, &folder).context(|| {
                    format!("unpacking the root file system of `{}`", base.display())
                })?;
                Way::Unpacked { ext4, devices }
            }
        };
        Ok(Self { folder, place, way })
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.folder
    }

    /// Puts everything into the image.
    pub(super) fn close(self) -> Result<()> {
        match self.way {
            Way::Mounted => unmount(self.place, &self.folder),
            Way::Unpacked { ext4, devices } => {
                ext4.make(self.place, &self.folder)?;
                make_devices(self.place, &devices)
            }
        }
    }
}

/// mount(8) has the loop device cleared by the kernel: none outlives a killed build.
fn mount(place: &Place, folder: &Path) -> Result<()> {
    let options = format!("loop,offset={},sizelimit={}", place.offset, place.size);
    Tool::new("mount", "mount")
        .args(["-t", "ext4", "-o", &options])
        .arg(&place.disk)
        .arg(folder)
        .run()
        .context(|| "mounting the root file system")?;
    Ok(())
}

fn unmount(place: &Place, folder: &Path) -> Result<()> {
    // What was deleted must not stay in the image: neither its bytes nor their room.
    Tool::new("fstrim", "util-linux").arg(folder).run().context(|| "freeing unused blocks")?;
    rustix::mount::unmount(folder, UnmountFlags::empty())
        .map_err(std::io::Error::from)
        .context(|| "unmounting the root file system")?;
    // Or it would name a folder of this machine for ever.
    let image = format!("{}?offset={}", place.disk.display(), place.offset);
    Tool::new("tune2fs", "e2fsprogs").args(["-M", "/", &image]).run()?;
    Ok(())
}

/// A user namespace cannot make devices; in the image they are two numbers like any others.
fn make_devices(place: &Place, devices: &[Device]) -> Result<()> {
    if devices.is_empty() {
        return Ok(());
    }
    let disk = Arc::new(Raw::open_writable(&place.disk)?);
    let partition = Slice::new(disk, place.offset..place.offset + place.size)?;
    let mut tree = Namespace::new(trees::open(Arc::new(partition), clock())?);
    for device in devices {
        tree.create_node(&device.path, device.file_type, device.number, device.attributes)?;
    }
    tree.flush()
}
