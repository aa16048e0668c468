//! `--shell-on-failure`, on a terminal and without one.

use std::io::Write as _;
use std::process::Stdio;

use super::{Stand, own_repository};
use crate::places::hang_up;
use crate::support::{Run, User, for_every_user, tool};

const TYPIST: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/prepare/typist");

fn a_shell_opens_where_packages_fail_and_leaves_nothing(user: &User) {
    let stand = Stand::new(user.clone());
    let source = own_repository(&stand, &[("broken", "echo this is why; exit 1")]);
    stand.profile(&format!("[packages]\ninstall = [\"broken\"]\n{source}"));
    let mut command = stand.user.command("/usr/bin/python3");
    let mut typist = command
        .args([TYPIST, "sandbox:/# ", env!("CARGO_BIN_EXE_nodeforge"), "prepare"])
        .arg("--shell-on-failure")
        .env("XDG_CACHE_HOME", stand.path("cache"))
        .current_dir(stand.folder.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3 starts");
    let lines = "echo version $(cat /usr/share/broken), $(. /etc/os-release; echo $VERSION_CODENAME)\n\
                 dpkg --configure broken; echo code $?\n\
                 test -e /sys/class || echo sandboxed\n\
                 (setsid sleep 1000 >/dev/null 2>&1 &) ; exit 0\n";
    typist.stdin.take().expect("piped").write_all(lines.as_bytes()).expect("it reads");
    let output = typist.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{said}");
    for words in [
        "a shell in the sandbox; `exit` gives up, and nothing of the image stays",
        "version 1.0, trixie\r\n",
        "code 1\r\n",
        "\nsandboxed\r\n",
        "`apt-get install` failed",
        "the full log is `",
    ] {
        assert!(said.contains(words), "{words:?} is not in:\n{said}");
    }
    let folder = stand.path("cache/nodeforge/prepared");
    let left = tool(
        "find",
        [folder.as_os_str(), "-mindepth".as_ref(), "1".as_ref(), "-type".as_ref(), "d".as_ref()],
    );
    assert_eq!(left, "");
    let devices = tool("losetup", ["--list", "--noheadings", "--output", "BACK-FILE"]);
    assert!(!devices.contains(stand.folder.path().to_str().expect("UTF-8")), "{devices}");
}

#[test]
fn a_killed_shell_leaves_the_terminal_as_it_was() {
    let stand = Stand::new(User::ordinary());
    let source = own_repository(&stand, &[("broken", "exit 1")]);
    stand.profile(&format!("[packages]\ninstall = [\"broken\"]\n{source}"));
    for signal in ["TERM", "HUP"] {
        let command = stand.command("/usr/bin/python3");
        let said = hang_up(command, signal, &["prepare", "--shell-on-failure"]);
        assert_eq!(said, "code 130 terminal as it was\n", "{signal}");
    }
}

#[test]
fn a_shell_needs_somebody_to_type_and_something_that_runs() {
    let stand = Stand::new(User::current());
    stand.profile("");
    let mut command = stand.user.command("setsid");
    let output = command
        .args(["--wait", env!("CARGO_BIN_EXE_nodeforge"), "prepare", "--shell-on-failure"])
        .env("XDG_CACHE_HOME", stand.path("cache"))
        .current_dir(stand.folder.path())
        .output()
        .expect("setsid starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("`--shell-on-failure` needs a terminal, and there is none"), "{said}");
    let none = ["prepare", "--sandbox", "none", "--shell-on-failure"];
    let said = stand.run(none).exits(2).stderr_text();
    assert!(said.contains("has no effect with `--sandbox none`"), "{said}");
    Run::new(["plan", "--shell-on-failure"]).exits(2);
}

for_every_user!(a_shell_opens_where_packages_fail_and_leaves_nothing);
