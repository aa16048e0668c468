//! The kernel of an image whose firmware QEMU does not have, started by QEMU itself.

use std::path::{Path, PathBuf};
use std::{fs, io};

use crate::fs::{FileType, Tree};
use crate::image::copy::FileContent;
use crate::util::error::{Context, Error, Result};

/// Where a Raspberry Pi's firmware finds the kernel's arguments.
const COMMAND_LINE: &str = "/boot/firmware/cmdline.txt";

/// Its length is the kernel's to bound; 4 KiB is all that arm64 takes.
const LONGEST: u64 = 4096;

/// A kernel outside of its image.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Kernel {
    /// The compressed kernel.
    pub(super) file: PathBuf,
    /// What it unpacks first.
    pub(super) initrd: PathBuf,
    /// Its arguments.
    pub(super) command_line: String,
}

impl Kernel {
    /// Copies the kernel of a Raspberry Pi's image into `folder`; `None` for images that UEFI boots.
    ///
    /// Its console is moved to where QEMU's `virt` machine has one.
    pub(super) fn take(tree: &dyn Tree, folder: &Path) -> Result<Option<Self>> {
        let Some(line) = tree.read(Path::new(COMMAND_LINE), LONGEST)? else { return Ok(None) };
        let line = String::from_utf8_lossy(&line);
        let version = newest(tree)?.ok_or_else(|| {
            Error::input("the image has no kernel in /boot that could be booted in QEMU")
        })?;
        let copy = |name: &str| -> Result<PathBuf> {
            let inside = PathBuf::from(format!("/boot/{name}-{version}"));
            let outside = folder.join(name);
            let copied = fs::File::create(&outside)
                .and_then(|mut file| io::copy(&mut FileContent::new(tree, &inside), &mut file));
            copied.context(|| format!("copying `{}` out of the image", inside.display()))?;
            Ok(outside)
        };
        Ok(Some(Self {
            file: copy("vmlinuz")?,
            initrd: copy("initrd.img")?,
            command_line: format!("{} console=ttyAMA0", line.trim()),
        }))
    }
}

/// The version of the kernel that sorts last, of those that have an initrd.
fn newest(tree: &dyn Tree) -> Result<Option<String>> {
    let names = tree.read_dir(Path::new("/boot"))?;
    let files: Vec<_> = names
        .iter()
        .filter(|entry| entry.file_type == FileType::File)
        .filter_map(|entry| entry.name.to_str())
        .collect();
    let versions = files.iter().filter_map(|name| name.strip_prefix("vmlinuz-"));
    let complete = versions.filter(|it| files.contains(&format!("initrd.img-{it}").as_str()));
    Ok(complete.max().map(str::to_owned))
}
