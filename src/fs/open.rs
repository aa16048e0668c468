//! Opening whatever file system fills a disk.

use std::sync::Arc;

use super::ext4::Ext4;
use super::fat::Fat;
use super::probe::{Kind, probe};
use super::volume::Volume;
use crate::disk::Disk;
use crate::util::error::{Error, Result};

/// Opens the file system that fills `disk`, for writing when the disk can be written.
///
/// `clock` (seconds since 1970) becomes the time of everything that is changed. File systems that
/// are recognised but not supported are refused by name.
pub fn open(disk: Arc<dyn Disk>, clock: i64) -> Result<Box<dyn Volume>> {
    let kind = probe(&*disk)?;
    match kind {
        Kind::Ext4 => Ok(Box::new(Ext4::open(disk, clock)?)),
        Kind::Fat => Ok(Box::new(Fat::open(disk, clock)?)),
        Kind::Empty => Err(Error::input("it holds no file system: its first blocks are zeros")),
        Kind::Unknown => Err(Error::input("it holds no file system that is known here")),
        Kind::Iso9660 => Err(Error::input(format!("{} is not supported", kind.name())).hint(
            "this is a CD, which installs or is only read: start from the same system's disk image (raw or qcow2)",
        )),
        Kind::ExFat
        | Kind::Ntfs
        | Kind::Btrfs
        | Kind::Xfs
        | Kind::F2fs
        | Kind::Lvm
        | Kind::Luks
        | Kind::BitLocker
        | Kind::Raid
        | Kind::Bcache
        | Kind::Ext4Journal
        | Kind::Swap
        | Kind::Squashfs
        | Kind::Erofs
        | Kind::HfsPlus
        | Kind::Apfs
        | Kind::Bcachefs => Err(Error::input(format!("{} is not supported", kind.name()))
            .hint("nodeforge edits ext4 and FAT; use an image whose root file system is ext4")),
    }
}
