//! Every form an image comes in.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::Stand;
use crate::support::{checksum, compress, disk, temporary_folder, tool};

/// The disk in every form that can be downloaded.
fn forms(raw: &Path) -> Vec<PathBuf> {
    let folder = raw.parent().expect("a folder");
    let tar = |name: &str, options: &[&str]| {
        let archive = folder.join(name);
        let mut arguments: Vec<_> = options.iter().map(OsStr::new).collect();
        arguments.extend([OsStr::new("--file"), archive.as_os_str(), OsStr::new("--directory")]);
        arguments.extend([folder.as_os_str(), OsStr::new("--create"), OsStr::new("disk.raw")]);
        tool("tar", arguments);
        archive
    };
    let qcow2 = |name: &str, options: &[&str]| {
        let image = folder.join(name);
        let mut arguments = vec![OsStr::new("convert"), OsStr::new("-O"), OsStr::new("qcow2")];
        arguments.extend(options.iter().map(OsStr::new));
        arguments.extend([raw.as_os_str(), image.as_os_str()]);
        tool("qemu-img", arguments);
        image
    };
    let concatenated = folder.join("two.xz");
    let (one, two) = (folder.join("one"), folder.join("two"));
    let bytes = fs::read(raw).expect("readable");
    fs::write(&one, &bytes[..3 << 20]).expect("written");
    fs::write(&two, &bytes[3 << 20..]).expect("written");
    let mut both = fs::read(compress("xz", &["--keep"], &one)).expect("readable");
    both.extend(fs::read(compress("xz", &["--keep"], &two)).expect("readable"));
    fs::write(&concatenated, both).expect("written");
    vec![
        raw.to_owned(),
        compress("xz", &["--keep", "-1"], raw),
        concatenated,
        compress("zstd", &["--keep", "--quiet", "-3"], raw),
        compress("gzip", &["--keep"], raw),
        compress("xz", &["-1", "--block-size=1MiB"], &tar("sparse.tar", &["--sparse"])),
        compress("zstd", &["--quiet"], &tar("ustar.tar", &["--format=ustar"])),
        tar("pax.tar", &["--format=pax"]),
        qcow2("plain.qcow2", &[]),
        qcow2("compressed.qcow2", &["-c"]),
    ]
}

#[test]
fn every_form_gives_the_same_sparse_disk() {
    let source = temporary_folder();
    let raw = disk(source.path(), 1);
    for file in forms(&raw) {
        let mut stand = Stand::new();
        stand.pinned(&file);
        let said = stand.fetch_is("it", &raw);
        let kept = fs::metadata(said["path"].as_str().expect("a path")).expect("there");
        assert!(kept.blocks() * 512 < 4 << 20, "{}: {}", file.display(), kept.blocks() * 512);
        assert_eq!(stand.kept().len(), 2, "{:?}", stand.kept());
    }
}

#[test]
fn every_form_on_this_machine_goes_through_the_same_door() {
    let source = temporary_folder();
    let raw = disk(source.path(), 1);
    let vmdk = source.path().join("disk.vmdk");
    let arguments = ["convert", "-O", "vmdk"].map(OsStr::new);
    tool("qemu-img", arguments.into_iter().chain([raw.as_os_str(), vmdk.as_os_str()]));
    for file in forms(&raw).into_iter().chain([vmdk]) {
        let stand = Stand::new();
        stand.cluster(&format!("path = \"{}\"", file.display()));
        let is_raw = file == raw;
        assert_eq!(stand.fetch_is("cluster.toml", &raw)["cached"], is_raw);
        assert_eq!(stand.fetch_is("cluster.toml", &raw)["cached"], true);
        assert_eq!(stand.lock()["base"]["raw_size"].as_integer(), Some(8 << 20));
    }
}

/// Compressed, and as it is: each has a hash that the other's cluster file names it by.
#[test]
fn an_image_of_ones_own_does_not_hide_the_same_from_elsewhere() {
    let folder = temporary_folder();
    let raw = disk(folder.path(), 1);
    let qcow2 = folder.path().join("own.qcow2");
    let convert = ["convert", "-O", "qcow2"].map(OsStr::new);
    tool("qemu-img", convert.into_iter().chain([raw.as_os_str(), qcow2.as_os_str()]));
    let packed = compress("xz", &["--keep", "-1"], &raw);
    for (own, published) in [(&packed, &packed), (&qcow2, &raw)] {
        let stand = Stand::new();
        let own = format!("path = \"{}\"", own.display());
        stand.server.put_file("/image", published);
        let hash = checksum("sha256sum", published);
        let theirs = format!("url = \"SERVER/image\"\nsha256 = \"{hash}\"");
        for (base, requests) in [(&own, 0), (&theirs, 1), (&own, 1), (&theirs, 1)] {
            stand.cluster(base);
            stand.fetch_is("cluster.toml", &raw);
            assert_eq!(stand.server.requests("/image").len(), requests, "{base}");
        }
    }
}
