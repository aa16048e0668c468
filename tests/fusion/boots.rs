//! Two of the linked clones as virtual machines on one network with a router.
//!
//! Like all tests that boot, it wants the machine to itself.

use super::{HERE, built, in_a_home_of_its_own};

#[test]
fn clones_boot_register_join_and_follow_the_prefix() {
    let built = built();
    let scratch = tempfile::tempdir().expect("a folder");
    in_a_home_of_its_own(
        &format!("{HERE}/vms"),
        &[
            env!("CARGO_BIN_EXE_nodeforge").as_ref(),
            built.path("out").as_os_str(),
            scratch.path().as_os_str(),
        ],
    );
}
