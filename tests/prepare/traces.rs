//! Whatever becomes of a run, the host is as it was.

use std::process::Command;
use std::time::{Duration, Instant};

use super::{Stand, image, own_repository};
use crate::support::{User, noise, tool};

/// Runs nodeforge in a pid namespace of its own, ends it by a signal some time after it began with a
/// stage, and prints its exit code and what is left: processes, mounts, loop devices, files it was
/// working at.
const SCRIPT: &str = r#"
nodeforge=$1 stage=$2 pause=$3 signal=$4
shift 4
mounts=$(grep -c . /proc/self/mountinfo)
# What the run before this one said is not waited for.
: >err
"$nodeforge" prepare "$@" >out 2>err &
child=$!
if [ "$signal" != none ]; then
	until grep -qx "$stage" err || ! kill -0 $child 2>/dev/null; do sleep 0.02; done
	sleep "$pause"
	kill -"$signal" $child 2>/dev/null
fi
wait $child; code=$?
# Without a process of its own, which would be counted too.
is_alone() {
	set -- /proc/[0-9]*
	[ $# -eq 1 ]
}
tries=0
until is_alone || [ $tries -ge 200 ]; do
	tries=$((tries + 1)); sleep 0.1
done
echo "code $code"
for process in /proc/[0-9]*; do
	case $process in /proc/1 | /proc/$$) continue ;; esac
	[ -r $process/cmdline ] && tr '\0' ' ' <$process/cmdline
done
[ "$(grep -c . /proc/self/mountinfo)" = "$mounts" ] || cat /proc/self/mountinfo
losetup --list --noheadings --output NAME,BACK-FILE | grep "$PWD"
ls /proc/sys/fs/binfmt_misc 2>/dev/null | grep -i nodeforge
find cache/nodeforge/prepared -mindepth 1 -maxdepth 1 -name '.*' -type d
exit 0
"#;

/// When nodeforge is ended, and how.
#[derive(Clone, Copy, Debug)]
struct End<'a> {
    stage: &'a str,
    /// Seconds after the stage began.
    pause: f64,
    signal: &'a str,
}

const BY_ITSELF: End<'_> = End { stage: "", pause: 0.0, signal: "none" };

fn run(stand: &Stand, end: End<'_>, arguments: &[&str]) -> Vec<String> {
    let mut command = stand.user.command("unshare");
    if !stand.user.is_root() {
        // Every user may mount in a user namespace of their own.
        command.args(["--map-root-user", "--map-auto"]);
    }
    let output = command
        .args(["--pid", "--fork", "--mount-proc", "sh", "-c", SCRIPT, "sh"])
        .arg(env!("CARGO_BIN_EXE_nodeforge"))
        .args([end.stage, &end.pause.to_string(), end.signal])
        .args(arguments)
        .env("XDG_CACHE_HOME", stand.path("cache"))
        .current_dir(stand.folder.path())
        .output()
        .expect("unshare starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
}

/// Users, groups and everything else in /etc.
fn etc() -> String {
    let mut command = Command::new("sh");
    command.args(["-c", "find /etc -xdev -type f -print0 | sort -z | xargs -0 sha256sum"]);
    String::from_utf8_lossy(&command.output().expect("sh starts").stdout).into_owned()
}

#[test]
fn what_scripts_leave_running_holds_nothing_up() {
    let stand = Stand::new(User::current());
    // It has apt's output, as daemons have that were not told better.
    let source = own_repository(&stand, &[("probe", "sleep 900 & echo daemon started")]);
    stand.profile(&format!("[packages]\ninstall = [\"probe\"]\n{source}"));
    let begun = Instant::now();
    let made = image(&stand.prepare(&[]));
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(450), "{took:?}");
    tool("e2fsck", ["-fn", &super::root(&made)]);
}

/// Makes folders in each other, five thousand deep; with a number, all but the first belong to that user.
const NEST: &str = "
import os, sys
os.makedirs(sys.argv[1])
os.chdir(sys.argv[1])
for level in range(5000):
    os.mkdir('d')
    if len(sys.argv) > 2:
        os.chown('d', int(sys.argv[2]), int(sys.argv[2]))
    os.chdir('d')
open('file', 'w').close()
";

/// A folder that nobody works in any more, still to be made.
fn left_by_a_killed_run(stand: &Stand) -> std::path::PathBuf {
    let lock = stand.path("cache/nodeforge/prepared/.0123.lock");
    std::fs::write(&lock, "").expect("written");
    if stand.user.is_other() {
        std::os::unix::fs::chown(&lock, Some(59_999), Some(59_999)).expect("root may");
    }
    stand.path("cache/nodeforge/prepared/.0123.abcdef")
}

/// What a package's script made before the run was killed.
#[test]
fn a_leftover_of_thousands_of_levels_is_removed() {
    let stand = Stand::on(User::ordinary(), "/none".into());
    let _ = stand.run(["cache", "prune"]).succeeds();
    let left = left_by_a_killed_run(&stand);
    let mut command = stand.command("/usr/bin/python3");
    assert!(command.args(["-c", NEST]).arg(&left).status().expect("it starts").success());
    let _ = stand.run(["cache", "prune"]).succeeds();
    assert!(!left.exists());
}

