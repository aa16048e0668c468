//! A build goes on with the prepared base it began with, whatever others do to the cache.

use std::ffi::OsString;
use std::fs;
use std::process::{Command, Stdio};

use crate::support::{Arch, Machines, tool, wait_until};

/// Waits until the test lets it go, or is over.
const E2FSCK: &str =
    "#!/bin/sh\n: >waiting\nuntil [ -e go ] || [ ! -e waiting ]; do sleep 0.1; done\n";

#[test]
fn a_prepared_base_in_use_stays() {
    let machines = Machines::new(Arch::Amd64, &["server1"], r#"formats = ["raw"]"#);
    let programs = machines.path("programs");
    fs::create_dir(&programs).expect("a folder");
    fs::write(programs.join("e2fsck"), E2FSCK).expect("written");
    tool("chmod", ["755".as_ref(), programs.join("e2fsck").as_os_str()]);
    let mut path = OsString::from(format!("{}:", programs.display()));
    path.push(std::env::var_os("PATH").expect("PATH is set"));

    let build = ["build", "--sandbox", "none", "--fsck", "always"];
    let mut run = machines.run(build).env("PATH", path).env("SOURCE_DATE_EPOCH", "1700000000");
    let mut build = run.command().stdout(Stdio::null()).spawn().expect("nodeforge starts");
    wait_until(|| {
        assert!(build.try_wait().expect("asked").is_none(), "it ended before it called e2fsck");
        machines.path("waiting").exists()
    });
    let pruned = machines.run(["cache", "prune", "--all"]).succeeds().stderr_text();
    assert!(pruned.contains("removed 0 images"), "{pruned}");
    // The same, but no file of it has the same date.
    let force = ["prepare", "--sandbox", "none", "--force"];
    let anew = |epoch| {
        let _ = machines.run(force).env("SOURCE_DATE_EPOCH", epoch).succeeds();
    };
    anew("1600000000");
    fs::write(machines.path("go"), "").expect("written");
    assert!(build.wait().expect("it ends").success());
    let mut sums = Command::new("sha256sum");
    sums.args(["--check", "--strict", "SHA256SUMS"]).current_dir(machines.path("out"));
    assert!(sums.status().expect("sha256sum starts").success());

    // What is not in use any more is swept.
    anew("1600000000");
    let prepared = fs::read_dir(machines.path("cache/nodeforge/prepared")).expect("there");
    assert_eq!(prepared.filter(|it| it.as_ref().expect("there").path().is_dir()).count(), 1);
}
