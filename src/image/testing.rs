//! What tests of images share: disks like the ones publishers ship.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use crate::disk::testing::tool;
use crate::disk::{Disk, Raw};
use crate::fs::{fat_image, sample_tree};
use crate::table::{self, NewGptPartition, NewMbrPartition, guid};

const SECTOR: u64 = 512;
const DISK_ID: u32 = 0x2a9b_1c3d;

/// Where a test disk's root file system begins, in bytes.
pub(crate) const ROOT_AT: u64 = 64 << 20;

/// A disk like Raspberry Pi OS's: MBR, FAT32 with 512-byte clusters, ext4 without 64bit.
pub(crate) fn raspberry_pi(folder: &Path) -> std::path::PathBuf {
    // With quotes, as fstab(5) allows them.
    let fstab = "PARTUUID=\"2a9b1c3d-01\" /boot/firmware vfat defaults 0 2\n\
                 PARTUUID=2a9b1c3d-02 / ext4 defaults,noatime 0 1\n";
    let boot = fat_image(folder, 40 << 20, &["-F", "32", "-s", "1"]);
    fs::write(folder.join("cmdline.txt"), "root=PARTUUID=2a9b1c3d-02 rootwait\n").expect("a file");
    tool(folder, "mcopy", &["-i", "image.vfat", "cmdline.txt", "::"]);
    let root = root_image(folder, fstab, &["-O", "^64bit,^huge_file"]);
    let image = assemble(folder, &[(8 << 20, &boot), (ROOT_AT, &root)]);
    let disk = Raw::open_writable(&image).expect("the image opens");
    let partition = |number, start: u64, sectors: u64, kind| NewMbrPartition {
        number,
        start: u32::try_from(start / SECTOR).expect("small"),
        sectors: u32::try_from(sectors / SECTOR).expect("small"),
        kind,
        bootable: false,
    };
    let partitions = [partition(1, 8 << 20, 40 << 20, 0x0c), partition(2, ROOT_AT, 64 << 20, 0x83)];
    table::create_mbr(&disk, DISK_ID, &partitions).expect("a table");
    image
}

/// A disk like Debian's cloud images: GPT, partitions 1, 14 and 15, FAT16.
pub(crate) fn debian_cloud(folder: &Path) -> std::path::PathBuf {
    let root_id = uuid::uuid!("11111111-2222-3333-4444-555555555555");
    let boot_id = uuid::uuid!("66666666-7777-8888-9999-aaaaaaaaaaaa");
    let fstab = format!(
        "PARTUUID={root_id} / ext4 rw,discard,errors=remount-ro 0 1\n\
         PARTUUID={boot_id} /boot/efi vfat defaults,umask=077 0 2\n\
         /dev/vdb1 /srv ext4 defaults 0 2\n"
    );
    let boot = fat_image(folder, 32 << 20, &["-F", "16"]);
    let options = ["-O", "64bit,metadata_csum,metadata_csum_seed,orphan_file"];
    let root = root_image(folder, &fstab, &options);
    let image = assemble(folder, &[(8 << 20, &boot), (ROOT_AT, &root)]);
    let disk = Raw::open_writable(&image).expect("the image opens");
    let partition = |number, start: u64, bytes: u64, kind, guid| NewGptPartition {
        number,
        start: start / SECTOR,
        sectors: bytes / SECTOR,
        kind,
        guid,
        name: "",
        attributes: 0,
    };
    let bios = uuid::uuid!("bbbbbbbb-cccc-dddd-eeee-ffffffffffff");
    let disk_id = uuid::uuid!("01234567-89ab-cdef-0123-456789abcdef");
    let partitions = [
        partition(1, ROOT_AT, 64 << 20, guid::ROOT_X86_64, root_id),
        partition(14, 1 << 20, 3 << 20, guid::BIOS_BOOT, bios),
        partition(15, 8 << 20, 32 << 20, guid::EFI_SYSTEM, boot_id),
    ];
    table::create_gpt(&disk, disk_id, &partitions).expect("a table");
    image
}

fn root_image(folder: &Path, fstab: &str, options: &[&str]) -> std::path::PathBuf {
    let tree = folder.join("tree");
    sample_tree(&tree);
    fs::write(tree.join("etc/fstab"), fstab).expect("a file");
    crate::fs::ext4_image(folder, options)
}

/// A disk of 130 MiB with images at byte offsets.
fn assemble(folder: &Path, parts: &[(u64, &Path)]) -> std::path::PathBuf {
    let image = folder.join("disk.img");
    let disk = Raw::create(&image, 130 << 20).expect("an image");
    for (offset, part) in parts {
        disk.write_at(&fs::read(part).expect("a part"), *offset).expect("it is written");
    }
    image
}

/// The disk, to be read only.
pub(crate) fn base(image: &Path) -> Arc<dyn Disk> {
    Arc::new(Raw::open(image).expect("the image opens"))
}
