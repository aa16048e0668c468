//! Parsers of bytes that come from elsewhere, each as a function that takes any bytes at all.
//!
//! Fuzz targets call them, and `cargo test` feeds them what is kept in `fuzz/corpus/`. None may panic,
//! take much time, or allocate what an input only announces.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fs, io};

use crate::base::LockFile;
use crate::cache::is_whole_package;
use crate::debian::{Watcher, diagnose};
use crate::disk::{Disk, Raw, Scratch, open_with};
use crate::download::checksums;
use crate::download::{Certificate, Verifier, unpack};
use crate::fs::{Fat, Namespace, Tree};
use crate::guest::dpkg::DpkgStatus;
use crate::image::edit;
use crate::registry;
use crate::sandbox::read_message;
use crate::secrets::read_any;
use crate::util::progress::Silent;

/// A parser: its name, and what feeds it.
pub type FuzzTarget = (&'static str, fn(&[u8]));

/// All parsers that are here. Those of cluster files, whole images, partition tables and single image files
/// are in `fuzz/fuzz_targets/`, as they use nothing but the library's own functions.
pub const TARGETS: [FuzzTarget; 13] = [
    ("apt_output", apt_output),
    ("checksums", checksum_list),
    ("deb", deb),
    ("dpkg_status", dpkg_status),
    ("edit_journal", edit_journal),
    ("fat", fat),
    ("lock_file", lock_file),
    ("openpgp", openpgp),
    ("prepared_base", prepared_base),
    ("sandbox_message", sandbox_message),
    ("secrets_store", secrets_store),
    ("tar", tar),
    ("vmdk_siblings", vmdk_siblings),
];

/// The most bytes that come out of a compressed input.
const LIMIT: u64 = 16 << 20;

/// What apt says, and why it failed.
fn apt_output(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let mut watcher = Watcher::new(&Silent);
    text.lines().for_each(|line| watcher.line(line));
    drop(diagnose(&text.lines().collect::<Vec<_>>()));
}

/// `SHA256SUMS` and its like.
fn checksum_list(bytes: &[u8]) {
    drop(checksums::find(&String::from_utf8_lossy(bytes), "image.img.xz"));
}

/// A Debian package.
fn deb(bytes: &[u8]) {
    drop(is_whole_package(bytes));
}

/// `/var/lib/dpkg/status`.
fn dpkg_status(bytes: &[u8]) {
    let status = DpkgStatus::parse(&String::from_utf8_lossy(bytes));
    for package in status.installed() {
        assert!(!status.qualified_name(package).is_empty());
    }
}

/// What an edit left that was interrupted: how many sectors the image has (little-endian, 16 bits), the
/// image, the journal.
fn edit_journal(bytes: &[u8]) {
    let Some((sectors, rest)) = bytes.split_first_chunk() else { return };
    let length = usize::from(u16::from_le_bytes(*sectors)) * 512;
    let (disk, journal) = rest.split_at(length.min(rest.len()));
    let folder = folder("edit_journal");
    let image = folder.join("image");
    let written = fs::write(&image, whole_sectors(disk));
    if written.and(fs::write(folder.join(".image.nodeforge-edit"), journal)).is_ok() {
        if let Ok(disk) = edit::open_to_read(&image, &[]) {
            read_some(&*disk);
        }
        drop(edit::finish(&image));
    }
}

/// A FAT file system, read and changed.
fn fat(bytes: &[u8]) {
    let path = folder("fat").join("image");
    let raw = fs::write(&path, whole_sectors(bytes))
        .map_err(Into::into)
        .and_then(|()| Raw::open_writable(&path));
    let Ok(fat) = raw.and_then(|raw| Fat::open(Arc::new(raw), 0)) else { return };
    let mut tree = Namespace::new(Box::new(fat));
    for entry in tree.read_dir(Path::new("/")).unwrap_or_default().into_iter().take(100) {
        let path = Path::new("/").join(entry.name);
        drop(tree.metadata(&path));
        drop(tree.read(&path, 1 << 16));
        drop(tree.remove(&path));
    }
    drop(tree.write(Path::new("/new file.txt"), b"changed", None));
    drop(tree.flush());
}

/// `nodeforge.lock`.
fn lock_file(bytes: &[u8]) {
    let folder = folder("lock_file");
    if fs::write(folder.join("nodeforge.lock"), bytes).is_ok()
        && let Err(error) = LockFile::open(&folder)
    {
        assert!(!error.to_string().is_empty());
    }
}

/// A file of keys, and the same as a signature by them.
fn openpgp(bytes: &[u8]) {
    let certificates = Certificate::read_all(bytes).unwrap_or_default();
    for certificate in &certificates {
        assert_eq!(certificate.fingerprint().len() % 8, 0);
        let _ = (certificate.expires(), certificate.armored());
    }
    if let Ok(verifier) = Verifier::new(bytes, &certificates) {
        drop(verifier.verify(&b"data"[..]));
    }
}

/// What a registry has as a prepared base: its manifest, its configuration, each after its length (little-endian, 16
/// bits), and its index.
fn prepared_base(bytes: &[u8]) {
    fn part(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
        let (length, rest) = bytes.split_first_chunk()?;
        Some(rest.split_at(usize::from(u16::from_le_bytes(*length)).min(rest.len())))
    }
    let Some((manifest, rest)) = part(bytes) else { return };
    let Some((config, index)) = part(rest) else { return };
    registry::read_any(manifest, config, index);
}

/// A message from a sandbox.
fn sandbox_message(mut bytes: &[u8]) {
    while let Ok(Some(())) = read_message(&mut bytes) {}
}

/// `nodeforge.secrets`, plain and encrypted.
fn secrets_store(bytes: &[u8]) {
    use std::os::unix::fs::PermissionsExt as _;
    for name in ["nodeforge.secrets", "nodeforge.secrets.age"] {
        let folder = folder("secrets_store");
        let path = folder.join(name);
        let private = fs::Permissions::from_mode(0o600);
        if fs::write(&path, bytes).and_then(|()| fs::set_permissions(&path, private)).is_ok() {
            drop(read_any(&folder));
        }
        drop(fs::remove_file(path));
    }
}

/// An archive of an image, compressed or not.
fn tar(bytes: &[u8]) {
    if let Ok(file) = fs::File::create(folder("tar").join("image")) {
        drop(unpack(io::Cursor::new(bytes), &file, LIMIT));
    }
}

/// A VMDK's descriptor, and a file beside it that it may name: `NUMBER` (little-endian, 16 bits) says
/// where the one ends and the other begins.
fn vmdk_siblings(bytes: &[u8]) {
    let Some((length, rest)) = bytes.split_first_chunk() else { return };
    let length = usize::from(u16::from_le_bytes(*length)).min(rest.len());
    let (descriptor, extent) = rest.split_at(length);
    let folder = folder("vmdk_siblings");
    let path = folder.join("disk.vmdk");
    let written =
        fs::write(&path, descriptor).and(fs::write(folder.join("disk-s001.vmdk"), extent));
    let scratch = Scratch { folder, limit: LIMIT };
    if let (Ok(()), Ok(disk)) = (written, open_with(&path, &scratch)) {
        read_some(&*disk);
    }
}

/// What any disk is, and not empty.
fn whole_sectors(bytes: &[u8]) -> Vec<u8> {
    let mut disk = bytes.to_vec();
    disk.resize(disk.len().next_multiple_of(512).max(512), 0);
    disk
}

/// Reads a little of each of the first runs of data, and checks that the runs follow one another.
pub fn read_some(disk: &dyn Disk) {
    let mut buffer = [0; 4096];
    let mut at = 0;
    for _ in 0..16 {
        let Ok(Some(run)) = disk.next_data(at) else { break };
        assert!(at <= run.start && run.start < run.end && run.end <= disk.size());
        let length = usize::try_from(run.end - run.start).unwrap_or(4096).min(4096);
        drop(disk.read_at(&mut buffer[..length], run.start));
        at = run.end;
    }
}

/// A folder for this process's inputs, which lie in the page cache and are overwritten each time.
fn folder(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("nodeforge-fuzz-{}-{name}", std::process::id()));
    // What cannot be made shows as inputs that cannot be written.
    drop(fs::create_dir_all(&folder));
    folder
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a fuzzer found once, and real files that it started from; and what is cut anywhere of those.
    #[test]
    fn the_kept_corpus_is_read() {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
        for (name, target) in TARGETS {
            let mut count = 0;
            for entry in
                fs::read_dir(corpus.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
            {
                let bytes = fs::read(entry.unwrap().path()).unwrap();
                target(&bytes);
                for parts in 1..8 {
                    target(&bytes[..bytes.len() * parts / 8]);
                }
                count += 1;
            }
            assert!(count > 0, "{name} has no corpus");
            drop(fs::remove_dir_all(folder(name)));
        }
    }
}
