use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use proptest::prelude::*;

use super::testing::{Faults, Faulty, SECTOR};
use super::write::Summary;
use crate::disk::testing::Memory;
use crate::flash::{BehindImage, write};
use crate::util::error::{Error, ErrorKind};
use crate::util::progress::Silent;

const MIB: usize = 1 << 20;
/// Large enough for a body of two chunks, small enough for many cases.
const SIZE: usize = 7 * MIB + 3 * 512;

/// An image with data at both ends and here and there between.
fn image(size: usize, blocks: &[(usize, u8)]) -> Vec<u8> {
    let mut bytes = vec![0; size];
    for (block, byte) in blocks {
        let start = (block * 64 * 1024) % size;
        let end = (start + 64 * 1024).min(size);
        bytes[start..end].fill(*byte);
    }
    bytes[..512].fill(0xaa);
    bytes[size - 512..].fill(0xbb);
    bytes
}

fn old(size: usize) -> Vec<u8> {
    (0..size).map(|at| u8::try_from(at % 251).unwrap() | 1).collect()
}

fn flash(image: &[u8], device: &mut Faulty) -> crate::util::error::Result<Summary> {
    write(&Memory::new(image.to_vec()), device, BehindImage::Erased, true, &Silent)
}

fn message(error: &Error) -> String {
    error.to_string()
}

/// Nothing that boots: neither the old system's beginning nor the new one's.
#[track_caller]
fn does_not_boot(medium: &[u8], image: &[u8]) {
    assert!(medium[..MIB].iter().all(|byte| *byte == 0), "the first MiB is not zeros");
    let tail = image.len() - MIB..image.len();
    assert!(medium[tail.clone()] != image[tail] || medium[MIB..] == image[MIB..]);
}

#[test]
fn zeros_are_not_written_where_the_device_can_clear() {
    let image = image(SIZE, &[(40, 7), (41, 7), (90, 9)]);
    let mut device = Faulty::new(old(SIZE + 4 * MIB), Faults::default());
    let summary = flash(&image, &mut device).unwrap();
    assert_eq!(device.medium[..SIZE], image);
    assert_eq!(summary.written, 2 * MIB as u64 + 3 * 65536);
    assert_eq!(summary.written + summary.skipped, SIZE as u64);
    // The old system's second partition table is gone.
    assert!(device.medium[SIZE + 3 * MIB..].iter().all(|byte| *byte == 0));
    // Ends twice, data once.
    assert_eq!(device.written, summary.written + 3 * MIB as u64);
}

/// Partitions that first boot made behind the root, up to the last sector.
#[test]
fn what_is_behind_the_image_can_be_kept() {
    let image = image(SIZE, &[(40, 7), (90, 9)]);
    let keep = |device: &mut Faulty| {
        write(&Memory::new(image.clone()), device, BehindImage::Kept, true, &Silent).unwrap()
    };
    for room in [0, 512, MIB, 4 * MIB] {
        let before = old(SIZE + room);
        let mut device = Faulty::new(before.clone(), Faults::default());
        keep(&mut device);
        assert!(device.medium[..SIZE] == image, "{room}");
        assert!(device.medium[SIZE..] == before[SIZE..], "{room}");
    }

    // The second half of an old GPT: its header goes, and no more.
    let mut before = old(SIZE + 4 * MIB);
    let last = before.len() - 512;
    let header = |sector: usize| [&b"EFI PART"[..], &[1; 16], &sector.to_le_bytes()].concat();
    for (sector, is_header) in [(last / 512, true), (77, false)] {
        before[last..][..32].copy_from_slice(&header(sector));
        let mut device = Faulty::new(before.clone(), Faults::default());
        keep(&mut device);
        assert!(device.medium[SIZE..last] == before[SIZE..last]);
        assert_eq!(device.medium[last..].iter().all(|byte| *byte == 0), is_header);
        assert!(is_header || device.medium[last..] == before[last..]);
    }
}

#[test]
fn a_bad_sector_is_named() {
    let image = image(SIZE, &[(40, 7), (41, 7)]);
    let bad = (40 * 65536 + 3 * 512) / u64::from(SECTOR);
    let faults = Faults { bad: [bad].into(), ..Faults::default() };
    let mut device = Faulty::new(old(SIZE), faults);
    let error = flash(&image, &mut device).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Failure);
    assert_eq!(
        message(&error),
        format!(
            "the device cannot be written to at byte {} (sector {bad}): Input/output error",
            bad * 512
        )
    );
    assert_eq!(
        error.problems()[0].hints,
        [
            "it may be worn out, or was pulled: try another one, or another reader",
            "what is on the device now does not boot: flash it again"
        ]
    );
    does_not_boot(&device.medium, &image);
}

#[test]
fn a_device_that_lies_is_found_out_and_does_not_boot() {
    let image = image(SIZE, &[(40, 7), (41, 7)]);
    for sector in [40 * 128 + 5, 41 * 128, SIZE as u64 / 512 - 1] {
        let faults = Faults { stuck: [sector].into(), ..Faults::default() };
        let mut device = Faulty::new(old(SIZE), faults);
        let error = flash(&image, &mut device).unwrap_err();
        let byte = sector * 512;
        assert_eq!(
            message(&error),
            format!(
                "the device does not hold what was written to it at byte {byte} (sector {sector})"
            )
        );
        does_not_boot(&device.medium, &image);
    }
}

