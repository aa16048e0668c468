//! What commands open, and what those that only look leave as it was.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use crate::support::{Arch, Machines, tool};

/// How often a command opens each of these files, by strace.
fn opens(machines: &Machines, arguments: &[&str], names: [&str; 4]) -> [usize; 4] {
    let trace = machines.path("trace");
    let status = Command::new("strace")
        .args(["--follow-forks", "--quiet=all", "--trace=open,openat,openat2", "--output"])
        .arg(&trace)
        .arg(env!("CARGO_BIN_EXE_nodeforge"))
        .args(arguments)
        .current_dir(machines.folder.path())
        .env("XDG_CACHE_HOME", machines.path("cache"))
        .status()
        .expect("strace starts");
    assert!(status.success(), "{arguments:?}");
    let calls = fs::read_to_string(trace).expect("a trace");
    let opened = calls.lines().filter(|line| !line.contains("ENOENT"));
    let opened: Vec<&str> = opened.filter_map(|line| line.split('"').nth(1)).collect();
    names.map(|name| opened.iter().filter(|it| Path::new(it).ends_with(name)).count())
}

/// A cluster is read once, and so is what belongs to it.
#[test]
fn a_build_and_a_flash_open_each_thing_once() {
    let machines = Machines::new(Arch::Amd64, &["server1", "agent1"], "formats = [\"raw\"]");
    let _ = machines.run(["build"]).succeeds();
    let names = ["cluster.toml", "nodeforge.lock", "base.img", "nodeforge.secrets"];
    assert_eq!(opens(&machines, &["build"], names), [1, 1, 1, 1]);
    fs::remove_dir_all(machines.path("out")).expect("removed");
    let flash = ["flash", "--to-file", "agent1", "medium"];
    assert_eq!(opens(&machines, &flash, names), [1, 1, 1, 1]);
}

/// A layer and an override that no `cluster.toml` knows of.
#[test]
fn a_layered_cluster_is_flashed_and_booted_by_its_own_files() {
    let machines = Machines::new(Arch::Amd64, &["server1"], "formats = [\"qcow2\"]");
    fs::rename(machines.path("cluster.toml"), machines.path("base.toml")).expect("renamed");
    let nodes = "[[node]]\nhostname = \"server1\"\n[[node]]\nhostname = \"agent7\"\n";
    fs::write(machines.path("home.toml"), nodes).expect("written");
    let layers = ["-f", "base.toml", "-f", "home.toml", "--set", "output.directory=elsewhere"];
    let run = |arguments: &[&str]| machines.run([arguments, &layers].concat());
    // Not built: stamped in memory.
    let _ = run(&["flash", "--to-file", "agent7", "medium"]).succeeds();
    let _ = run(&["build"]).succeeds();
    let found = machines.path("elsewhere").join("agent7.qcow2");
    assert!(found.is_file());
    let _ = run(&["flash", "--to-file", "agent7", "again"]).succeeds();
    assert_eq!(
        fs::read(machines.path("medium")).expect("there"),
        fs::read(machines.path("again")).expect("there")
    );
    let _ =
        run(&["boot", "--timeout", "1", "--until", "never", "nobody"]).exits(2).stderr(&format!(
            "error: `{}` has no image of `nobody`\n\
         hint: `nodeforge build` makes it; `-o` says where it is\n",
            machines.path("elsewhere").display()
        ));
}

/// QEMU is told what the bytes say: a qcow2 that was taken for a raw disk would only time out.
#[test]
fn boot_reads_the_format_from_the_bytes() {
    let machines = Machines::new(Arch::Amd64, &["server1"], "formats = [\"qcow2\", \"raw.xz\"]");
    let _ = machines.run(["build"]).succeeds();
    let qemu = machines.path("bin/qemu-system-x86_64");
    fs::create_dir(machines.path("bin")).expect("a folder");
    let script = "#!/bin/sh\necho 'QEMU emulator version 10.0.2'\n\
        printf '%s\\n' \"$@\" >>\"${0%/bin/*}/arguments\"\n";
    fs::write(&qemu, script).expect("written");
    tool("chmod", ["755".as_ref(), qemu.as_os_str()]);
    let path = format!(
        "{}:{}",
        machines.path("bin").display(),
        std::env::var("PATH").expect("PATH is set")
    );
    fs::rename(machines.artifact("server1.qcow2"), machines.artifact("node.dat")).expect("renamed");
    let boot = |image: &str| {
        machines.run(["boot", "--until", "x", "--timeout", "20", image]).env("PATH", &path)
    };
    let _ = boot("out/node.dat").exits(1);
    let arguments = fs::read_to_string(machines.path("arguments")).expect("QEMU was started");
    let disk = machines.artifact("node.dat").canonicalize().expect("there");
    let node = format!(
        "\"driver\":\"qcow2\",\"file\":{{\"driver\":\"file\",\"filename\":\"{}\"",
        disk.display()
    );
    assert!(arguments.contains(&node), "{arguments}");
    // Alone, unless it is asked for; and who needs more is told so.
    assert!(arguments.contains("\nuser,restrict=on,model=virtio-net-pci\n"), "{arguments}");
    fs::write(machines.path("packages"), "probe\n").expect("written");
    fs::copy(machines.path("base.img"), machines.path("left.img")).expect("copied");
    let copy = ["cp", "-r", "etc/.", "left.img:/etc"];
    fs::create_dir_all(machines.path("etc/nodeforge")).expect("folders");
    fs::rename(machines.path("packages"), machines.path("etc/nodeforge/packages"))
        .expect("renamed");
    let _ = machines.run(copy).succeeds();
    let said = boot("left.img").exits(1).stderr_text();
    let note = "note: its first boot installs packages, and cannot reach the internet\n\
                hint: `--internet` lets it\n";
    assert!(said.contains(note), "{said}");
    let said = boot("left.img").args(["--internet"]).exits(1).stderr_text();
    assert!(!said.contains("note:"), "{said}");
    let arguments = fs::read_to_string(machines.path("arguments")).expect("QEMU was started");
    assert!(arguments.contains("\nuser,model=virtio-net-pci\n"), "{arguments}");
    fs::rename(machines.artifact("server1.img.xz"), machines.artifact("x.img")).expect("renamed");
    let refused = boot("out/x.img").exits(2);
    assert!(refused.stderr_text().contains("is compressed"));
}

