//! Where this kind of sandbox cannot be made: told at once, and all else works.

use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use super::{Stand, without_qemu};
use crate::support::{User, account_files, wait_until};

/// Runs a program as the ordinary user, in a place where nobody may make a user namespace: util-linux 2.41
/// waits for ever for the ids of one that is refused. Root may forbid it in a namespace of its own.
const WITHOUT: &str = r#"
files=$1 id=$2
shift 2
for file in passwd group subuid subgid; do
	mount --bind "$files/$file" "/etc/$file" || exit 125
done
[ -z "$NO_IDS" ] || mount --bind /dev/null /etc/subuid || exit 125
echo 0 >/proc/sys/user/max_user_namespaces || exit 125
exec setpriv --reuid "$id" --regid "$id" --clear-groups -- "$@""#;

/// Programs that are looked for in `path`.
fn without_user_namespaces(stand: &Stand, path: &str, arguments: &[&str]) -> Output {
    without(stand, path, arguments, |_| ())
}

/// The same with more in the environment.
fn without(
    stand: &Stand,
    path: &str,
    arguments: &[&str],
    change: impl FnOnce(&mut Command),
) -> Output {
    let mut command = Command::new("unshare");
    // Only who is root when it starts has root's powers: the second shell.
    let wait = "read -r _; exec sh -c \"$@\"";
    command.args(["--user", "--mount", "sh", "-c", wait, "sh", WITHOUT, "sh"]);
    command.arg(account_files()).arg("59999").arg(env!("CARGO_BIN_EXE_nodeforge"));
    command.args(arguments).current_dir(stand.folder.path());
    let home = &stand.user.home;
    command.env("HOME", home).env("XDG_CACHE_HOME", stand.path("cache")).env_remove("NO_COLOR");
    command.env("PATH", path);
    change(&mut command);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("unshare starts");
    let process = PathBuf::from(format!("/proc/{}", child.id()));
    let own = fs::read_link("/proc/self/ns/user").expect("a namespace");
    wait_until(|| fs::read_link(process.join("ns/user")).is_ok_and(|it| it != own));
    for map in ["gid_map", "uid_map"] {
        fs::write(process.join(map), "0 0 65536\n").expect("root may");
    }
    child.stdin.take().expect("piped").write_all(b"\n").expect("it reads");
    child.wait_with_output().expect("it ends")
}

mod as_root {
    use super::*;

    #[test]
    #[ignore = "needs root"]
    fn where_user_namespaces_are_refused_it_is_told_at_once() {
        let stand = Stand::new(User::ordinary());
        stand.profile("");
        let path = without_qemu(&stand.path("programs"));
        let begun = Instant::now();
        let run_in = |path: &str, arguments: &[&str]| {
            let output = without_user_namespaces(&stand, path, arguments);
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            (output.status.code(), text(&output.stdout), text(&output.stderr))
        };
        let run = |arguments: &[&str]| run_in(&path, arguments);
        let (code, plan, errors) = run(&["plan"]);
        let note = "note: keys and ids are made by the first build; those shown are examples\n";
        assert_eq!((code, errors.as_str()), (Some(0), note));
        let told = "  which fails here: cannot make a sandbox: unshare: unshare failed: \
                    No space left on device\n";
        assert!(plan.contains(told), "{plan}");

        let (code, _, errors) = run(&["-q", "prepare"]);
        assert_eq!(
            errors,
            "error: cannot make a sandbox\n  \
               cause: unshare: unshare failed: No space left on device\n\
             hint: user namespaces are switched off here: sysctl user.max_user_namespaces=15000, or run as root\n\
             hint: `--sandbox none` leaves packages to each node's first boot\n\
             hint: or let a machine do it: `qemu-system-x86_64` is not installed: \
             `apt install qemu-system-x86` on Debian 13, \
             `apt install -t bookworm-backports qemu-system-x86` on Debian 12, `brew install qemu` on macOS\n"
        );
        assert_eq!(code, Some(1));
        assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());

        // A machine needs no namespaces, and is taken where QEMU is.
        let (code, plan, _) = run_in(&std::env::var("PATH").expect("a path"), &["plan"]);
        let told = "  packages installed in the sandbox `vm`, a machine in QEMU\n  \
                    `userns`, which is faster, fails here: cannot make a sandbox: unshare: unshare failed: \
                    No space left on device\n";
        assert!(code == Some(0) && plan.contains(told), "{plan}");

        // What is prepared already needs no sandbox, and its nodes none at all.
        let _ = stand.run(["prepare"]).succeeds();
        let (code, _, errors) = run(&["-q", "build"]);
        assert_eq!((code, errors.as_str()), (Some(0), ""));
        let (code, hostname, _) = run(&["cat", "out/server1.img:/etc/hostname"]);
        assert_eq!((code, hostname.as_str()), (Some(0), "server1\n"));
    }
}

mod long {
    mod as_root {
        use super::super::*;
        use crate::support::tool;

        /// The whole of the quickstart, its base from packages included, and its base is what a user namespace
        /// makes of the same packages.
        #[test]
        #[ignore = "long: a machine bootstraps and prepares, needs root"]
        fn the_quickstart_is_built_without_namespaces_and_subordinate_ids() {
            const EPOCH: &str = "1700000000";
            let stand = Stand::new(User::ordinary());
            let example = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/quickstart");
            for name in ["cluster.toml", "demo.pub"] {
                fs::copy(format!("{example}/{name}"), stand.path(name)).expect("copied");
            }
            let path = std::env::var("PATH").expect("a path");
            let env = |command: &mut Command| {
                command.env("NO_IDS", "1").env("SOURCE_DATE_EPOCH", EPOCH);
            };
            let output = without(&stand, &path, &["build", "--format", "raw"], env);
            let said = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(0), "{said}");
            assert!(said.contains("warning: a machine in QEMU is used, which is slow: "), "{said}");
            let run = |arguments: &[&str]| {
                let output = without(&stand, &path, arguments, env);
                (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
            };
            let (_, hostname) = run(&["cat", "out/agent1.img:/etc/hostname"]);
            assert_eq!(hostname, "agent1\n");
            let (_, fetched) = run(&["fetch", "--json"]);
            let base = |text: &str| {
                let said: serde_json::Value = serde_json::from_str(text).expect("JSON");
                said["path"].as_str().expect("a path").to_owned()
            };
            let made = base(&fetched);

            // In a cache of its own, where nothing is refused.
            let mut command = stand.command(env!("CARGO_BIN_EXE_nodeforge"));
            command.env("XDG_CACHE_HOME", stand.path("other")).env("SOURCE_DATE_EPOCH", EPOCH);
            let output = command.args(["-q", "fetch", "--json"]).output().expect("it starts");
            let other = base(&String::from_utf8_lossy(&output.stdout));
            let output = tool(env!("CARGO_BIN_EXE_nodeforge"), ["diff", &made, &other]);
            assert_eq!(output, "", "the trees differ");
        }
    }
}
