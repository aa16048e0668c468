//! Artifacts booted in QEMU, through UEFI, until they say what they are.
//!
//! These want the machine to themselves: emulated guests that wait for a busy host give up on their
//! disks. `make test` runs them after all others, one at a time.

use std::fs;

use super::quickstart::built;
use super::support::Run;

#[test]
fn an_artifact_boots_into_its_role() {
    let built = built().last().expect("somebody");
    for (node, role) in [("agent1", "agent"), ("server1", "server")] {
        let image = built.artifact(&format!("{node}.vmwarevm"));
        let before =
            fs::metadata(image.join("disk.vmdk")).expect("there").modified().expect("a time");
        let line = format!("nodeforge-firstboot: role={role} hostname={node} machine-id=");
        let run = Run::by(&built.person, ["boot", node, "--timeout", "400", "--until"]);
        let mut run = run.folder(built.folder.path());
        run.command().arg(&line);
        assert!(run.succeeds().stdout_text().contains(&line));
        let after =
            fs::metadata(image.join("disk.vmdk")).expect("there").modified().expect("a time");
        assert_eq!(before, after);
    }
}

#[test]
fn first_boot_ends_well_from_a_linked_clone() {
    let built = built().last().expect("somebody");
    Run::by(&built.person, ["boot", "out/agent2.vmwarevm", "--test", "--timeout", "400"])
        .folder(built.folder.path())
        .succeeds();
}
