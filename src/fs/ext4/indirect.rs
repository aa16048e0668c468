//! The block map of ext2 and ext3, which files keep on an ext4 that was made from one. Source: kernel
//! documentation, `filesystems/ext4`, "Direct/Indirect Block Addressing".

use fs_ext4::fs::Filesystem;
use fs_ext4::inode::Inode;

use super::error::{Ext4Result, damaged};
use super::runs::{BlockRun, check_range};

/// Pointers in the inode: so many to blocks of the file, then one at each of three levels.
const DIRECT: usize = 12;

/// The blocks of a file mapped by pointers, as far as its size reaches.
pub(super) fn collect(fs: &Filesystem, inode: &Inode) -> Ext4Result<Vec<BlockRun>> {
    let block_size = u64::from(fs.sb.block_size());
    let mut walk = PointerWalk {
        fs,
        end: inode.size.div_ceil(block_size),
        next: 0,
        // No block is in a file twice.
        left: fs.sb.blocks_count,
        runs: Vec::new(),
    };
    for (index, pointer) in pointers(&inode.block).enumerate() {
        let level = (index + 1).saturating_sub(DIRECT);
        walk.follow(pointer, u32::try_from(level).expect("three at most"))?;
    }
    Ok(walk.runs)
}

fn pointers(bytes: &[u8]) -> impl Iterator<Item = u32> {
    let words = bytes.chunks_exact(4);
    words.map(|word| u32::from_le_bytes(*word.first_chunk().expect("four bytes")))
}

struct PointerWalk<'a> {
    fs: &'a Filesystem,
    /// The first block of the file behind its end.
    end: u64,
    /// The block of the file that comes next.
    next: u64,
    /// How many more blocks the file can have.
    left: u64,
    runs: Vec<BlockRun>,
}

impl PointerWalk<'_> {
    /// Takes all that a pointer leads to; at level 0 that is one block of the file.
    fn follow(&mut self, pointer: u32, level: u32) -> Ext4Result<()> {
        if self.next >= self.end {
            return Ok(());
        }
        if pointer == 0 {
            let per_block = u64::from(self.fs.sb.block_size() / 4);
            self.next = self.next.saturating_add(per_block.saturating_pow(level));
            return Ok(());
        }
        let block = u64::from(pointer);
        check_range(self.fs, block, 1)?;
        self.left = self
            .left
            .checked_sub(1)
            .ok_or_else(|| damaged("a file holds more blocks than the disk"))?;
        if level == 0 {
            self.push(block);
            return Ok(());
        }
        let below = self.fs.read_block(block)?;
        pointers(&below).try_for_each(|pointer| self.follow(pointer, level - 1))
    }

    fn push(&mut self, block: u64) {
        match self.runs.last_mut() {
            Some(last) if last.end() == self.next && last.physical + last.length == block => {
                last.length += 1;
            }
            _ => self.runs.push(BlockRun {
                logical: self.next,
                physical: block,
                length: 1,
                is_written: true,
            }),
        }
        self.next += 1;
    }
}
