//! A base's root file system as a folder, in one of two ways, and back into the image.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::mount::UnmountFlags;

use super::Sandbox;
use super::mkfs::{Ext4, Place};
use super::unpack;
use crate::error::{Context, Error, Result};
use crate::fs::FileType;
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
    Unpacked { ext4: Ext4, devices: Vec<unpack::Device> },
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
                let devices = unpack::unpack(base, &folder)
                    .context(|| format!("unpacking the root file system of `{}`", base.display()))?;
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

/// The partition has grown already; its file system follows while mounted, which needs no fsck
/// before and no loop device that outlives a killed build: mount(8) makes it clear itself.
fn mount(place: &Place, folder: &Path) -> Result<()> {
    let options = format!("loop,offset={},sizelimit={}", place.offset, place.size);
    Tool::new("mount", "mount")
        .args(["-t", "ext4", "-o", &options])
        .arg(&place.disk)
        .arg(folder)
        .run()
        .context(|| "mounting the root file system")?;
    let device = mounted_device(folder)?;
    Tool::new("resize2fs", "e2fsprogs")
        .arg(&device)
        .run()
        .context(|| "growing the root file system")?;
    Ok(())
}

fn mounted_device(folder: &Path) -> Result<String> {
    let output = Tool::new("findmnt", "util-linux")
        .args(["--noheadings", "--output", "SOURCE", "--mountpoint"])
        .arg(folder)
        .run()?;
    Ok(output.trim().to_owned())
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
fn make_devices(place: &Place, devices: &[unpack::Device]) -> Result<()> {
    if devices.is_empty() {
        return Ok(());
    }
    let image = format!("{}?offset={}", place.disk.display(), place.offset);
    for device in devices {
        let path = device.path.to_string_lossy();
        if path.contains(['"', '\n']) {
            return Err(Error::failure(format!("cannot make the device `{path}`")));
        }
        let kind = if device.file_type == FileType::BlockDevice { 'b' } else { 'c' };
        let format = if kind == 'b' { 0o060_000 } else { 0o020_000 };
        let commands = [
            format!("mknod \"{path}\" {kind} {} {}", device.number.0, device.number.1),
            format!("sif \"{path}\" mode 0{:o}", format | device.attributes.mode),
            format!("sif \"{path}\" uid {}", device.attributes.uid),
            format!("sif \"{path}\" gid {}", device.attributes.gid),
        ];
        for command in commands {
            debugfs(&image, &command)?;
        }
    }
    Ok(())
}

/// debugfs exits 0 even when its command failed; only its complaints tell.
fn debugfs(image: &str, command: &str) -> Result<()> {
    let (output, _) =
        Tool::new("debugfs", "e2fsprogs").args(["-w", "-R", command, image]).run_for_code()?;
    // The first line is its version.
    if output.stderr.lines().count() > 1 {
        return Err(output.failure());
    }
    Ok(())
}
