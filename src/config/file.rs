//! Reading files of a bounded size.

use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::path::{Component, Path, PathBuf};

use crate::util::error::{Context as _, Error, Result};
use crate::util::new_files;

/// The most a cluster file or a profile may hold, in bytes.
pub(crate) const MOST_TOML: u64 = 16 << 20;
/// The most a file laid over a root may hold, in bytes: they are held in memory.
pub(crate) const MOST_CONTENT: u64 = 16 << 20;
/// The most a key, hash or list of keys may hold, in bytes.
pub(crate) const MOST_KEY: u64 = 1 << 20;

/// A path as a file in `directory` means it: `~` is the user's home.
pub(crate) fn resolve(directory: &Path, path: &Path) -> PathBuf {
    match (path.strip_prefix("~"), new_files::home().or_else(std::env::home_dir)) {
        (Ok(rest), Some(home)) => home.join(rest),
        _ => directory.join(path),
    }
}

/// What is wrong with a path that a stranger's text names; `None` when it can only lead below the
/// folder that it starts from, as long as no link is on its way.
pub(crate) fn plain_fault(path: &Path) -> Option<&'static str> {
    if path.is_absolute() {
        return Some("is absolute");
    }
    if path.starts_with("~") {
        return Some("starts at the user's home");
    }
    path.components()
        .any(|it| it == Component::ParentDir)
        .then_some("leads out of its folder with `..`")
}

/// A path as a stranger's text in `folder` names it: what lies below the folder, links followed,
/// whether it is there yet or not.
pub(crate) fn below(folder: &Path, path: &Path) -> Result<PathBuf> {
    if let Some(fault) = plain_fault(path) {
        return Err(Error::input(format!("`{}` {fault}", path.display())));
    }
    let inside = folder.join(path);
    stays_below(folder, &inside)?;
    Ok(inside)
}

/// Fails when a link leads `path` out of `folder`.
pub(crate) fn stays_below(folder: &Path, path: &Path) -> Result<()> {
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let root = match folder.canonicalize() {
        Ok(root) => root,
        // What is not there has no links.
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error).context(|| format!("cannot find `{}`", folder.display())),
    };
    for ancestor in path.ancestors() {
        let leads_to = match ancestor.canonicalize() {
            Ok(real) if real.starts_with(&root) => return Ok(()),
            Ok(real) => real,
            // A link to what is not there; what is made there would be made where it points.
            Err(_) => match ancestor.read_link() {
                Ok(target) => target,
                Err(_) => continue,
            },
        };
        let (ancestor, leads_to) = (ancestor.display(), leads_to.display());
        return Err(Error::input(format!(
            "`{ancestor}` leads to `{leads_to}`, which is not below `{}`",
            folder.display()
        )));
    }
    Ok(())
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

/// The text of a TOML file, whose line ends are `\n` in texts of several lines too: a script's are read
/// by a shell.
pub(crate) fn read_toml(path: &Path) -> Result<String> {
    read_text(path, MOST_TOML).map(|text| with_unix_ends(&text))
}

/// The text without the `\r` of Windows' line ends.
pub(crate) fn with_unix_ends(text: &str) -> String {
    text.replace("\r\n", "\n")
}

/// Fails for a script whose first line ends in `\r`: the kernel would look for a program of that name.
pub(crate) fn check_script(bytes: &[u8], name: &str) -> Result<()> {
    let first = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    if !first.starts_with(b"#!") || !first.ends_with(b"\r") {
        return Ok(());
    }
    let program = String::from_utf8_lossy(&first[2..]);
    Err(Error::input(format!("the script `{name}` has Windows' line ends"))
        .hint(format!("it would be run by `{}`; `dos2unix` mends it", program.escape_debug())))
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
