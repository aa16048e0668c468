//! Wrong input and bad luck: one clear error each, the right exit code, and nothing left behind.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::support::{Run, User, for_every_user, tool, wait_until};

/// The smallest cluster file; `extra` goes to its end.
fn cluster(folder: &Path, extra: &str) {
    let text = format!(
        "[cluster]\nname = \"lab\"\nprofile = \"quickstart\"\n[access]\nuser = \"me\"\nlogin = false\n\n{extra}"
    );
    fs::write(folder.join("cluster.toml"), text).expect("written");
}

#[test]
fn a_missing_cluster_file_says_how_to_make_one() {
    let folder = User::current().folder();
    for command in ["check", "plan", "build", "prepare"] {
        Run::new([command]).folder(folder.path()).exits(2).stdout("").stderr(
            "error: there is no cluster file `cluster.toml`\n\
             hint: `nodeforge init` writes one\n",
        );
    }
}

#[test]
fn a_malformed_cluster_file_is_shown() {
    let folder = User::current().folder();
    fs::write(folder.path().join("cluster.toml"), "[cluster\nname = 1\n").expect("written");
    Run::new(["check"]).folder(folder.path()).exits(2).stdout("").stderr(
        "error: unclosed table, expected `]`\n\
         \x20--> cluster.toml:1:9\n\
         \x20\x20|\n\
         1 | [cluster\n\
         \x20\x20|         ^\n",
    );
}

#[test]
fn an_unknown_key_is_guessed() {
    let folder = User::current().folder();
    cluster(folder.path(), "[disk]\nsise = \"3G\"\n\n[[node]]\nhostname = \"server1\"\n");
    Run::new(["check"]).folder(folder.path()).exits(2).stdout("").stderr(
        "error: unknown key `sise` in [disk]\n\
         \x20--> cluster.toml:9:1\n\
         \x20\x20|\n\
         9 | sise = \"3G\"\n\
         \x20\x20| ^^^^\n\
         hint: did you mean `size`?\n",
    );
}

#[test]
fn a_hostname_without_a_role_is_shown_with_the_patterns() {
    let folder = User::current().folder();
    cluster(folder.path(), "[[node]]\nhostname = \"server1\"\n\n[[node]]\nhostname = \"nas\"\n");
    let said = Run::new(["build"]).folder(folder.path()).exits(2).stderr_text();
    assert!(said.starts_with("error: the host name `nas` matches no role"), "{said}");
    assert!(said.contains("--> cluster.toml:12:12\n") && said.contains("agent[0-9]+"), "{said}");
    assert!(!folder.path().join("out").exists());
    assert!(!folder.path().join("nodeforge.secrets").exists());
}

#[test]
fn a_node_that_is_not_there_is_named() {
    let folder = User::current().folder();
    cluster(folder.path(), "[[node]]\nhostname = \"server1\"\n");
    Run::new(["build", "cluster.toml", "server2"]).folder(folder.path()).exits(2).stderr(
        "error: the cluster has no node `server2`\n\
         hint: its nodes are server1\n",
    );
}

#[test]
fn init_writes_what_check_accepts_and_never_overwrites() {
    let folder = User::current().folder();
    let init = || Run::new(["init"]).folder(folder.path());
    init().succeeds();
    let said = Run::new(["check"]).folder(folder.path()).succeeds().stdout_text();
    assert!(said.starts_with("NODE     ROLE    ADDRESSES"), "{said}");
    init().exits(2).stderr(
        "error: `./cluster.toml` exists already\n\
         hint: nodeforge never overwrites a cluster file; move it away first\n",
    );
}

#[test]
fn init_names_the_keys_that_are_there_and_the_nodes_that_are_wanted() {
    let folder = User::current().folder();
    let home = folder.path().join("home");
    fs::create_dir_all(home.join(".ssh")).expect("made");
    let key =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJqRRKt7qZ+7PAkXhbpA1tWiPCsw4oM/WAAYKXuoXMQS me\n";
    fs::write(home.join(".ssh/id_ed25519.pub"), key).expect("written");
    fs::write(home.join(".ssh/id_rsa.pub"), "no key at all\n").expect("written");
    fs::write(folder.path().join(".gitignore"), "*.bak").expect("written");
    let new = ["init", "--node", "server1", "--node", "agent[1-3]"];
    Run::new(new).folder(folder.path()).env("HOME", &home).succeeds().stderr(
        "wrote ./cluster.toml; `nodeforge check` says what it describes\n\
         who can log in: the owner of ~/.ssh/id_ed25519.pub\n",
    );
    let text = fs::read_to_string(folder.path().join("cluster.toml")).expect("there");
    assert!(text.contains("\nssh_authorized_keys = [\"~/.ssh/id_ed25519.pub\"]\n"), "{text}");
    assert!(
        text.ends_with("[[node]]\nhostname = \"server1\"\n\n[[node]]\nhostname = \"agent[1-3]\"\n")
    );
    let ignored = fs::read_to_string(folder.path().join(".gitignore")).expect("there");
    assert_eq!(ignored, "*.bak\n/nodeforge.secrets\n/out/\n");
    let said = Run::new(["check"]).folder(folder.path()).env("HOME", &home).succeeds();
    assert_eq!(said.stdout_text().lines().count(), 5, "{}", said.stdout_text());
    assert_eq!(said.stderr_text(), "");
}

