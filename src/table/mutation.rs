//! Damaged tables: thousands of them must be read, mended, grown or refused, without a panic or
//! a hang, and without a write outside the table's own sectors.

use super::*;
use crate::disk::Disk;
use crate::disk::testing::{Memory, Vandal};

/// Does everything there is to a damaged disk.
fn torment(sound: &[u8], places: &[Range<usize>], seed: u64, rounds: usize) -> usize {
    let mut vandal = Vandal::new(seed);
    let mut read_well = 0;
    for _ in 0..rounds {
        let mut bytes = sound.to_vec();
        vandal.damage(&mut bytes, places);
        if vandal.below(2) == 0 {
            mend_checksums(&mut bytes);
        }
        let sector_size = if vandal.below(8) == 0 { 4096 } else { 512 };
        let disk = Memory::new(bytes).with_sector_size(sector_size);
        if let Ok(Some(table)) = read(&disk) {
            read_well += 1;
            for partition in &table.partitions {
                assert!(partition.range.start < partition.range.end);
                assert!(partition.range.end <= disk.size());
            }
            for number in 1..=3 {
                if let Ok(range) = grow_last(&disk, number) {
                    assert!(range.end <= disk.size());
                }
            }
        }
        let _ = repair_backup(&disk);
        let _ = set_disk_id(&disk, DiskId::Mbr(7));
        let _ = set_disk_id(&disk, DiskId::Gpt(Uuid::from_u128(7)));
        let _ = read(&disk);
    }
    read_well
}

/// Makes the checksum of the header in sector 1 right again, so that what is behind it is tried.
fn mend_checksums(bytes: &mut [u8]) {
    let Some(header) = bytes.get(512..512 + 92) else { return };
    let mut header = header.to_vec();
    header[16..20].fill(0);
    bytes[512 + 16..512 + 20].copy_from_slice(&crc32(&header).to_le_bytes());
}

/// CRC-32 as GPT uses it, bit by bit.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0_u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ if crc & 1 == 1 { 0xedb8_8320 } else { 0 }
        })
    })
}

#[test]
fn damaged_gpts() {
    let disk = Memory::new(vec![0; 256 * 1024]);
    let part = |number, start, sectors| NewGptPartition {
        number,
        start,
        sectors,
        kind: guid::LINUX,
        guid: Uuid::from_u128(number.into()),
        name: "name",
        attributes: 0,
    };
    create_gpt(&disk, Uuid::from_u128(9), &[part(1, 40, 100), part(3, 200, 100)]).unwrap();
    let end = 256 * 1024;
    let places = [440..512, 512..604, 512..604, 1024..2048, end - 512..end - 420];
    assert!(torment(&disk.bytes(), &places, 7, 8000) > 800);
}

#[test]
fn damaged_mbrs() {
    let disk = Memory::new(vec![0; 64 * 1024]);
    let part = |number, start, kind| NewMbrPartition {
        number,
        start,
        sectors: 30,
        kind,
        bootable: number == 1,
    };
    create_mbr(&disk, 5, &[part(1, 1, 0x83), part(2, 40, 0x0f)]).unwrap();
    // Two logical partitions.
    let mut bytes = disk.bytes();
    for (record, next) in [(40_usize, Some(10_u8)), (50, None)] {
        let table = &mut bytes[record * 512 + 446..(record + 1) * 512];
        table[4] = 0x83;
        (table[8], table[12]) = (1, 5);
        if let Some(next) = next {
            table[16 + 4] = 5;
            (table[16 + 8], table[16 + 12]) = (next, 6);
        }
        table[64..].copy_from_slice(b"\x55\xaa");
    }
    let table = read(&Memory::new(bytes.clone())).unwrap().unwrap();
    let numbers: Vec<u32> = table.partitions.iter().map(|partition| partition.number).collect();
    assert_eq!(numbers, [1, 5, 6]);
    let records = [440..512, 440..512, 40 * 512 + 440..41 * 512, 50 * 512 + 440..51 * 512];
    assert!(torment(&bytes, &records, 8, 20_000) > 2000);
}
