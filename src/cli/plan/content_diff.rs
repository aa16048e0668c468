//! How a planned file differs from what the base has in its place.

use std::path::Path;

use similar::TextDiff;

use crate::change::{Action, Change};
use crate::fs::{FileType, Tree};
use crate::util::error::Result;

/// The most bytes of a file of the base that are compared.
const MOST: u64 = 1 << 20;

/// What stands where a file is to be.
enum Present {
    Free,
    File(Vec<u8>),
    /// What cannot be compared, in words.
    Other(String),
}

/// A unified diff; empty for what is not a file or is secret. `below` has been applied to
/// the base before.
pub(super) fn content_diff(base: &dyn Tree, below: &[Change], action: &Action) -> Result<String> {
    let Action::File { path, content, .. } = action else { return Ok(String::new()) };
    let Some(bytes) = content.shown() else { return Ok(String::new()) };
    let planned = below.iter().rev().find_map(|change| {
        let Action::File { path: other, content, .. } = &change.action else { return None };
        (other == path).then_some(&content.bytes)
    });
    let place = match planned {
        Some(bytes) => Present::File(bytes.clone()),
        None => look(base, Path::new(path))?,
    };
    Ok(match place {
        Present::Free => lines("", bytes),
        Present::File(old) if old == bytes => "(as it is)\n".into(),
        Present::File(old) => match String::from_utf8(old) {
            Ok(old) => lines(&old, bytes),
            Err(_) => "(another binary file)\n".into(),
        },
        Present::Other(words) => format!("({words})\n{}", lines("", bytes)),
    })
}

fn look(base: &dyn Tree, path: &Path) -> Result<Present> {
    let Some(found) = base.metadata(path)? else { return Ok(Present::Free) };
    Ok(match found.file_type {
        FileType::File if found.size > MOST => Present::Other("in place of a large file".into()),
        FileType::File => base.read(path, MOST)?.map_or(Present::Free, Present::File),
        FileType::Symlink => {
            Present::Other(format!("in place of a link to {}", base.read_link(path)?.display()))
        }
        FileType::Directory => Present::Other("a directory is in its place".into()),
        FileType::CharacterDevice | FileType::BlockDevice | FileType::Fifo | FileType::Socket => {
            Present::Other("in place of what is not a file".into())
        }
    })
}

fn lines(old: &str, new: &[u8]) -> String {
    let Ok(new) = std::str::from_utf8(new) else { return "(a binary file)\n".into() };
    let diff = TextDiff::from_lines(old, new);
    diff.unified_diff().missing_newline_hint(false).to_string()
}
