//! The same again: builds with other numbers of jobs, builds that are killed, and many nodes.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::support::{Arch, Machines, checksum, noise, tool};

#[test]
fn every_artifact_is_the_same_whatever_the_number_of_jobs() {
    let output =
        r#"formats = ["raw", "raw.xz", "raw.zst", "raw.gz", "qcow2", "vmdk", "vmwarevm", "ova"]"#;
    let machines = Machines::new(Arch::Arm64, &["server1", "agent1"], output);
    let sums = |jobs: &str| {
        let folder = format!("jobs-{jobs}");
        let _ = machines.run(["build", "--jobs", jobs, "-o", &folder]).succeeds();
        let files = files(&machines.path(&folder));
        fs::remove_dir_all(machines.path(&folder)).expect("removed");
        files
    };
    let one = sums("1");
    assert!(one.len() > 20, "{one:?}");
    assert_eq!(sums("7"), one);
}

/// More nodes than are packed together, and one by itself.
#[test]
fn an_image_packs_the_same_alone_and_with_others() {
    let nodes = ["server1", "agent[1-17]"];
    let machines = Machines::new(Arch::Amd64, &nodes, r#"formats = ["raw.zst", "raw.gz"]"#);
    let _ = machines.run(["build"]).succeeds();
    let together = files(&machines.path("out"));
    let _ = machines.run(["build", "agent17", "-o", "alone"]).succeeds();
    let alone = files(&machines.path("alone"));
    for ending in ["img.zst", "img.gz", "bmap"] {
        let name = format!("agent17.{ending}");
        assert_eq!(alone[&name], together[&name], "{name}");
    }
    let sums: BTreeSet<_> = together.iter().filter(|(name, _)| name.ends_with("zst")).collect();
    assert_eq!(sums.len(), 18);
}

/// Every file under a folder, with its checksum.
fn files(folder: &Path) -> BTreeMap<String, String> {
    let list = tool("find", [folder.as_os_str(), OsStr::new("-type"), OsStr::new("f")]);
    list.lines()
        .map(|path| {
            let name = Path::new(path).strip_prefix(folder).expect("under it");
            (name.display().to_string(), checksum("sha256sum", Path::new(path)))
        })
        .collect()
}

/// Kills a build at each of these steps of each of its threads.
fn check_killed_builds(steps: &[u32]) {
    let output = r#"formats = ["raw", "raw.zst", "vmwarevm"]"#;
    let machines = Machines::new(Arch::Amd64, &["server1"], output);
    let text = fs::read_to_string(machines.path("cluster.toml")).expect("there");
    // Two versions, and what each of their artifacts is.
    let mut known: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for version in ["a", "b"] {
        let file = format!("{text}[[files]]\npath = \"/etc/motd\"\ncontent = \"{version}\\n\"\n");
        fs::write(machines.path(&format!("{version}.toml")), file).expect("written");
        let file = format!("{version}.toml");
        let _ = machines.run(["build", &file, "-o", version]).succeeds();
        for (name, sum) in files(&machines.path(version)) {
            known.entry(name).or_default().insert(sum);
        }
    }

    let mut kills = 0;
    for (round, step) in steps.iter().enumerate() {
        let file = if round % 2 == 0 { "a.toml" } else { "b.toml" };
        let calls = "pwrite64,fsync,rename,renameat2";
        kills += u32::from(machines.is_killed_at(calls, *step, &["build", file]));
        if !machines.path("out").exists() {
            continue;
        }
        for (name, sum) in files(&machines.path("out")) {
            if !name.starts_with(".nodeforge-") {
                let sums = known.get(&name).unwrap_or_else(|| panic!("what is {name}?"));
                assert!(sums.contains(&sum), "step {step}: {name} is neither old nor new");
            }
        }
    }
    assert!(kills as usize * 2 >= steps.len(), "{kills} kills");
    // The next one that is left alone clears up.
    let _ = machines.run(["build", "a.toml"]).succeeds();
    assert_eq!(files(&machines.path("out")), files(&machines.path("a")));
}

#[test]
fn a_killed_build_leaves_old_artifacts_or_new_ones() {
    check_killed_builds(&[4, 16]);
}

/// Killed at each of the steps by which artifacts come to their places.
#[test]
fn checksums_and_bases_are_right_whenever_a_build_is_killed() {
    let machines = Machines::new(Arch::Arm64, &["server1"], r#"formats = ["qcow2", "vmwarevm"]"#);
    let text = fs::read_to_string(machines.path("cluster.toml")).expect("there");
    let file = text.clone() + "[[files]]\npath = \"/etc/motd\"\ncontent = \"b\\n\"\n";
    // On another base.
    fs::write(machines.path("b.toml"), file.replace("512M", "576M")).expect("written");
    fs::write(machines.path("a.toml"), text).expect("written");
    let made = |version: &str| {
        let _ = machines.run(["build", &format!("{version}.toml"), "-o", version]).succeeds();
        files(&machines.path(version))
    };
    let known = [made("a"), made("b")];
    let script =
        "cd \"$1\" && { [ ! -e SHA256SUMS ] || sha256sum -c --strict --quiet SHA256SUMS; }";
    let (mut kills, mut between) = (0, 0);
    for step in 1.. {
        let _ = machines.run(["build", "a.toml"]).succeeds();
        assert_eq!(files(&machines.path("out")), known[0]);
        let calls = "rename,renameat2";
        if !machines.is_killed_at(calls, step, &["build", "b.toml"]) {
            break;
        }
        kills += 1;
        tool("sh", ["-c", script, "sh", machines.path("out").to_str().expect("plain")]);
        let found = files(&machines.path("out"));
        let version = |name: &str| {
            let sum = found.get(name)?;
            let version = known.iter().position(|it| it.get(name) == Some(sum));
            Some(version.unwrap_or_else(|| panic!("{name} is neither old nor new")))
        };
        for (child, base) in [
            ("server1.qcow2", "small-base.qcow2"),
            ("server1.vmwarevm/disk.vmdk", "small-template.vmwarevm/base.vmdk"),
        ] {
            // None of its own, or the one it was made for.
            let child = version(child);
            assert!(child.is_none() || child == version(base), "killed at step {step}");
            between += u32::from(child.is_none());
        }
    }
    assert!(kills > 8 && between > 2, "{kills} kills, {between} without a node's disk");
    assert_eq!(files(&machines.path("out")), known[1]);
}

/// What a machine has written since is nowhere else.
#[test]
fn machines_that_were_started_are_not_replaced_unasked() {
    let nodes = ["server1", "agent1", "agent2"];
    let machines = Machines::new(Arch::Amd64, &nodes, r#"formats = ["qcow2", "vmwarevm"]"#);
    let _ = machines.run(["build"]).succeeds();
    let first = files(&machines.path("out"));
    let _ = machines.run(["build"]).succeeds();
    // As VMware does, and as QEMU does.
    fs::write(machines.artifact("agent1.vmwarevm/vmware.log"), "started").expect("written");
    let overlay = machines.artifact("server1.qcow2");
    let image = overlay.to_str().expect("plain");
    tool("qemu-io", ["-f", "qcow2", "-c", "write -P 7 200M 1M", image]);
    let before = files(&machines.path("out"));
    let _ = machines.run(["build"]).exits(2).stderr(
        "error: `agent1.vmwarevm`, `server1.qcow2` were started since the last build: their disks \
         would be lost\n\
         hint: name the nodes that are to be built, or choose another folder with `-o`\n\
         hint: `--replace` throws away what is on them\n",
    );
    let _ = machines.run(["build", "agent1", "--format", "vmwarevm"]).exits(2).stderr(
        "error: `agent1.vmwarevm` was started since the last build: its disk would be lost\n\
         hint: name the nodes that are to be built, or choose another folder with `-o`\n\
         hint: `--replace` throws away what is on them\n",
    );
    assert_eq!(files(&machines.path("out")), before);
    // A snapshot for clones made by hand; what others stand on is left where it is.
    let snapshot = machines.artifact("small-template.vmwarevm/disk-000001.vmdk");
    fs::write(&snapshot, "a snapshot").expect("written");
    let _ = machines.run(["build", "agent2"]).succeeds();
    assert!(snapshot.exists());
    let _ = machines.run(["build", "agent1", "--format", "qcow2"]).succeeds();
    let text = fs::read_to_string(machines.path("cluster.toml")).expect("there");
    fs::write(machines.path("other.toml"), text.replace("admin", "someone")).expect("written");
    let other = ["build", "-q", "other.toml", "agent2", "--format", "vmwarevm"];
    let _ = machines.run(other).exits(2).stderr(
        "error: `small-template.vmwarevm` was started since the last build: its disk would be \
         lost\n\
         hint: name the nodes that are to be built, or choose another folder with `-o`\n\
         hint: `--replace` throws away what is on them\n",
    );
    assert_eq!(files(&machines.path("out"))["server1.qcow2"], before["server1.qcow2"]);
    let _ = machines.run(["build", "--replace"]).succeeds();
    fs::remove_file(snapshot).expect("left where it was");
    assert_eq!(files(&machines.path("out")), first);
}

#[test]
fn a_folder_belongs_to_one_cluster() {
    let [one, other] =
        [0, 1].map(|_| Machines::new(Arch::Amd64, &["server1"], "formats = [\"qcow2\"]"));
    let text = fs::read_to_string(other.path("cluster.toml")).expect("a cluster file");
    let text = text.replace("name = \"small\"", "name = \"other\"");
    fs::write(other.path("cluster.toml"), text).expect("written");
    let _ = one.run(["build"]).succeeds();
    let before = files(&one.path("out"));
    let out = one.path("out").display().to_string();
    let _ = other.run(["build", "-o", &out]).exits(2).stderr(&format!(
        "error: `{out}` holds the artifacts of the cluster `small`\n\
         hint: choose another folder with `-o`\n\
         hint: `--replace` gives it to `other`\n"
    ));
    assert_eq!(files(&one.path("out")), before);
    let _ = other.run(["build", "-o", &out, "--replace"]).succeeds();
}

/// Keys and tokens are in every image of a node.
#[test]
fn artifacts_with_secrets_are_private_to_their_owner() {
    use std::os::unix::fs::PermissionsExt as _;

    let formats =
        r#"formats = ["raw", "raw.xz", "raw.zst", "raw.gz", "qcow2", "vmdk", "vmwarevm", "ova"]"#;
    let machines = Machines::new(Arch::Amd64, &["server1"], formats);
    let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
    let _ = machines.run(["build"]).succeeds();
    for name in files(&machines.path("out")).into_keys() {
        let of_all = ["SHA256SUMS", "manifest.json", "sbom.spdx.json", "known_hosts"];
        let is_shared = of_all.contains(&name.as_str()) || name == "small-base.qcow2";
        let mode = mode(&machines.artifact(&name));
        assert_eq!(mode & 0o77, if is_shared { 0o44 } else { 0 }, "{name}: {mode:o}");
    }
    for bundle in ["server1.vmwarevm", "small-template.vmwarevm"] {
        assert_eq!(mode(&machines.artifact(bundle)), 0o700);
    }
    let _ = machines.run(["stamp", "base.img", "--hostname", "a", "-o", "stamped.img"]).succeeds();
    let _ = machines.run(["flash", "--to-file", "server1", "medium"]).succeeds();
    for name in ["stamped.img", "medium"] {
        assert_eq!(mode(&machines.path(name)), 0o600, "{name}");
    }
}

#[test]
fn a_node_that_is_left_out_keeps_its_base() {
    let nodes = ["server1", "agent1"];
    let machines = Machines::new(Arch::Amd64, &nodes, r#"formats = ["qcow2"]"#);
    let _ = machines.run(["build"]).succeeds();
    let before = files(&machines.path("out"));
    let text = fs::read_to_string(machines.path("cluster.toml")).expect("there");
    fs::write(machines.path("cluster.toml"), text.replace("512M", "576M")).expect("written");
    let finished = machines.run(["build", "server1"]).exits(2);
    let said = finished.stderr_text();
    assert!(
        said.ends_with(
            "error: `agent1.qcow2` depends on a base that has changed since\n\
             hint: build `agent1` as well, or choose another folder with `-o`\n"
        ),
        "{said}"
    );
    assert_eq!(files(&machines.path("out")), before);
    let _ = machines.run(["build"]).succeeds();
    assert_ne!(files(&machines.path("out")), before);
}

/// After a build that was killed between an artifact and the checksums.
#[test]
fn artifacts_missing_from_the_checksums_are_hashed_again() {
    let machines = Machines::new(Arch::Amd64, &["server1", "agent1"], r#"formats = ["raw.zst"]"#);
    let _ = machines.run(["build"]).succeeds();
    fs::remove_file(machines.artifact("SHA256SUMS")).expect("there");
    let (newer, server) = (noise(5, 5000), machines.artifact("server1.img.zst"));
    fs::write(server, newer).expect("written");
    let _ = machines.run(["build", "agent1"]).succeeds();
    let script = "cd \"$1\" && sha256sum --check --strict SHA256SUMS";
    let said = tool("sh", ["-c", script, "sh", machines.path("out").to_str().expect("plain")]);
    assert!(said.contains("server1.img.zst: OK") && said.contains("agent1.img.zst: OK"), "{said}");
    let manifest = fs::read(machines.artifact("manifest.json")).expect("there");
    let manifest: serde_json::Value = serde_json::from_slice(&manifest).expect("JSON");
    let nodes = manifest["nodes"].as_array().expect("nodes");
    assert_eq!((nodes.len(), &nodes[0]["hostname"]), (1, &"agent1".into()));
}

/// In a debug build on a busy machine; what it takes in earnest is in README.
#[test]
fn a_hundred_clones_take_seconds_and_little_memory() {
    let machines =
        Machines::new(Arch::Arm64, &["server1", "agent[1-100]"], "formats = [\"vmwarevm\"]");
    let _ = machines.run(["prepare"]).succeeds();
    let started = Instant::now();
    let program = env!("CARGO_BIN_EXE_nodeforge");
    let said = machines.path("memory");
    let output = Command::new("/usr/bin/time")
        .args(["--format=%M", "--output"])
        .arg(&said)
        .args([program, "build"])
        .current_dir(machines.folder.path())
        .env("XDG_CACHE_HOME", machines.path("cache"))
        .output()
        .expect("time starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let elapsed = started.elapsed();
    assert!(elapsed < Duration::from_secs(120), "{elapsed:?}");
    let kibibytes: u64 = fs::read_to_string(said).expect("there").trim().parse().expect("KiB");
    assert!(kibibytes < 256 << 10, "{kibibytes} KiB");

    // All different, each with an address and an identity of its own.
    let mut seen = BTreeSet::new();
    let mut count = 0;
    for number in 1..=100 {
        let name = format!("agent{number}.vmwarevm/agent{number}.vmx");
        let text = fs::read_to_string(machines.artifact(&name)).expect("there");
        for key in ["ethernet0.address = ", "uuid.bios = ", "displayName = "] {
            seen.insert(text.lines().find(|it| it.starts_with(key)).expect(key).to_owned());
            count += 1;
        }
        let disk = machines.artifact(&format!("agent{number}.vmwarevm/disk.vmdk"));
        assert!(fs::metadata(disk).expect("there").len() < 8 << 20);
    }
    assert_eq!(seen.len(), count);
}

mod long {
    #[test]
    #[ignore = "long: kills at twelve steps"]
    fn a_build_killed_at_any_step_leaves_old_artifacts_or_new_ones() {
        super::check_killed_builds(&[1, 2, 3, 4, 6, 9, 13, 19, 28, 42, 64, 96]);
    }
}
