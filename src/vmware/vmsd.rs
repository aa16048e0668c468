//! `.vmsd`: what a machine was cloned from. Without it, deleting a clone in the product can delete
//! the disk of the template.

use super::DISK;

/// The file's text for a machine that is not a clone and has no snapshot.
pub(crate) fn of_original() -> String {
    ".encoding = \"UTF-8\"\n".to_owned()
}

/// The file's text for a linked clone of `template`, a path from the clone's own folder.
pub(crate) fn of_clone(template: &str) -> String {
    format!(
        ".encoding = \"UTF-8\"\n\
         cloneOf0 = \"{template}\"\n\
         numCloneOf = \"1\"\n\
         sentinel0 = \"{DISK}\"\n\
         numSentinels = \"1\"\n"
    )
}
