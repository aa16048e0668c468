//! Two of the linked clones as virtual machines on one network with a router.
//!
//! Like all tests that boot, it wants the machine to itself.

use std::process::Command;

use super::{HERE, built};

#[test]
fn clones_boot_register_join_and_follow_the_prefix() {
    let built = built();
    let scratch = tempfile::tempdir().expect("a folder");
    let output = Command::new("unshare")
        .args(["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"])
        .arg(format!("{HERE}/vms"))
        .arg(env!("CARGO_BIN_EXE_nodeforge"))
        .arg(built.path("out"))
        .arg(scratch.path())
        .output()
        .expect("unshare starts");
    let said = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{errors}");
    println!("{said}");
}