/// Interrupts preparations in a sandbox, and kills them at these moments.
fn check_what_is_left(sandbox: &str, kills: &[(&str, f64)]) {
    let stand = Stand::new(User::current());
    let probe = "sleep 1; (setsid sleep 1000 >/dev/null 2>&1 &)";
    let packages = [("probe", probe), ("broken", "echo this is why; exit 1")];
    let source = own_repository(&stand, &packages);
    let profile = |package: &str| {
        stand.profile(&format!("[packages]\ninstall = [\"{package}\"]\n{source}"));
    };
    let before = etc();

    profile("broken");
    assert_eq!(run(&stand, BY_ITSELF, &["--sandbox", sandbox]), ["code 1"]);
    let said = std::fs::read_to_string(stand.path("err")).expect("written");
    assert!(said.contains("this is why") && said.contains("the full log is `"), "{said}");

    profile("probe");
    assert_eq!(run(&stand, BY_ITSELF, &["--json", "--sandbox", sandbox]), ["code 0"]);
    let said = std::fs::read_to_string(stand.path("out")).expect("written");
    let good = image(&serde_json::from_str(&said).expect("JSON"));

    let again = ["--offline", "--locked", "--force", "--sandbox", sandbox];
    let interrupt = End { stage: INSTALLING, pause: 0.0, signal: "INT" };
    assert_eq!(run(&stand, interrupt, &again), ["code 130"]);
    for &(stage, pause) in kills {
        let left = run(&stand, End { stage, pause, signal: "KILL" }, &again);
        // What it was working at is swept by the next run at the latest, and costs no more
        // than room; all else must be gone at once.
        let left: Vec<_> =
            left.into_iter().filter(|line| !line.starts_with("cache/nodeforge/")).collect();
        let is_clean = left == ["code 137"] || left == ["code 0"];
        assert!(is_clean, "{pause} s after `{stage}`: {left:?}");
    }
    // The good one is there, or one just as good, and the next run sweeps.
    assert_eq!(run(&stand, BY_ITSELF, &again), ["code 0"]);
    tool("e2fsck", ["-fn", &super::root(&good)]);
    assert_eq!(etc(), before);
}

const OPENING: &str = "opening the root file system";
const INSTALLING: &str = "installing packages";
const CLOSING: &str = "closing the root file system";
const KILLS: [(&str, f64); 3] = [(OPENING, 0.0), (INSTALLING, 0.0), (CLOSING, 0.0)];

#[test]
fn nothing_is_left_of_a_user_namespace() {
    check_what_is_left("userns", &KILLS);
}

mod as_root {
    use super::*;
    use crate::support::require_root;

    /// As in a user namespace: it takes a sandbox to remove it.
    #[test]
    #[ignore = "needs root"]
    fn a_leftover_of_thousands_of_levels_of_another_id_is_removed() {
        let stand = Stand::on(User::ordinary(), "/none".into());
        let _ = stand.run(["cache", "prune"]).succeeds();
        let left = left_by_a_killed_run(&stand);
        // One of the subordinate ids.
        let id = (0x7000_0000_u32 + 5).to_string();
        tool("python3", ["-c".as_ref(), NEST.as_ref(), left.as_os_str(), id.as_ref()]);
        std::os::unix::fs::chown(&left, Some(59_999), Some(59_999)).expect("root may");
        let _ = stand.run(["cache", "prune"]).succeeds();
        assert!(!left.exists());
    }

    #[test]
    #[ignore = "needs root"]
    fn nothing_is_left_of_a_loop_device() {
        require_root();
        check_what_is_left("loop", &KILLS);
    }

    /// Killed while the sandbox waits for the users that only nodeforge can give it.
    #[test]
    #[ignore = "needs root"]
    fn a_sandbox_whose_parent_died_before_its_id_map_ends_at_once() {
        // Other users give their sandbox its users before it starts.
        let stand = Stand::new(User::root());
        const SCRIPT: &str = r#"
strace -qq -o /dev/null -P /proc/self/gid_map -e trace=openat -e inject=openat:signal=KILL \
	"$1" prepare --sandbox userns
echo "code $?"
# Well before it would give up by itself.
for tenth in $(seq 100); do
	left=$(cat /proc/[0-9]*/cmdline | tr '\0' ' ' | grep -c '[_]_sandbox')
	[ "$left" != 0 ] || break
	sleep 0.1
done
echo "$left"
"#;
        stand.profile("");
        let output = Command::new("unshare")
            .args(["--pid", "--fork", "--mount-proc", "sh", "-c", SCRIPT, "sh"])
            .arg(env!("CARGO_BIN_EXE_nodeforge"))
            .env("XDG_CACHE_HOME", stand.path("cache"))
            .current_dir(stand.folder.path())
            .output()
            .expect("unshare starts");
        assert_eq!(String::from_utf8_lossy(&output.stdout), "code 137\n0\n");
    }
}

mod long {
    use super::*;

    /// Ten other moments in every run.
    fn moments() -> Vec<(&'static str, f64)> {
        let pauses = noise(std::process::id().into(), 10);
        pauses.into_iter().map(|byte| (OPENING, f64::from(byte) / 255.0 * 8.0)).collect()
    }

    #[test]
    #[ignore = "long: kills at ten moments"]
    fn nothing_is_left_of_a_user_namespace_at_any_moment() {
        check_what_is_left("userns", &moments());
    }

    mod as_root {
        #[test]
        #[ignore = "long: kills at ten moments, needs root"]
        fn nothing_is_left_of_a_loop_device_at_any_moment() {
            crate::support::require_root();
            super::check_what_is_left("loop", &super::moments());
        }
    }
}
