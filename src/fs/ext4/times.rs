//! When files were read, written and changed.

use super::{Ext4, ROOT, inode_number};
use crate::util::error::Result;

impl Ext4 {
    /// Dates every file at the clock, but for contents that are older: what mke2fs takes from a
    /// folder says when that was made and read, and the times at which its files were changed cannot be set.
    pub fn date_files(&mut self) -> Result<()> {
        let mut found = vec![(inode_number(ROOT)?, self.load(ROOT)?.inode.mtime)];
        self.visit(|number, inode| {
            if inode.links_count > 0 {
                found.push((number, inode.mtime));
            }
            Ok(())
        })?;
        let clock = self.runtime.seconds();
        self.changing()?;
        let fs = self.fs()?;
        for (number, modified) in found {
            fs.apply_utimens_ino(number, clock, 0, modified.min(clock), 0)
                .map_err(|fault| self.explain(fault))?;
        }
        Ok(())
    }
}
