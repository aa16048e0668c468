//! Opening what others made: qemu-img, xz, zstd and gzip write, we read.

use std::fs;
use std::io::Write;
use std::path::Path;

use super::testing::{contents, tool};
use super::*;

/// A disk of 5 MiB and a bit with data in it that packs well, badly, and not at all.
fn sample() -> Vec<u8> {
    let mut bytes = vec![0; (5 << 20) + 512];
    bytes[100_000..180_000].fill(7);
    let mut state = 1_u32;
    for byte in &mut bytes[1 << 20..(1 << 20) + 300_000] {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        *byte = state.to_be_bytes()[0];
    }
    let end = bytes.len();
    bytes[end - 512..].fill(9);
    bytes
}

/// Checks that a disk is `expected` byte for byte, also when it is read in pieces, and
/// that nothing but zeros lies outside what it calls data.
fn assert_holds(disk: &dyn Disk, expected: &[u8]) {
    assert!(contents(disk) == expected, "the bytes differ");
    for (offset, length) in [(0, 1), (99_999, 70_001), (65_535, 2), ((5 << 20) - 3, 515)] {
        let mut part = vec![0xee; length];
        disk.read_at(&mut part, offset as u64).unwrap();
        assert!(part == expected[offset..offset + length], "{length} bytes from {offset}");
    }
    assert!(disk.read_at(&mut [0; 2], disk.size() - 1).is_err());
    assert!(disk.read_at(&mut [0; 2], u64::MAX).is_err());
    let mut at = 0;
    while let Some(run) = disk.next_data(at).unwrap() {
        assert!(at <= run.start && run.start < run.end && run.end <= disk.size(), "{run:?}");
        let gap = usize::try_from(at).unwrap()..usize::try_from(run.start).unwrap();
        assert!(expected[gap].iter().all(|byte| *byte == 0), "data before {run:?}");
        at = run.end;
    }
    assert!(expected[usize::try_from(at).unwrap()..].iter().all(|byte| *byte == 0));
}

fn convert(folder: &Path, arguments: &[&str]) {
    tool(folder, "qemu-img", &[&["convert", "-f", "raw", "sample.raw"], arguments].concat());
}

#[test]
fn every_format_qemu_writes_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let sample = sample();
    fs::write(folder.join("sample.raw"), &sample).unwrap();
    for (name, format, arguments) in [
        ("plain", Format::Qcow2, &["-O", "qcow2"][..]),
        ("old", Format::Qcow2, &["-O", "qcow2", "-o", "compat=0.10"]),
        ("packed", Format::Qcow2, &["-c", "-O", "qcow2"]),
        ("small", Format::Qcow2, &["-O", "qcow2", "-o", "cluster_size=512"]),
        ("large", Format::Qcow2, &["-c", "-O", "qcow2", "-o", "cluster_size=2M"]),
        ("zstd", Format::Qcow2, &["-c", "-O", "qcow2", "-o", "compression_type=zstd"]),
        ("parted", Format::Qcow2, &["-O", "qcow2", "-o", "extended_l2=on"]),
        (
            "both",
            Format::Qcow2,
            &["-c", "-O", "qcow2", "-o", "compression_type=zstd,extended_l2=on"],
        ),
        ("sparse", Format::Vmdk, &["-O", "vmdk"]),
        ("flat", Format::Vmdk, &["-O", "vmdk", "-o", "subformat=monolithicFlat"]),
        ("split", Format::Vmdk, &["-O", "vmdk", "-o", "subformat=twoGbMaxExtentFlat"]),
        ("parts", Format::Vmdk, &["-O", "vmdk", "-o", "subformat=twoGbMaxExtentSparse"]),
        ("stream", Format::Vmdk, &["-O", "vmdk", "-o", "subformat=streamOptimized"]),
        ("zeroed", Format::Vmdk, &["-O", "vmdk", "-o", "zeroed_grain=on"]),
    ] {
        convert(folder, &[arguments, &[name]].concat());
        let path = folder.join(name);
        assert_eq!(probe(&path).unwrap(), format, "{name}");
        let disk = open(&path).unwrap_or_else(|error| panic!("{name}: {error}"));
        // A monolithicSparse disk from qemu-img has whole grains.
        let mut expected = sample.clone();
        expected.resize(usize::try_from(disk.size()).unwrap(), 0);
        assert!(expected.len() - sample.len() < 65536, "{name}");
        assert_holds(&*disk, &expected);
        assert!(!disk.is_writable());
        let error = open_writable(&path).err().unwrap();
        assert!(error.to_string().ends_with("image, which can only be read"), "{error}");
        assert!(!error.problems()[0].hints.is_empty());
    }
    assert_holds(&*open(&folder.join("sample.raw")).unwrap(), &sample);
    assert!(open_writable(&folder.join("sample.raw")).unwrap().is_writable());
}

