//! Images like the ones publishers ship, through every layer.

use std::path::Path;
use std::sync::Arc;

use tempfile::TempDir;

use super::Image;
use super::fsck::{FsckPolicy, Verdict};
use super::read_only::ReadOnly;
use super::testing::{ROOT_AT, base, debian_cloud, raspberry_pi};
use crate::disk::testing::tool;
use crate::disk::{CLUSTER, Delta, Disk, Overlay, Raw};
use crate::fs::{Attributes, CLOCK, FileType, ROOT_DIRECTORY, ROOT_FILE, Tree};
use crate::guest::{identity, os_release};
use crate::table::{DiskId, PartitionTable};
use crate::util::error::ErrorKind;

fn folder() -> TempDir {
    tempfile::tempdir().expect("a folder")
}

/// The image at `path`, with changes kept in memory.
fn open(path: &Path) -> (Image, Arc<Overlay>) {
    let overlay = Arc::new(Overlay::new(base(path)));
    (Image::open(Arc::clone(&overlay) as _, CLOCK).expect("the image opens"), overlay)
}

/// Drops the image and returns what it changed.
fn delta(image: Image, overlay: Arc<Overlay>) -> Delta {
    drop(image);
    Arc::into_inner(overlay).expect("nobody else has it").into_delta().expect("it reads")
}

fn apply(delta: &Delta, path: &Path) {
    let disk = Raw::open_writable(path).expect("the image opens");
    for (index, bytes) in delta {
        let at = index * CLUSTER;
        let length = usize::try_from((disk.size() - at).min(CLUSTER)).expect("one cluster");
        disk.write_at(&bytes[..length], at).expect("it is written");
    }
}

fn text(tree: &dyn Tree, path: &str) -> String {
    let bytes = tree.read(Path::new(path), 1 << 20).expect("it reads").expect("it is there");
    String::from_utf8(bytes).expect("text")
}

/// What stamping a node does, in small.
fn stamp(image: &mut Image) {
    let at = Path::new;
    let root = Some(ROOT_FILE);
    image.write(at("/etc/hostname"), b"node3\n", None).expect("it is written");
    image
        .write(at("/etc/machine-id"), b"0123456789abcdef0123456789abcdef\n", root)
        .expect("written");
    image.create_dir(at("/etc/ssh"), ROOT_DIRECTORY).expect("made");
    let private = Attributes { mode: 0o600, uid: 0, gid: 0 };
    image.write(at("/etc/ssh/key"), b"secret", Some(private)).expect("written");
    for number in 0..100 {
        let path = format!("/srv/file-{number}");
        image.write(at(&path), path.as_bytes(), root).expect("written");
    }
    image.symlink(at("/etc/localtime"), at("/usr/share/zoneinfo/Europe/Berlin")).expect("made");
    image.remove(at("/var/many")).expect("removed");
}

