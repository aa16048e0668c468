//! Partition tables: read, grown, mended, renumbered.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nodeforge::disk::Disk as _;
use nodeforge::table::{DiskId, grow_last, read, repair_backup, set_disk_id};
use nodeforge_fuzz::Memory;

fuzz_target!(|bytes: &[u8]| {
    let disk = Memory::new(bytes);
    if let Ok(Some(table)) = read(&disk) {
        for partition in &table.partitions {
            assert!(partition.range.start < partition.range.end);
            assert!(partition.range.end <= disk.size());
            if let Ok(range) = grow_last(&disk, partition.number) {
                assert!(range.end <= disk.size());
            }
        }
    }
    let _ = repair_backup(&disk);
    let _ = set_disk_id(&disk, DiskId::Mbr(7));
});
