use std::fs;
use std::path::Path;

use proptest::prelude::*;

use super::content_id::ContentId;
use super::image::{Parent, VmdkSpec};
use super::stream::write_stream;
use crate::disk::cluster::{CLUSTER, Delta, cluster_buffer};
use crate::disk::open;
use crate::disk::testing::{contents, tool, try_tool};
use crate::disk::vmdk::write;

const BASE: ContentId = ContentId::from_hash([7; 16]);

fn delta(clusters: impl IntoIterator<Item = (u64, u8)>) -> Delta {
    let fill = |byte| vec![byte; cluster_buffer().len()].into_boxed_slice();
    clusters.into_iter().map(|(index, byte)| (index, fill(byte))).collect()
}

fn image(size: u64, parent: Option<Parent<'_>>) -> VmdkSpec<'_> {
    let content_id = if parent.is_some() { ContentId::from_hash([9; 16]) } else { BASE };
    VmdkSpec { size, content_id, parent, file_name: "disk.vmdk", hardware_version: 20 }
}

fn bytes(image: &VmdkSpec<'_>, delta: &Delta) -> Vec<u8> {
    let mut bytes = Vec::new();
    write(&mut bytes, image, delta).expect("writing to memory");
    bytes
}

fn apply(disk: &mut [u8], delta: &Delta) {
    for (index, cluster) in delta {
        let start = usize::try_from(index * CLUSTER).unwrap();
        disk[start..start + cluster.len()].copy_from_slice(cluster);
    }
}

fn compare(folder: &Path, vmdk: &str) -> (bool, String) {
    try_tool(folder, "qemu-img", &["compare", "-f", "raw", "-F", "vmdk", "expected.raw", vmdk])
}

/// The header of a 1 GiB disk is the one qemu-img writes, and so is the place of every table.
#[test]
fn the_header_is_qemus() {
    let folder = tempfile::tempdir().unwrap();
    tool(folder.path(), "qemu-img", &["create", "-f", "vmdk", "qemu.vmdk", "1G"]);
    let theirs = fs::read(folder.path().join("qemu.vmdk")).unwrap();
    let ours = bytes(&image(1 << 30, None), &Delta::new());
    assert_eq!(ours[..512], theirs[..512]);
    // Both directories and all tables of an empty disk, up to the first grain.
    assert_eq!(ours[21 * 512..], theirs[21 * 512..ours.len()]);
}

#[test]
fn the_descriptor_is_the_documented_one() {
    let parent = Parent { cid: 0x1234_abcd, hint: "../my template.vmwarevm/disk.vmdk" };
    let image =
        VmdkSpec { content_id: ContentId::from_hash([0xab; 16]), ..image(3 << 30, Some(parent)) };
    let bytes = bytes(&image, &Delta::new());
    let text = &bytes[512..21 * 512];
    let end = text.iter().position(|byte| *byte == 0).unwrap();
    assert!(text[end..].iter().all(|byte| *byte == 0));
    assert_eq!(
        std::str::from_utf8(&text[..end]).unwrap(),
        r#"# Disk DescriptorFile
version=1
encoding="UTF-8"
CID=abababab
parentCID=1234abcd
createType="monolithicSparse"
parentFileNameHint="../my template.vmwarevm/disk.vmdk"

# Extent description
RW 6291456 SPARSE "disk.vmdk"

# The Disk Data Base
#DDB

ddb.longContentID = "abababababababababababababababab"
ddb.adapterType = "lsilogic"
ddb.geometry.cylinders = "391"
ddb.geometry.heads = "255"
ddb.geometry.sectors = "63"
ddb.virtualHWVersion = "20"
ddb.toolsInstallType = "4"
ddb.toolsVersion = "2147483647"
"#
    );
}

#[test]
fn reserved_content_ids_are_never_used() {
    assert_eq!(ContentId::from_hash([0xff; 16]).short(), 0x7fff_ffff);
    let mut reserved = [0xff; 16];
    reserved[15] = 0xfe;
    assert_eq!(ContentId::from_hash(reserved).short(), 0x7fff_fffe);
    assert_eq!(ContentId::from_hash([1; 16]).short(), 0x0101_0101);
}

/// Both directories lead to tables of equal content; grains are aligned, unique, and after them.
#[test]
fn both_grain_directories_agree() {
    let written = delta([(0, 1), (511, 2), (512, 0), (1600, 4)]);
    let bytes = bytes(&image(128 << 20, None), &written);
    let u64_at = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
    let entries = |sector: u64, count: usize| -> Vec<u32> {
        let start = usize::try_from(sector * 512).unwrap();
        bytes[start..start + 4 * count]
            .as_chunks::<4>()
            .0
            .iter()
            .map(|entry| u32::from_le_bytes(*entry))
            .collect()
    };
    let tables = |directory: u64| -> Vec<u32> {
        entries(directory, 4).iter().flat_map(|table| entries(u64::from(*table), 512)).collect()
    };
    let (redundant, primary, overhead) = (u64_at(48), u64_at(56), u64_at(64));
    assert_eq!(tables(redundant), tables(primary));
    let grains: Vec<u32> = tables(primary).into_iter().filter(|grain| *grain != 0).collect();
    assert_eq!(grains.len(), 4);
    assert!(grains.is_sorted_by(|a, b| a < b));
    assert!(grains.iter().all(|grain| grain % 128 == 0 && u64::from(*grain) >= overhead));
    assert_eq!(bytes.len() as u64, (overhead + 4 * 128) * 512);
}

#[test]
fn what_cannot_be_written_is_refused() {
    let mut out = Vec::new();
    let empty = Delta::new();
    assert!(write(&mut out, &image(0, None), &empty).is_err());
    assert!(write(&mut out, &image(CLUSTER + 512, None), &empty).is_err());
    assert!(write(&mut out, &image(2 << 40, None), &empty).is_err());
    assert!(write(&mut out, &image(CLUSTER, None), &delta([(1, 1)])).is_err());
    let hint = "x\"\nCID=1";
    assert!(write(&mut out, &image(CLUSTER, Some(Parent { cid: 1, hint })), &empty).is_err());
    let hint = &"x".repeat(20 * 512);
    assert!(write(&mut out, &image(CLUSTER, Some(Parent { cid: 1, hint })), &empty).is_err());
}

/// Where the parent is that [`chain`] makes.
const HINT: &str = "../base.vmwarevm/disk.vmdk";

/// A base of 2 MiB and a child on it, in two folders; the parent's hint and `CID` as given.
fn chain(folder: &Path, hint: &str, cid: u32) -> crate::util::error::Result<Vec<u8>> {
    for name in ["clone", "base.vmwarevm"] {
        fs::create_dir_all(folder.join(name)).unwrap();
    }
    fs::write(
        folder.join("base.vmwarevm/disk.vmdk"),
        bytes(&image(2 << 20, None), &delta([(3, 1)])),
    )
    .unwrap();
    let child = image(2 << 20, Some(Parent { cid, hint }));
    fs::write(folder.join("clone/disk.vmdk"), bytes(&child, &delta([(5, 2)]))).unwrap();
    open(&folder.join("clone/disk.vmdk")).map(|disk| contents(&*disk))
}

#[test]
fn a_parent_is_found_in_a_machines_folder_beside_the_childs() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = chain(folder.path(), HINT, BASE.short()).unwrap();
    assert_eq!((bytes[3 << 16], bytes[5 << 16], bytes[7 << 16]), (1, 2, 0));
    let absolute = folder.path().join("base.vmwarevm/disk.vmdk");
    for hint in [absolute.to_str().unwrap(), "../disk.vmdk", "../clone/../base.vmwarevm/disk.vmdk"]
    {
        let error = chain(folder.path(), hint, BASE.short()).unwrap_err();
        assert!(error.to_string().contains("is outside its folder"), "{hint}: {error}");
    }
}

