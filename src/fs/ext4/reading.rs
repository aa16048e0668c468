//! The content of files, by where their blocks lie.

use super::blocks;
use super::runs::{self, BlockRun};
use super::{Ext4, LoadedInode, inode_number};
use crate::fs::volume::VolumeNode;
use crate::util::error::Result;

impl Ext4 {
    /// Where a file's blocks lie. Not for what is kept in the inode itself.
    pub(super) fn blocks<'a>(
        &self,
        number: u32,
        loaded: &'a LoadedInode,
    ) -> Result<&'a [BlockRun]> {
        if let Some(known) = loaded.blocks.get() {
            return Ok(known);
        }
        let found = blocks::map(self.fs()?, number, &loaded.inode);
        let found = found.map_err(|fault| self.explain(fault))?;
        Ok(loaded.blocks.get_or_init(|| found))
    }

    /// Refuses a file whose map of blocks is damaged, before they are freed.
    pub(super) fn check_blocks(&self, node: VolumeNode) -> Result<()> {
        let loaded = self.load(node)?;
        let inode = &loaded.inode;
        if (inode.is_file() || inode.is_dir()) && !inode.has_inline_data() {
            self.blocks(inode_number(node)?, &loaded)?;
        }
        Ok(())
    }

    /// Reads from the run that holds `offset`, or zeros from the hole that does, as much of
    /// `buffer` as it has. `buffer` ends within the file.
    pub(super) fn read_run(
        &self,
        runs: &[BlockRun],
        offset: u64,
        buffer: &mut [u8],
    ) -> Result<usize> {
        let fs = self.fs()?;
        let block_size = u64::from(fs.sb.block_size());
        let (block, within) = (offset / block_size, offset % block_size);
        let found = runs::find(runs, block);
        let end = match found {
            Ok(run) => run.end(),
            Err(next) => next,
        };
        let left = (end - block).saturating_mul(block_size) - within;
        let length = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        let part = &mut buffer[..length];
        match found {
            Ok(run) if run.is_written => {
                let start = (run.physical + (block - run.logical)) * block_size;
                fs.dev.read_at(start + within, part).map_err(|fault| self.explain(fault))?;
            }
            Ok(_) | Err(_) => part.fill(0),
        }
        Ok(length)
    }
}
