//! Our tables against those of sgdisk and sfdisk, byte for byte where they make the same.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use proptest::prelude::*;
use uuid::{Uuid, uuid};

use super::*;
use crate::disk::testing::{Memory, tool, try_tool};
use crate::disk::{Disk, Raw};

const MIB: u64 = 1024 * 1024;
const DISK_GUID: Uuid = uuid!("11111111-2222-3333-4444-555555555555");

/// Debian's cloud image for amd64: numbers that are not in the order of the disk.
fn debian() -> [NewGptPartition<'static>; 3] {
    let part = |number, start, sectors, kind, name| NewGptPartition {
        number,
        start,
        sectors,
        kind,
        guid: Uuid::from_u128(0xaaaa_0000 + u128::from(number)),
        name,
        attributes: 0,
    };
    [
        part(14, 2048, 6144, guid::BIOS_BOOT, ""),
        part(15, 8192, 253_952, guid::EFI_SYSTEM, "ESP"),
        NewGptPartition {
            attributes: 1 << 59,
            ..part(1, 262_144, 262_144 - 2048, guid::ROOT_X86_64, "rööt")
        },
    ]
}

const PI: [NewMbrPartition; 2] = [
    NewMbrPartition { number: 1, start: 16384, sectors: 1_048_576, kind: 0x0c, bootable: false },
    NewMbrPartition { number: 2, start: 1_064_960, sectors: 65_536, kind: 0x83, bootable: false },
];

fn create(folder: &Path, name: &str, size: u64) -> Raw {
    Raw::create(&folder.join(name), size).unwrap()
}

fn reopen(folder: &Path, name: &str, size: u64) -> Raw {
    fs::File::options().write(true).open(folder.join(name)).unwrap().set_len(size).unwrap();
    Raw::open_writable(&folder.join(name)).unwrap()
}

/// A disk's two ends, where tables are.
fn ends(folder: &Path, name: &str) -> (Vec<u8>, Vec<u8>) {
    let disk = Raw::open(&folder.join(name)).unwrap();
    let (mut head, mut tail) = (vec![0; 64 * 1024], vec![0; 64 * 1024]);
    disk.read_at(&mut head, 0).unwrap();
    disk.read_at(&mut tail, disk.size() - 64 * 1024).unwrap();
    (head, tail)
}

fn assert_equal_ends(folder: &Path, ours: &str, theirs: &str) {
    let (ours, theirs) = (ends(folder, ours), ends(folder, theirs));
    for (which, one, other) in [("head", ours.0, theirs.0), ("tail", ours.1, theirs.1)] {
        let first = one.iter().zip(&other).position(|(a, b)| a != b);
        assert_eq!(first, None, "first difference in the {which}");
    }
}

fn sgdisk_verify(folder: &Path, name: &str) {
    let report = tool(folder, "sgdisk", &["-v", name]);
    assert!(report.contains("No problems found."), "{report}");
    assert!(!report.contains("Caution"), "{report}");
}

fn sfdisk(folder: &Path, arguments: &[&str], script: &str) {
    let mut child = Command::new("/usr/sbin/sfdisk")
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("`sfdisk` must be installed for the tests");
    child.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success(), "sfdisk {arguments:?}");
}

/// sgdisk's own version of `debian()`.
fn sgdisk_debian(folder: &Path, name: &str) {
    let mut arguments =
        vec!["-a".to_owned(), "1".into(), "-U".into(), DISK_GUID.to_string(), "-o".into()];
    arguments.splice(2.., ["-o".into(), "-U".into(), DISK_GUID.to_string()]);
    for part in debian() {
        let end = part.start + part.sectors - 1;
        arguments.extend([
            "-n".into(),
            format!("{}:{}:{end}", part.number, part.start),
            "-t".into(),
            format!("{}:{}", part.number, part.kind),
            "-u".into(),
            format!("{}:{}", part.number, part.guid),
            "-c".into(),
            format!("{}:{}", part.number, part.name),
        ]);
        if part.attributes != 0 {
            arguments.extend(["-A".into(), format!("{}:set:59", part.number)]);
        }
    }
    arguments.push(name.into());
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    tool(folder, "sgdisk", &arguments);
}

