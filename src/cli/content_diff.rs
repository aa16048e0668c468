//! How a planned file differs from what the base has in its place.

use std::path::Path;

use similar::TextDiff;

use crate::error::Result;
use crate::fs::Tree;
use crate::plan::{Action, Change};

/// The most bytes of a file of the base that are compared.
const MOST: u64 = 1 << 20;

/// A unified diff, indented; empty for what is no file or is secret. `below` has been applied to
/// the base before.
pub(super) fn content_diff(base: &dyn Tree, below: &[Change], action: &Action) -> Result<String> {
    let Action::File { path, content, .. } = action else { return Ok(String::new()) };
    if !content.secrets.is_empty() {
        return Ok(String::new());
    }
    let planned = below.iter().rev().find_map(|change| match &change.action {
        Action::File { path: other, content, .. } if other == path => Some(content.bytes.clone()),
        _ => None,
    });
    let old = match planned {
        Some(bytes) => Some(bytes),
        None => read(base, path)?,
    };
    let Some(old) = old else { return Ok(lines("", &content.bytes)) };
    if old == content.bytes {
        return Ok("    (as it is)\n".into());
    }
    match String::from_utf8(old) {
        Ok(old) => Ok(lines(&old, &content.bytes)),
        Err(_) => Ok("    (another binary file)\n".into()),
    }
}

fn lines(old: &str, new: &[u8]) -> String {
    let Ok(new) = std::str::from_utf8(new) else { return "    (a binary file)\n".into() };
    let diff = TextDiff::from_lines(old, new);
    let text = diff.unified_diff().missing_newline_hint(false).to_string();
    text.lines().map(|line| format!("    {line}").trim_end().to_owned() + "\n").collect()
}

fn read(tree: &dyn Tree, path: &str) -> Result<Option<Vec<u8>>> {
    let path = Path::new(path);
    let Some(metadata) = tree.metadata(path)? else { return Ok(None) };
    let mut bytes = vec![0; usize::try_from(metadata.size.min(MOST)).unwrap_or_default()];
    let mut done = 0;
    while done < bytes.len() {
        match tree.read_at(path, done as u64, &mut bytes[done..])? {
            0 => break,
            read => done += read,
        }
    }
    bytes.truncate(done);
    Ok(Some(bytes))
}
