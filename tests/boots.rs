//! Artifacts booted in QEMU, through UEFI, until they say what they are.
//!
//! These want the machine to themselves: emulated guests that wait for a busy host give up on their
//! disks. `make test` runs them after all others, one at a time.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::process::Stdio;
use std::thread;

use super::quickstart::{Built, built};
use super::support::{BOOT_REPORT_END, Run, User, report_when_up, tool};

/// As the end of `make demo` says: the command that is printed goes in, and nothing of it stays.
#[test]
fn an_artifact_boots_into_its_role_and_is_entered_by_ssh() {
    let built = built(&User::ordinary());
    let image = built.artifact("agent1.vmwarevm");
    let before = fs::metadata(image.join("disk.vmdk")).expect("there").modified().expect("a time");
    let temporary = built.user.folder();
    let mut run = Run::by(&built.user, ["boot", "agent1", "--ssh"])
        .folder(built.folder.path())
        .env("TMPDIR", temporary.path());
    let command = run.command().stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("nodeforge starts");
    let mut notes = BufReader::new(child.stderr.take().expect("piped")).lines();
    let mut note = || notes.next().expect("more is said").expect("UTF-8");
    assert!(note().starts_with("booting "));
    assert_eq!(note(), "Ctrl-a x leaves");
    // Taken meanwhile, or the machine would wait for it.
    let mut stdout = child.stdout.take().expect("piped");
    let console = thread::spawn(move || {
        let mut said = Vec::new();
        stdout.read_to_end(&mut said).map(|_| String::from_utf8_lossy(&said).into_owned())
    });
    let ssh = loop {
        if let Some(ssh) = note().strip_prefix("in another terminal: ") {
            break ssh.to_owned();
        }
    };
    let is_done = "until [ -e /var/lib/k8s-firstboot-done ]; do sleep 1; done";
    let script = format!("{ssh} '{is_done}; hostname; id -un; sudo id -un'");
    let output = built.user.command("sh").args(["-c", &script]).output().expect("sh starts");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "agent1\nadmin\nroot\n", "{output:?}");
    // The machine's own folder and that of the way in: nobody else looks into either.
    let folders = fs::read_dir(temporary.path()).expect("there").map(|it| it.expect("readable"));
    let modes = folders.map(|it| it.metadata().expect("there").mode() & 0o777);
    assert_eq!(modes.collect::<Vec<_>>(), [0o700; 2]);

    tool("kill", [child.id().to_string()]);
    assert_eq!(child.wait().expect("it ends").code(), Some(130));
    let said = console.join().expect("no panic").expect("readable");
    let role = "nodeforge-firstboot: role=agent hostname=agent1 machine-id=";
    assert!(said.contains(role), "{said}");
    assert_eq!(fs::read_dir(temporary.path()).expect("there").count(), 0);
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

/// The exit code is the command's, and nothing but what it says is on stdout.
#[test]
fn first_boot_ends_well_from_a_linked_clone_and_a_command_runs_in_it() {
    let built = built(&User::ordinary());
    let words = ["cat", "/etc/hostname", "/proc/uptime;", "exit 7"];
    let boot = ["boot", "out/agent2.vmwarevm", "--test", "--timeout", "400", "--ssh", "--"];
    let finished = Run::by(&built.user, boot.into_iter().chain(words))
        .folder(built.folder.path())
        .exits(7)
        .stderr("booting out/agent2.vmwarevm\n");
    assert!(finished.stdout_text().starts_with("agent2\n"), "{}", finished.stdout_text());
}