/// As `boot` and `flash` find what was built of a node.
#[test]
fn a_node_is_named_like_an_image() {
    let machines = Machines::new(Arch::Amd64, &["server1", "agent1"], "formats = [\"qcow2\"]");
    let run = |arguments: &[&str]| machines.run(arguments);
    let unbuilt = format!(
        "error: `{}` has no image of `agent1`\n\
         hint: `nodeforge build` makes it; `-o` says where it is\n",
        machines.path("out").display()
    );
    let _ = run(&["inspect", "agent1"]).exits(2).stderr(&unbuilt);
    let _ = run(&["build"]).succeeds();
    let _ = run(&["cat", "agent1:/etc/hostname"]).succeeds().stdout("agent1\n");
    let said = run(&["inspect", "agent1"]).succeeds().stdout_text();
    assert!(said.contains("agent1.qcow2: qcow2, "), "{said}");
    let _ = run(&["ls", "agent1@15:/"]).succeeds();
    let _ = run(&["cp", "agent1:/etc/hostname", "name"]).succeeds();
    assert_eq!(fs::read_to_string(machines.path("name")).expect("there"), "agent1\n");
    let _ = run(&["diff", "agent1", "server1"]).exits(1);
    let _ = run(&["cat", "-f", "cluster.toml", "-o", "out", "server1:/etc/hostname"]).succeeds();
    let _ = run(&["ls", "nobody"])
        .exits(1)
        .stderr("error: opening `nobody`\n  cause: No such file or directory\n");
    let _ = run(&["flash", "agent1", "card.img"]).exits(2).stderr(
        "error: there is no device `card.img`\n\
         hint: `nodeforge flash --list` shows the devices there are\n\
         hint: `--to-file` makes a file of it\n",
    );
    // One option takes one value, and what follows is the cluster file.
    let _ = run(&["build", "--format", "raw", "cluster.toml", "agent1"]).succeeds();
    assert!(machines.artifact("agent1.img").is_file());
}

/// Not even the end of an edit that was interrupted.
#[test]
fn plan_and_check_write_nothing() {
    let machines = Machines::new(Arch::Amd64, &["server1"], "formats = [\"raw\"]");
    fs::write(machines.path("content"), vec![7; 3 << 20]).expect("written");
    // Killed after it had happened, and before all of it was in the image.
    let copy = ["cp", "--fsck", "never", "content", "base.img:/srv-content"];
    let (image, before) = (machines.path("base.img"), machines.path("before.img"));
    fs::copy(&image, &before).expect("copied");
    let journal = machines.path(".base.img.nodeforge-edit");
    let happened = |step: u32| {
        fs::copy(&before, &image).expect("copied");
        let was_killed = machines.is_killed_at("fsync", step, &copy);
        let names = machines.run(["ls", "base.img:/"]).succeeds().stdout_text();
        was_killed && journal.exists() && names.lines().any(|name| name == "srv-content")
    };
    assert!((1..20).any(happened), "no kill left a journal");
    let before = state(machines.folder.path());
    for command in ["plan", "check"] {
        let _ = machines.run([command]).succeeds();
        assert_eq!(state(machines.folder.path()), before, "{command}");
    }
    let _ = machines.run(["build"]).succeeds();
    assert!(!journal.exists());
    fs::remove_file(machines.path("trace")).ok();
    let before = state(machines.folder.path());
    let _ = machines.run(["plan"]).succeeds();
    assert_eq!(state(machines.folder.path()), before);
}

/// Names, sizes and times of all files.
fn state(folder: &Path) -> BTreeMap<String, String> {
    let lines =
        tool("find", [folder.as_os_str(), "-printf".as_ref(), "%P %s %T@ %C@ %i\\n".as_ref()]);
    lines
        .lines()
        .filter_map(|line| line.split_once(' '))
        .map(|(name, rest)| (name.to_owned(), rest.to_owned()))
        .collect()
}