#[test]
fn a_raspberry_pi_image_is_one_tree() {
    let folder = folder();
    let path = raspberry_pi(folder.path());
    let (mut image, overlay) = open(&path);
    let mounts: Vec<_> =
        image.mounts().iter().map(|mount| (mount.point.to_str(), mount.kind)).collect();
    assert_eq!(mounts, [(Some("/"), "ext4"), (Some("/boot/firmware"), "FAT32")]);
    assert_eq!(image.root().number(), Some(2));
    assert_eq!(image.root().range.start, ROOT_AT);
    assert_eq!(identity::hostname(&image).expect("it reads").as_deref(), Some("sample"));
    assert_eq!(os_release::read(&image).expect("it reads")["VERSION_ID"], "13");
    assert_eq!(image.architecture().expect("it reads"), None);

    stamp(&mut image);
    let at = Path::new;
    // Through a symlink on ext4, across the mount, with a `..` that crosses it back.
    image.symlink(at("/boot/cmdline"), at("../boot/firmware")).expect("made");
    let cmdline = "/boot/cmdline/../firmware/cmdline.txt";
    assert_eq!(text(&image, cmdline), "root=PARTUUID=2a9b1c3d-02 rootwait\n");
    image.write(at(cmdline), b"rootwait quiet\n", None).expect("written");
    assert_eq!(
        image.resolve(at(cmdline)).expect("it resolves").as_deref(),
        Some(at("/boot/firmware/cmdline.txt"))
    );
    let error = image.remove(at("/boot")).expect_err("FAT is mounted below it");
    assert_eq!(error.to_string(), "removing `/boot`: a file system is mounted below it");
    let error = image.hard_link(at("/etc/hostname"), at("/boot/firmware/x")).expect_err("two");
    assert!(error.to_string().ends_with("on different file systems"), "{error}");

    assert_eq!(image.verify().expect("it is as written"), 108);
    let before = crate::disk::open(&path).expect("it opens");
    assert_eq!(image.fsck(FsckPolicy::Always, &before).expect("it is clean"), Verdict::Clean);
    let changed = delta(image, overlay);
    assert!(changed.len() <= 24, "{} clusters", changed.len());

    apply(&changed, &path);
    let typed = tool(folder.path(), "mtype", &["-i", "disk.img@@8M", "::cmdline.txt"]);
    assert_eq!(typed, "rootwait quiet\n");
    let file_system = format!("disk.img?offset={ROOT_AT}");
    tool(folder.path(), "e2fsck", &["-fn", &file_system]);
    let debugfs = |request| tool(folder.path(), "debugfs", &["-R", request, &file_system]);
    assert!(debugfs("cat /etc/hostname").contains("node3"));
    assert!(debugfs("stat /etc/ssh/key").contains("Mode:  0600"));
}

#[test]
fn a_new_disk_id_is_followed_by_all_that_name_it() {
    let folder = folder();
    let path = raspberry_pi(folder.path());
    let (mut image, overlay) = open(&path);
    let at = Path::new;
    let entries = at("/boot/firmware/loader/entries");
    for directory in entries.ancestors().skip(1).take(1).chain([entries]) {
        image.create_dir(directory, ROOT_DIRECTORY).expect("made");
    }
    let entry = b"options root=PARTUUID=2A9B1C3D-02 other=2a9b1c3d-02 PARTUUID=2a9b1c3d-020\n\xff";
    image.write(&entries.join("debian.conf"), entry, None).expect("written");
    image.symlink(at("/etc/crypttab"), at("/etc/swaps")).expect("made");
    image.write(at("/etc/swaps"), b"/dev/disk/by-partuuid/2a9b1c3d-01", None).expect("written");

    image.set_disk_id(DiskId::Mbr(0x0102_0304)).expect("set");
    assert_eq!(text(&image, "/boot/firmware/cmdline.txt"), "root=PARTUUID=01020304-02 rootwait\n");
    assert!(!text(&image, "/etc/fstab").contains("2a9b1c3d"));
    assert_eq!(text(&image, "/etc/swaps"), "/dev/disk/by-partuuid/01020304-01");
    let entry = image.read(&entries.join("debian.conf"), 1000).expect("it reads");
    let expected =
        b"options root=PARTUUID=01020304-02 other=2a9b1c3d-02 PARTUUID=2a9b1c3d-020\n\xff";
    assert_eq!(entry.as_deref(), Some(&expected[..]));
    assert_eq!(image.table().map(PartitionTable::disk_id).as_deref(), Some("01020304"));
    assert_eq!(image.root().partition.as_ref().expect("a partition").id, "01020304-02");
    image.verify().expect("it is as written");

    // The image is still one tree: its fstab finds what it names.
    apply(&delta(image, overlay), &path);
    let (mut image, _) = open(&path);
    assert_eq!(image.mounts().len(), 2);
    let error = image.set_disk_id(DiskId::Gpt(uuid::Uuid::nil())).expect_err("an MBR");
    assert_eq!(error.to_string(), "an MBR's id has 8 hexadecimal digits");
    let dump = tool(folder.path(), "sfdisk", &["-d", "disk.img"]);
    assert!(dump.contains("label-id: 0x01020304"), "{dump}");
}

