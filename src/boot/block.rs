//! A machine's disks, spelled out for QEMU: which file each is in, which format it has, what lies below.
//!
//! QEMU guesses none of it, and so the bytes of an image and the names in it decide nothing there:
//! [`disk`] has read them, and refused what it would not open itself.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Seek as _};
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::io::FdFlags;
use serde_json::{Value, json};

use super::firmware::Firmware;
use crate::disk::{self, ChainLink, Delta, ExtentList, ExtentPlace, Format, Scratch};
use crate::util::error::{Context as _, Error, Result};

/// Disks on the command line, and the files that must be open for as long as QEMU starts.
#[derive(Default)]
pub(super) struct Drives {
    nodes: Vec<Value>,
    /// What QEMU inherits, by the numbers that it knows them by.
    inherited: Vec<File>,
}

impl Drives {
    /// Adds the disk that the image's `links` make up, as the node `disk`. What a machine writes to it
    /// goes to a file without a name, which ends with QEMU and begins with `delta`. `folder` takes
    /// descriptors of our own.
    pub(super) fn add_disk(
        &mut self,
        links: &[ChainLink],
        size: u64,
        delta: &Delta,
        folder: &Path,
    ) -> Result<()> {
        let mut below = Value::Null;
        for (index, link) in links.iter().enumerate().rev() {
            let name = format!("image{index}");
            self.nodes.push(node_of(link, &name, below, folder)?);
            below = name.into();
        }
        let mut overlay = Self::nameless()?;
        disk::qcow2::write(&mut overlay, size, delta, None)
            .context(|| "making a temporary overlay")?;
        let file = self.inherit(overlay)?;
        self.nodes.push(json!({
            "driver": "qcow2", "node-name": "disk", "file": file, "backing": below,
        }));
        Ok(())
    }

    /// Adds UEFI's code as the node `firmware`, and as `variables` what the machine keeps there: a copy.
    pub(super) fn add_firmware(&mut self, firmware: &Firmware) -> Result<()> {
        self.nodes.push(json!({
            "driver": "raw", "node-name": "firmware", "read-only": true,
            "file": { "driver": "file", "filename": firmware.code, "read-only": true },
        }));
        let mut variables = Self::nameless()?;
        let copied = File::open(firmware.variables)
            .and_then(|mut template| io::copy(&mut template, &mut variables));
        copied.context(|| format!("copying `{}`", firmware.variables))?;
        let file = self.inherit(variables)?;
        self.nodes.push(json!({ "driver": "raw", "node-name": "variables", "file": file }));
        Ok(())
    }

    /// Puts it all on the command line. The command must be started before this is dropped.
    pub(super) fn add_to(&self, command: &mut Command) {
        for (set, file) in self.inherited.iter().enumerate() {
            command.arg("-add-fd").arg(format!("fd={},set={set}", file.as_raw_fd()));
        }
        for node in &self.nodes {
            command.arg("-blockdev").arg(node.to_string());
        }
    }

    fn nameless() -> Result<File> {
        let folder = Scratch::default().folder;
        tempfile::tempfile_in(&folder)
            .context(|| format!("making a temporary file in `{}`", folder.display()))
    }

    /// QEMU's name for a file that it gets open.
    fn inherit(&mut self, mut file: File) -> Result<Value> {
        file.rewind()?;
        rustix::io::fcntl_setfd(&file, FdFlags::empty()).map_err(io::Error::from)?;
        let set = self.inherited.len();
        self.inherited.push(file);
        Ok(json!({ "driver": "file", "filename": format!("/dev/fdset/{set}") }))
    }
}

/// One image, read-only, over the node `below`.
fn node_of(link: &ChainLink, name: &str, below: Value, folder: &Path) -> Result<Value> {
    let (driver, file, has_backing) = match link.format {
        Format::Raw => ("raw", file_of(&link.path)?, false),
        Format::Device => ("raw", device_of(&link.path)?, false),
        Format::Qcow2 => ("qcow2", file_of(&link.path)?, true),
        Format::Vmdk => match &link.parts {
            None => ("vmdk", file_of(&link.path)?, true),
            Some(parts) => {
                let descriptor = folder.join(format!("{name}.vmdk"));
                std::fs::write(&descriptor, descriptor_of(parts, name, folder)?)
                    .context(|| format!("writing `{}`", descriptor.display()))?;
                ("vmdk", file_of(&descriptor)?, true)
            }
        },
        Format::Xz | Format::Zstd | Format::Gzip => {
            return Err(compressed(&link.path));
        }
    };
    let mut node = json!({
        "driver": driver, "node-name": name, "read-only": true, "file": file,
    });
    // Null: nothing lies below, whatever the image says.
    if has_backing {
        node["backing"] = below;
    }
    Ok(node)
}

/// Refuses a disk that QEMU cannot read, before anything is unpacked.
pub fn refuse_compressed(path: &Path) -> Result<()> {
    if disk::probe(path)?.is_compressed() { Err(compressed(path)) } else { Ok(()) }
}

fn compressed(path: &Path) -> Error {
    Error::input(format!("`{}` is compressed; QEMU cannot boot it", path.display()))
        .hint("boot the raw or qcow2 artifact of the same node")
}

fn file_of(path: &Path) -> Result<Value> {
    Ok(json!({ "driver": "file", "filename": utf8(path)?, "read-only": true }))
}

fn device_of(path: &Path) -> Result<Value> {
    Ok(json!({ "driver": "host_device", "filename": utf8(path)?, "read-only": true }))
}

fn utf8(path: &Path) -> Result<&str> {
    path.to_str().ok_or_else(|| {
        Error::input(format!("QEMU cannot be given `{}`: it is not UTF-8", path.display()))
    })
}

/// A descriptor of our own: of the image's we take what we have understood of it, and QEMU gets no
/// chance to understand something else.
fn descriptor_of(parts: &ExtentList, name: &str, folder: &Path) -> Result<String> {
    let mut text = format!(
        "# Disk DescriptorFile\nversion=1\nCID={:08x}\nparentCID={:08x}\n\
         createType=\"twoGbMaxExtentFlat\"\n\n",
        parts.cid,
        parts.parent.unwrap_or(u32::MAX)
    );
    for (index, part) in parts.extents.iter().enumerate() {
        let sectors = part.sectors;
        let line = match &part.content {
            ExtentPlace::Sparse(path) => format!("RW {sectors} SPARSE \"{}\"", quotable(path)?),
            ExtentPlace::Flat(path, from) => {
                format!("RW {sectors} FLAT \"{}\" {from}", quotable(path)?)
            }
            // QEMU knows no such extents.
            ExtentPlace::Zeros => {
                let zeros = folder.join(format!("{name}-zeros{index}"));
                File::create_new(&zeros)
                    .and_then(|file| file.set_len(sectors * 512))
                    .context(|| format!("making `{}`", zeros.display()))?;
                format!("RW {sectors} FLAT \"{}\" 0", quotable(&zeros)?)
            }
        };
        writeln!(text, "{line}").expect("writing to a string");
    }
    Ok(text)
}

/// The absolute path of an extent, as a descriptor can have it: QEMU reads 511 bytes of it.
fn quotable(path: &Path) -> Result<String> {
    let path: PathBuf = path.canonicalize().context(|| format!("opening `{}`", path.display()))?;
    let name = utf8(&path)?;
    if name.len() > 511 || name.contains(['"', '\n', '\r']) {
        return Err(Error::input(format!(
            "QEMU cannot be given `{}` as an extent",
            path.display()
        ))
        .hint("give the folder that it is in a shorter and simpler name"));
    }
    Ok(name.to_owned())
}
