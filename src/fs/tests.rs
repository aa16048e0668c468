//! Both file systems through the namespace, judged by e2fsck, debugfs, fsck.fat and mtools.

use std::fs;
use std::path::Path;

use tempfile::TempDir;

use super::second_reader::{UNKNOWN_TO_IT, assert_readers_agree};
use super::testing::{
    CLOCK, EXT4_KINDS, ROOT_DIRECTORY, ROOT_FILE, assert_ext4_clean, assert_fat_clean, ext4_image,
    fat_image, tree, writable,
};
use super::{Attributes, FileType, Tree};
use crate::disk::testing::tool;
use crate::util::error::Result;

fn folder() -> TempDir {
    tempfile::tempdir().expect("a folder")
}

fn read(tree: &dyn Tree, path: &str) -> Vec<u8> {
    tree.read(Path::new(path), 1 << 30).expect("it reads").expect("it is there")
}

fn listing(tree: &dyn Tree, path: &str) -> Vec<String> {
    let entries = tree.read_dir(Path::new(path)).expect("it lists");
    entries.into_iter().map(|entry| entry.name.into_string().expect("UTF-8")).collect()
}

/// One of each change an ext4 tree can take.
fn edit(tree: &mut dyn Tree) -> Result<()> {
    let at = Path::new;
    tree.write(at("/etc/hostname"), b"node0\n", None)?;
    tree.write(
        at("/etc/new"),
        b"new\n",
        Some(Attributes { mode: 0o600, uid: 70_000, gid: 80_000 }),
    )?;
    tree.write(
        at("/bin/tool"),
        &vec![9; 100_000],
        Some(Attributes { mode: 0o6755, uid: 0, gid: 5 }),
    )?;
    tree.write(at("/usr/share/big"), b"small", None)?;
    tree.write(at("/usr/share/huge"), &vec![3; 20 << 20], None)?;
    tree.write(at("/usr/share/empty"), b"", None)?;
    tree.write(at("/absolute"), b"no link any more", None)?;
    tree.create_dir(at("/opt"), ROOT_DIRECTORY)?;
    tree.create_dir(at("/opt/private"), Attributes { mode: 0o1770, uid: 7, gid: 70_001 })?;
    for length in [1, 15, 59, 60, 61, 100, 255, 500] {
        tree.symlink(at(&format!("/opt/link-{length}")), at(&"t".repeat(length)))?;
    }
    tree.symlink(at("/etc/hostname.second"), at("../other"))?;
    tree.hard_link(at("/etc/new"), at("/opt/hard"))?;
    tree.create_node(at("/dev/console"), FileType::CharacterDevice, (5, 1), ROOT_FILE)?;
    tree.create_node(at("/dev/vda"), FileType::BlockDevice, (254, 16), ROOT_FILE)?;
    tree.create_node(at("/dev/pipe"), FileType::Fifo, (0, 0), ROOT_FILE)?;
    tree.set_xattr(at("/bin/tool"), "security.capability", Some(CAPABILITY))?;
    tree.set_xattr(at("/etc/new"), "system.posix_acl_access", Some(ACL))?;
    tree.set_xattr(at("/opt"), "user.large", Some(&[5; 600]))?;
    tree.set_xattr(at("/opt"), "user.gone", Some(b"x"))?;
    tree.set_xattr(at("/opt"), "user.gone", None)?;
    tree.set_modified(at("/etc/new"), (1_600_000_000, 123_456_789))?;
    tree.set_attributes(at("/srv"), Attributes { mode: 0o2775, uid: 33, gid: 33 })?;
    tree.remove(at("/var/many/file-with-a-name-of-some-length-0007"))?;
    tree.remove(at("/tmp"))?;
    tree.remove(at("/missing"))?;
    for number in 0..500 {
        tree.write(at(&format!("/srv/number-{number}")), format!("{number}").as_bytes(), None)?;
    }
    tree.flush()
}