#[test]
fn a_new_gpt_is_sgdisks() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    create(folder, "theirs", 256 * MIB);
    sgdisk_debian(folder, "theirs");
    create_gpt(&create(folder, "ours", 256 * MIB), DISK_GUID, &debian()).unwrap();
    assert_equal_ends(folder, "ours", "theirs");
    sgdisk_verify(folder, "ours");
    tool(folder, "sfdisk", &["-V", "ours"]);
}

#[test]
fn what_was_made_is_what_is_read() {
    let disk = Memory::new(vec![0xff; 256 << 20]);
    create_gpt(&disk, DISK_GUID, &debian()).unwrap();
    let table = read(&disk).unwrap().unwrap();
    let scheme = Scheme::Gpt { disk_guid: DISK_GUID, hybrid: false, copies: Copies::Sound };
    assert_eq!(table.scheme, scheme);
    assert_eq!(table.disk_id(), DISK_GUID.to_string());
    let numbers: Vec<u32> = table.partitions.iter().map(|partition| partition.number).collect();
    assert_eq!(numbers, [1, 14, 15]);
    let root = table.partition(1).unwrap();
    assert_eq!(table.last_on_disk(), Some(root));
    assert_eq!(root.range, 128 * MIB..255 * MIB);
    assert_eq!(root.id, "00000000-0000-0000-0000-0000aaaa0001");
    assert_eq!(root.name, "rööt");
    assert_eq!(root.attributes, 1 << 59);
    assert_eq!(root.kind.to_string(), "Linux root (x86-64)");
    assert!(root.kind.is_root());
}

#[test]
fn a_new_mbr_is_sfdisks() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    create(folder, "theirs", 600 * MIB);
    let script = "label: dos\nlabel-id: 0x90a83158\n\
        start=16384, size=1048576, type=c\nstart=1064960, size=65536, type=83\n";
    sfdisk(folder, &["theirs"], script);
    let ours = create(folder, "ours", 600 * MIB);
    create_mbr(&ours, 0x90a8_3158, &PI).unwrap();
    assert_equal_ends(folder, "ours", "theirs");
    tool(folder, "sfdisk", &["-V", "ours"]);

    let table = read(&ours).unwrap().unwrap();
    assert_eq!(table.scheme, Scheme::Mbr { disk_id: 0x90a8_3158 });
    assert_eq!(table.partitions[1].id, "90a83158-02");
    assert_eq!(table.partitions[1].range, 1_064_960 * 512..(1_064_960 + 65_536) * 512);
    assert_eq!(table.partitions[0].kind.to_string(), "W95 FAT32 (LBA)");
}

#[test]
fn a_grown_gpt_is_sgdisks_and_keeps_the_boot_code() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    create(folder, "theirs", 256 * MIB);
    sgdisk_debian(folder, "theirs");
    let boot_code = [0xfa; 440];
    Raw::open_writable(&folder.join("theirs")).unwrap().write_at(&boot_code, 0).unwrap();
    fs::copy(folder.join("theirs"), folder.join("ours")).unwrap();

    let size = 1024 * MIB + 512;
    reopen(folder, "theirs", size);
    let end = 1023 * MIB / 512 - 1;
    tool(folder, "sgdisk", &["-e", "theirs"]);
    let root = &debian()[2];
    let (span, kind) = (format!("1:{}:{end}", root.start), format!("1:{}", root.kind));
    let (unique, name) = (format!("1:{}", root.guid), format!("1:{}", root.name));
    let arguments = ["-a1", "-d1", "-n", &span, "-t", &kind, "-u", &unique, "-c", &name];
    tool(folder, "sgdisk", &[&arguments[..], &["-A", "1:set:59", "theirs"]].concat());

    let ours = reopen(folder, "ours", size);
    assert_eq!(grow_last(&ours, 1).unwrap(), 128 * MIB..1023 * MIB);
    assert_equal_ends(folder, "ours", "theirs");
    sgdisk_verify(folder, "ours");
    assert_eq!(ends(folder, "ours").0[..440], boot_code);
}