#[test]
fn a_debian_image_is_one_tree() {
    let folder = folder();
    let path = debian_cloud(folder.path());
    let (mut image, _) = open(&path);
    let mounts: Vec<_> =
        image.mounts().iter().map(|mount| (mount.point.to_str(), mount.kind)).collect();
    assert_eq!(mounts, [(Some("/"), "ext4"), (Some("/boot/efi"), "FAT16")]);
    assert_eq!(image.root().number(), Some(1));
    assert_eq!(image.parts().len(), 3);
    assert_eq!(image.skipped(), []);
    stamp(&mut image);
    let loader = Path::new("/boot/efi/loader");
    image.create_dir(loader, ROOT_DIRECTORY).expect("made");
    image.write(&loader.join("loader.conf"), b"timeout 0\n", None).expect("written");
    image.verify().expect("it is as written");
    let before = crate::disk::open(&path).expect("it opens");
    assert_eq!(image.fsck(FsckPolicy::Always, &before).expect("it is clean"), Verdict::Clean);
}

#[test]
fn the_same_edits_give_the_same_bits() {
    let folder = folder();
    let path = debian_cloud(folder.path());
    let run = || {
        let (mut image, overlay) = open(&path);
        stamp(&mut image);
        image.write(Path::new("/boot/efi/x"), b"x", None).expect("written");
        image.flush().expect("flushed");
        delta(image, overlay)
    };
    assert!(run() == run());
}

#[test]
fn opening_changes_nothing() {
    let folder = folder();
    let path = debian_cloud(folder.path());
    let (mut image, overlay) = open(&path);
    assert_eq!(text(&image, "/etc/hostname"), "sample\n");
    image.flush().expect("flushed");
    assert_eq!(delta(image, overlay).len(), 0);

    let mut image = Image::open(base(&path), CLOCK).expect("the image opens");
    let error = image.write(Path::new("/etc/x"), b"", None).expect_err("read-only");
    assert_eq!(error.to_string(), "writing `/etc/x`: the image is open for reading only");
    let error = image.write(Path::new("/boot/efi/x"), b"", None).expect_err("read-only");
    assert_eq!(error.to_string(), "writing `/boot/efi/x`: the image is open for reading only");
}

#[test]
fn verify_finds_what_was_not_written() {
    let folder = folder();
    let path = debian_cloud(folder.path());
    let (mut image, overlay) = open(&path);
    let content = vec![0x5a; 100_000];
    image.write(Path::new("/srv/file"), &content, Some(ROOT_FILE)).expect("written");
    image.flush().expect("flushed");
    // One byte of it turns on the disk.
    let mut block = vec![0; 4096];
    let damaged = (ROOT_AT..overlay.size()).step_by(4096).find(|&offset| {
        overlay.read_at(&mut block, offset).expect("it reads");
        block.iter().all(|&byte| byte == 0x5a)
    });
    overlay.write_at(&[0], damaged.expect("it was written") + 5).expect("it is written");
    let error = image.verify().expect_err("a byte differs");
    assert_eq!(
        error.to_string(),
        "reading back `/srv/file`: it differs from what was written: its content"
    );
}

#[test]
fn roots_that_cannot_be_edited_are_refused_by_name() {
    let folder = folder();
    let path = debian_cloud(folder.path());
    for (magic, at, name) in [
        (&b"LUKS\xba\xbe"[..], 0, "LUKS encryption"),
        (b"XFSB", 0, "XFS"),
        (b"_BHRfS_M", 0x1_0040, "Btrfs"),
        (b"LVM2 001", 0x218, "LVM"),
    ] {
        let overlay = Arc::new(Overlay::new(base(&path)));
        overlay.write_at(&vec![0; 0x2_0000], ROOT_AT).expect("it is written");
        overlay.write_at(magic, ROOT_AT + at).expect("it is written");
        let error = Image::open(overlay, CLOCK).err().expect("it is refused");
        assert_eq!(error.kind(), ErrorKind::Input);
        let message = format!(
            "opening the file system of partition 1 (at byte {ROOT_AT}): {name} is not supported"
        );
        assert_eq!(error.to_string(), message);
    }
}

