//! Secrets at rest and on the way.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;

use crate::support::Stop;
use crate::tools::Fixture;

/// What an interrupted edit leaves beside an image holds what the image does.
#[test]
fn the_journal_of_an_edit_is_for_its_owner_only() {
    let fixture = Fixture::new();
    let private = Permissions::from_mode(0o600);
    fs::set_permissions(fixture.path("node.img"), private).expect("allowed");
    fixture.write("key", "hush");
    let journal = fixture.path(".node.img.nodeforge-edit");
    let mut seen = 0;
    for step in 1..=6 {
        let stop = Stop { signal: "KILL", calls: "fsync,fdatasync", step };
        stop.during(&fixture.path(""), ["cp", "--fsck", "never", "key", "node.img:/etc/key"]);
        if let Ok(found) = fs::metadata(&journal) {
            assert_eq!(found.permissions().mode() & 0o777, 0o600, "killed at step {step}");
            seen += 1;
        }
    }
    assert!(seen > 0, "no edit was interrupted between its journal and its end");
}

/// A crash does not write memory to a disk: neither nodeforge's nor that of a program that it calls.
#[test]
fn no_process_leaves_its_memory_in_a_file() {
    let fixture = Fixture::new();
    let judge =
        "#!/bin/sh\nulimit -c >\"$OUT\"; ulimit -H -c >>\"$OUT\"\nexec /usr/sbin/e2fsck \"$@\"\n";
    let program = fixture.write("bin/e2fsck", judge);
    fs::set_permissions(program, Permissions::from_mode(0o755)).expect("allowed");
    fixture.write("key", "hush");
    let path = format!("{}:/usr/bin:/bin", fixture.path("bin").display());
    let run = fixture.run(["cp", "--fsck", "always", "key", "node.img:/etc/key"]);
    let _ = run.env("PATH", path).env("OUT", fixture.path("limits")).succeeds();
    assert_eq!(fs::read_to_string(fixture.path("limits")).expect("it was called"), "0\n0\n");
}