#[test]
fn a_grown_mbr_is_sfdisks() {
    for size in [1024 * MIB, 3000 * MIB + 512, 20_000 * MIB] {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        create_mbr(&create(folder, "ours", 600 * MIB), 0x90a8_3158, &PI).unwrap();
        fs::copy(folder.join("ours"), folder.join("theirs")).unwrap();
        reopen(folder, "theirs", size);
        let sectors = size / MIB * 2048 - 1_064_960;
        sfdisk(folder, &["-N", "2", "theirs"], &format!(", {sectors}\n"));
        let ours = reopen(folder, "ours", size);
        assert_eq!(grow_last(&ours, 2).unwrap(), 1_064_960 * 512..size / MIB * MIB);
        assert_equal_ends(folder, "ours", "theirs");
    }
}

#[test]
fn only_the_last_partition_grows() {
    let disk = Memory::new(vec![0; 256 << 20]);
    create_gpt(&disk, DISK_GUID, &debian()).unwrap();
    let before = disk.bytes();
    let error = grow_last(&disk, 15).unwrap_err();
    assert_eq!(error.to_string(), "partition 15 cannot grow: partition 1 is after it");
    let error = grow_last(&disk, 7).unwrap_err();
    assert_eq!(error.to_string(), "the disk has no partition 7");
    assert!(before == disk.bytes());
}

#[test]
fn tables_of_4096_byte_sectors() {
    let folder = tempfile::tempdir().unwrap();
    let part = NewGptPartition {
        number: 1,
        start: 256,
        sectors: 4096,
        kind: guid::LINUX,
        guid: Uuid::from_u128(5),
        name: "data",
        attributes: 0,
    };
    let disk = Memory::new(vec![0; 64 << 20]).with_sector_size(4096);
    create_gpt(&disk, DISK_GUID, std::slice::from_ref(&part)).unwrap();
    assert_eq!(grow_last(&disk, 1).unwrap(), MIB..63 * MIB);
    fs::write(folder.path().join("disk"), disk.bytes()).unwrap();
    // fdisk takes an image's sector size from the command line; sgdisk and sfdisk cannot.
    let list = ["-b", "4096", "-o", "Start,Sectors,Name", "-l", "disk"];
    let report = tool(folder.path(), "fdisk", &list);
    assert!(
        report.lines().any(|line| line.split_whitespace().eq(["256", "15872", "data"])),
        "{report}"
    );
    assert!(!report.contains("corrupt") && !report.contains("mismatch"), "{report}");
    // Copied to a plain file the disk says 512, and the table is found all the same.
    let copy = Raw::open(&folder.path().join("disk")).unwrap();
    let table = read(&copy).unwrap().unwrap();
    assert_eq!(table.sector_size, 4096);
    assert_eq!(table.partitions[0].range, MIB..63 * MIB);
}

#[test]
fn logical_partitions_are_sfdisks() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let disk = create(folder, "disk", 512 * MIB);
    let script = "label: dos\nlabel-id: 0x00c0ffee\nsize=64M, type=c, bootable\n\
        size=64M, type=83\ntype=5\nsize=32M, type=82\nsize=16M, type=83\nsize=100M, type=8e\n";
    sfdisk(folder, &["disk"], script);
    let table = read(&disk).unwrap().unwrap();
    let ours: Vec<(u32, u64, u64, String)> = table
        .partitions
        .iter()
        .map(|partition| {
            let length = (partition.range.end - partition.range.start) / 512;
            let PartitionType::Byte(kind) = partition.kind else { panic!("not MBR") };
            (partition.number, partition.range.start / 512, length, format!("{kind:x}"))
        })
        .collect();
    let dump: serde_json::Value =
        serde_json::from_str(&tool(folder, "sfdisk", &["--json", "disk"])).unwrap();
    let theirs: Vec<(u32, u64, u64, String)> = dump["partitiontable"]["partitions"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|partition| partition["type"] != "5")
        .map(|partition| {
            let number = partition["node"].as_str().unwrap().trim_start_matches("disk");
            let field = |name: &str| partition[name].as_u64().unwrap();
            let kind = partition["type"].as_str().unwrap().to_owned();
            (number.parse().unwrap(), field("start"), field("size"), kind)
        })
        .collect();
    assert_eq!(ours, theirs);
    assert!(table.partitions[0].bootable);
    assert!(grow_last(&disk, 7).is_err());
}

