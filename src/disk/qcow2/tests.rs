use std::fs;
use std::io::{self, Seek, SeekFrom, Write};

use proptest::prelude::*;

use super::write::Backing;
use crate::disk::cluster::{CLUSTER, Delta, cluster_buffer};
use crate::disk::clusters::{Clusters, Occupied};
use crate::disk::qcow2::write;
use crate::disk::testing::{Memory, tool, try_tool};

/// A delta that fills each cluster with one byte.
fn delta(clusters: impl IntoIterator<Item = (u64, u8)>) -> Delta {
    let fill = |byte| vec![byte; cluster_buffer().len()].into_boxed_slice();
    clusters.into_iter().map(|(index, byte)| (index, fill(byte))).collect()
}

fn image(size: u64, delta: &Delta, backing: Option<Backing<'_>>) -> Vec<u8> {
    let mut bytes = Vec::new();
    write(&mut bytes, size, delta, backing).expect("writing to memory");
    bytes
}

/// The raw bytes of a disk of `size` with `delta` over `base`.
fn applied(size: u64, base: &[u8], delta: &Delta) -> Vec<u8> {
    let size = usize::try_from(size).expect("tests use small disks");
    let mut bytes = base.to_vec();
    bytes.resize(size.next_multiple_of(cluster_buffer().len()), 0);
    for (index, cluster) in delta {
        let start = usize::try_from(index * CLUSTER).expect("tests use small disks");
        bytes[start..start + cluster.len()].copy_from_slice(cluster);
    }
    bytes.truncate(size);
    bytes
}

#[test]
fn a_standalone_image_holds_the_clusters_that_are_not_zero() {
    let folder = tempfile::tempdir().unwrap();
    let mut bytes = vec![0; 3 * 1024 * 1024];
    bytes[70_000..200_000].fill(7);
    let disk = Memory::new(bytes.clone());
    let occupied = Occupied::find(&disk).unwrap();
    let mut image = Vec::new();
    write(&mut image, bytes.len() as u64, &occupied, None).unwrap();
    // Header, refcount table and block, L1, L2, and clusters 1 to 3.
    assert_eq!(image.len() as u64, 8 * CLUSTER);
    fs::write(folder.path().join("image.qcow2"), image).unwrap();
    fs::write(folder.path().join("expected.raw"), &bytes).unwrap();
    tool(
        folder.path(),
        "qemu-img",
        &["compare", "-f", "raw", "-F", "qcow2", "expected.raw", "image.qcow2"],
    );
}

#[test]
fn an_overlay_hides_its_backing_with_zeros() {
    let folder = tempfile::tempdir().unwrap();
    let base = vec![9; 1024 * 1024];
    fs::write(folder.path().join("base.raw"), &base).unwrap();
    let delta = delta([(2, 0), (15, 5)]);
    let backing = Backing { name: "base.raw", format: "raw" };
    fs::write(folder.path().join("image.qcow2"), image(1024 * 1024, &delta, Some(backing)))
        .unwrap();
    let raw = applied(1024 * 1024, &base, &delta);
    fs::write(folder.path().join("expected.raw"), raw).unwrap();
    tool(folder.path(), "qemu-img", &["check", "image.qcow2"]);
    tool(
        folder.path(),
        "qemu-img",
        &["compare", "-f", "raw", "-F", "qcow2", "expected.raw", "image.qcow2"],
    );
    let facts = tool(folder.path(), "qemu-img", &["info", "image.qcow2"]);
    assert!(facts.contains("backing file: base.raw"), "{facts}");
    assert!(facts.contains("backing file format: raw"), "{facts}");
    assert!(facts.contains("corrupt: false"), "{facts}");
}

/// The first `self.0` clusters, all of zeros.
struct Many(u64);

impl Clusters for Many {
    fn indexes(&self) -> Box<dyn Iterator<Item = u64> + '_> {
        Box::new(0..self.0)
    }

    fn read(&self, _index: u64, buffer: &mut [u8]) -> io::Result<()> {
        buffer.fill(0);
        Ok(())
    }
}

/// A file in which the zeros at the end of each write are a hole.
struct Sparse(fs::File);

impl Write for Sparse {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let used = data.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        self.0.write_all(&data[..used])?;
        self.0.seek(SeekFrom::Current((data.len() - used).try_into().unwrap()))?;
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Tables larger than one cluster: a sparse 40 TiB disk has an L1 table of 80,000 entries,
/// and more than 32,768 clusters need two blocks of reference counts.
#[test]
fn large_tables_are_sound() {
    let folder = tempfile::tempdir().unwrap();
    let terabytes = 40 << 40;
    let far = delta([(0, 1), (8191, 2), (8192, 3), (terabytes / CLUSTER - 1, 4)]);
    fs::write(folder.path().join("image.qcow2"), image(terabytes, &far, None)).unwrap();
    tool(folder.path(), "qemu-img", &["check", "image.qcow2"]);

    let file = fs::File::create(folder.path().join("image.qcow2")).unwrap();
    let mut sparse = Sparse(file);
    write(&mut sparse, 33_000 * CLUSTER, &Many(33_000), None).unwrap();
    let length = sparse.0.stream_position().unwrap();
    sparse.0.set_len(length).unwrap();
    let report = tool(folder.path(), "qemu-img", &["check", "image.qcow2"]);
    assert!(report.contains("33000/33000 = 100.00% allocated"), "{report}");
}

#[test]
fn what_cannot_be_written_is_refused() {
    let mut out = Vec::new();
    assert!(write(&mut out, 1000, &Delta::new(), None).is_err());
    assert!(write(&mut out, 0, &Delta::new(), None).is_err());
    assert!(write(&mut out, CLUSTER, &delta([(1, 1)]), None).is_err());
    let name = "x".repeat(1024);
    let backing = Backing { name: &name, format: "raw" };
    assert!(write(&mut out, CLUSTER, &Delta::new(), Some(backing)).is_err());
    assert!(out.is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn any_delta_over_any_backing_reads_back(
        sectors in 1..4096_u64,
        clusters in prop::collection::btree_map(0..32_u64, any::<u8>(), 0..20),
        base in prop::option::of(any::<u8>()),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let size = sectors * 512;
        let delta = delta(clusters.into_iter().filter(|(index, _)| index * CLUSTER < size));
        let base = base.map(|byte| vec![byte; usize::try_from(size).unwrap()]);
        let backing = base.as_ref().map(|bytes| {
            fs::write(folder.path().join("base"), bytes).unwrap();
            Backing { name: "base", format: "raw" }
        });
        let bytes = image(size, &delta, backing);
        prop_assert_eq!(&bytes, &image(size, &delta, backing));
        fs::write(folder.path().join("image.qcow2"), bytes).unwrap();
        let raw = applied(size, base.as_deref().unwrap_or_default(), &delta);
        fs::write(folder.path().join("expected.raw"), raw).unwrap();
        let (sound, report) = try_tool(folder.path(), "qemu-img", &["check", "image.qcow2"]);
        prop_assert!(sound, "{}", report);
        let (equal, report) = try_tool(
            folder.path(),
            "qemu-img",
            &["compare", "-f", "raw", "-F", "qcow2", "expected.raw", "image.qcow2"],
        );
        prop_assert!(equal, "{}", report);
    }
}
