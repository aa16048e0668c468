//! The cluster: the unit in which disks are copied and differ.

use std::collections::BTreeMap;
use std::io;

use super::Disk;

/// The unit of copying, in bytes: VMDK's grain and qcow2's default cluster, so a delta
/// becomes either format without being cut again.
pub const CLUSTER: u64 = 64 * 1024;

/// The clusters in which a node's disk differs from its prepared base: cluster index → bytes.
/// Every cluster is `CLUSTER` bytes; past the end of the disk it is padded with zeros.
pub type Delta = BTreeMap<u64, Box<[u8]>>;

/// Reads one cluster; what lies past the end of the disk reads as zeros.
pub(super) fn read_cluster(disk: &dyn Disk, index: u64, buffer: &mut [u8]) -> io::Result<()> {
    let start = index * CLUSTER;
    let inside = usize::try_from(disk.size().saturating_sub(start).min(CLUSTER))
        .expect("at most one cluster");
    buffer[inside..].fill(0);
    disk.read_at(&mut buffer[..inside], start)
}

/// One cluster of zeros.
pub(crate) fn cluster_buffer() -> Vec<u8> {
    vec![0; usize::try_from(CLUSTER).expect("64 KiB fit in memory")]
}