#[test]
fn init_asks_at_a_terminal_for_what_it_cannot_know() {
    let folder = User::current().folder();
    let typist = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/prepare/typist");
    let mut command = User::current().command("/usr/bin/python3");
    let mut asked = command
        .args([typist, "] ", env!("CARGO_BIN_EXE_nodeforge"), "init"])
        .env("HOME", folder.path())
        .current_dir(folder.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3 starts");
    let answers = asked.stdin.take().expect("piped").write_all(b"\nserver1 agent7\n");
    answers.expect("it reads");
    let output = asked.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
    let profiles = "Profile (edge-k3s, fusion-k3s, quickstart, rpi5-kubeadm) [quickstart] ";
    assert!(said.starts_with(profiles), "{said}");
    assert!(said.contains("\nNodes [server1 agent[1-2]] "), "{said}");
    assert!(
        said.contains("note: there is no SSH key in ~/.ssh, and without one nobody can log in"),
        "{said}"
    );
    let text = fs::read_to_string(folder.path().join("cluster.toml")).expect("there");
    assert!(
        text.ends_with("[[node]]\nhostname = \"server1\"\n\n[[node]]\nhostname = \"agent7\"\n")
    );
}

#[test]
fn what_nobody_could_log_in_to_is_not_built() {
    let folder = User::current().folder();
    Run::new(["init"]).folder(folder.path()).env("HOME", folder.path()).succeeds();
    let refused = "error: nobody could log in: [access] has neither SSH keys nor a password\n\
        hint: name your key: `ssh_authorized_keys = [\"~/.ssh/id_ed25519.pub\"]`\n\
        hint: nodes that nobody is to log in to have `login = false` there\n";
    let run = |arguments: &[&str]| Run::new(arguments).folder(folder.path());
    let said = run(&["build", "--offline"]).exits(2).stderr_text();
    assert!(said.ends_with(refused), "{said}");
    // Then it is something else that is missing.
    let open = ["build", "--set", "base.path=missing.img", "--set", "access.login=false"];
    let said = run(&open).fails().stderr_text();
    assert!(!said.contains("log in"), "{said}");
    let both = [
        "check",
        "--set",
        "access.login=false",
        "--set",
        "access.ssh_authorized_keys=[\"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJqRRKt7qZ+7PAkXhbpA1tWiPCsw4oM/WAAYKXuoXMQS t\"]",
    ];
    let said = run(&both).exits(2).stderr_text();
    assert!(said.starts_with("error: `login = false`, and there are keys"), "{said}");
}

#[test]
fn check_and_plan_change_nothing() {
    let folder = User::current().folder();
    Run::new(["init"]).folder(folder.path()).succeeds();
    for command in ["check", "plan"] {
        Run::new([command]).folder(folder.path()).succeeds();
    }
    // The file to begin with has no keys: better said now than by a node that admits no login.
    let closed = "note: no user can log in: [access] has neither SSH keys nor a password\n\
                hint: `build` refuses that, unless `login = false` says that nobody is to\n";
    let _ = Run::new(["check"]).folder(folder.path()).succeeds().stderr(closed);
    let _ = Run::new(["check", "-q"]).folder(folder.path()).succeeds().stderr("");
    let names: Vec<_> = fs::read_dir(folder.path()).expect("readable").collect();
    assert_eq!(names.len(), 2, "the cluster file and .gitignore: {names:?}");
}

fn an_unreachable_mirror_is_an_error_that_leaves_nothing(user: &User) {
    let folder = user.folder();
    let base = "[base]\nbootstrap = { suite = \"trixie\", arch = \"amd64\", layout = \"uefi\", \
                mirror = \"http://127.0.0.1:9/debian\" }\n\n";
    cluster(folder.path(), &format!("{base}[[node]]\nhostname = \"server1\"\n"));
    let cache = folder.path().join("cache");
    let said = Run::by(user, ["build"])
        .folder(folder.path())
        .env("XDG_CACHE_HOME", &cache)
        .exits(1)
        .stderr_text();
    assert!(said.contains("error: the package mirror is unreachable\n"), "{said}");
    assert!(said.contains("hint: the full log is `"), "{said}");
    assert_nothing_left(folder.path());
}

/// What a bootstrap has made when it is stopped: a file of the root, by a pattern of `find`.
const DOWNLOADING: &str = "*/var/cache/apt/archives/*.deb";
const UNPACKING: &str = "*/usr/bin/dpkg";

fn check_stops(user: &User, stops: &[(&str, &str)]) {
    for (signal, made) in stops {
        let folder = user.folder();
        cluster(folder.path(), "[[node]]\nhostname = \"server1\"\n");
        let mut run = Run::by(user, ["build"])
            .folder(folder.path())
            .env("XDG_CACHE_HOME", folder.path().join("cache"));
        let mut child = run.command().stderr(Stdio::piped()).spawn().expect("it starts");
        let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines();
        let began = lines.by_ref().map_while(Result::ok).any(|it| it == "bootstrapping Debian");
        assert!(began);
        wait_until(|| {
            assert!(child.try_wait().expect("asked").is_none(), "it ended before `{made}`");
            let mut find = Command::new("find");
            find.arg(folder.path()).args(["-path", made, "-print", "-quit"]);
            !find.output().expect("find starts").stdout.is_empty()
        });
        tool("kill", [format!("-{signal}"), child.id().to_string()]);
        let status = child.wait().expect("it ends");
        if *signal == "INT" {
            assert_eq!(status.code(), Some(130));
            let said: Vec<_> = lines.map_while(Result::ok).collect();
            assert_eq!(said.last().map(String::as_str), Some("error: interrupted"));
        } else {
            // No process stays; what it was working at is swept by who uses the cache next.
            let begun = Instant::now();
            assert_no_trace(folder.path());
            assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
            // A process that is ending has locks for a moment when nothing shows them any more.
            wait_until(|| {
                let prune = Run::by(user, ["cache", "prune"]).folder(folder.path());
                prune.env("XDG_CACHE_HOME", folder.path().join("cache")).succeeds();
                leftovers(folder.path()).is_empty()
            });
        }
        assert_eq!(leftovers(folder.path()), Vec::<String>::new());
        assert_eq!(temporary_files(user), Vec::<String>::new());
        assert_no_trace(folder.path());
    }
}

#[test]
fn a_stopped_bootstrap_leaves_nothing() {
    check_stops(&User::ordinary(), &[("INT", DOWNLOADING), ("KILL", UNPACKING)]);
}

mod long {
    use super::*;

    const STOPS: [(&str, &str); 4] =
        [("INT", DOWNLOADING), ("INT", UNPACKING), ("KILL", DOWNLOADING), ("KILL", UNPACKING)];

    #[test]
    #[ignore = "long: every signal at every moment"]
    fn a_bootstrap_stopped_at_any_moment_leaves_nothing() {
        check_stops(&User::ordinary(), &STOPS);
    }

    mod as_root {
        #[test]
        #[ignore = "long: every signal at every moment, needs root"]
        fn a_bootstrap_stopped_at_any_moment_leaves_nothing() {
            super::check_stops(&crate::support::User::root(), &super::STOPS);
        }
    }
}

for_every_user!(an_unreachable_mirror_is_an_error_that_leaves_nothing);

/// What a user's mmdebstrap keeps outside its own folder unless told otherwise. Root's may be another test's.
fn temporary_files(user: &User) -> Vec<String> {
    let id = fs::metadata(&user.home).expect("a home").uid();
    let own =
        |entry: &fs::DirEntry| !user.is_root() && entry.metadata().is_ok_and(|it| it.uid() == id);
    let entries = fs::read_dir("/tmp").expect("readable").flatten().filter(own);
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.filter(|name| name.starts_with("mmdebstrap.")).collect()
}

/// Half-made images in the cache.
fn leftovers(folder: &Path) -> Vec<String> {
    let bases = folder.join("cache/nodeforge/bases");
    fs::read_dir(bases)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| Path::new(name).extension().is_none_or(|it| it != "lock"))
        .collect()
}

