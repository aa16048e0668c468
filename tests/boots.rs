//! Artifacts booted in QEMU, through UEFI, until they say what they are.
//!
//! These want the machine to themselves: emulated guests that wait for a busy host give up on their
//! disks. `make test` runs them after all others, one at a time.

use std::fs;

use super::quickstart::{Built, built};
use super::support::{BOOT_REPORT_END, Run, User, report_when_up};

#[test]
fn an_artifact_boots_into_its_role() {
    let built = built(&User::ordinary());
    let image = built.artifact("agent1.vmwarevm");
    let before = fs::metadata(image.join("disk.vmdk")).expect("there").modified().expect("a time");
    boots(built, "agent1", "nodeforge-firstboot: role=agent hostname=agent1 machine-id=");
    let after = fs::metadata(image.join("disk.vmdk")).expect("there").modified().expect("a time");
    assert_eq!(before, after);
}

#[test]
fn a_raw_image_boots_into_its_role_and_no_unit_fails() {
    let built = built(&User::ordinary());
    let image = built.artifact("server1.img").with_file_name("boot-report.img");
    let mut copy = built.user.command("cp");
    copy.arg("--sparse=always").arg(built.artifact("server1.img")).arg(&image);
    assert!(copy.status().expect("cp starts").success());
    report_when_up(&built.user, &image);
    let said = boots(built, "out/boot-report.img", BOOT_REPORT_END);
    fs::remove_file(image).expect("removed");
    for line in [
        "nodeforge-firstboot: role=server hostname=server1 machine-id=",
        "nodeforge-firstboot: done",
        "nodeforge-test: running, failed: none",
    ] {
        assert!(said.contains(line), "the console did not say `{line}`:\n{said}");
    }
}

/// Boots until a line matches; gives what the console said.
#[track_caller]
fn boots(built: &Built, target: &str, until: &str) -> String {
    let arguments = ["boot", target, "--timeout", "400", "--until", until];
    Run::by(&built.user, arguments).folder(built.folder.path()).succeeds().stdout_text()
}

#[test]
fn first_boot_ends_well_from_a_linked_clone() {
    let built = built(&User::ordinary());
    Run::by(&built.user, ["boot", "out/agent2.vmwarevm", "--test", "--timeout", "400"])
        .folder(built.folder.path())
        .succeeds();
}