#[test]
fn a_hybrid_mbr_is_noticed_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let disk = create(folder.path(), "disk", 256 * MIB);
    create_gpt(&disk, DISK_GUID, &debian()).unwrap();
    tool(folder.path(), "sgdisk", &["-h", "15", "disk"]);
    let table = read(&disk).unwrap().unwrap();
    assert!(matches!(table.scheme, Scheme::Gpt { hybrid: true, .. }));
    let error = grow_last(&disk, 1).unwrap_err();
    assert!(error.to_string().starts_with("the disk has a hybrid MBR"), "{error}");
}

#[test]
fn either_copy_is_enough_and_mends_the_other() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let disk = create(folder, "disk", 256 * MIB);
    create_gpt(&disk, DISK_GUID, &debian()).unwrap();
    let sound = read(&disk).unwrap().unwrap();
    assert_eq!(repair_backup(&disk).unwrap(), Repair::Nothing);

    for (offset, copies, repair) in [
        (512 + 60, Copies::BackupOnly, Repair::Primary),
        (1024 + 8, Copies::BackupOnly, Repair::Primary),
        (256 * MIB - 512, Copies::PrimaryOnly, Repair::Backup),
        (256 * MIB - 33 * 512, Copies::PrimaryOnly, Repair::Backup),
    ] {
        disk.write_at(b"scribble", offset).unwrap();
        let table = read(&disk).unwrap().unwrap();
        assert_eq!(table.scheme, Scheme::Gpt { disk_guid: DISK_GUID, hybrid: false, copies });
        assert_eq!(table.partitions, sound.partitions);
        assert_eq!(repair_backup(&disk).unwrap(), repair);
        assert_eq!(read(&disk).unwrap().unwrap(), sound);
        sgdisk_verify(folder, "disk");
    }

    // Both gone: an error, not an empty disk.
    disk.write_at(&[0; 1024], 512).unwrap();
    disk.write_at(&[0; 512], 256 * MIB - 512).unwrap();
    assert!(read(&disk).unwrap_err().to_string().contains("cannot be used"));
}

#[test]
fn disk_ids_change_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let gpt = create(folder, "gpt", 256 * MIB);
    create_gpt(&gpt, DISK_GUID, &debian()).unwrap();
    let before = read(&gpt).unwrap().unwrap();
    set_disk_id(&gpt, DiskId::Gpt(Uuid::from_u128(77))).unwrap();
    let after = read(&gpt).unwrap().unwrap();
    assert_eq!(after.disk_id(), Uuid::from_u128(77).to_string());
    assert_eq!(after.partitions, before.partitions);
    sgdisk_verify(folder, "gpt");
    assert!(set_disk_id(&gpt, DiskId::Mbr(1)).is_err());

    let mbr = create(folder, "mbr", 600 * MIB);
    create_mbr(&mbr, 1, &PI).unwrap();
    mbr.write_at(&[0xfa; 440], 0).unwrap();
    set_disk_id(&mbr, DiskId::Mbr(0x0bad_cafe)).unwrap();
    assert_eq!(read(&mbr).unwrap().unwrap().partitions[0].id, "0badcafe-01");
    assert_eq!(ends(folder, "mbr").0[..440], [0xfa; 440]);
}

