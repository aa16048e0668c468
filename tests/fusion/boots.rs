//! Two of the linked clones as virtual machines on one network with a router.
//!
//! Like all tests that boot, it wants the machine to itself.

use super::{HERE, built, in_a_home_of_its_own};

#[test]
fn clones_boot_register_join_and_follow_the_prefix() {
    let built = built();
    let scratch = tempfile::tempdir().expect("a folder");
    let output = in_a_home_of_its_own()
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