#[test]
fn compressed_images_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let sample = sample();
    for (name, format, command) in [
        ("whole.img", Format::Xz, "xz -c sample.raw"),
        ("blocks.img", Format::Xz, "xz -c --block-size=1MiB sample.raw"),
        ("streams", Format::Xz, "xz -c first; xz -c second; head -c 8 /dev/zero"),
        ("crc.xz", Format::Xz, "xz -9 --check=crc32 -c sample.raw"),
        ("frame.gz", Format::Zstd, "zstd -qc sample.raw"),
        ("frames", Format::Zstd, "zstd -qc first; zstd -qc --long second"),
        ("member.xz", Format::Gzip, "gzip -c sample.raw"),
        ("members", Format::Gzip, "gzip -c first; gzip -c second"),
    ] {
        fs::write(folder.join("sample.raw"), &sample).unwrap();
        fs::write(folder.join("first"), &sample[..1_234_567]).unwrap();
        fs::write(folder.join("second"), &sample[1_234_567..]).unwrap();
        tool(folder, "sh", &["-c", &format!("({command}) > {name}")]);
        let path = folder.join(name);
        assert_eq!(probe(&path).unwrap(), format, "{name}");
        let scratch = Scratch { folder: folder.to_owned(), limit: sample.len() as u64 };
        assert_holds(&*open_with(&path, &scratch).unwrap(), &sample);

        let small = Scratch { limit: sample.len() as u64 - 1, ..scratch.clone() };
        let error = open_with(&path, &small).err().unwrap();
        assert!(error.to_string().contains("unpacks to more than"), "{name}: {error}");

        let bytes = fs::read(&path).unwrap();
        fs::write(&path, &bytes[..bytes.len() - 100]).unwrap();
        assert!(open_with(&path, &scratch).is_err(), "{name} cut short");
        for garbage in [&b"garbage at the end"[..], b"\0\0\0\0\0\0\0"] {
            fs::write(&path, [&bytes, garbage].concat()).unwrap();
            let opened = open_with(&path, &scratch);
            // gzip(1) takes zeros for a tape's padding.
            if format == Format::Gzip && garbage[0] == 0 {
                assert_holds(&*opened.unwrap(), &sample);
                continue;
            }
            assert!(opened.is_err(), "{name} with {garbage:?} after it");
        }
    }
    // Nothing is left behind.
    assert_eq!(fs::read_dir(folder).unwrap().count(), 3 + 8);
}

#[test]
fn what_is_no_image_is_said_so() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    for (name, bytes, message) in [
        ("empty", &b""[..], "is empty"),
        ("text", b"hello", "not a whole number of sectors"),
        ("vhdx", b"vhdxfile and more", "VHDX files cannot be read"),
        ("zip", b"PK\x03\x04 and more", "zip files cannot be read"),
        ("vhd", b"conectix and more", "VHD files cannot be read"),
        ("parallels", b"WithoutFreeSpace and more", "Parallels files cannot be read"),
    ] {
        fs::write(folder.join(name), bytes).unwrap();
        let error = open(&folder.join(name)).err().unwrap();
        assert!(error.to_string().contains(message), "{error}");
        assert_eq!(error.kind(), crate::util::error::ErrorKind::Input);
    }
    tool(folder, "sh", &["-c", "qemu-img create -q -f qcow2 inner 1M; gzip inner; mkfifo pipe"]);
    let made = "truncate -s 1M raw; lz4 -q raw raw.lz4; xz -k --format=lzma raw; tar -cf raw.tar raw
        gzip -k raw.tar; qemu-img convert -f raw -O vpc -o subformat=fixed raw fixed.vhd
        qemu-img convert -f raw -O vdi raw raw.vdi; qemu-img convert -f raw -O parallels raw raw.hdd";
    tool(folder, "sh", &["-ec", made]);
    for (name, message, hint) in [
        ("raw.lz4", "lz4 files cannot be read", "`lz4 -d FILE`"),
        ("raw.lzma", "lzma files cannot be read", "`xz --format=lzma -d FILE`"),
        ("raw.tar", "is a tar archive, not an image", "`tar -xf FILE`"),
        ("raw.tar.gz", "is a tar archive, not an image", "`tar -xf FILE`"),
        ("fixed.vhd", "is a VHD, which cannot be read", "`qemu-img convert -f vpc -O raw OLD NEW`"),
        ("raw.vdi", "VDI files cannot be read", "`qemu-img convert -f vdi -O raw OLD NEW`"),
        ("raw.hdd", "Parallels files cannot be read", "-f parallels -O raw OLD NEW`"),
    ] {
        let error = open(&folder.join(name)).err().unwrap();
        assert!(error.to_string().ends_with(message), "{error}");
        assert!(error.problems()[0].hints[0].ends_with(hint), "{error}");
    }
    let error = open(&folder.join("inner.gz")).err().unwrap();
    assert!(error.to_string().ends_with("holds a qcow2 image"), "{error}");
    assert!(open(&folder.join("pipe")).err().unwrap().to_string().contains("is not a file"));
    assert!(open(folder).is_err());
}