#[test]
fn bare_file_systems_have_no_table() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    for (command, arguments) in [
        ("mkfs.fat", &["-F", "32", "disk"][..]),
        ("mkfs.fat", &["-F", "16", "disk"][..]),
        ("mke2fs", &["-q", "-F", "-t", "ext4", "disk"][..]),
    ] {
        let _ = fs::remove_file(folder.join("disk"));
        let disk = create(folder, "disk", 64 * MIB);
        tool(folder, command, arguments);
        assert_eq!(read(&disk).unwrap(), None, "{command} {arguments:?}");
    }
    assert_eq!(read(&Memory::new(Vec::new())).unwrap(), None);
    assert_eq!(read(&Memory::new(vec![0; 511])).unwrap(), None);
    assert_eq!(read(&Memory::new(vec![0; 4096])).unwrap(), None);
}

#[test]
fn a_truncated_disk_is_said_to_be_one() {
    let disk = Memory::new(vec![0; 256 << 20]);
    create_gpt(&disk, DISK_GUID, &debian()).unwrap();
    let mut bytes = disk.bytes();
    bytes.truncate(200 << 20);
    let error = read(&Memory::new(bytes)).unwrap_err();
    assert_eq!(error.problems()[0].hints.len(), 1, "{error}");
}

#[test]
fn tables_that_make_no_sense_are_not_made() {
    let disk = Memory::new(vec![0; 256 << 20]);
    let with = |change: &dyn Fn(&mut NewGptPartition<'_>)| {
        let mut partitions = debian();
        change(&mut partitions[0]);
        create_gpt(&disk, DISK_GUID, &partitions).unwrap_err().to_string()
    };
    assert_eq!(with(&|part| part.number = 0), "a GPT has no partition 0");
    assert_eq!(with(&|part| part.number = 129), "a GPT has no partition 129");
    assert_eq!(with(&|part| part.number = 1), "partition 1 is there twice");
    assert_eq!(with(&|part| part.sectors = 10_000), "partitions 14 and 15 overlap");
    assert!(with(&|part| part.start = 3).contains("outside the usable part"));
    assert!(with(&|part| part.sectors = u64::MAX).contains("no size"));
    assert!(create_gpt(&Memory::new(vec![0; 4096]), DISK_GUID, &[]).is_err());
    let mut pi = PI;
    pi[1].start = 20_000;
    assert!(create_mbr(&Memory::new(vec![0; 600 << 20]), 1, &pi).is_err());
    assert!(create_mbr(&disk, 1, &PI).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn any_gpt_grows_to_any_size(
        lengths in prop::collection::vec(1..9000_u64, 1..6),
        grown in 40_000..400_000_u64,
        numbers in Just((1..=128_u32).collect::<Vec<_>>()).prop_shuffle(),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let mut start = 34;
        let mut partitions = Vec::new();
        for (length, number) in lengths.iter().zip(&numbers) {
            partitions.push(NewGptPartition {
                number: *number,
                start,
                sectors: *length,
                kind: guid::LINUX,
                guid: Uuid::from_u128(u128::from(*number)),
                name: "x",
                attributes: u64::from(*number) << 48,
            });
            start += length;
        }
        let disk = create(folder, "disk", (start + 33) * 512);
        create_gpt(&disk, DISK_GUID, &partitions).unwrap();
        let before = read(&disk).unwrap().unwrap();
        let size = grown.max(start + 33) * 512;
        let disk = reopen(folder, "disk", size);
        let last = before.last_on_disk().unwrap();
        let range = grow_last(&disk, last.number).unwrap();
        prop_assert_eq!(range.start, last.range.start);
        prop_assert!(range.end >= last.range.end);
        prop_assert!(range.end == last.range.end || range.end.is_multiple_of(MIB));
        prop_assert!(size - range.end <= MIB + 33 * 512 || range.end == last.range.end);
        let after = read(&disk).unwrap().unwrap();
        prop_assert_eq!(&after.scheme, &before.scheme);
        for (one, other) in before.partitions.iter().zip(&after.partitions) {
            let mut one = one.clone();
            if one.number == last.number {
                one.range = range.clone();
            }
            prop_assert_eq!(&one, other);
        }
        let (_, report) = try_tool(folder, "sgdisk", &["-v", "disk"]);
        prop_assert!(report.contains("No problems found."), "{}", report);
    }
}
