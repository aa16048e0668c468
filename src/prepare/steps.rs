//! Steps of preparing that are the same whether programs run or not.

use std::fs::File;
use std::io::Seek as _;
use std::path::Path;

use crate::change::{Action, Change, Content, Owner};
use crate::fs::{Attributes, Tree};
use crate::guest::files;
use crate::util::error::{Context, Error, Result};

/// The file that an apt source, or what apt reads beside it, comes down to.
pub(crate) fn source_file(change: &Change) -> Option<Change> {
    let action = match &change.action {
        Action::AptSource { name, text, .. } => Action::File {
            path: format!("/etc/apt/sources.list.d/{name}.sources"),
            content: Content::public(text.clone()),
            mode: 0o644,
            owner: Owner::root(),
        },
        Action::File { path, .. } if path.starts_with("/etc/apt/") => change.action.clone(),
        _ => return None,
    };
    Some(Change { action, origin: change.origin.clone() })
}

/// Puts a file from elsewhere where it belongs.
pub(crate) fn put(tree: &mut dyn Tree, file: Option<File>, path: &Path, mode: u32) -> Result<()> {
    let put = || {
        let mut file = file.ok_or_else(|| Error::failure("it was not fetched"))?;
        file.rewind()?;
        let size = file.metadata()?.len();
        files::create_parents(tree, path)?;
        tree.write_from(path, &mut file, size, Some(Attributes { mode, uid: 0, gid: 0 }))
    };
    put().context(|| format!("writing `{}`", path.display()))
}