#[test]
fn a_forged_card_is_found_out() {
    let image = image(SIZE, &[(20, 5), (40, 7), (100, 7)]);
    let faults = Faults { real_size: Some(4 * MIB as u64), ..Faults::default() };
    let mut device = Faulty::new(old(SIZE), faults);
    let error = flash(&image, &mut device).unwrap_err();
    assert!(message(&error).contains("does not hold what was written"), "{error}");
}

#[test]
fn without_verifying_nothing_is_read_back() {
    let image = image(SIZE, &[(40, 7)]);
    let faults = Faults { stuck: [40 * 128].into(), ..Faults::default() };
    let mut device = Faulty::new(old(SIZE), faults);
    write(&Memory::new(image.clone()), &mut device, BehindImage::Erased, false, &Silent).unwrap();
    assert_ne!(device.medium, image);
}

#[test]
fn a_device_that_is_too_small_is_not_touched() {
    let before = old(SIZE - 512);
    let mut device = Faulty::new(before.clone(), Faults::default());
    let error = flash(&image(SIZE, &[]), &mut device).unwrap_err();
    assert_eq!(message(&error), "the device is smaller than the image");
    assert!(device.medium == before && device.written == 0);
}

/// A power loss between two syncs leaves any mixture of what was written: so before every sync
/// but the last, neither what is on the medium nor what is on its way there may boot.
#[test]
fn only_the_last_sync_makes_it_boot() {
    let image = image(SIZE, &[(40, 7), (80, 8)]);
    let mut device = Faulty::new(old(SIZE), Faults::default());
    let syncs: Arc<Mutex<Vec<(bool, bool)>>> = Arc::default();
    let (seen, expected) = (Arc::clone(&syncs), image.clone());
    device.on_sync = Some(Box::new(move |medium, cache| {
        let boots = |bytes: &[u8]| bytes[..MIB].iter().any(|byte| *byte != 0);
        let body_is_there = medium[MIB..] == expected[MIB..];
        seen.lock().unwrap().push((boots(cache), body_is_there));
    }));
    flash(&image, &mut device).unwrap();
    let syncs = syncs.lock().unwrap();
    let (last, before) = syncs.split_last().unwrap();
    assert_eq!(*last, (true, true), "the head goes last, on top of everything else");
    assert!(before.iter().all(|(boots, _)| !boots), "{before:?}");
}

#[test]
fn images_of_any_size_fit() {
    for size in [512, 4096, MIB - 512, MIB, MIB + 512, 2 * MIB, 2 * MIB + 512, 5 * MIB] {
        for room in [0, 512, MIB, 3 * MIB] {
            let image = image(size, &[(3, 1), (17, 2), (33, 3)]);
            let mut device = Faulty::new(old(size + room), Faults::default());
            flash(&image, &mut device).unwrap();
            assert!(device.medium[..size] == image, "{size} on {}", size + room);
        }
    }
}

fn blocks() -> impl Strategy<Value = Vec<(usize, u8)>> {
    prop::collection::vec((0..SIZE / 65536, 1..=255_u8), 0..20)
}

fn sectors() -> impl Strategy<Value = BTreeSet<u64>> {
    prop::collection::btree_set(0..SIZE as u64 / 512, 0..4)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_sound_device_reads_as_the_image(
        blocks in blocks(),
        short in prop::option::of(1..200_usize),
        interrupted_every in prop::option::of(2..50_usize),
        cannot_clear: bool,
        room in 0..3_usize,
    ) {
        let image = image(SIZE, &blocks);
        let faults = Faults { short, cannot_clear, interrupted_every, ..Faults::default() };
        let mut device = Faulty::new(old(SIZE + room * MIB), faults);
        flash(&image, &mut device).unwrap();
        prop_assert!(device.medium[..SIZE] == image);
    }

    #[test]
    fn whatever_goes_wrong_it_boots_only_when_all_is_there(
        blocks in blocks(),
        bad in sectors(),
        stuck in sectors(),
        short in prop::option::of(1..200_usize),
        pulled_after in prop::option::of(0..120_usize),
        cannot_clear: bool,
    ) {
        let image = image(SIZE, &blocks);
        let before = old(SIZE);
        let faults = Faults { bad, stuck, short, pulled_after, cannot_clear, ..Faults::default() };
        let touches_head = |sector: &u64| *sector < MIB as u64 / 512;
        let head_is_sound = !faults.bad.iter().chain(&faults.stuck).any(touches_head);
        let mut device = Faulty::new(before.clone(), faults);
        match flash(&image, &mut device) {
            Ok(_) => prop_assert!(device.medium == image),
            Err(_) if device.medium[..MIB] == before[..MIB] => {
                // Stopped before anything was synced: the old system is whole.
                prop_assert!(device.medium == before);
            }
            Err(_) if device.medium == image => {}
            Err(_) if head_is_sound => does_not_boot(&device.medium, &image),
            Err(_) => {}
        }
    }
}

#[test]
fn pulled_at_any_call_it_does_not_boot() {
    let image = image(SIZE, &[(40, 7), (80, 8)]);
    let before = old(SIZE);
    let mut failures = 0;
    for pulled_after in 0.. {
        let faults = Faults { pulled_after: Some(pulled_after), ..Faults::default() };
        let mut device = Faulty::new(before.clone(), faults);
        match flash(&image, &mut device) {
            Ok(_) => {
                assert!(device.medium == image);
                break;
            }
            Err(error) => {
                assert!(message(&error).contains("No such device"), "{error}");
                failures += 1;
                let untouched = device.medium == before;
                // Pulled while it is read back for the last time: everything is there.
                let complete = device.medium == image;
                if !untouched && !complete {
                    does_not_boot(&device.medium, &image);
                }
            }
        }
    }
    assert!(failures > 15, "{failures}");
}