/// `cap_net_bind_service=ep`.
const CAPABILITY: &[u8] = &[1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// `u::rw-,u:1000:rw-,g::---,m::rw-,o::---`.
const ACL: &[u8] = &[
    2, 0, 0, 0, 1, 0, 6, 0, 255, 255, 255, 255, 2, 0, 6, 0, 0xe8, 3, 0, 0, 4, 0, 0, 0, 255, 255,
    255, 255, 16, 0, 6, 0, 255, 255, 255, 255, 32, 0, 0, 0, 255, 255, 255, 255,
];

/// `keeps_nanoseconds`: inodes of 128 bytes have no room for them.
fn check_edits(tree: &dyn Tree, keeps_nanoseconds: bool) {
    let metadata =
        |path: &str| tree.metadata(Path::new(path)).expect("it reads").expect("it is there");
    assert_eq!(read(tree, "/etc/hostname"), b"node0\n");
    assert_eq!(read(tree, "/opt/hard"), b"new\n");
    let new = metadata("/etc/new");
    assert_eq!((new.mode, new.uid, new.gid, new.links), (0o600, 70_000, 80_000, 2));
    let nanoseconds = if keeps_nanoseconds { 123_456_789 } else { 0 };
    assert_eq!(new.modified, (1_600_000_000, nanoseconds));
    assert_eq!(metadata("/usr/bin/tool").mode, 0o6755);
    assert_eq!(metadata("/usr/bin/tool").modified, (CLOCK, 0));
    assert_eq!(read(tree, "/usr/share/big"), b"small");
    assert_eq!(read(tree, "/usr/share/huge"), vec![3; 20 << 20]);
    assert_eq!(metadata("/absolute").file_type, FileType::File);
    let private = metadata("/opt/private");
    assert_eq!((private.mode, private.uid, private.gid), (0o1770, 7, 70_001));
    for length in [1, 15, 59, 60, 61, 100, 255, 500] {
        let target = tree.read_link(Path::new(&format!("/opt/link-{length}"))).expect("a link");
        assert_eq!(target.as_os_str().len(), length);
    }
    assert_eq!(metadata("/dev/console").device, (5, 1));
    assert_eq!(metadata("/dev/vda").device, (254, 16));
    assert_eq!(metadata("/dev/pipe").file_type, FileType::Fifo);
    let xattrs = |path: &str| tree.xattrs(Path::new(path)).expect("they read");
    assert_eq!(xattrs("/bin/tool"), [("security.capability".into(), CAPABILITY.to_vec())]);
    assert_eq!(xattrs("/etc/new"), [("system.posix_acl_access".into(), ACL.to_vec())]);
    assert_eq!(xattrs("/opt"), [("user.large".into(), vec![5; 600])]);
    assert_eq!(listing(tree, "/var/many").len(), 299);
    assert_eq!(tree.metadata(Path::new("/tmp")).expect("it reads"), None);
    assert_eq!(listing(tree, "/srv").len(), 500);
    assert_eq!(metadata("/srv").mode, 0o2775);
}

#[test]
fn every_kind_of_ext4_takes_every_change() {
    for (kind, options) in EXT4_KINDS {
        let folder = folder();
        let image = ext4_image(folder.path(), options);
        let mut edited = tree(writable(&image));
        if let Err(error) = edit(&mut edited) {
            panic!("{kind}: {error}");
        }
        drop(edited);
        assert_ext4_clean(&image);
        let reopened = tree(writable(&image));
        check_edits(&reopened, *kind != "inodes-128");
        if !UNKNOWN_TO_IT.contains(kind) {
            assert_readers_agree(writable(&image), &reopened);
        }
        let debugfs =
            |request: &str| tool(folder.path(), "debugfs", &["-R", request, "image.ext4"]);
        assert!(debugfs("cat /srv/number-499").contains("499"), "{kind}");
        assert!(debugfs("stat /etc/new").contains("User: 70000   Group: 80000"), "{kind}");
    }
}

/// One of each change a FAT tree can take.
fn edit_fat(tree: &mut dyn Tree) -> Result<()> {
    let at = Path::new;
    tree.write(at("/CMDLINE.TXT"), b"root=/dev/sda2 rootwait cgroup_enable=memory\n", None)?;
    tree.write(at("/network-config"), b"version: 2\n", None)?;
    tree.write(at("/Ein Name mit Umlauten \u{e4}\u{f6}\u{fc}.txt"), b"x", None)?;
    tree.create_dir(at("/overlays"), ROOT_DIRECTORY)?;
    tree.create_dir(at("/overlays/deeper"), ROOT_DIRECTORY)?;
    for number in 0..200 {
        let path = format!("/overlays/a-long-name-for-number-{number}.dtbo");
        tree.write(at(&path), &vec![number; 1_500], None)?;
    }
    tree.write(at("/kernel8.img"), &vec![8; 1_500_000], None)?;
    tree.write(at("/kernel8.img"), &vec![9; 1_000_000], None)?;
    tree.write(at("/empty"), b"", None)?;
    tree.remove(at("/overlays/a-long-name-for-number-7.dtbo"))?;
    tree.remove(at("/gone"))?;
    tree.flush()
}

#[test]
fn every_kind_of_fat_takes_every_change() {
    let kinds: &[(u64, &[&str])] = &[
        (8, &["-F", "12"]),
        (32, &["-F", "16"]),
        (127, &["-F", "16", "-s", "4"]),
        (40, &["-F", "32", "-s", "1"]),
        (160, &["-F", "32", "-s", "4"]),
        (300, &["-F", "32", "-s", "8"]),
        (2200, &["-F", "32", "-s", "64"]),
        (300, &["-F", "32", "-S", "4096", "-s", "1"]),
    ];
    for (megabytes, options) in kinds {
        let folder = folder();
        let image = fat_image(folder.path(), megabytes << 20, options);
        fs::create_dir_all(folder.path().join("gone/below")).expect("a folder");
        fs::write(folder.path().join("gone/below/file"), b"x").expect("a file");
        fs::write(folder.path().join("cmdline.txt"), b"root=/dev/sda2 rootwait\n").expect("a file");
        let mtool = |command: &str, arguments: &[&str]| {
            tool(folder.path(), command, &[&["-i", "image.vfat"], arguments].concat())
        };
        mtool("mcopy", &["-s", "cmdline.txt", "gone", "::"]);

        let mut edited = tree(writable(&image));
        if let Err(error) = edit_fat(&mut edited) {
            panic!("{options:?}: {error}");
        }
        drop(edited);
        assert_fat_clean(&image);

        let edited = tree(writable(&image));
        assert_eq!(read(&edited, "/kernel8.img"), vec![9; 1_000_000]);
        assert_eq!(listing(&edited, "/overlays").len(), 200);
        assert!(listing(&edited, "/").contains(&"cmdline.txt".to_owned()), "its case is kept");
        let metadata =
            edited.metadata(Path::new("/empty")).expect("it reads").expect("it is there");
        assert_eq!((metadata.size, metadata.modified), (0, (CLOCK, 0)));
        assert!(mtool("mtype", &["::cmdline.txt"]).contains("cgroup_enable=memory"));
        let listing = mtool("mdir", &["-b", "::overlays"]);
        assert!(listing.contains("a-long-name-for-number-50.dtbo"), "{listing}");
        assert_eq!(
            mtool("mtype", &["::overlays/a-long-name-for-number-50.dtbo"]),
            "2".repeat(1500)
        );
    }
}
