//! nodeforge on the test images of e2fsprogs, util-linux, dosfstools, qemu, xz and zstd: what it says of
//! each, beside what their own tools say. `verdicts.tsv` lists it: image, what blkid calls it and its
//! partition table, what nodeforge calls it, its own checker's verdict, whether nodeforge reads it, whether
//! it edits it, and why not. `explained.tsv` says why where nodeforge and others differ.
//!
//! `NODEFORGE_WRITE_VERDICTS=FILE` writes a new list.

mod judge;
mod trial;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::PathBuf;
use std::sync::Mutex;

use rustix::fs::{FlockOperation, flock};

use super::support::{User, short_hash, temporary_folder, tool};
use trial::Trial;

const FETCH: &str = include_str!("fetch");
const VERDICTS: &str = include_str!("verdicts.tsv");
/// Image, what differs, and why that is right.
const EXPLAINED: &str = include_str!("explained.tsv");

/// One image of each kind.
const SAMPLE: &[&str] = &[
    "dosfstools+check-chain_to_free_cluster.fat",
    "dosfstools+check-chain_to_other_file.fat",
    "dosfstools+check-dot_entries.fat",
    "dosfstools+referenceFAT12.fat",
    "e2fsprogs+f_bad_disconnected_inode+image",
    "e2fsprogs+f_badjourblks+image",
    "e2fsprogs+f_dup_de+image",
    "e2fsprogs+f_extents+image",
    "e2fsprogs+f_holedir+image",
    "e2fsprogs+f_illbbitmap+image",
    "e2fsprogs+f_ind_inode_collision+image",
    "libzstd+golden-decompression+block-128k.zst",
    "qemu+qemu-iotests+grub_mbr.raw",
    "qemu+qemu-iotests+parallels-v1",
    "util-linux+blkid+images-fs+bcache-B.img",
    "util-linux+blkid+images-fs+ext3.img",
    "util-linux+blkid+images-fs+fat.img",
    "util-linux+blkid+images-fs+jbd.img",
    "util-linux+blkid+images-fs+mdraid.img",
    "util-linux+blkid+images-fs+swap0.img",
    "util-linux+blkid+images-pt+gpt.img",
    "util-linux+isosize+sample.iso",
    "xz-utils+files+bad-1-check-crc32.xz",
    "xz-utils+files+good-1-check-crc32.xz",
];

/// The folder with all images, in the tests' cache.
fn images() -> PathBuf {
    let cache = User::current().cache();
    fs::create_dir_all(&cache).expect("a folder");
    let folder = cache.join(format!("corpora-{}", short_hash(FETCH)));
    // Tests that run at once fetch once.
    let lock = File::create(cache.join("corpora.lock")).expect("a lock");
    flock(&lock, FlockOperation::LockExclusive).expect("locked");
    if !folder.exists() {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/corpora/fetch");
        tool("sh", [script.as_ref(), folder.as_os_str()]);
    }
    folder.join("images")
}

/// Tries images, and wants every rule kept and every verdict to be the listed one.
#[track_caller]
fn check(names: &[String]) {
    let listed: BTreeMap<&str, &str> = VERDICTS
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_once('\t'))
        .collect();
    let images = images();
    let left = Mutex::new(names.iter());
    let found = Mutex::new(BTreeMap::new());
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                loop {
                    let next = left.lock().expect("no panic").next();
                    let Some(name) = next else { break };
                    let folder = temporary_folder();
                    let trial = Trial::of(&images.join(name), folder.path());
                    found.lock().expect("no panic").insert(name.clone(), trial);
                }
            });
        }
    });
    let found = found.into_inner().expect("no panic");
    if let Some(file) = std::env::var_os("NODEFORGE_WRITE_VERDICTS") {
        let rows: Vec<_> =
            found.iter().map(|(name, it)| format!("{name}\t{}\n", it.row())).collect();
        fs::write(file, rows.concat()).expect("written");
    }
    let mut wrong = Vec::new();
    for (name, trial) in &found {
        let is_explained = |rule: &&String| {
            EXPLAINED.lines().any(|line| line.starts_with(&format!("{name}\t{rule}\t")))
        };
        let broken = trial.broken.iter().filter(|rule| !is_explained(rule));
        wrong.extend(broken.map(|rule| format!("{name}: {rule}")));
        // One that a newer release of a package brought is held to the rules only.
        let row = trial.row();
        let verdict = |row: &str| row.rsplit_once('\t').map(|it| it.0.to_owned());
        if let Some(expected) = listed.get(name.as_str())
            && verdict(expected) != verdict(&row)
        {
            wrong.push(format!("{name}:\n  listed {expected}\n  found  {row}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_sample_is_read_as_its_own_tools_read_it() {
    let names: Vec<String> = SAMPLE.iter().map(|name| (*name).to_owned()).collect();
    check(&names);
}

mod long {
    use super::super::support::names;
    use super::{check, images};

    #[test]
    #[ignore = "long: hundreds of images"]
    fn all_images_are_read_as_their_own_tools_read_them() {
        check(&names(&images()));
    }
}