#[test]
fn a_parent_that_changed_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let error = chain(folder.path(), HINT, 0x1234_5678).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("disk.vmdk` has changed since the child was made"), "{text}");
    assert!(text.ends_with("its content is 07070707, not 12345678"), "{text}");
    assert_eq!(error.problems()[0].hints.len(), 1);
}

#[test]
fn a_parent_that_is_no_vmdk_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("a.vmwarevm")).unwrap();
    fs::write(folder.path().join("a.vmwarevm/secrets"), "root:x:0:0").unwrap();
    let error = chain(folder.path(), "../a.vmwarevm/secrets", 1).unwrap_err();
    assert!(error.to_string().ends_with("is not a VMDK"), "{error}");
    for hint in ["../missing.vmdk", "/dev/zero", "/dev/tty", "..", ""] {
        assert!(chain(folder.path(), hint, 1).is_err(), "{hint}");
    }
    let error = chain(folder.path(), "disk.vmdk", 1).unwrap_err();
    assert!(error.to_string().contains("contains a loop"), "{error}");
}

/// Extents are names in the image's own folder: a descriptor from anywhere must not show
/// its user's files as a disk.
#[test]
fn extents_are_not_found_elsewhere() {
    let folder = tempfile::tempdir().unwrap();
    let inside = folder.path().join("inside");
    fs::create_dir(&inside).unwrap();
    fs::write(folder.path().join("outside"), [1; 1024]).unwrap();
    fs::write(inside.join("flat"), [2; 1024]).unwrap();
    let outside = folder.path().join("outside");
    let read = |extent: &str| {
        let text = format!(
            "# Disk DescriptorFile\nversion=1\nCID=1\nparentCID=ffffffff\n\
             createType=\"twoGbMaxExtentFlat\"\n{extent}\n"
        );
        fs::write(inside.join("disk.vmdk"), text).unwrap();
        open(&inside.join("disk.vmdk")).map(|disk| contents(&*disk)).map_err(|e| e.to_string())
    };
    for extents in [
        "RW 1 FLAT \"flat\" 1\nRW 2 ZERO\nRW 1 FLAT \"flat\" 0",
        "\tRW\t1\tFLAT\t\"flat\"\t1\nRW  2\t ZERO \t\r\nRDONLY 1 FLAT \"flat\"0",
    ] {
        assert_eq!(
            read(extents).unwrap_or_else(|error| panic!("{extents}: {error}")),
            [vec![2; 512], vec![0; 1024], vec![2; 512]].concat()
        );
    }
    std::os::unix::fs::symlink(&outside, inside.join("link")).unwrap();
    for (extent, message) in [
        ("RW 2 FLAT \"../outside\" 0".to_owned(), "outside its folder"),
        (format!("RW 2 FLAT \"{}\" 0", outside.display()), "outside its folder"),
        ("RW 2 FLAT \"\" 0".to_owned(), "outside its folder"),
        ("RW 2 FLAT \"flat\" 1".to_owned(), "cut short"),
        ("RW 2 FLAT \"flat\" 18446744073709551615".to_owned(), "cut short"),
        ("RW 18446744073709551615 ZERO".to_owned(), "larger than any disk"),
        ("RW x FLAT \"flat\"".to_owned(), "extent `RW x"),
        ("RW 2 VMFS \"flat\"".to_owned(), "kind `VMFS`"),
        (format!("RW\t2\tFLAT\t\"{}\"\t0", outside.display()), "outside its folder"),
        (format!(" \t RW 2 FLAT \"{}\" 0", outside.display()), "outside its folder"),
        ("RW\u{b}2\u{b}FLAT \"flat\" 0".to_owned(), "extent `RW"),
        ("rw 2 FLAT \"flat\" 0".to_owned(), "extent `rw"),
        ("NOACCESS 2 FLAT \"flat\" 0".to_owned(), "extent `NOACCESS"),
        ("RW 0 ZERO".to_owned(), "extent `RW 0"),
        ("RW 2 FLAT \"flat\" 0 x".to_owned(), "extent `RW 2"),
        ("RW 2 FLAT \"flat\"".to_owned(), "extent `RW 2"),
        ("RW 2 FLAT \"fat:.\" 0".to_owned(), "is not the name of a file"),
        ("RW 2 FLAT \"link\" 0".to_owned(), "symlinks that an image leads to are not followed"),
        ("CID=2\nRW 2 FLAT \"flat\" 0".to_owned(), "two lines `cid`"),
        ("RW 2 FLAT \"flat\" 0\0\nRW 2 ZERO".to_owned(), "followed by something else"),
        (String::new(), "lists no extent"),
    ] {
        let error = read(&extent).unwrap_err();
        assert!(error.contains(message), "{extent}: {error}");
    }
}

