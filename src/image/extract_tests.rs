//! Unpacking, compared with what the kernel and tar see.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;
use std::sync::Arc;

use super::extract::{SkippedNode, extract};
use crate::disk::Disk;
use crate::disk::testing::{tool, try_tool};
use crate::fs::{Attributes, FileType, ROOT_FILE, Tree, ext4_image, overlay, tree, writable};
use crate::util::error::Result;

/// A tree with one of everything on `disk`, an ext4 image.
fn everything(disk: Arc<dyn Disk>) -> impl Tree {
    let mut tree = tree(disk);
    let at = Path::new;
    let mut sparse = vec![0; 1 << 20];
    sparse[700_000] = 1;
    let make = |tree: &mut dyn Tree| -> Result<()> {
        let owner = Attributes { mode: 0o4751, uid: 1000, gid: 60_000 };
        tree.write(at("/srv/owned"), b"owned", Some(owner))?;
        tree.set_xattr(at("/srv/owned"), "user.note", Some(b"kept"))?;
        tree.set_modified(at("/srv/owned"), (1_600_000_000, 123_456_789))?;
        tree.write(at("/srv/sparse"), &sparse, None)?;
        tree.write(at("/srv/zeros"), &vec![0; 200_000], None)?;
        tree.set_modified(at("/srv"), (1_500_000_000, 5))?;
        tree.create_node(at("/dev/fifo"), FileType::Fifo, (0, 0), ROOT_FILE)?;
        tree.create_node(at("/dev/null"), FileType::CharacterDevice, (1, 3), ROOT_FILE)?;
        tree.flush()
    };
    make(&mut tree).expect("it is made");
    tree
}

/// Whether this is root, who may give files to others. An ordinary user becomes one here, in a user
/// namespace, in which the test runs once more.
fn as_root(test: &str) -> bool {
    if rustix::process::geteuid().is_root() {
        return true;
    }
    let here = std::env::current_dir().expect("a folder");
    let own = std::env::current_exe().expect("a test program");
    let own = own.to_str().expect("tests use plain names");
    let name = format!("image::extract_tests::{test}");
    tool(&here, "unshare", &["--map-root-user", "--map-auto", own, "--exact", &name]);
    false
}

#[test]
fn everything_is_unpacked() {
    if !as_root("everything_is_unpacked") {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let tree = everything(overlay(&ext4_image(folder.path(), &[])));
    let into = folder.path().join("into");
    fs::create_dir(&into).expect("a folder");
    let extracted = extract(&tree, &into).expect("it unpacks");

    let metadata = |path: &str| fs::symlink_metadata(into.join(path)).expect("it is there");
    let owned = metadata("srv/owned");
    assert_eq!((owned.uid(), owned.gid(), owned.mode() & 0o7777), (1000, 60_000, 0o4751));
    assert_eq!((owned.mtime(), owned.mtime_nsec()), (1_600_000_000, 123_456_789));
    let note = tool(&into, "getfattr", &["--only-values", "-n", "user.note", "srv/owned"]);
    assert_eq!(note, "kept");
    assert_eq!((metadata("srv").mtime(), metadata("srv").mtime_nsec()), (1_500_000_000, 5));
    let sparse = fs::read(into.join("srv/sparse")).expect("it reads");
    assert_eq!((sparse.len(), sparse[700_000], metadata("srv/sparse").blocks()), (1 << 20, 1, 128));
    assert_eq!((metadata("srv/zeros").len(), metadata("srv/zeros").blocks()), (200_000, 0));
    assert_eq!(metadata("etc/hostname").ino(), metadata("etc/hostname.second").ino());
    assert_eq!(fs::read_link(into.join("long")).expect("a link").as_os_str().len(), 200);
    assert_eq!(metadata("usr/bin/true").mode() & 0o7777, 0o4755);
    assert!(metadata("dev/fifo").file_type().is_fifo());
    // A container's root may make no devices; a machine's may.
    if extracted.devices.is_empty() {
        assert_eq!(metadata("dev/null").rdev(), rustix::fs::makedev(1, 3));
    } else {
        let null = SkippedNode {
            path: "/dev/null".into(),
            file_type: FileType::CharacterDevice,
            major: 1,
            minor: 3,
            mode: 0o644,
            uid: 0,
            gid: 0,
        };
        assert_eq!(extracted.devices, [null]);
    }
    let names = tool(&into, "find", &[".", "-mindepth", "1"]).lines().count() as u64;
    assert_eq!(names + extracted.devices.len() as u64, extracted.entries);
}

#[test]
fn others_see_the_same_tree() {
    if !as_root("others_see_the_same_tree") {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let tree = everything(writable(&ext4_image(folder.path(), &[])));
    let into = folder.path().join("into");
    let theirs = folder.path().join("theirs");
    fs::create_dir(&into).expect("a folder");
    fs::create_dir(&theirs).expect("a folder");
    let extracted = extract(&tree, &into).expect("it unpacks");
    // The kernel is the better judge, but not everybody's.
    let mount = ["-o", "loop,ro", "image.ext4", "theirs"];
    if try_tool(folder.path(), "mount", &mount).0 {
        let facts = [
            &["-type", "d", "-printf", "%P %m %U %G %T@\\n"][..],
            &["!", "-type", "d", "-printf", "%P %y %m %U %G %T@ %s %n %l\\n"],
        ];
        let seen = listing(&theirs, &facts, &extracted.devices);
        tool(folder.path(), "umount", &["theirs"]);
        assert_eq!(seen, listing(&into, &facts, &extracted.devices));
    } else {
        tool(folder.path(), "debugfs", &["-R", "rdump / theirs", "image.ext4"]);
        // It makes no devices, second names or holes, and keeps no fractions of a second.
        let facts = [
            &["-type", "d", "-printf", "%P %m %U %G\\n"][..],
            &["-type", "f", "-printf", "%P %m %U %G %s\\n"],
            &["-type", "l", "-printf", "%P %l\\n"],
        ];
        let seen = listing(&theirs, &facts, &[]);
        assert_eq!(seen, listing(&into, &facts, &[]));
    }
}

/// What find(1) and sha256sum(1) tell of everything below a folder, without devices that could not
/// be made.
fn listing(at: &Path, facts: &[&[&str]], devices: &[SkippedNode]) -> Vec<String> {
    let mut lines = Vec::new();
    for arguments in facts {
        let found = tool(at, "find", &[&["."], *arguments].concat());
        lines.extend(found.lines().map(str::to_owned));
    }
    let sums = tool(at, "find", &[".", "-type", "f", "-exec", "sha256sum", "{}", "+"]);
    lines.extend(sums.lines().map(str::to_owned));
    let is_device = |line: &String| {
        devices.iter().any(|device| {
            let path = device.path.strip_prefix("/").unwrap_or(&device.path);
            line.starts_with(&format!("{} ", path.display()))
        })
    };
    lines.retain(|line| !is_device(line));
    lines.sort();
    lines
}
