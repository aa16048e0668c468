//! Room on file systems: how much there is, and what is said when there is not enough.

use std::path::{Path, PathBuf};

use super::error::{Error, Result};

/// With less than this, in bytes, a file system is full: a program that failed may have given back a little.
const NEXT_TO_NOTHING: u64 = 16 << 20;

/// What a folder is used for, which says how it can be another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FolderUse {
    /// nodeforge's cache.
    Cache,
    /// Where images are decompressed.
    Scratch,
    /// Where artifacts go.
    Output,
    /// Where an image is that is changed: the change is collected beside it.
    Image,
    /// Where a copy goes whose name the user chose.
    Copy,
}

impl FolderUse {
    /// What helps where there is no room.
    pub fn hint(self) -> &'static str {
        match self {
            Self::Cache => {
                "make room, for example with `nodeforge cache prune`, or point XDG_CACHE_HOME elsewhere"
            }
            Self::Scratch => "make room, or point TMPDIR elsewhere",
            Self::Output => "make room, or choose another folder with `-o`",
            Self::Image => "make room beside the image, where its changes are collected",
            Self::Copy => "make room, or choose another place",
        }
    }
}

/// Fails when a folder's file system has no room for so many bytes more. Where it is not known how much there is,
/// trying tells.
pub fn require(folder: &Path, place: FolderUse, needed: u64) -> Result<()> {
    match free(folder) {
        Some(free) if free < needed => {
            let message = full(folder, free, Some(needed));
            Err(Error::failure(message).hint(place.hint()))
        }
        _ => Ok(()),
    }
}

/// An error of something that writes into a folder, with what there is to say when its file system is full. To be
/// called before what was written is removed.
#[must_use]
pub fn explain(error: Error, folder: &Path, place: FolderUse, needed: Option<u64>) -> Error {
    let is_full = |text: &str| {
        ["No space left", "quota exceeded", "Could not allocate"].iter().any(|it| text.contains(it))
    };
    let says_so = error
        .problems()
        .iter()
        .any(|it| is_full(&it.message) || it.causes.iter().any(|cause| is_full(cause)));
    match free(folder) {
        Some(free) if says_so && free < NEXT_TO_NOTHING.max(needed.unwrap_or_default()) => {
            // What was advised before took the image for what is full.
            error.context(full(folder, free, needed)).without_hints().hint(place.hint())
        }
        _ => error,
    }
}

fn full(folder: &Path, free: u64, needed: Option<u64>) -> String {
    let needed = needed.map_or_else(String::new, |it| format!(", and {} are needed", mib(it)));
    format!(
        "the file system of `{}` is full: {} are free{needed}",
        mount_point(folder).display(),
        mib(free)
    )
}

/// Bytes in MiB: `12.3 MiB`.
pub(crate) fn mib(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

/// Bytes that a user who is not root may still write to a folder's file system; `None` where that is not known.
pub fn free(folder: &Path) -> Option<u64> {
    let found = rustix::fs::statvfs(nearest(folder)).ok()?;
    found.f_bavail.checked_mul(found.f_frsize)
}

/// The folder, or the one in which it would have to be made.
fn nearest(folder: &Path) -> &Path {
    folder.ancestors().find(|it| it.exists()).unwrap_or(Path::new("."))
}

/// Where a folder's file system is mounted.
fn mount_point(folder: &Path) -> PathBuf {
    use std::os::unix::fs::MetadataExt as _;

    let device = |path: &Path| path.metadata().map(|it| it.dev()).ok();
    let folder = nearest(folder).canonicalize().unwrap_or_else(|_| folder.to_owned());
    let own = device(&folder);
    let inside = folder.ancestors().take_while(|it| device(it) == own);
    inside.last().unwrap_or(&folder).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_needed_and_free_is_said() {
        let folder = tempfile::tempdir().unwrap();
        require(&folder.path().join("not/yet"), FolderUse::Cache, 1).unwrap();
        let error = require(folder.path(), FolderUse::Output, 1 << 60).unwrap_err();
        let text = error.to_string();
        assert!(text.starts_with("the file system of `/"), "{text}");
        assert!(text.ends_with(" are free, and 1099511627776.0 MiB are needed"), "{text}");
        assert_eq!(error.problems()[0].hints, ["make room, or choose another folder with `-o`"]);

        let other = Error::failure("no luck").hint("try");
        assert_eq!(explain(other.clone(), folder.path(), FolderUse::Cache, None), other);
        let full =
            Error::failure("No space left on device").context("writing it").hint("raise `size`");
        let explained = explain(full, folder.path(), FolderUse::Scratch, Some(1 << 60));
        let problem = &explained.problems()[0];
        assert_eq!(problem.causes, ["writing it", "No space left on device"]);
        assert_eq!(problem.hints, ["make room, or point TMPDIR elsewhere"]);
    }
}
