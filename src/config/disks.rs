//! `[disk]` and `[[disk.partition]]`: how large, and what becomes of the rest of a disk.

use super::cluster_types::{DataPartition, DiskSpec, FileSystemChoice, NvmeLink};
use super::reader::{Reader, Span, Table, Value};
use super::size;
use crate::config::base::choice;

/// The smallest disk a Linux system fits on, in bytes.
const SMALLEST: u64 = 512 << 20;
/// The smallest XFS that mkfs.xfs makes, in bytes: `validate_supported` of xfsprogs' `mkfs/xfs_mkfs.c`, since 6.0.
const SMALLEST_XFS: u64 = 300 << 20;
/// The largest disk MBR partitions and VMDK files reach, in bytes.
const LARGEST: u64 = 2 << 40;
/// Partitions beside the root that every table has room for: an MBR names four.
const MOST: usize = 2;

pub(super) fn read(table: Table<'_>) -> DiskSpec {
    let reader = table.reader;
    let size = table.get("size").and_then(|value| bytes(&value, SMALLEST));
    let root_value = table.get("root_size");
    let root_span = root_value.as_ref().map(Value::span);
    let root_size = root_value.and_then(|value| bytes(&value, SMALLEST));
    let nvme = table
        .get("nvme")
        .and_then(|value| choice(&value, &[("gen2", NvmeLink::Gen2), ("gen3", NvmeLink::Gen3)]));
    let tables = table.tables("partition");
    let span = table.span();
    table.finish();
    let read: Vec<_> = tables.into_iter().filter_map(read_partition).collect();
    if let (Some(size), Some(root), Some(span)) = (size, root_size, &root_span)
        && root < size
    {
        let hint =
            "the image's root is as large as `size` when it is written, and grows to `root_size`";
        reader.wrong_hint(span, "`root_size` is smaller than `size`", hint);
    }
    check(reader, &span, root_size, &read);
    let partitions = read.into_iter().map(|(partition, _)| partition).collect();
    DiskSpec { size, root_size, nvme, partitions }
}

fn bytes(value: &Value<'_>, smallest: u64) -> Option<u64> {
    let reader = value.reader();
    if value.is_integer() {
        let hint = "a size has a unit and is written in quotes: `size = \"8G\"`";
        reader.wrong_hint(&value.span(), "a size needs a unit", hint);
        return None;
    }
    let size = value.string()?;
    let bytes = reader.accept(&size.span, size::parse(size.value))?;
    let (fault, hint) = if bytes < smallest && smallest == SMALLEST {
        ("is too small for a Linux system", "from 512M to 2T")
    } else if bytes < smallest {
        ("is too small for a file system", "from 16M to 2T")
    } else if bytes > LARGEST {
        ("is more than MBR partitions and VMDK files reach", "from 512M to 2T")
    } else if bytes % (1 << 20) != 0 {
        ("is not a whole number of MiB", "from 512M to 2T")
    } else {
        return Some(bytes);
    };
    reader.wrong_hint(&size.span, format!("a disk of `{}` {fault}", size.value), hint);
    None
}

fn read_partition(table: Table<'_>) -> Option<(DataPartition, Span)> {
    let reader = table.reader;
    let span = table.span();
    let name = table.require("name", "name = \"data\"").and_then(|value| value.string());
    let size_value = table.get("size");
    let size_span = size_value.as_ref().map(Value::span);
    let size = size_value.and_then(|value| bytes(&value, 16 << 20));
    let kinds = [
        ("ext4", FileSystemChoice::Ext4),
        ("xfs", FileSystemChoice::Xfs),
        ("raw", FileSystemChoice::Raw),
    ];
    let file_system = table
        .get("filesystem")
        .map_or(Some(FileSystemChoice::Ext4), |value| choice(&value, &kinds));
    let mount = table.string("mount");
    let disk = table.string("disk");
    let roles = table.plain_strings("roles");
    table.finish();
    let name = name?;
    if name.value.is_empty()
        || name.value.len() > 16
        || !name
            .value
            .bytes()
            .all(|it| it.is_ascii_lowercase() || it.is_ascii_digit() || it == b'-')
    {
        let message = format!("`{}` is not a name of a partition", name.value);
        reader.wrong_hint(&name.span, message, "lower-case letters, digits and `-`, at most 16");
    }
    if let Some(mount) = &mount
        && !is_mount(mount.value)
    {
        let message = format!("nothing can be mounted at `{}`", mount.value);
        let hint = "a folder for data alone, such as `/var/lib/etcd`, without spaces";
        reader.wrong_hint(&mount.span, message, hint);
    }
    let file_system = file_system?;
    if let (FileSystemChoice::Xfs, Some(size), Some(span)) = (file_system, size, &size_span)
        && size < SMALLEST_XFS
    {
        reader.wrong_hint(
            span,
            "this is too small for an XFS",
            "at least `300M`, or `filesystem = \"ext4\"`",
        );
    }
    match (file_system, &mount) {
        (FileSystemChoice::Raw, Some(mount)) => {
            reader.wrong(&mount.span, "a raw partition has no file system that could be mounted");
        }
        (FileSystemChoice::Ext4 | FileSystemChoice::Xfs, None) => {
            let message = format!("the partition `{}` needs `mount`", name.value);
            let hint = "`mount = \"/var/lib/etcd\"`, or `filesystem = \"raw\"` for Ceph";
            reader.wrong_hint(&span, message, hint);
        }
        (FileSystemChoice::Raw, None)
        | (FileSystemChoice::Ext4 | FileSystemChoice::Xfs, Some(_)) => {}
    }
    if let Some(disk) = &disk {
        if !disk.value.starts_with("/dev/") || !is_mount(disk.value) {
            let message = format!("`{}` is not a device", disk.value);
            let hint =
                "a link of /dev/disk/by-id or by-path, which stay the same, or `/dev/nvme0n1`";
            reader.wrong_hint(&disk.span, message, hint);
        }
        if size.is_some() {
            let message = format!("`{}` is used as a whole", disk.value);
            reader.wrong_hint(&disk.span, message, "leave out `size`");
        }
    }
    let text = |it: Option<super::reader::Spanned<&str>>| it.map(|it| it.value.to_owned());
    let (mount, disk) = (text(mount), text(disk));
    let name = name.value.to_owned();
    Some((DataPartition { name, size, file_system, mount, disk, roles }, span))
}