#[test]
fn a_bare_file_system_is_an_image() {
    let folder = folder();
    let path = crate::fs::ext4_image(folder.path(), &[]);
    let (image, _) = open(&path);
    assert_eq!(image.root().number(), None);
    assert_eq!(text(&image, "/etc/hostname"), "sample\n");

    let path = crate::fs::fat_image(folder.path(), 40 << 20, &["-F", "32"]);
    let (mut image, _) = open(&path);
    image.write(Path::new("/user-data"), b"#cloud-config\n", None).expect("written");
    assert_eq!(image.verify().expect("it is as written"), 1);
}

#[test]
fn paths_are_walked_as_the_images_root_would() {
    let folder = folder();
    let path = raspberry_pi(folder.path());
    let (mut image, _) = open(&path);
    let at = Path::new;
    image.symlink(at("/srv/up"), at("../../../../etc")).expect("made");
    assert_eq!(text(&image, "/srv/up/hostname"), "sample\n");
    assert_eq!(text(&image, "/../../etc/hostname"), "sample\n");
    image.symlink(at("/srv/a"), at("b")).expect("made");
    image.symlink(at("/srv/b"), at("/srv/a")).expect("made");
    let error = image.metadata(at("/srv/a/x")).expect_err("a loop");
    assert_eq!(error.to_string(), "looking at `/srv/a/x`: too many levels of symbolic links");
    let link = image.metadata(at("/srv/a")).expect("it reads").expect("it is there");
    assert_eq!(link.file_type, FileType::Symlink);
    for number in 0..41 {
        let link = format!("/srv/chain-{number}");
        let target = if number == 0 { "/etc".to_owned() } else { format!("chain-{}", number - 1) };
        image.symlink(at(&link), at(&target)).expect("made");
    }
    assert_eq!(text(&image, "/srv/chain-39/hostname"), "sample\n");
    assert!(image.metadata(at("/srv/chain-40/hostname")).is_err());
    let error = image.write(at("/nowhere/at/all"), b"", None).expect_err("no parent");
    assert_eq!(error.to_string(), "writing `/nowhere/at/all`: `/nowhere/at` does not exist");
    let error = image.write(at("/etc/hostname/x"), b"", None).expect_err("no directory");
    assert_eq!(error.to_string(), "writing `/etc/hostname/x`: `/etc/hostname` is not a directory");
    let error = image.write(at("relative"), b"", None).expect_err("relative");
    assert_eq!(error.to_string(), "writing `relative`: the path is not absolute");
    assert_eq!(image.metadata(at("/missing/below")).expect("no error"), None);
}

#[test]
fn a_full_disk_is_told_before_anything_changes() {
    let folder = folder();
    let path = raspberry_pi(folder.path());
    let (mut image, _) = open(&path);
    let before = text(&image, "/etc/hostname");
    let large = vec![1; 60 << 20];
    let error = image.write(Path::new("/etc/hostname"), &large, None).expect_err("too large");
    let message = error.to_string();
    assert!(message.contains("no space left on the root file system: "), "{message}");
    assert!(message.contains(" bytes needed, "), "{message}");
    assert_eq!(text(&image, "/etc/hostname"), before);
    let error =
        image.write(Path::new("/boot/firmware/kernel"), &large, None).expect_err("too large");
    assert!(error.to_string().contains("the file system at `/boot/firmware`"), "{error}");
    assert_eq!(image.metadata(Path::new("/boot/firmware/kernel")).expect("it reads"), None);
}

#[test]
fn a_view_for_reading_cannot_be_written() {
    let folder = folder();
    let path = debian_cloud(folder.path());
    let overlay = Arc::new(Overlay::new(base(&path)));
    let view = ReadOnly(overlay as _);
    assert!(!view.is_writable());
    assert!(view.write_at(&[1], 0).is_err());
}
