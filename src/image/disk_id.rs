//! A new id for the disk, and for all that names its partitions by the old one.

use std::path::{Path, PathBuf};

use regex::bytes::Regex;

use super::{Image, survey};
use crate::fs::{FileType, Tree};
use crate::guest::files::TEXT_LIMIT;
use crate::guest::fstab;
use crate::table::{self, DiskId, Scheme};
use crate::util::error::{Error, Result};

/// Files that name partitions: who mounts them, and who boots from them.
const FILES: &[&str] = &[
    "/etc/fstab",
    "/etc/crypttab",
    "/etc/default/grub",
    "/etc/kernel/cmdline",
    "/boot/cmdline.txt",
    "/boot/firmware/cmdline.txt",
    "/boot/extlinux/extlinux.conf",
    "/boot/grub/grub.cfg",
    "/boot/efi/EFI/debian/grub.cfg",
];

/// Folders of boot-loader entries, each a file (Boot Loader Specification, "Type #1").
const ENTRIES: &[&str] =
    &["/boot/loader/entries", "/boot/efi/loader/entries", "/boot/firmware/loader/entries"];

impl Image {
    /// Gives the disk a new id. The ids of an MBR's partitions begin with it: fstab, cmdline.txt
    /// and boot-loader entries that name partitions by them follow. A GPT's partitions have ids of
    /// their own, which stay.
    ///
    /// `Input` when the id is of the other kind of table, or there is no table.
    pub fn set_disk_id(&mut self, id: DiskId) -> Result<()> {
        let table = self.table.as_ref();
        let table = table.ok_or_else(|| Error::input("the disk has no partition table"))?;
        if let (Scheme::Mbr { disk_id: old }, DiskId::Mbr(new)) = (&table.scheme, id) {
            self.rename_partitions(*old, new)?;
        }
        table::set_disk_id(&*self.disk, id)?;
        let (table, parts) = survey(&self.disk)?;
        self.table = table;
        for (part, now) in self.parts.iter_mut().zip(parts) {
            part.partition = now.partition;
        }
        Ok(())
    }

    fn rename_partitions(&mut self, old: u32, new: u32) -> Result<()> {
        let pattern = Regex::new(&fstab::names_by_disk_id(old)).expect("it is made of digits");
        for path in self.files_with_partitions()? {
            let Some(path) = self.resolve(&path)? else { continue };
            let Some(text) = self.read(&path, TEXT_LIMIT)? else { continue };
            let renamed = pattern.replace_all(&text, format!("${{1}}{new:08x}-${{2}}").as_bytes());
            if *renamed != text {
                self.write(&path, &renamed, None)?;
            }
        }
        Ok(())
    }

    fn files_with_partitions(&self) -> Result<Vec<PathBuf>> {
        let mut files: Vec<PathBuf> = FILES.iter().map(PathBuf::from).collect();
        for folder in ENTRIES {
            let Some(folder) = self.resolve(Path::new(folder))? else { continue };
            let is_folder =
                self.metadata(&folder)?.is_some_and(|it| it.file_type == FileType::Directory);
            let entries = if is_folder { self.read_dir(&folder)? } else { Vec::new() };
            let paths = entries.iter().map(|entry| folder.join(&entry.name));
            let is_entry = |path: &PathBuf| path.extension().is_some_and(|it| it == "conf");
            files.extend(paths.filter(is_entry));
        }
        Ok(files)
    }
}
