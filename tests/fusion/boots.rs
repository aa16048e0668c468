//! Linked clones as virtual machines on one network with a router.
//!
//! Like all tests that boot, they want the machine to themselves.

use super::super::support::temporary_folder;
use super::{Built, HERE, built, built_for_apple, run_in_namespaces};

/// Boots the first server of a build beside its router, and further nodes.
#[track_caller]
fn boot(built: &Built, further: &[&str]) {
    let scratch = temporary_folder();
    let (nodeforge, out) = (env!("CARGO_BIN_EXE_nodeforge"), built.path("out"));
    let mut arguments = vec![nodeforge.as_ref(), out.as_os_str(), scratch.path().as_os_str()];
    arguments.extend(further.iter().map(std::ffi::OsStr::new));
    run_in_namespaces(&format!("{HERE}/vms"), &arguments);
}

#[test]
fn clones_boot_register_join_and_follow_the_prefix() {
    boot(built(), &["agent1"]);
}

mod long {
    use super::*;

    /// UEFI firmware, GRUB, a Debian of packages and a clone's VMDK chain, all for arm64.
    #[test]
    #[ignore = "long: emulates another processor"]
    fn an_arm64_clone_forms_the_cluster_and_no_unit_fails() {
        boot(built_for_apple(), &[]);
    }
}