/// open-vmdk's layout, which ours for OVA follows: version 3, tables before the grains, no footer.
#[test]
fn stream_optimized_disks_with_tables_in_front_are_read() {
    use std::io::Write;

    let folder = tempfile::tempdir().unwrap();
    let mut stream = bytes(&image(1 << 20, None), &Delta::new());
    stream.truncate(256 * 512);
    stream[4] = 3;
    stream[8..12].copy_from_slice(&0x0003_0001_u32.to_le_bytes());
    stream[77] = 1;
    let table = usize::try_from(u32::from_le_bytes({
        let directory = usize::try_from(u64::from_le_bytes(stream[56..64].try_into().unwrap()));
        stream[directory.unwrap() * 512..][..4].try_into().unwrap()
    }))
    .unwrap();
    for (grain, byte) in [(0_u64, 1_u8), (9, 2)] {
        let sector = u32::try_from(stream.len() / 512).unwrap();
        let entry = table * 512 + 4 * usize::try_from(grain).unwrap();
        stream[entry..entry + 4].copy_from_slice(&sector.to_le_bytes());
        let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(&vec![byte; 65_536]).unwrap();
        let packed = encoder.finish().unwrap();
        stream.extend((grain * 128).to_le_bytes());
        stream.extend(u32::try_from(packed.len()).unwrap().to_le_bytes());
        stream.extend(packed);
        stream.resize(stream.len().next_multiple_of(512), 0);
    }
    stream.extend([0; 512]);
    let path = folder.path().join("disk.vmdk");
    fs::write(&path, &stream).unwrap();
    let mut expected = vec![0; 1 << 20];
    apply(&mut expected, &delta([(0, 1), (9, 2)]));
    assert!(contents(&*open(&path).unwrap()) == expected);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_chain_reads_as_its_deltas_applied(
        grains in 1..64_u64,
        base in prop::collection::btree_map(0..64_u64, any::<u8>(), 0..30),
        child in prop::collection::btree_map(0..64_u64, 0..4_u8, 0..30),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let size = grains * CLUSTER;
        let base = delta(base.into_iter().filter(|(index, _)| *index < grains));
        let child = delta(child.into_iter().filter(|(index, _)| *index < grains));
        fs::create_dir_all(folder.path().join("a template.vmwarevm")).unwrap();
        fs::create_dir_all(folder.path().join("clone.vmwarevm")).unwrap();
        let base_path = folder.path().join("a template.vmwarevm/disk.vmdk");
        let base_bytes = bytes(&image(size, None), &base);
        prop_assert_eq!(&base_bytes, &bytes(&image(size, None), &base));
        fs::write(base_path, base_bytes).unwrap();
        let parent = Parent { cid: BASE.short(), hint: "../a template.vmwarevm/disk.vmdk" };
        fs::write(folder.path().join("clone.vmwarevm/disk.vmdk"), bytes(&image(size, Some(parent)), &child)).unwrap();

        let mut expected = vec![0; usize::try_from(size).unwrap()];
        apply(&mut expected, &base);
        fs::write(folder.path().join("expected.raw"), &expected).unwrap();
        let (equal, report) = compare(folder.path(), "a template.vmwarevm/disk.vmdk");
        prop_assert!(equal, "{}", report);
        prop_assert!(contents(&*open(&folder.path().join("a template.vmwarevm/disk.vmdk")).unwrap()) == expected);
        apply(&mut expected, &child);
        fs::write(folder.path().join("expected.raw"), &expected).unwrap();
        let (equal, report) = compare(folder.path(), "clone.vmwarevm/disk.vmdk");
        prop_assert!(equal, "{}", report);
        prop_assert!(contents(&*open(&folder.path().join("clone.vmwarevm/disk.vmdk")).unwrap()) == expected);
        for vmdk in ["a template.vmwarevm/disk.vmdk", "clone.vmwarevm/disk.vmdk"] {
            let (sound, report) = try_tool(folder.path(), "qemu-img", &["check", vmdk]);
            prop_assert!(sound, "{}", report);
        }
    }
}

