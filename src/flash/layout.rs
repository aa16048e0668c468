//! Which bytes of a device are written when.

use std::ops::Range;

/// Bytes at either end that make a disk bootable: boot sector, boot code and both copies of a
/// partition table lie within.
pub(super) const END: u64 = 1 << 20;

/// What becomes of the device behind the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BehindImage {
    /// It is discarded where the device can do that, and its end is zeroed.
    Erased,
    /// It stays as it is: partitions that first boot made of it are found there again. Only the header of
    /// an old GPT in the last sector goes.
    Kept,
}

/// The parts of an image on a device of at least its size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FlashLayout {
    /// What is written last of all.
    pub(super) head: Range<u64>,
    /// What is written first.
    pub(super) body: Range<u64>,
    /// What is written when all of the body is on the medium: it may hold a partition table that
    /// firmware falls back on. Empty when the image ends within the head.
    pub(super) tail: Range<u64>,
    /// What follows the image on the device, and nobody wants any more.
    pub(super) rest: Range<u64>,
}

impl FlashLayout {
    /// For an image and a device of these sizes in bytes. The image ends with its last sector.
    pub(super) fn new(image: u64, device: u64, sector_size: u32, behind: BehindImage) -> Self {
        let image = image.next_multiple_of(sector_size.into());
        let head = 0..image.min(END);
        let tail = image.saturating_sub(END).max(head.end)..image;
        let end = match behind {
            BehindImage::Erased => device.max(image),
            BehindImage::Kept => image,
        };
        Self { body: head.end..tail.start, head, tail, rest: image..end }
    }

    /// Everything that could make an old system boot, or be taken for this one: the ends of the
    /// image, and the end of the device, where the old system's second partition table lies.
    pub(super) fn ends(&self) -> [Range<u64>; 3] {
        let rest = self.rest.end.saturating_sub(END).max(self.rest.start)..self.rest.end;
        [self.head.clone(), self.tail.clone(), rest]
    }

    /// What the device may forget before anything is written.
    pub(super) fn disposable(&self) -> Range<u64> {
        let [head, _, rest] = self.ends();
        let end = if rest.is_empty() { self.tail.start } else { rest.start };
        head.end..end.max(head.end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_follow_each_other_and_cover_everything() {
        let mib = 1 << 20;
        for image in [512, 4096, mib - 512, mib, mib + 512, 2 * mib, 2 * mib + 512, 9 * mib + 4096]
        {
            for device in [image, image + 512, image + mib, 100 * mib] {
                let layout = FlashLayout::new(image, device, 512, BehindImage::Erased);
                assert_eq!(layout.head.start, 0);
                assert_eq!(layout.head.end, layout.body.start, "{layout:?}");
                assert_eq!(layout.body.end, layout.tail.start, "{layout:?}");
                assert_eq!(layout.tail.end, image);
                assert_eq!(layout.rest, image..device);
                assert!(layout.tail.end - layout.tail.start <= END);
                let disposable = layout.disposable();
                for end in layout.ends() {
                    // The image's tail may be inside: it is behind the device's own end.
                    let inside = disposable.contains(&end.start) && !end.is_empty();
                    assert!(!inside || end == layout.tail, "{layout:?}");
                }
            }
        }
    }

    #[test]
    fn a_last_sector_is_filled_up() {
        let layout = FlashLayout::new((5 << 20) + 512, 10 << 20, 4096, BehindImage::Erased);
        assert_eq!(layout.tail.end, (5 << 20) + 4096);
    }
}
