//! Where the content of files lies on the disk.

use std::ops::Range;

use fs_ext4::Superblock;
use fs_ext4::inode::Inode;

use super::{Ext4, blocks, inode_number};
use crate::util::error::Result;

impl Ext4 {
    /// Where on the disk the content of regular files lies, in bytes and in no order: what a
    /// checker of the file system's own structures has no need to read.
    pub fn file_content(&self) -> Result<Vec<Range<u64>>> {
        let fs = self.fs()?;
        let block_size = u64::from(fs.sb.block_size());
        let mut content = Vec::new();
        self.visit(|number, inode| {
            let is_plain = inode.is_file() && inode.links_count > 0 && !inode.has_inline_data();
            // A damaged map is the checker's to report: it gets to see all there is.
            let runs = if is_plain { blocks::map(fs, number, inode) } else { Ok(Vec::new()) };
            content.extend(runs.unwrap_or_default().iter().map(|run| {
                let start = run.physical * block_size;
                start..start + run.length * block_size
            }));
            Ok(())
        })?;
        Ok(content)
    }

    /// Shows every inode that can be read and is not ext4's own, in use or not.
    pub(super) fn visit(&self, mut show: impl FnMut(u32, &Inode) -> Result<()>) -> Result<()> {
        let fs = self.fs()?;
        let per_group = u64::from(fs.sb.inodes_per_group);
        for (group, descriptor) in fs.groups.iter().enumerate() {
            let unused = u64::from(descriptor.itable_unused).min(per_group);
            let first = group as u64 * per_group + 1;
            for number in first..first + per_group - unused {
                let number = inode_number(number)?;
                // The first ones are ext4's own: journal, resize inode.
                if number < fs.sb.first_inode || number == orphan_file(&fs.sb) {
                    continue;
                }
                let raw = fs.read_inode_raw(number).map_err(|fault| self.explain(fault))?;
                let Ok(inode) = Inode::parse(&raw) else { continue };
                show(number, &inode)?;
            }
        }
        Ok(())
    }
}

/// `s_orphan_file_inum`; 0 without the feature.
fn orphan_file(superblock: &Superblock) -> u32 {
    const OFFSET: usize = 0x280;
    superblock
        .raw
        .get(OFFSET..)
        .and_then(|rest| rest.first_chunk())
        .map_or(0, |b| u32::from_le_bytes(*b))
}
