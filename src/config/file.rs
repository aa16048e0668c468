//! Reading files of a bounded size.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use crate::util::error::{Context as _, Error, Result};

/// The most a cluster file or a profile may hold, in bytes.
pub(crate) const MOST_TOML: u64 = 16 << 20;
/// The most a file laid over a root may hold, in bytes: they are held in memory.
pub(crate) const MOST_CONTENT: u64 = 16 << 20;
/// The most a key, hash or list of keys may hold, in bytes.
pub(crate) const MOST_KEY: u64 = 1 << 20;

/// A path as a file in `directory` means it: `~` is the user's home.
pub(crate) fn resolve(directory: &Path, path: &Path) -> PathBuf {
    match (path.strip_prefix("~"), std::env::home_dir()) {
        (Ok(rest), Some(home)) => home.join(rest),
        _ => directory.join(path),
    }
}

/// A file's bytes; more than `most` of them are an error, and never read.
pub(crate) fn read(path: &Path, most: u64) -> Result<Vec<u8>> {
    let shown = path.display();
    let file = File::open(path).map_err(as_input).context(|| format!("cannot open `{shown}`"))?;
    let mut bytes = Vec::new();
    file.take(most + 1)
        .read_to_end(&mut bytes)
        .map_err(as_input)
        .context(|| format!("cannot read `{shown}`"))?;
    if bytes.len() as u64 > most {
        let most =
            if most >= 1 << 20 { format!("{} MiB", most >> 20) } else { format!("{most} bytes") };
        return Err(Error::input(format!("`{shown}` is larger than {most}")));
    }
    Ok(bytes)
}

/// A file's text.
pub(crate) fn read_text(path: &Path, most: u64) -> Result<String> {
    String::from_utf8(read(path, most)?).map_err(|error| {
        let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        #[expect(clippy::naive_bytecount, reason = "once, on the way to an error")]
        let line = valid.iter().filter(|byte| **byte == b'\n').count() + 1;
        Error::input(format!("`{}` is not UTF-8 text: line {line}", path.display()))
    })
}

/// A file the user named and that cannot be read is the user's to mend.
fn as_input(error: std::io::Error) -> Error {
    let error = Error::from(error);
    Error::input(error.to_string())
}