#[test]
fn a_backing_chain_of_all_formats_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let mut expected = sample();
    expected.truncate(5 << 20);
    fs::write(folder.join("sample.raw"), &expected).unwrap();
    fs::create_dir(folder.join("sub")).unwrap();
    convert(folder, &["-O", "vmdk", "sub/base"]);
    tool(folder, "qemu-img", &["create", "-qf", "qcow2", "-F", "vmdk", "-b", "sub/base", "one"]);
    // The upper one is larger: behind the end of its backing there are zeros.
    let two = ["create", "-qf", "qcow2", "-F", "qcow2", "-b", "one", "two", "6M"];
    tool(folder, "qemu-img", &two);
    let write =
        ["-c", "write -P 3 1m 64k", "-c", "write -z 1100k 192k", "-c", "write -P 4 5500k 1k"];
    tool(folder, "qemu-io", &[&write[..], &["two"]].concat());
    tool(folder, "qemu-io", &["-c", "write -P 5 0 100k", "one"]);
    expected.resize(6 << 20, 0);
    expected[..100 << 10].fill(5);
    expected[1 << 20..(1 << 20) + (64 << 10)].fill(3);
    expected[1100 << 10..1292 << 10].fill(0);
    expected[5500 << 10..5501 << 10].fill(4);
    assert_holds(&*open(&folder.join("two")).unwrap(), &expected);
}

/// Subclusters are here, below and zero side by side, in clusters of every size.
#[test]
fn subclusters_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    fs::write(folder.join("base"), sample()).unwrap();
    for size in ["16k", "64k", "2M"] {
        let options = format!("extended_l2=on,cluster_size={size}");
        let create = ["create", "-qf", "qcow2", "-F", "raw", "-b", "base", "-o", &options, "over"];
        tool(folder, "qemu-img", &create);
        let writes =
            ["write -P 3 100k 5k", "write -z 120k 30k", "write -P 4 1030k 2k", "write -P 5 3m 70k"];
        for write in writes {
            tool(folder, "qemu-io", &["-c", write, "over"]);
        }
        tool(folder, "qemu-img", &["convert", "-O", "raw", "over", "expected"]);
        assert_holds(
            &*open(&folder.join("over")).unwrap(),
            &fs::read(folder.join("expected")).unwrap(),
        );
    }
}

/// Overlays of many nodes read one base at once, through its caches.
#[test]
fn threads_share_an_open_image() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let sample = sample();
    fs::write(folder.join("sample.raw"), &sample).unwrap();
    for arguments in [
        &["-c", "-O", "qcow2", "image"][..],
        &["-O", "vmdk", "-o", "subformat=streamOptimized", "image"],
    ] {
        convert(folder, arguments);
        let base = open(&folder.join("image")).unwrap();
        std::thread::scope(|scope| {
            for byte in 1..=8_u8 {
                let (base, sample) = (std::sync::Arc::clone(&base), &sample);
                scope.spawn(move || {
                    let overlay = Overlay::new(base);
                    let at = u64::from(byte) * 500_000;
                    overlay.write_at(&[byte; 100], at).unwrap();
                    let mut expected = sample.clone();
                    let at = usize::try_from(at).unwrap();
                    expected[at..at + 100].fill(byte);
                    expected.resize(usize::try_from(overlay.size()).unwrap(), 0);
                    assert!(contents(&overlay) == expected);
                });
            }
        });
    }
}

