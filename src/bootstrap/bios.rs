//! GRUB for a PC's BIOS, beside the one for UEFI: what `grub-install` does, on an image that is no
//! device.
//!
//! The BIOS runs the first sector, `boot.img`, which loads the first sector of `core.img`, which
//! loads the rest. Both are told by numbers of sectors. Source: GRUB 2.12, `include/grub/i386/pc/boot.h`
//! for the places, `util/setup.c` for what belongs there, `grub-core/boot/i386/pc/boot.S` and
//! `diskboot.S` for what is made of it.

use std::fs;
use std::path::{Path, PathBuf};

use super::layout::{BIOS_BOOT, BootstrapLayout, SECTOR};
use crate::change::Action;
use crate::disk::{Disk, Raw};
use crate::util::error::{Context, Error, Result};

/// Brings `boot.img` and the modules that `core.img` is made of.
pub(super) const PACKAGE: &str = "grub-pc-bin";

const BOOT_IMAGE: &str = "usr/lib/grub/i386-pc/boot.img";
const CORE_IMAGE: &str = "boot/nodeforge-core.img";

/// All that a menu asks for, ours and that of `update-grub`: there are no modules in the root, and no link
/// to those of the package, through which a `grub-install` on the node would remove them.
const MODULES: &str = "biosdisk part_gpt ext2 search search_fs_uuid search_fs_file normal configfile linux \
                       test echo true loadenv gzio all_video minicmd sleep halt reboot";

/// `GRUB_BOOT_MACHINE_KERNEL_SECTOR`: the sector at which `core.img` begins, 8 bytes.
const KERNEL_SECTOR: usize = 0x5c;
/// `GRUB_BOOT_MACHINE_DRIVE_CHECK`: a jump of two bytes over the work-around for a BIOS that calls a
/// hard disk a floppy's number. `grub-install` takes the jump out where the disk is no floppy.
const DRIVE_CHECK: usize = 0x66;
/// `GRUB_BOOT_MACHINE_BPB_START` and `…_END`: what a file system may keep there stays.
const BPB: std::ops::Range<usize> = 0x03..0x5a;
/// `GRUB_BOOT_MACHINE_WINDOWS_NT_MAGIC` to `…_PART_END`: the disk's id and the protective partition.
const TABLE: std::ops::Range<usize> = 0x1b8..0x1fe;
/// The last of `diskboot.img`'s lists of sectors: start, 8 bytes; count, 2; segment, 2, which
/// `grub-mkimage` filled in.
const BLOCK_LIST: usize = 0x1f4;
/// `GRUB_BOOT_I386_PC_KERNEL_SEG` and a sector behind it, in paragraphs.
const SEGMENT: u16 = 0x820;

/// What makes `core.img` in the new root, `$1`, with the root's own GRUB.
pub(super) fn recipe(layout: &BootstrapLayout) -> String {
    format!(
        "printf '%s\\n' 'search.fs_uuid {} root' 'set prefix=($root)/boot/grub' >\"$1/{CORE_IMAGE}.cfg\" && \
         chroot \"$1\" grub-mkimage --format=i386-pc --prefix=/boot/grub --config=/{CORE_IMAGE}.cfg \
         --output=/{CORE_IMAGE} {MODULES} && rm \"$1/{CORE_IMAGE}.cfg\"",
        layout.root_uuid
    )
}

/// What was made in the root for a moment only.
pub(super) fn spent() -> Action {
    Action::Remove { path: format!("/{CORE_IMAGE}") }
}

/// GRUB's two images, outside of the root.
pub(super) struct BiosImages {
    boot: PathBuf,
    core: PathBuf,
}

impl BiosImages {
    pub(super) fn in_folder(folder: &Path) -> Self {
        Self { boot: folder.join("boot.img"), core: folder.join("core.img") }
    }

    /// Where they are in the root, and where they go.
    pub(super) fn in_root(&self) -> [(PathBuf, PathBuf); 2] {
        [(BOOT_IMAGE.into(), self.boot.clone()), (CORE_IMAGE.into(), self.core.clone())]
    }

    /// Writes them to the disk, and removes them.
    pub(super) fn install(&self, disk: &Path) -> Result<()> {
        let read = |path: &Path| fs::read(path).context(|| "cannot read GRUB's image");
        let (boot, core) = (read(&self.boot)?, read(&self.core)?);
        write(&Raw::open_writable(disk)?, &boot, core)?;
        fs::remove_file(&self.boot)?;
        fs::remove_file(&self.core)?;
        Ok(())
    }
}

/// Writes `boot.img` to the first sector and `core.img` to the BIOS boot partition.
fn write(disk: &dyn Disk, boot: &[u8], mut core: Vec<u8>) -> Result<()> {
    let sector = usize::try_from(SECTOR).unwrap_or(usize::MAX);
    let sectors = u16::try_from(core.len().div_ceil(sector)).unwrap_or(u16::MAX);
    let has_room = (2..=BIOS_BOOT.sectors).contains(&u64::from(sectors));
    if boot.len() != sector || !has_room || core[BLOCK_LIST + 10..][..2] != SEGMENT.to_le_bytes() {
        return Err(Error::failure(format!(
            "`{PACKAGE}` does not have the GRUB that is known here"
        )));
    }
    core.resize(usize::from(sectors) * sector, 0);
    core[BLOCK_LIST..][..8].copy_from_slice(&(BIOS_BOOT.start + 1).to_le_bytes());
    core[BLOCK_LIST + 8..][..2].copy_from_slice(&(sectors - 1).to_le_bytes());
    disk.write_at(&core, BIOS_BOOT.start * SECTOR)?;

    let mut first = vec![0; sector];
    disk.read_at(&mut first, 0)?;
    let mut boot = boot.to_vec();
    for kept in [BPB, TABLE] {
        boot[kept.clone()].copy_from_slice(&first[kept]);
    }
    boot[KERNEL_SECTOR..][..8].copy_from_slice(&BIOS_BOOT.start.to_le_bytes());
    boot[DRIVE_CHECK..][..2].copy_from_slice(&[0x90, 0x90]);
    disk.write_at(&boot, 0)?;
    Ok(())
}
