//! Temporary folders that never outlive the test process.
//!
//! A `TempDir` is removed when it is dropped, but statics are never dropped, and a process that is
//! killed drops nothing. All folders of the tests are therefore in one folder of the process, and a
//! child that waits for the process to end removes that, with what is mounted or running in it.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use tempfile::TempDir;

const CLEAN_UP: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/clean-up");

/// A new folder, removed when it is dropped, or at the latest when this process ends.
pub(crate) fn temporary_folder() -> TempDir {
    tempfile::tempdir_in(process_folder()).expect("a temporary folder")
}

fn process_folder() -> &'static Path {
    // The child's standard input is a pipe that closes when this process ends, however it ends.
    static FOLDER: OnceLock<(PathBuf, Child)> = OnceLock::new();
    let make = || {
        let folder = tempfile::Builder::new().prefix("nodeforge-tests-").tempdir();
        let folder = folder.expect("a temporary folder").keep();
        // Other users reach their own folders in it, and cannot list it.
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o711)).expect("it is ours");
        let cleaner = Command::new("sh")
            .arg(CLEAN_UP)
            .arg(&folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            // Ctrl-C on the terminal ends the tests, not what tidies up after them.
            .process_group(0)
            .spawn()
            .expect("sh starts");
        (folder, cleaner)
    };
    &FOLDER.get_or_init(make).0
}
