//! A terminal that was switched to raw mode is put back, however it ends.

use std::process::Command;

use crate::support::{Arch, Machines};

const HANGS_UP: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/places/hangs_up");

/// Runs nodeforge with `command`, a python3, and ends it once it has the terminal raw; says what became of both.
pub(crate) fn hang_up(mut command: Command, signal: &str, arguments: &[&str]) -> String {
    command.args([HANGS_UP, signal, env!("CARGO_BIN_EXE_nodeforge")]).args(arguments);
    let output = command.output().expect("python3 starts");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn a_killed_boot_leaves_the_terminal_as_it_was() {
    let machines = Machines::new(Arch::Amd64, &["server1"], "formats = [\"raw\"]");
    let _ = machines.run(["-q", "build"]).succeeds();
    for signal in ["TERM", "HUP"] {
        let mut command = Command::new("python3");
        command.current_dir(machines.folder.path());
        let said = hang_up(command, signal, &["boot", "server1"]);
        assert_eq!(said, "code 130 terminal as it was\n", "{signal}");
    }
}

/// A question is not what Ctrl-C has to wait for.
#[test]
fn a_question_ends_with_the_program() {
    let folder = tempfile::tempdir().expect("a folder");
    for signal in ["INT", "TERM", "HUP"] {
        let mut command = Command::new("python3");
        command.current_dir(folder.path());
        let said = hang_up(command, &format!("{signal}@Profile ("), &["init"]);
        assert_eq!(said, "code 130 terminal as it was\n", "{signal}");
        assert!(!folder.path().join("cluster.toml").exists());
    }
}
