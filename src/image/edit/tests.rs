//! Edits that are interrupted at every point of their carrying over.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::*;
use crate::disk::CLUSTER;
use crate::disk::testing::tool;
use crate::fs::Tree;

const CONTENT: &[u8] = b"written by the edit";

/// A file system on a whole disk, with a root's files.
fn make(folder: &Path) -> PathBuf {
    fs::create_dir_all(folder.join("tree/etc")).unwrap();
    fs::write(folder.join("tree/etc/os-release"), "ID=debian\n").unwrap();
    let path = folder.join("disk.img");
    File::create(&path).unwrap().set_len(8 << 20).unwrap();
    tool(folder, "mke2fs", &["-q", "-t", "ext4", "-d", "tree", "disk.img"]);
    path
}

/// Makes an edit happen without carrying it over; returns the order in which that would be done.
fn seal(path: &Path) -> Vec<u64> {
    let mut edit = Edit::open(path, None, 1_000_000_000).unwrap();
    edit.image().write(Path::new("/etc/new"), CONTENT, None).unwrap();
    edit.image().write(Path::new("/large"), &vec![7; 300_000], None).unwrap();
    edit.image().verify().unwrap();
    let order = journal::Order::new(&edit.shadow.differing().unwrap(), edit.image.parts());
    let journal = edit.target.journal.take().unwrap();
    drop(journal.seal(&order, &edit.shadow).unwrap());
    order.indexes().to_vec()
}

fn read_new(path: &Path) -> Option<Vec<u8>> {
    let image = Image::open(open_to_read(path, &[]).unwrap(), 0).unwrap();
    image.read(Path::new("/etc/new"), 100).unwrap()
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn an_edit_that_is_dropped_never_happened() {
    let folder = tempfile::tempdir().unwrap();
    let path = make(folder.path());
    let before = fs::read(&path).unwrap();
    let mut edit = Edit::open(&path, None, 0).unwrap();
    edit.image().write(Path::new("/etc/new"), CONTENT, None).unwrap();
    drop(edit);
    assert!(fs::read(&path).unwrap() == before);
    assert_eq!(names(folder.path()), ["disk.img", "tree"]);
}

#[test]
fn an_edit_is_finished_wherever_it_was_interrupted() {
    let folder = tempfile::tempdir().unwrap();
    let path = make(folder.path());
    let before = fs::read(&path).unwrap();
    let order = seal(&path);
    assert!(order.len() > 4, "{order:?}");
    assert_eq!(order.last(), Some(&0), "the superblock goes last");
    let journal = folder.path().join(".disk.img.nodeforge-edit");
    let sealed = fs::read(&journal).unwrap();
    for done in 0..=order.len() {
        fs::write(&path, &before).unwrap();
        fs::write(&journal, &sealed).unwrap();
        let file = File::options().write(true).open(&path).unwrap();
        for (at, index) in order.iter().take(done + 1).enumerate() {
            let start = usize::try_from(index * CLUSTER).unwrap();
            // Of the last cluster begun, one sector in two.
            for sector in (0..128).filter(|sector| at < done || sector % 2 == 0) {
                let start = start + sector * 512;
                file.write_all_at(&sealed[start..start + 512], start as u64).unwrap();
            }
        }
        assert_eq!(read_new(&path).as_deref(), Some(CONTENT), "{done} done, and looked through");
        drop(Edit::open(&path, None, 0).unwrap());
        assert_eq!(names(folder.path()), ["disk.img", "tree"], "{done} done");
        assert_eq!(read_new(&path).as_deref(), Some(CONTENT), "{done} done, and finished");
        tool(folder.path(), "e2fsck", &["-fn", "disk.img"]);
    }
}

#[test]
fn a_journal_that_is_not_whole_is_none() {
    let folder = tempfile::tempdir().unwrap();
    let path = make(folder.path());
    seal(&path);
    let journal = folder.path().join(".disk.img.nodeforge-edit");
    let mut sealed = fs::read(&journal).unwrap();
    let last = sealed.len() - 1;
    // The seal begins where the disk ends.
    for at in [8 << 20, (8 << 20) + 20, (8 << 20) + 30, (8 << 20) + 38, (8 << 20) + 45, last] {
        sealed[at] ^= 0x55;
        fs::write(&journal, &sealed).unwrap();
        assert_eq!(read_new(&path), None, "byte {at}");
        sealed[at] ^= 0x55;
    }
    fs::write(&journal, &sealed[..last]).unwrap();
    assert_eq!(read_new(&path), None, "cut short");
    drop(Edit::open(&path, None, 0).unwrap());
    assert_eq!(names(folder.path()), ["disk.img", "tree"]);
}

#[test]
fn another_image_in_its_place_is_not_changed() {
    let folder = tempfile::tempdir().unwrap();
    let path = make(folder.path());
    let order = seal(&path);
    let other = File::options().write(true).open(&path).unwrap();
    other.write_all_at(b"not as it was", order[0] * CLUSTER).unwrap();
    let before = fs::read(&path).unwrap();
    let said = Edit::open(&path, None, 0).err().unwrap().to_string();
    assert!(said.contains("was changed after an edit of it was interrupted"), "{said}");
    assert!(open_to_read(&path, &[]).is_err());
    assert!(fs::read(&path).unwrap() == before);
}
