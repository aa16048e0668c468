//! Random changes, on a file system and on a model of one; the two must agree, and the file
//! system's checker with them. `PROPTEST_CASES` sets how many runs there are of each.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use proptest::prelude::*;
use tempfile::TempDir;

use super::Image;
use super::fsck::Checker;
use super::read_only::ReadOnly;
use crate::disk::{Disk, Overlay, Raw};
use crate::fs::{
    Attributes, CLOCK, EXT4_KINDS, FileType, Tree, UNKNOWN_TO_IT, assert_fat_clean,
    assert_readers_agree, ext4_image, fat_image,
};
use crate::util::error::Result;

const RUNS: u32 = 24;
const CHANGES: std::ops::Range<usize> = 1..120;

#[derive(Clone, Debug)]
enum Change {
    Write { path: PathBuf, size: usize, byte: u8, attributes: Option<Attributes> },
    Directory { path: PathBuf, attributes: Attributes },
    Symlink { path: PathBuf, length: usize },
    Link { existing: PathBuf, path: PathBuf },
    Pipe { path: PathBuf, attributes: Attributes },
    Remove { path: PathBuf },
    Attributes { path: PathBuf, attributes: Attributes },
    Xattr { path: PathBuf, name: &'static str, value: Option<Vec<u8>> },
    Flush,
}

/// Few names, so that changes meet; long ones, so that directories grow.
fn paths() -> impl Strategy<Value = PathBuf> {
    let name = prop_oneof![
        Just("a".to_owned()),
        Just("b".to_owned()),
        Just("C".to_owned()),
        (0..12).prop_map(|number| format!("{number:02}-{}", "long".repeat(20))),
    ];
    let names = prop::collection::vec(name, 1..4);
    names.prop_map(|names| Path::new("/").join(names.iter().collect::<PathBuf>()))
}

fn attributes() -> impl Strategy<Value = Attributes> {
    let ids = prop_oneof![Just(0), Just(1000), Just(70_000)];
    (0..0o7777_u32, ids.clone(), ids).prop_map(|(mode, uid, gid)| Attributes { mode, uid, gid })
}

fn sizes() -> impl Strategy<Value = usize> {
    prop_oneof![Just(0), 1..200_usize, 1000..9000_usize, 100_000..300_000_usize]
}

fn changes() -> impl Strategy<Value = Vec<Change>> {
    let xattr = prop_oneof![Just("user.a"), Just("user.b"), Just("security.capability")];
    let value = prop::option::of(prop::collection::vec(any::<u8>(), 0..250));
    let change = prop_oneof![
        6 => (paths(), sizes(), any::<u8>(), prop::option::of(attributes())).prop_map(
            |(path, size, byte, attributes)| Change::Write { path, size, byte, attributes }
        ),
        4 => (paths(), attributes())
            .prop_map(|(path, attributes)| Change::Directory { path, attributes }),
        2 => (paths(), 1..900_usize).prop_map(|(path, length)| Change::Symlink { path, length }),
        2 => (paths(), paths()).prop_map(|(existing, path)| Change::Link { existing, path }),
        1 => (paths(), attributes()).prop_map(|(path, attributes)| Change::Pipe { path, attributes }),
        2 => paths().prop_map(|path| Change::Remove { path }),
        2 => (paths(), attributes())
            .prop_map(|(path, attributes)| Change::Attributes { path, attributes }),
        2 => (paths(), xattr, value)
            .prop_map(|(path, name, value)| Change::Xattr { path, name, value }),
        1 => Just(Change::Flush),
    ];
    prop::collection::vec(change, CHANGES)
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Content {
    File { size: usize, byte: u8 },
    Directory,
    Symlink { length: usize },
    Pipe,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Inode {
    content: Content,
    attributes: Attributes,
    xattrs: BTreeMap<String, Vec<u8>>,
}

/// What a file system is, to the changes above.
#[derive(Default)]
struct Model {
    names: BTreeMap<PathBuf, usize>,
    inodes: Vec<Inode>,
    is_fat: bool,
}

/// A change that must fail.
#[derive(Debug)]
struct Refused;

const PLAIN: Attributes = Attributes { mode: 0o644, uid: 0, gid: 0 };

impl Model {
    fn apply(&mut self, change: &Change) -> Result<(), Refused> {
        match change {
            Change::Write { path, size, byte, attributes } => {
                let byte = if *size == 0 { 0 } else { *byte };
                let content = Content::File { size: *size, byte };
                match self.find(path)? {
                    Some(index) if matches!(self.inodes[index].content, Content::File { .. }) => {
                        let inode = &mut self.inodes[index];
                        inode.content = content;
                        inode.attributes = attributes.unwrap_or(inode.attributes);
                        Ok(())
                    }
                    _ => self.make(path, content, attributes.unwrap_or(PLAIN)),
                }
            }
            Change::Directory { path, attributes } => match self.find(path)? {
                Some(index) if self.inodes[index].content == Content::Directory => {
                    self.inodes[index].attributes = *attributes;
                    Ok(())
                }
                Some(_) => Err(Refused),
                None => self.make(path, Content::Directory, *attributes),
            },
            Change::Flush => Ok(()),
            Change::Remove { path } => {
                if self.find(path)?.is_some() {
                    self.names.retain(|name, _| !name.starts_with(path));
                }
                Ok(())
            }
            Change::Attributes { path, attributes } => {
                let index = self.find(path)?.ok_or(Refused)?;
                let inode = &mut self.inodes[index];
                inode.attributes = *attributes;
                if matches!(inode.content, Content::Symlink { .. }) {
                    inode.attributes.mode = 0o777;
                }
                Ok(())
            }
            _ if self.is_fat => Err(Refused),
            Change::Symlink { path, length } => {
                let attributes = Attributes { mode: 0o777, uid: 0, gid: 0 };
                self.make(path, Content::Symlink { length: *length }, attributes)
            }
            Change::Link { existing, path } => {
                let index = self.find(existing)?.ok_or(Refused)?;
                if self.inodes[index].content == Content::Directory {
                    return Err(Refused);
                }
                self.vacate(path)?;
                self.names.insert(path.clone(), index);
                Ok(())
            }
            Change::Pipe { path, attributes } => self.make(path, Content::Pipe, *attributes),
            Change::Xattr { path, name, value } => {
                let index = self.find(path)?.ok_or(Refused)?;
                let xattrs = &mut self.inodes[index].xattrs;
                match value {
                    Some(value) => xattrs.insert((*name).to_owned(), value.clone()),
                    None => xattrs.remove(*name),
                };
                Ok(())
            }
        }
    }

    /// What is at `path`. Every symlink here leads nowhere.
    fn find(&self, path: &Path) -> Result<Option<usize>, Refused> {
        let mut above: Vec<&Path> = path.ancestors().skip(1).collect();
        above.reverse();
        for directory in above.into_iter().skip(1) {
            match self.names.get(directory).map(|&index| &self.inodes[index].content) {
                Some(Content::Directory) => {}
                None | Some(Content::Symlink { .. }) => return Ok(None),
                Some(_) => return Err(Refused),
            }
        }
        Ok(self.names.get(path).copied())
    }

    fn vacate(&self, path: &Path) -> Result<(), Refused> {
        let is_directory = |index: usize| self.inodes[index].content == Content::Directory;
        let parent = path.parent().expect("no change is made to the root");
        let has_parent = parent == Path::new("/") || self.find(parent)?.is_some_and(is_directory);
        if !has_parent || self.find(path)?.is_some_and(is_directory) {
            return Err(Refused);
        }
        Ok(())
    }

    fn make(
        &mut self,
        path: &Path,
        content: Content,
        attributes: Attributes,
    ) -> Result<(), Refused> {
        self.vacate(path)?;
        self.names.insert(path.to_owned(), self.inodes.len());
        self.inodes.push(Inode { content, attributes, xattrs: BTreeMap::new() });
        Ok(())
    }

    /// Every name, with the first of all names of its file.
    fn snapshot(&self) -> Snapshot {
        let mut first = BTreeMap::new();
        let mut snapshot = Snapshot::new();
        for (path, &index) in &self.names {
            let first = first.entry(index).or_insert_with(|| path.clone()).clone();
            let mut inode = self.inodes[index].clone();
            if self.is_fat {
                inode.attributes = PLAIN;
            }
            snapshot.insert(path.clone(), (first, inode));
        }
        snapshot
    }
}

type Snapshot = BTreeMap<PathBuf, (PathBuf, Inode)>;

fn apply(tree: &mut dyn Tree, change: &Change) -> Result<()> {
    match change {
        Change::Write { path, size, byte, attributes } => {
            tree.write(path, &vec![*byte; *size], *attributes)
        }
        Change::Directory { path, attributes } => tree.create_dir(path, *attributes),
        Change::Symlink { path, length } => tree.symlink(path, Path::new(&"t".repeat(*length))),
        Change::Link { existing, path } => tree.hard_link(existing, path),
        Change::Pipe { path, attributes } => {
            tree.create_node(path, FileType::Fifo, (0, 0), *attributes)
        }
        Change::Remove { path } => tree.remove(path),
        Change::Attributes { path, attributes } => tree.set_attributes(path, *attributes),
        Change::Xattr { path, name, value } => tree.set_xattr(path, name, value.as_deref()),
        Change::Flush => tree.flush(),
    }
}

/// Everything below the root but `lost+found`.
fn snapshot(tree: &dyn Tree, is_fat: bool) -> Result<Snapshot> {
    let mut found = BTreeMap::new();
    let mut directories = vec![PathBuf::from("/")];
    while let Some(directory) = directories.pop() {
        for entry in tree.read_dir(&directory)? {
            let path = directory.join(&entry.name);
            if path == Path::new("/lost+found") {
                continue;
            }
            if entry.file_type == FileType::Directory {
                directories.push(path.clone());
            }
            let (number, inode) = look(tree, &path, is_fat)?;
            found.insert(path, (number, inode));
        }
    }
    let mut first = BTreeMap::new();
    let name_files = found.into_iter().map(|(path, (number, inode))| {
        let first = match number {
            0 => path.clone(),
            _ => first.entry(number).or_insert_with(|| path.clone()).clone(),
        };
        (path, (first, inode))
    });
    Ok(name_files.collect())
}

fn look(tree: &dyn Tree, path: &Path, is_fat: bool) -> Result<(u64, Inode)> {
    let metadata = tree.metadata(path)?.expect("it was listed");
    let content = match metadata.file_type {
        FileType::Directory => Content::Directory,
        FileType::Symlink => Content::Symlink { length: tree.read_link(path)?.as_os_str().len() },
        FileType::File => {
            let bytes = tree.read(path, 1 << 20)?.expect("it was listed");
            let byte = bytes.first().copied().unwrap_or(0);
            assert!(bytes.iter().all(|&other| other == byte), "{}", path.display());
            Content::File { size: bytes.len(), byte }
        }
        FileType::CharacterDevice | FileType::BlockDevice | FileType::Fifo | FileType::Socket => {
            Content::Pipe
        }
    };
    let attributes = Attributes { mode: metadata.mode, uid: metadata.uid, gid: metadata.gid };
    let xattrs = tree.xattrs(path)?.into_iter();
    let xattrs = xattrs.map(|(name, value)| (name.into_string().expect("UTF-8"), value)).collect();
    let attributes = if is_fat { PLAIN } else { attributes };
    Ok((metadata.inode, Inode { content, attributes, xattrs }))
}

/// Applies the changes to the image and to a model; they must agree on every result and in the end.
fn agree(base: &Path, changes: &[Change], is_fat: bool) -> Arc<Overlay> {
    let overlay = Arc::new(Overlay::new(Arc::new(Raw::open(base).expect("the image opens"))));
    let mut image = Image::open(Arc::clone(&overlay) as _, CLOCK).expect("the image opens");
    let mut model = Model { is_fat, ..Model::default() };
    for change in changes {
        let expected = model.apply(change);
        let found = apply(&mut image, change);
        assert_eq!(found.is_ok(), expected.is_ok(), "{change:?}: {found:?}");
    }
    image.verify().expect("it is as written");
    drop(image);
    let view = Arc::new(ReadOnly(Arc::clone(&overlay) as _));
    let fresh = Image::open(view, CLOCK).expect("the image opens again");
    assert_eq!(snapshot(&fresh, is_fat).expect("it reads"), model.snapshot());
    overlay
}

fn run(test: impl Fn(Vec<Change>)) {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok());
    let config = ProptestConfig {
        cases: cases.unwrap_or(RUNS),
        failure_persistence: None,
        max_shrink_iters: 2000,
        ..ProptestConfig::default()
    };
    let mut runner = proptest::test_runner::TestRunner::new(config);
    let result = runner.run(&changes(), |changes| {
        test(changes);
        Ok(())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
}

/// An empty folder and, in it, an empty one to make file systems of.
fn empty() -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::create_dir(folder.path().join("tree")).expect("a folder");
    folder
}

#[test]
fn random_changes_to_ext4() {
    let e2fsck = Checker::E2fsck.find().expect("e2fsprogs is installed for the tests");
    for (kind, options) in EXT4_KINDS {
        let folder = empty();
        let base = ext4_image(folder.path(), options);
        run(|changes| {
            let overlay: Arc<dyn Disk> = agree(&base, &changes, false);
            let complaints = Checker::E2fsck.complaints(Arc::clone(&overlay), &e2fsck);
            assert_eq!(complaints.expect("e2fsck runs"), None);
            if !UNKNOWN_TO_IT.contains(kind) {
                let view = Arc::new(ReadOnly(Arc::clone(&overlay)));
                let tree = Image::open(view, CLOCK).expect("the image opens again");
                assert_readers_agree(overlay, &tree);
            }
        });
    }
}

#[test]
fn random_changes_to_fat() {
    let kinds: &[(u64, &[&str])] =
        &[(40, &["-F", "16"]), (60, &["-F", "32", "-s", "1"]), (300, &["-F", "32", "-s", "8"])];
    for (megabytes, options) in kinds {
        let folder = empty();
        let base = fat_image(folder.path(), megabytes << 20, options);
        run(|changes| {
            let overlay = agree(&base, &changes, true);
            let copy = folder.path().join("copy.vfat");
            let file = File::create(&copy).expect("a file");
            file.set_len(overlay.size()).expect("a file");
            let mut at = 0;
            while let Some(run) = overlay.next_data(at).expect("it reads") {
                let length = usize::try_from(run.end - run.start).expect("small");
                let mut bytes = vec![0; length];
                overlay.read_at(&mut bytes, run.start).expect("it reads");
                file.write_all_at(&bytes, run.start).expect("it is written");
                at = run.end;
            }
            assert_fat_clean(&copy);
        });
    }
}
