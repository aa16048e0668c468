//! Files that preparing lays whether programs run or not: apt sources and downloads.

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
        Action::File { .. }
        | Action::Grow { .. }
        | Action::Package { .. }
        | Action::Download { .. }
        | Action::Images(_)
        | Action::Directory { .. }
        | Action::Symlink { .. }
        | Action::Remove { .. }
        | Action::Unit { .. }
        | Action::User(_)
        | Action::KernelArgument { .. }
        | Action::KernelArgumentRemoved { .. }
        | Action::ConfigTxt { .. }
        | Action::Hostname { .. }
        | Action::MachineId { .. }
        | Action::DiskId { .. }
        | Action::Locale { .. }
        | Action::Keyboard { .. }
        | Action::Timezone { .. } => return None,
    };
    Some(Change::new(action, change.origin.clone()))
}

/// Writes a downloaded file to its place in the image.
pub(crate) fn put(tree: &mut dyn Tree, file: Option<File>, path: &Path, mode: u32) -> Result<()> {
    let put = || {
        let mut file = file.ok_or_else(|| Error::failure("it was not downloaded"))?;
        file.rewind()?;
        let size = file.metadata()?.len();
        files::create_parents(tree, path)?;
        tree.write_from(path, &mut file, size, Some(Attributes { mode, uid: 0, gid: 0 }))
    };
    put().context(|| format!("cannot write `{}`", path.display()))
}