/// As open-vmdk lays it out: tables first, grains in order and whole sectors, an end marker.
#[test]
fn a_packed_disk_is_read_by_qemu_and_by_us() {
    let folder = tempfile::tempdir().unwrap();
    let size = 40 << 20;
    let mut noise = delta([(0, 1), (7, 2), (511, 3), (639, 4)]);
    let random: Vec<u8> =
        (0_u32..).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).take(65_536).collect();
    noise.insert(9, random.into_boxed_slice());
    let path = folder.path().join("packed.vmdk");
    let mut file = fs::File::create(&path).unwrap();
    write_stream(&mut file, &image(size, None), &noise).unwrap();

    let bytes = fs::read(&path).unwrap();
    let number = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
    assert_eq!((number(4), number(8), number(56), number(48)), (3, 0x3_0001, 21, 0));
    // Two tables of 512 grains behind one sector of directory.
    assert_eq!((number(64), number(21 * 512), number(21 * 512 + 4)), (30, 22, 26));
    assert_eq!(number(22 * 512), 30);
    assert!(bytes[bytes.len() - 512..].iter().all(|byte| *byte == 0));
    let places: Vec<_> =
        (0..1024).map(|grain| number(22 * 512 + grain * 4)).filter(|it| *it > 0).collect();
    assert!(places.is_sorted() && places.len() == 5);
    let end = places[4] + (12 + number(places[4] * 512 + 8)).div_ceil(512);
    assert_eq!(bytes.len(), (end + 1) * 512);

    let mut expected = vec![0; usize::try_from(size).unwrap()];
    apply(&mut expected, &noise);
    assert!(contents(&*open(&path).unwrap()) == expected);
    fs::write(folder.path().join("expected.raw"), &expected).unwrap();
    let (same, said) = compare(folder.path(), "packed.vmdk");
    assert!(same, "{said}");
}