/// Whether a path is plain words below folders that hold data.
fn is_mount(path: &str) -> bool {
    const SYSTEM: [&str; 10] =
        ["bin", "boot", "etc", "lib", "proc", "run", "sbin", "sys", "usr", "tmp"];
    let Some(below) = path.strip_prefix('/') else { return false };
    let is_plain = |part: &str| {
        !matches!(part, "" | "." | "..")
            && part.bytes().all(|it| it.is_ascii_alphanumeric() || b"-_.:+@".contains(&it))
    };
    below.split('/').all(is_plain)
        && !below.split('/').next().is_some_and(|first| SYSTEM.contains(&first))
        && path != "/var"
}

fn check(reader: &Reader, disk: &Span, root_size: Option<u64>, all: &[(DataPartition, Span)]) {
    for (index, (partition, span)) in all.iter().enumerate() {
        let before = || all[..index].iter().map(|(other, _)| other);
        if before().any(|other| other.name == partition.name) {
            reader.wrong(span, format!("there are two partitions `{}`", partition.name));
        }
        if let Some(mount) = &partition.mount
            && before().any(|other| other.mount.as_ref() == Some(mount) && meet(other, partition))
        {
            reader.wrong(span, format!("two partitions are mounted at `{mount}`"));
        }
        if let Some(device) = &partition.disk
            && before().any(|other| other.disk.as_ref() == Some(device) && meet(other, partition))
        {
            reader.wrong(span, format!("two partitions are on `{device}`, each as a whole"));
        }
    }
    let own: Vec<_> = all.iter().filter(|(it, _)| it.disk.is_none()).collect();
    if !own.is_empty() && root_size.is_none() {
        let hint =
            "say how far the root grows, `root_size = \"32G\"`: without it, it takes all there is";
        reader.wrong_hint(
            disk,
            "[disk] needs `root_size` when other partitions follow the root",
            hint,
        );
    }
    if let Some((_, span)) = own.get(MOST) {
        let message = format!("at most {MOST} partitions can follow the root: an MBR names four");
        reader.wrong_hint(span, message, "use a second disk: `disk = \"/dev/nvme0n1\"`");
    }
    for pair in own.windows(2) {
        let [(first, _), (second, span)] = pair else { continue };
        let raw = FileSystemChoice::Raw;
        // How large it was when it was made is not to be seen on the node: what follows might be made of its
        // middle.
        if first.file_system == raw && second.file_system != raw {
            let message = format!("`{}` follows `{}`, which is raw", second.name, first.name);
            reader.wrong_hint(span, message, "put raw partitions behind the others");
        }
    }
    for (partition, span) in own.iter().rev().skip(1) {
        if partition.size.is_none() {
            let message =
                format!("`{}` takes all that is left, and another follows", partition.name);
            reader.wrong_hint(span, message, "give it a `size`, or put it last");
        }
    }
}

/// Whether some node may have both.
fn meet(one: &DataPartition, other: &DataPartition) -> bool {
    one.roles.is_empty()
        || other.roles.is_empty()
        || one.roles.iter().any(|it| other.roles.contains(it))
}
