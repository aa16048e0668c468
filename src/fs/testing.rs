//! What tests of file systems share: images made by mke2fs and mkfs.vfat, and their checkers.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::namespace::Namespace;
use super::{Attributes, open};
use crate::disk::testing::{tool, try_tool};
use crate::disk::{Disk, Overlay, Raw};

/// 2026-01-02 03:04:06 UTC: even, as FAT counts in steps of two seconds.
pub(crate) const CLOCK: i64 = 1_767_323_046;

pub(crate) const ROOT_FILE: Attributes = Attributes { mode: 0o644, uid: 0, gid: 0 };
pub(crate) const ROOT_DIRECTORY: Attributes = Attributes { mode: 0o755, uid: 0, gid: 0 };

/// What mke2fs is told for each image in the wild, and for each corner of the format.
pub(crate) const EXT4_KINDS: &[(&str, &[&str])] = &[
    ("debian-11", &["-O", "64bit,metadata_csum,^metadata_csum_seed,^orphan_file"]),
    ("debian-13", &["-O", "64bit,metadata_csum,metadata_csum_seed,orphan_file"]),
    ("raspberry-pi", &["-O", "^64bit,^huge_file,metadata_csum"]),
    ("no-checksums", &["-O", "^metadata_csum,uninit_bg,64bit"]),
    ("no-journal", &["-O", "^has_journal"]),
    ("blocks-1k", &["-b", "1024", "-O", "metadata_csum,^orphan_file"]),
    ("blocks-1k-plain", &["-b", "1024", "-O", "^metadata_csum,^64bit"]),
    ("blocks-2k", &["-b", "2048", "-O", "^metadata_csum"]),
    ("no-flex-bg", &["-O", "^flex_bg"]),
    ("meta-bg", &["-O", "meta_bg,^resize_inode"]),
    ("inline-data", &["-O", "inline_data"]),
    ("inodes-128", &["-I", "128", "-O", "^metadata_csum"]),
    ("sparse-super2", &["-O", "sparse_super2,^resize_inode"]),
];

/// A folder with one of everything an unprivileged user can make.
pub(crate) fn sample_tree(at: &Path) {
    let write = |path: &str, content: &[u8]| {
        let path = at.join(path);
        fs::create_dir_all(path.parent().expect("below the folder")).expect("a directory");
        fs::write(path, content).expect("a file");
    };
    write("etc/hostname", b"sample\n");
    write("etc/os-release", b"ID=debian\nVERSION_ID=\"13\"\n");
    write("etc/fstab", b"LABEL=rootfs / ext4 defaults 0 1\n");
    write("usr/bin/true", &vec![7; 30_000]);
    write("usr/share/big", &(0..3_000_000_u32).flat_map(u32::to_le_bytes).collect::<Vec<_>>());
    for number in 0..300 {
        write(&format!("var/many/file-with-a-name-of-some-length-{number:04}"), &[1; 10]);
    }
    for path in ["boot/firmware", "boot/efi", "dev", "tmp", "srv"] {
        fs::create_dir_all(at.join(path)).expect("a directory");
    }
    fs::set_permissions(at.join("usr/bin/true"), fs::Permissions::from_mode(0o4755))
        .expect("permissions");
    symlink("usr/bin", at.join("bin")).expect("a symlink");
    symlink("/usr/share/big", at.join("absolute")).expect("a symlink");
    symlink("x".repeat(200), at.join("long")).expect("a symlink");
    fs::hard_link(at.join("etc/hostname"), at.join("etc/hostname.second")).expect("a hard link");
}

/// An ext4 image of 64 MiB with the sample tree in it.
pub(crate) fn ext4_image(folder: &Path, options: &[&str]) -> PathBuf {
    let tree = folder.join("tree");
    if !tree.exists() {
        sample_tree(&tree);
    }
    let image = folder.join("image.ext4");
    fs::File::create(&image).and_then(|file| file.set_len(64 << 20)).expect("an image");
    let mut arguments = vec!["-q", "-F", "-t", "ext4", "-L", "rootfs", "-d", "tree"];
    arguments.extend_from_slice(options);
    arguments.push("image.ext4");
    tool(folder, "mke2fs", &arguments);
    image
}

/// A FAT image; `options` as for mkfs.vfat.
pub(crate) fn fat_image(folder: &Path, size: u64, options: &[&str]) -> PathBuf {
    let image = folder.join("image.vfat");
    fs::File::create(&image).and_then(|file| file.set_len(size)).expect("an image");
    let mut arguments = vec!["-n", "BOOTFS"];
    arguments.extend_from_slice(options);
    arguments.push("image.vfat");
    tool(folder, "mkfs.vfat", &arguments);
    image
}

/// A throw-away overlay over an image.
pub(crate) fn overlay(image: &Path) -> Arc<Overlay> {
    Arc::new(Overlay::new(Arc::new(Raw::open(image).expect("the image opens"))))
}

/// The image itself, to be written.
pub(crate) fn writable(image: &Path) -> Arc<dyn Disk> {
    Arc::new(Raw::open_writable(image).expect("the image opens"))
}

/// The tree of one file system.
pub(crate) fn tree(disk: Arc<dyn Disk>) -> Namespace {
    Namespace::new(open(disk, CLOCK).expect("the file system opens"))
}

/// e2fsck has nothing to say.
#[track_caller]
pub(crate) fn assert_ext4_clean(image: &Path) {
    let folder = image.parent().expect("an image is in a folder");
    let name = image.to_str().expect("tests use plain names");
    let (clean, text) = try_tool(folder, "e2fsck", &["-f", "-n", name]);
    assert!(clean, "{text}");
    assert!(!text.contains("Fix?") && !text.contains("WARNING"), "{text}");
}

/// fsck.fat has nothing to say.
#[track_caller]
pub(crate) fn assert_fat_clean(image: &Path) {
    let folder = image.parent().expect("an image is in a folder");
    let name = image.to_str().expect("tests use plain names");
    let (clean, text) = try_tool(folder, "fsck.fat", &["-n", "-v", name]);
    assert!(clean, "{text}");
}
