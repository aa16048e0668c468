//! Damaged images: thousands of them must be read or refused, without a panic, a hang, or
//! memory without bound.

use std::fs;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::testing::{Vandal, tool};
use super::*;

/// Opens an image and reads at its ends and wherever it says there is data, up to a limit.
fn explore(path: &Path) -> bool {
    let Ok(disk) = open(path) else { return false };
    let mut buffer = vec![0; 70_000];
    for offset in [0, 512, disk.size() / 2, disk.size().saturating_sub(70_000)] {
        let _ = disk.read_at(&mut buffer, offset);
        let _ = disk.read_at(&mut buffer[..512], offset);
    }
    let mut at = 0;
    for _ in 0..20 {
        let Ok(Some(run)) = disk.next_data(at) else { break };
        assert!(at <= run.start && run.start < run.end && run.end <= disk.size());
        let _ = disk.read_at(&mut buffer[..512], run.start);
        at = run.end;
    }
    true
}

/// Damages an image at `places` and explores it, `rounds` times; returns how many still opened.
fn torment(path: &Path, places: &[Range<usize>], seed: u64, rounds: usize) -> usize {
    let sound = fs::read(path).unwrap();
    // Written in place: to truncate a file first makes ext4 flush it each time.
    let file = fs::File::options().write(true).open(path).unwrap();
    let mut vandal = Vandal::new(seed);
    let mut opened = 0;
    for _ in 0..rounds {
        let mut bytes = sound.clone();
        vandal.damage(&mut bytes, places);
        if vandal.below(16) == 0 {
            bytes.truncate(vandal.below(bytes.len()));
        }
        file.set_len(bytes.len() as u64).unwrap();
        file.write_all_at(&bytes, 0).unwrap();
        opened += usize::from(explore(path));
    }
    println!("{rounds} damaged images, {opened} of which still opened");
    opened
}

/// A small disk with data, in the format that `arguments` ask qemu-img for.
fn image(folder: &Path, arguments: &[&str]) -> std::path::PathBuf {
    let mut bytes = vec![0; 96 * 1024];
    for (index, byte) in bytes.iter_mut().enumerate().skip(10_000).take(50_000) {
        *byte = u8::try_from(index * index % 251).unwrap();
    }
    fs::write(folder.join("raw"), bytes).unwrap();
    tool(folder, "qemu-img", &[&["convert", "-f", "raw", "raw"], arguments, &["image"]].concat());
    folder.join("image")
}

#[test]
fn damaged_qcow2_images() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let small = ["-O", "qcow2", "-o", "cluster_size=512"];
    let path = image(folder, &small);
    let whole = 0..usize::try_from(fs::metadata(&path).unwrap().len()).unwrap();
    // The header weighs as much as all tables and data together.
    assert!(torment(&path, &[0..120, 0..4096, whole], 1, 14_000) > 1400);
    let path = image(folder, &[&["-c"], &small[..]].concat());
    let whole = 0..usize::try_from(fs::metadata(&path).unwrap().len()).unwrap();
    assert!(torment(&path, &[0..120, 0..4096, whole], 2, 14_000) > 1400);
    fs::copy(folder.join("raw"), folder.join("base")).unwrap();
    tool(folder, "qemu-img", &["create", "-qf", "qcow2", "-F", "raw", "-b", "base", "image"]);
    assert!(torment(&path, &[0..600, 0..120], 3, 12_000) > 1200);
}

#[test]
fn damaged_vmdks() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let path = image(folder, &["-O", "vmdk"]);
    let descriptor = 512..1024;
    let tables = 21 * 512..27 * 512;
    assert!(torment(&path, &[0..80, descriptor, tables], 4, 14_000) > 1400);
    let path = image(folder, &["-O", "vmdk", "-o", "subformat=streamOptimized"]);
    let end = usize::try_from(fs::metadata(&path).unwrap().len()).unwrap();
    assert!(torment(&path, &[0..80, 21 * 512..end, end - 1024..end], 5, 14_000) > 1400);
    let path = image(folder, &["-O", "vmdk", "-o", "subformat=monolithicFlat"]);
    let end = usize::try_from(fs::metadata(&path).unwrap().len()).unwrap();
    assert!(torment(&path, &[0..60, 60..end], 6, 12_000) > 1200);
}