/// Nothing half-made, and no trace in the machine.
#[track_caller]
fn assert_nothing_left(folder: &Path) {
    assert_eq!(leftovers(folder), Vec::<String>::new());
    let out = fs::read_dir(folder.join("out")).into_iter().flatten().count();
    assert_eq!(out, 0, "something is in out/");
    assert_no_trace(folder);
}

/// No process, mount or loop device that has to do with this folder.
#[track_caller]
fn assert_no_trace(folder: &Path) {
    let folder = folder.to_str().expect("UTF-8");
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("readable");
    assert!(!mounts.contains(folder), "{mounts}");
    wait_until(|| processes_at_work_in(folder).is_empty());
    let loops = tool("losetup", ["--list", "--noheadings", "--output", "BACK-FILE"]);
    assert!(!loops.contains(folder), "{loops}");
}

/// Processes that name something below the folder on their command line, or have it open, by their ids.
/// What a sandbox is started with does not stand on its command line.
fn processes_at_work_in(folder: &str) -> Vec<String> {
    let is_below = |link: &Path| fs::read_link(link).is_ok_and(|to| to.starts_with(folder));
    let is_at_work = |process: &Path| {
        let line = fs::read(process.join("cmdline")).unwrap_or_default();
        let open = fs::read_dir(process.join("fd")).into_iter().flatten().flatten();
        String::from_utf8_lossy(&line).contains(folder)
            || open.map(|entry| entry.path()).any(|it| is_below(&it))
            || ["cwd", "root"].iter().any(|name| is_below(&process.join(name)))
    };
    let own = std::process::id().to_string();
    let processes = fs::read_dir("/proc").expect("readable").flatten();
    let ids = processes.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let ids = ids.filter(|id| id.bytes().all(|byte| byte.is_ascii_digit()) && *id != own);
    ids.filter(|id| is_at_work(&Path::new("/proc").join(id))).collect()
}
