//! A root file system grown offline.

use std::path::Path;

use crate::disk::{Disk, Raw, copy_sparse};
use crate::error::{Context, Error, Result};
use crate::tool::Tool;

/// Copies the ext4 that fills `from` to `to`, a larger disk that reads as zeros, and grows it to
/// fill that. `folder` holds it meanwhile.
///
/// As a file of its own: resize2fs takes no offset (with one it has been seen to write past the
/// partition), and the kernel lets only `CAP_SYS_RESOURCE`, which containers lack, grow what is
/// mounted.
pub(super) fn copy_grown(from: &dyn Disk, to: &dyn Disk, folder: &Path) -> Result<()> {
    let path = folder.join("root.ext4");
    let file = Raw::create(&path, to.size())?;
    copy_sparse(from, &file).context(|| "copying the root file system")?;
    // resize2fs refuses what was not just checked. 1 says that something was mended.
    let check = Tool::new("e2fsck", "e2fsprogs").args(["-f", "-p"]).arg(&path);
    let (said, code) = check.run_for_code()?;
    if !matches!(code, Some(0 | 1)) {
        return Err(said.failure().hint("`e2fsck -f` on the base's root file system mends it"));
    }
    Tool::new("resize2fs", "e2fsprogs")
        .arg(&path)
        .run()
        .context(|| "growing the root file system")?;
    copy_sparse(&file, to).context(|| "copying the root file system")?;
    std::fs::remove_file(&path).map_err(Error::from)
}
