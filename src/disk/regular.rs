//! Regular files and nothing else.

use std::fs::File;
use std::path::Path;

use crate::util::error::{Context, Error, Result};

/// Opens what the user names: a regular file and nothing else. A device or a pipe
/// named by a stranger's image is not for reading.
pub(crate) fn open_regular(path: &Path) -> Result<File> {
    let context = || format!("opening `{}`", path.display());
    // Asked before opening: to open a pipe is to wait.
    if !path.metadata().context(context)?.is_file() {
        return Err(Error::input(format!("`{}` is not a file", path.display())));
    }
    File::open(path).context(context)
}