#[test]
fn backing_files_are_beside_their_images_or_where_the_user_says() {
    let folder = tempfile::tempdir().unwrap();
    let inside = folder.path().join("inside");
    fs::create_dir_all(inside.join("sub")).unwrap();
    fs::create_dir(folder.path().join("base.vmwarevm")).unwrap();
    let outside = folder.path().join("outside.raw");
    let name = outside.to_str().unwrap();
    for file in [&outside, &inside.join("local"), &folder.path().join("base.vmwarevm/disk")] {
        fs::write(file, vec![b'x'; 1024]).unwrap();
    }
    std::os::unix::fs::symlink(&outside, inside.join("link")).unwrap();
    std::os::unix::fs::symlink(folder.path(), inside.join("up")).unwrap();
    let create = |backing: &str, format: &str| {
        let _ = fs::remove_file(inside.join("image"));
        let create = ["create", "-uqf", "qcow2", "-F", format, "-b", backing, "image", "1M"];
        tool(&inside, "qemu-img", &create);
    };
    let named = |named: &[std::path::PathBuf]| {
        open_over(&inside.join("image"), named).map(|_| ()).map_err(|error| error.to_string())
    };
    for (backing, format, message) in [
        ("../outside.raw", "raw", "outside its folder"),
        (name, "raw", "outside its folder"),
        ("../base.vmwarevm/../outside.raw", "raw", "outside its folder"),
        ("sub/../local", "raw", "outside its folder"),
        ("/dev/zero", "raw", "outside its folder"),
        ("nbd://host/disk", "raw", "is not the name of a file"),
        ("fat:.", "raw", "is not the name of a file"),
        ("json:{\"driver\":\"null-co\"}", "raw", "is not the name of a file"),
        ("link", "raw", "symlinks that an image leads to are not followed"),
        ("up/outside.raw", "raw", "symlinks that an image leads to are not followed"),
        ("sub", "raw", "it is not a file"),
        ("missing", "raw", "No such file"),
        ("./image", "qcow2", "contains a loop"),
        ("local", "qcow2", "should be qcow2 and is raw"),
    ] {
        create(backing, format);
        let error = named(&[]).expect_err(backing);
        assert!(error.contains(message), "{backing}: {error}");
    }
    for backing in ["local", "./local", "file:local", "../base.vmwarevm/disk"] {
        create(backing, "raw");
        named(&[]).unwrap_or_else(|error| panic!("{backing}: {error}"));
    }
    // What the user names is meant, wherever the image believes it to be.
    for backing in [name, "/elsewhere/outside.raw", "nbd://host/outside.raw"] {
        create(backing, "raw");
        named(std::slice::from_ref(&outside)).unwrap();
    }
}

#[test]
fn unreadable_qcow2_features_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let create = ["create", "-qf", "qcow2", "-o", "data_file=data", "image", "1M"];
    tool(folder, "qemu-img", &create);
    let error = open(&folder.join("image")).err().unwrap();
    assert!(error.to_string().contains("in another file"), "{error}");
}

/// A download that stopped must not read as zeros.
#[test]
fn images_cut_short_are_errors() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    fs::write(folder.join("sample.raw"), sample()).unwrap();
    for arguments in [
        &["-O", "qcow2"][..],
        &["-c", "-O", "qcow2"],
        &["-O", "vmdk"],
        &["-O", "vmdk", "-o", "subformat=streamOptimized"],
    ] {
        convert(folder, &[arguments, &["whole"]].concat());
        let bytes = fs::read(folder.join("whole")).unwrap();
        let path = folder.join("short");
        // Of a compressed cluster, the last sector may be padding.
        for length in [10, 600, 70_000, bytes.len() / 2, bytes.len() - 66_000] {
            fs::File::create(&path).unwrap().write_all(&bytes[..length]).unwrap();
            let read = open(&path).and_then(|disk| {
                let mut all = vec![0; usize::try_from(disk.size()).unwrap()];
                Ok(disk.read_at(&mut all, 0)?)
            });
            assert!(read.is_err(), "{arguments:?}: {length} of {} bytes", bytes.len());
        }
    }
}
