//! `doctor`: what it says of a machine, and that `build` says the same there.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use serde_json::Value;

use super::support::{Run, User, tool};

const CLUSTER: &str = "[cluster]\nname = \"lab\"\nprofile = \"quickstart\"\n\
    [access]\nuser = \"me\"\nlogin = false\n[[node]]\nhostname = \"server1\"\n";

/// A `PATH` with these programs alone. Folders of system tools are looked through besides.
fn path_with(folder: &Path, programs: &[&str]) -> String {
    let bin = folder.join("bin");
    fs::create_dir(&bin).expect("made");
    for program in programs {
        let target = tool("sh", ["-c", &format!("command -v {program}")]);
        symlink(target.trim(), bin.join(program)).expect("linked");
    }
    bin.display().to_string()
}

fn checks(text: &str) -> (bool, Vec<Value>) {
    let report: Value = serde_json::from_str(text).expect("JSON");
    let checks = report["checks"].as_array().expect("checks").clone();
    (report["can_build"].as_bool().expect("a verdict"), checks)
}

#[test]
fn this_machine_which_builds_is_fit_to_build() {
    let user = User::ordinary();
    let folder = user.folder();
    let doctor = |arguments: &[&str]| {
        Run::by(&user, ["doctor"]).args(arguments).folder(folder.path()).succeeds().stdout_text()
    };
    let (can_build, checks) = checks(&doctor(&["--json"]));
    assert!(can_build);
    let subjects: Vec<_> = checks.iter().map(|it| it["subject"].as_str().expect("text")).collect();
    for subject in ["sandbox", "user ids", "tools", "QEMU", "accelerator", "cache", "clock"] {
        assert!(subjects.contains(&subject), "{subjects:?}");
    }
    for check in checks {
        assert_ne!(check["verdict"], "wrong", "{check}");
    }
    let text = doctor(&[]);
    assert!(text.contains("✓ sandbox      packages installed in the sandbox `userns`"), "{text}");
    assert!(text.contains("\nA build can be made here"), "{text}");
    assert_eq!(fs::read_dir(folder.path()).expect("there").count(), 0);
}

#[test]
fn what_is_wrong_comes_with_what_mends_it_and_build_agrees() {
    let user = User::ordinary();
    let folder = user.folder();
    fs::write(folder.path().join("cluster.toml"), CLUSTER).expect("written");
    let path = path_with(
        folder.path(),
        &["sh", "mount", "unshare", "newuidmap", "newgidmap", "cat", "setpriv"],
    );
    let run = |command: &str| {
        let cache = folder.path().join("cache");
        Run::by(&user, [command])
            .folder(folder.path())
            .env("PATH", &path)
            .env("XDG_CACHE_HOME", cache)
    };
    let text = run("doctor").exits(1).stdout_text();
    let missing = "✗ tools        no `mmdebstrap`\n               `apt install mmdebstrap`\n";
    assert!(text.contains(missing), "{text}");
    assert!(text.contains("! QEMU         `qemu-system-x86_64` is not installed\n"), "{text}");
    assert!(text.ends_with("\nNo build can be made here: 1 thing is wrong.\n"), "{text}");
    let said = run("build").exits(1).stderr_text();
    let error = "error: the program `mmdebstrap` is not installed\n\
                 hint: it comes in the package mmdebstrap: apt install mmdebstrap\n";
    assert!(said.ends_with(error), "{said}");

    fs::write(folder.path().join("cluster.toml"), "[cluster]\n").expect("written");
    let text = run("doctor").exits(1).stdout_text();
    assert!(text.contains("✗ cluster file "), "{text}");
    assert!(text.contains("`nodeforge check` says where, and what else\n"), "{text}");
}

#[test]
fn lines_fit_narrow_terminals() {
    let folder = User::current().folder();
    for columns in [80, 40] {
        let binary = env!("CARGO_BIN_EXE_nodeforge");
        let command = format!("stty cols {columns}; {binary} -q --color never doctor");
        let said =
            tool("script", ["-qec", &command, &folder.path().join("log").display().to_string()]);
        assert!(said.contains("sandbox"), "{said}");
        for line in said.lines().map(str::trim_end) {
            let has_blanks = line.trim_start().contains(' ');
            assert!(line.chars().count() <= columns || !has_blanks, "{columns}: {line}");
        }
    }
}
