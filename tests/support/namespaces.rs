//! Namespaces in which a script may change everything.

use std::ffi::OsStr;
use std::process::Command;

use super::user;

/// Runs a script as root of namespaces that end with it, wants it to succeed, and returns what it
/// printed.
#[track_caller]
pub(crate) fn run_in_namespaces(script: &str, arguments: &[&OsStr]) -> String {
    let mut command = Command::new("unshare");
    if !user::is_root() {
        command.arg("--map-root-user");
    }
    command.args(["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]);
    let output = command.arg(script).args(arguments).output().expect("unshare starts");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{errors}");
    println!("{said}");
    said
}
