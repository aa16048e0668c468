//! What each step comes to in each place: `table.tsv`, place × step × result.
//!
//! A result is an exit code, and the error with its causes and hints, with folders and sizes taken out.

use std::fmt::Write as _;
use std::fs;
use std::process::Command;

use crate::support::{Arch, Machines, account_files, require_root, tool};

/// A place: its name, who is there (`root` or `user`), and what a shell that is root of a mount namespace does
/// to make it. `$work` is the cluster's folder, `$out`, `$cache` and `$tmp` are for the steps to use.
type Place = (&'static str, &'static str, &'static str);

const PLACES: &[Place] = &[
    ("plain", "user", ""),
    ("plain", "root", ""),
    ("no loop devices", "root", NO_LOOP),
    ("no loop devices", "user", NO_LOOP),
    ("no nodes of loop devices", "root", NO_NODES),
    ("read-only checkout", "user", "mount --bind $work $work && mount -o remount,bind,ro $work"),
    ("full output", "user", "mount -t tmpfs -o size=1M,mode=777 none $out"),
    ("full cache", "user", "mount -t tmpfs -o size=1M,mode=777 none $cache"),
    ("full TMPDIR", "user", "mount -t tmpfs -o size=1M,mode=777 none $tmp"),
    ("read-only cache", "user", "mount --bind $cache $cache && mount -o remount,bind,ro $cache"),
    ("chroot", "user", CHROOT),
    ("chroot", "root", CHROOT),
    ("no subordinate ids", "user", "mount --bind /dev/null /etc/subuid"),
    ("40 columns", "user", "columns=40"),
    ("80 columns", "user", "columns=80"),
    ("no terminal", "user", "without='setsid --wait'"),
];

/// A container has no nodes of loop devices, or none that may be opened.
const NO_LOOP: &str = "mkdir $work.dev && mount -t tmpfs tmpfs $work.dev && \
    for it in null zero full random urandom; do \
        : >$work.dev/$it; mount --bind /dev/$it $work.dev/$it; \
    done; mount --move $work.dev /dev";

/// As where the kernel makes loop devices, and nobody gives the container their nodes.
const NO_NODES: &str = "mkdir $work.dev && mount -t tmpfs tmpfs $work.dev && \
    for it in null zero full random urandom loop-control; do \
        : >$work.dev/$it; mount --bind /dev/$it $work.dev/$it; \
    done; mount --move $work.dev /dev";

/// There, the kernel lets nobody make user namespaces.
const CHROOT: &str =
    "mkdir $work.root && mount --rbind / $work.root && chroot=\"chroot $work.root\"";

const STEPS: &[(&str, &str)] = &[
    ("check", "check"),
    ("plan", "plan"),
    ("build", "build --format raw -o $out"),
    ("build in the sandbox loop", "build --format raw --sandbox loop --no-cache -o $out"),
    ("build, packages left to the nodes", "build --format raw --sandbox none -o $out"),
    ("inspect", "inspect $built/server1.img"),
    ("cat from raw", "cat $built/server1.img:/etc/hostname"),
    ("cat from xz", "cat $built/server1.img.xz:/etc/hostname"),
    ("cp out of an image", "cp $built/server1.img:/etc/hostname $out/hostname"),
    ("cp into an image", "cp $work/cluster.toml $built/server1.img:/etc/cluster.toml"),
    ("stamp", "stamp base.img --hostname db1 -o $out/db1.img"),
    ("flash --to-file", "flash --yes --to-file $built/server1.img $out/card"),
    ("cache list", "cache list"),
    ("init", "init --profile quickstart $work/new"),
];

const VISIT: &str = r#"
files=$1 who=$2 make=$3 nodeforge=$4 work=$5 built=$6 out=$7 cache=$8 tmp=$9
shift 9
for file in passwd group subuid subgid; do
	mount --bind "$files/$file" "/etc/$file" || exit 125
done
chroot= without= columns=
eval "$make" || exit 125
if [ "$who" = user ]; then become='setpriv --reuid 59999 --regid 59999 --clear-groups --'; else become=; fi
export XDG_CACHE_HOME=$cache TMPDIR=$tmp HOME=$work
cd / || exit 125
for step; do
	eval "set -- $step"
	said=$tmp.said
	inside='cd "$0" && exec "$@"'
	if [ -n "$columns" ]; then
		command="stty cols $columns; cd $work; $nodeforge $*"
		$become script --quiet --return --command "$command" /dev/null </dev/null >"$said" 2>&1
		code=$?
		# What is said on a terminal is mixed with what is printed.
		sed 's/\x1b\[[0-9;]*[a-zA-Z]//g' "$said" | tr -d '\r' |
			grep -a -o -E '(error|  cause|hint): .*' >"$said.error"
	else
		$without $chroot $become sh -c "$inside" "$work" "$nodeforge" "$@" </dev/null >/dev/null 2>"$said"
		code=$?
		grep -a -E '^(error|  cause|hint): ' "$said" >"$said.error"
	fi
	printf '%s\t%s\n' "$code" "$(sed 's/^ *//' "$said.error" | paste -s -d '|')"
done"#;

/// A cluster's folder, with what was built from it.
fn built() -> Machines {
    require_root();
    let machines = Machines::new(Arch::Amd64, &["server1"], r#"formats = ["raw", "raw.xz"]"#);
    let _ = machines.run(["-q", "build"]).succeeds();
    machines
}

/// What the steps come to in a place, one line each.
fn visit(machines: &Machines, &(place, who, make): &Place, steps: &[(&str, &str)]) -> String {
    let top = crate::support::temporary_folder();
    let folder = top.path().display().to_string();
    let parts = ["work", "built", "out", "cache", "tmp"].map(|it| format!("{folder}/{it}"));
    for part in &parts {
        fs::create_dir(part).expect("made");
    }
    for name in ["base.img", "cluster.toml", "profile"] {
        let from = machines.path(name).display().to_string();
        tool("cp", ["-r", "--sparse=always", &from, &parts[0]]);
    }
    for name in ["server1.img", "server1.img.xz"] {
        let from = machines.artifact(name).display().to_string();
        tool("cp", ["--sparse=always", &from, &parts[1]]);
    }
    if who == "user" {
        tool("chown", ["-R", "59999:59999", &folder]);
    }
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", VISIT, "sh"]).arg(account_files()).args([who, make]);
    command.arg(env!("CARGO_BIN_EXE_nodeforge")).args(&parts).args(steps.iter().map(|it| it.1));
    let output = command.env_remove("NO_COLOR").output().expect("unshare starts");
    let said = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{place}: {said}{errors}");
    let sizes = regex::Regex::new(r"\d+\.\d MiB|[0-9a-f]{64}(\.\w{6}\b)?").expect("a pattern");
    let mut text = String::new();
    for ((step, _), line) in steps.iter().zip(said.lines()) {
        let line = line.replace(&folder, "");
        let (code, error) = line.split_once('\t').expect("two fields");
        let error = sizes.replace_all(error, "…");
        writeln!(text, "{place}\t{who}\t{step}\t{code}\t{error}").expect("writing to a string");
    }
    assert_eq!(text.lines().count(), steps.len(), "{said}{errors}");
    // A long run shows where it is.
    print!("{text}");
    text
}

/// The lines of the table that are about a place, and some steps.
fn expected(&(place, who, _): &Place, steps: &[(&str, &str)]) -> String {
    let is_asked = |line: &&str| {
        let mut fields = line.split('\t');
        let (at, by, step) = (fields.next(), fields.next(), fields.next());
        at == Some(place) && by == Some(who) && steps.iter().any(|it| Some(it.0) == step)
    };
    include_str!("table.tsv")
        .lines()
        .filter(is_asked)
        .fold(String::new(), |all, it| all + it + "\n")
}

fn check(
    machines: &Machines,
    places: impl Iterator<Item = &'static Place>,
    steps: &[(&str, &str)],
) {
    let (mut found, mut wanted) = (String::new(), String::new());
    for place in places {
        found += &visit(machines, place, steps);
        wanted += &expected(place, steps);
    }
    assert!(found == wanted, "\n--- found\n{found}\n--- expected\n{wanted}\n---");
}

/// One of each kind, and the steps that meet it.
#[test]
#[ignore = "needs root"]
fn places_give_what_the_table_says() {
    let machines = built();
    let steps = |names: &[&str]| -> Vec<_> {
        STEPS.iter().filter(|it| names.contains(&it.0)).copied().collect()
    };
    let place =
        |name: &'static str, who| PLACES.iter().filter(move |it| it.0 == name && it.1 == who);
    check(
        &machines,
        place("no loop devices", "root"),
        &steps(&["build", "build in the sandbox loop"]),
    );
    check(
        &machines,
        place("read-only checkout", "user"),
        &steps(&["check", "plan", "build", "init"]),
    );
    check(&machines, place("chroot", "user"), &steps(&["plan", "build", "cat from xz"]));
    check(
        &machines,
        place("40 columns", "user"),
        &steps(&["check", "plan", "build in the sandbox loop", "inspect"]),
    );
}

mod long {
    mod as_root {
        use super::super::{PLACES, STEPS, built, check};

        #[test]
        #[ignore = "long: two hundred runs, needs root"]
        fn every_place_gives_what_the_table_says() {
            check(&built(), PLACES.iter(), STEPS);
        }
    }
}
