//! What a directory holds, checked as the kernel does when it lists one. Source: kernel documentation,
//! `filesystems/ext4`, "Directory Entries", and `__ext4_check_dir_entry` in `fs/ext4/dir.c`.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use fs_ext4::dir::{DirEntry, DirEntryType};
use fs_ext4::features::Incompat;
use fs_ext4::file_io;
use fs_ext4::fs::Filesystem;
use fs_ext4::inode::{Inode, InodeFlags};

use super::blocks;
use super::error::{Ext4Result, damaged};

/// Bytes of an entry before its name.
const HEADER: usize = 8;
/// The shortest entry: the header, and a name of up to four bytes.
const SHORTEST: usize = 12;
/// The entry that holds a block's checksum looks unused and has this type.
const TAIL: usize = 12;
const TAIL_TYPE: u8 = 0xde;
/// Where the first block of an index, and the others, count their entries.
const ROOT_COUNT: usize = 32;
const NODE_COUNT: usize = 8;

/// What is known of directories.
#[derive(Default)]
pub(super) struct Directories {
    /// Those that were read whole, and not changed since.
    pub(super) read: HashMap<u32, Arc<Directory>>,
    /// How many entries they have together, each counted as one more.
    pub(super) weight: usize,
    /// Those that were changed here, after they were read whole: the ext4 crate finds names in them.
    pub(super) changed: HashSet<u32>,
}

/// A directory's entries, without `.` and `..`.
pub(super) struct Directory {
    pub(super) entries: Vec<DirEntry>,
    names: HashMap<Vec<u8>, u32>,
}

impl Directory {
    /// Reads all of it. `raw` is the inode as it is on the disk.
    pub(super) fn read(
        fs: &Filesystem,
        number: u32,
        inode: &Inode,
        raw: &[u8],
    ) -> Ext4Result<Self> {
        if !inode.is_dir() {
            return Err(fs_ext4::Error::NotADirectory.into());
        }
        file_io::refuse_encrypted_names(inode)?;
        let mut entries = if inode.has_inline_data() {
            inline(fs, number, inode, raw)?
        } else {
            in_blocks(fs, number, inode)?
        };
        entries.retain(|entry| entry.name != b"." && entry.name != b"..");
        for entry in &entries {
            let is_bad = |byte: &u8| *byte == b'/' || *byte == 0;
            if entry.name.is_empty() || entry.name.iter().any(is_bad) {
                return Err(damaged("a directory holds a name that is none"));
            }
        }
        let names = entries.iter().rev().map(|entry| (entry.name.clone(), entry.inode)).collect();
        Ok(Self { entries, names })
    }

    /// The inode that a name leads to.
    pub(super) fn get(&self, name: &[u8]) -> Option<u32> {
        self.names.get(name).copied()
    }
}

/// The entries of a directory that fits into its inode.
fn inline(fs: &Filesystem, number: u32, inode: &Inode, raw: &[u8]) -> Ext4Result<Vec<DirEntry>> {
    Ok(fs_ext4::inline_data::read_dir(
        &*fs.dev,
        number,
        inode,
        raw,
        fs.sb.inode_size,
        fs.sb.block_size(),
        has_types(fs),
    )?)
}

fn has_types(fs: &Filesystem) -> bool {
    fs.sb.feature_incompat & Incompat::FILETYPE.bits() != 0
}

fn in_blocks(fs: &Filesystem, number: u32, inode: &Inode) -> Ext4Result<Vec<DirEntry>> {
    let runs = blocks::map(fs, number, inode)?;
    let count = inode.size.div_ceil(u64::from(fs.sb.block_size()));
    let mut entries = Vec::new();
    let mut next = 0;
    for run in runs.iter().take_while(|run| run.logical < count) {
        if run.logical > next || !run.is_written {
            return Err(damaged("a directory has a hole"));
        }
        for index in 0..run.length.min(count - run.logical) {
            let block = fs.read_block(run.physical + index)?;
            let is_root = run.logical + index == 0 && inode.flags & InodeFlags::INDEX.bits() != 0;
            if fs.csum.enabled && !has_checksum(fs, number, inode, &block, is_root) {
                return Err(damaged("a block of a directory has a wrong checksum"));
            }
            parse(fs, &block, &mut entries)?;
        }
        next = run.end();
    }
    if next < count {
        return Err(damaged("a directory has a hole"));
    }
    Ok(entries)
}

/// Whether a block's checksum, behind its entries or behind an index's, is right.
fn has_checksum(fs: &Filesystem, number: u32, inode: &Inode, block: &[u8], is_root: bool) -> bool {
    let generation = inode.generation;
    // An unused entry over the whole block, where there is no room for a tail, covers an index.
    let is_node = block[..4] == [0; 4] && record_length(block, 0) == block.len();
    if is_root || is_node {
        let count = if is_root { ROOT_COUNT } else { NODE_COUNT };
        return fs.csum.verify_dx_tail(number, generation, block, count) == Some(true);
    }
    let tail = &block[block.len() - TAIL..];
    let is_tail = tail[..4] == [0; 4] && tail[4..8] == [12, 0, 0, TAIL_TYPE];
    is_tail && fs.csum.verify_dir_entry_tail(number, generation, block)
}

/// Length of the entry at `at`, as it is written for blocks of any size.
fn record_length(block: &[u8], at: usize) -> usize {
    let length = usize::from(u16::from_le_bytes([block[at + 4], block[at + 5]]));
    // 65536 does not fit into 16 bits (kernel, `ext4_rec_len_from_disk`).
    let is_whole = block.len() == 1 << 16 && (length == 0 || length == 0xffff);
    if is_whole { block.len() } else { length }
}

/// Takes the entries of one block. An index's blocks look as if they held one or two.
fn parse(fs: &Filesystem, block: &[u8], entries: &mut Vec<DirEntry>) -> Ext4Result<()> {
    let has_types = has_types(fs);
    let mut at = 0;
    while at < block.len() {
        if block.len() - at < SHORTEST {
            return Err(damaged("an entry of a directory ends too close to its block's end"));
        }
        let length = record_length(block, at);
        let inode = u32::from_le_bytes(*block[at..].first_chunk().expect("it is long enough"));
        let name_length = usize::from(block[at + 6]);
        let is_tail = inode == 0 && block[at + 7] == TAIL_TYPE;
        if length < SHORTEST
            || !length.is_multiple_of(4)
            || (HEADER + name_length > length && !is_tail)
        {
            return Err(damaged("an entry of a directory has a wrong length"));
        }
        if length > block.len() - at {
            return Err(damaged("an entry of a directory reaches past its block"));
        }
        if inode > fs.sb.inodes_count {
            return Err(damaged("a directory names an inode that there is not"));
        }
        if inode != 0 {
            let file_type = if has_types { block[at + 7] } else { 0 };
            entries.push(DirEntry {
                inode,
                name: block[at + HEADER..at + HEADER + name_length].to_vec(),
                file_type: DirEntryType::from_u8(file_type),
            });
        }
        at += length;
    }
    Ok(())
}
