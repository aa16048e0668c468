//! A build makes what is missing, or would come out differently, and touches nothing else: what somebody changed
//! stays, and so does what is no longer asked for, until it is told to replace or remove it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use crate::support::{Arch, Machines, checksum, tool};

const FORMATS: &str = r#"formats = ["raw", "raw.zst", "qcow2", "vmwarevm"]"#;

/// Each file of a tree: its inode and when it was last changed in any way.
fn looks(folder: &Path) -> BTreeMap<String, (u64, i64, i64)> {
    let list = tool("find", [folder.as_os_str(), "-mindepth".as_ref(), "1".as_ref()]);
    let look = |path: &str| {
        let found = fs::symlink_metadata(path).expect("there");
        (found.ino(), found.ctime(), found.ctime_nsec())
    };
    let name = |path: &str| path.strip_prefix(&format!("{}/", folder.display())).map(str::to_owned);
    list.lines().map(|path| (name(path).expect("below it"), look(path))).collect()
}

/// The artifacts that a build made, by what it did to the output folder: not its lists.
fn made(machines: &Machines, arguments: &[&str]) -> BTreeSet<String> {
    let before = looks(&machines.path("out"));
    let _ = machines.run(["build"].iter().chain(arguments)).succeeds();
    let script = "cd \"$1\" && sha256sum -c --strict --quiet SHA256SUMS";
    tool("sh", ["-c", script, "sh", machines.path("out").to_str().expect("plain")]);
    let after = looks(&machines.path("out"));
    let new = after.iter().filter(|(name, look)| before.get(*name) != Some(*look));
    let top = |name: &String| name.split('/').next().unwrap_or_default().to_owned();
    let lists = ["manifest.json", "SHA256SUMS"];
    new.map(|(name, _)| top(name)).filter(|name| !lists.contains(&name.as_str())).collect()
}

/// What `plan` says of them.
fn artifacts_planned(machines: &Machines) -> String {
    let planned = machines.run(["plan"]).succeeds().stdout_text();
    planned.split_once("\nartifacts\n").expect("a section").1.to_owned()
}

fn names(list: &[&str]) -> BTreeSet<String> {
    list.iter().map(|&name| name.to_owned()).collect()
}

const OF_AGENT: [&str; 5] =
    ["agent1.bmap", "agent1.img", "agent1.img.zst", "agent1.qcow2", "agent1.vmwarevm"];

#[test]
fn an_unchanged_build_touches_nothing() {
    let machines = Machines::new(Arch::Amd64, &["server1", "agent1"], FORMATS);
    let first = machines.run(["build"]).succeeds();
    assert!(!first.stdout_text().contains("kept"));
    let before = looks(&machines.path("out"));
    let second = machines.run(["build"]).succeeds();
    assert!(
        second.stderr_text().ends_with("\neverything is there already as it would be built\n"),
        "{}",
        second.stderr_text()
    );
    let rows: Vec<_> = second.stdout_text().lines().skip(1).map(str::to_owned).collect();
    assert_eq!(rows.len(), 12, "{rows:?}");
    assert!(rows.iter().all(|row| row.ends_with(" kept")), "{rows:?}");
    let _ = machines.run(["build", "--check"]).succeeds();
    assert_eq!(looks(&machines.path("out")), before);

    // In another folder, or for who has another cache, there is nothing to keep.
    let _ = machines.run(["build", "-o", "other"]).succeeds();
    let folders = ["out", "other"].map(|name| machines.path(name));
    tool("diff", ["--recursive".as_ref(), folders[0].as_os_str(), folders[1].as_os_str()]);
}

/// One case of each kind of input.
#[test]
fn what_changed_is_built_again_and_nothing_else() {
    let machines = Machines::new(Arch::Amd64, &["server1", "agent1"], FORMATS);
    let file = machines.path("cluster.toml");
    let text = fs::read_to_string(&file).expect("there");
    let _ = machines.run(["build"]).succeeds();

    // A node's own file.
    let own = "hostname = \"agent1\"\nfiles = [{ path = \"/etc/motd\", content = \"hello\\n\" }]\n";
    let changed = text.replace("hostname = \"agent1\"\n", own);
    assert_ne!(changed, text);
    fs::write(&file, &changed).expect("written");
    assert_eq!(made(&machines, &[]), names(&OF_AGENT));
    // A comment counts in the manifest alone.
    fs::write(&file, format!("{changed}\n# A comment.\n")).expect("written");
    assert_eq!(made(&machines, &[]), names(&[]));

    // Artifacts that are gone, in part as well, or only touched.
    fs::remove_file(machines.path("out/agent1.qcow2")).expect("there");
    fs::remove_file(machines.path("out/server1.vmwarevm/disk.vmdk")).expect("there");
    let touched = fs::File::options().append(true).open(machines.path("out/server1.img"));
    touched.expect("there").set_modified(std::time::SystemTime::now()).expect("set");
    let expected = ["agent1.qcow2", "server1.vmwarevm"];
    assert_eq!(
        artifacts_planned(&machines),
        "  as they would be built: server1.img, agent1.img, server1.img.zst, agent1.img.zst, \
         small-base.qcow2, server1.qcow2, small-template.vmwarevm, agent1.vmwarevm, server1.bmap, \
         agent1.bmap\n  \
         to be made: agent1.qcow2, server1.vmwarevm\n"
    );
    assert_eq!(made(&machines, &[]), names(&expected));

    // A format that was not asked for before.
    let formats = text.replace("\"raw.zst\", ", "\"raw.gz\", ");
    assert_ne!(formats, text);
    fs::write(&file, &formats).expect("written");
    let planned = artifacts_planned(&machines);
    let left = "  left by earlier builds, no longer asked for, and removed with `--prune`: \
                agent1.img.zst, server1.img.zst\n";
    assert!(planned.ends_with(left), "{planned}");
    let outdated = "  to be made again, because what they are made from has changed: agent1.img, ";
    assert!(planned.contains(outdated), "{planned}");
    let now = made(&machines, &[]);
    assert!(now.contains("server1.img.gz") && !now.contains("server1.img"), "{now:?}");
    // What goes into every node.
    fs::write(&file, &text).expect("written");
    let all = made(&machines, &["--set", "locale.timezone=Europe/Berlin"]);
    assert!(OF_AGENT.iter().all(|name| all.contains(*name)), "{all:?}");
    assert!(all.contains("server1.img"), "{all:?}");
    assert_eq!(made(&machines, &["--set", "locale.timezone=Europe/Berlin"]), names(&[]));
    // Who wants all of it again gets it.
    let all = made(&machines, &["--fsck", "always", "--set", "locale.timezone=Europe/Berlin"]);
    assert!(all.contains("server1.img") && all.contains("sbom.spdx.json"), "{all:?}");
}

/// What no time and no size tells.
#[test]
fn damage_behind_the_file_system_is_found_when_contents_are_compared() {
    let machines = Machines::new(Arch::Amd64, &["server1"], r#"formats = ["raw"]"#);
    let _ = machines.run(["build"]).succeeds();
    let image = machines.path("out/server1.img");
    // As a disk that lost a bit would give it back: the list of what was built says it is the same file.
    let entry = |ledger: &Path| {
        let text = fs::read_to_string(ledger).expect("there");
        serde_json::from_str::<serde_json::Value>(&text).expect("JSON")
    };
    let ledgers = machines.path("cache/nodeforge/built");
    let ledger = fs::read_dir(&ledgers).expect("there").flatten().next().expect("one").path();
    let mut listed = entry(&ledger);
    let mut bytes = fs::read(&image).expect("there");
    bytes[5 << 20] ^= 1;
    fs::write(&image, bytes).expect("written");
    let found = fs::metadata(&image).expect("there");
    let known = &mut listed["files"]["server1.img"];
    known["modified"] = serde_json::json!([found.mtime(), found.mtime_nsec()]);
    known["changed"] = serde_json::json!([found.ctime(), found.ctime_nsec()]);
    fs::write(&ledger, listed.to_string()).expect("written");
    let before = looks(&machines.path("out"));
    let _ = machines.run(["build"]).succeeds();
    assert_eq!(looks(&machines.path("out")), before);
    assert_eq!(made(&machines, &["--check"]), names(&["server1.img"]));
}

/// What an output folder says of itself proves nothing: somebody else may have written it.
#[test]
fn an_exchanged_image_is_not_kept_because_the_manifest_vouches_for_it() {
    let machines = Machines::new(Arch::Amd64, &["server1"], r#"formats = ["raw"]"#);
    let _ = machines.run(["build"]).succeeds();
    let (image, manifest) = (machines.path("out/server1.img"), machines.path("out/manifest.json"));
    let right = fs::read(&image).expect("there");
    let mut bytes = right.clone();
    bytes[5 << 20] ^= 1;
    let [old, new] = [&right, &bytes].map(|bytes| {
        fs::write(&image, bytes).expect("written");
        checksum("sha256sum", &image)
    });
    for list in [&manifest, &machines.path("out/SHA256SUMS")] {
        let text = fs::read_to_string(list).expect("there").replace(&old, &new);
        fs::write(list, text).expect("written");
    }
    let _ = machines.run(["build"]).succeeds();
    assert!(fs::read(&image).expect("there") == right);
}

/// Somebody may have worked for an hour on it.
#[test]
fn what_was_changed_since_is_not_replaced_unasked() {
    let formats = r#"formats = ["raw", "qcow2"]"#;
    let machines = Machines::new(Arch::Amd64, &["server1", "agent1"], formats);
    let _ = machines.run(["build"]).succeeds();
    fs::write(machines.path("motd"), "mine\n").expect("written");
    let _ = machines.run(["cp", "motd", "out/agent1.img:/etc/motd"]).succeeds();
    let before = looks(&machines.path("out"));
    let refused = |path: &str, and_more: &str| {
        format!(
            "error: `{}`{and_more} changed since the last build, and would be lost\n\
             hint: move it away, or choose another folder with `-o`\n\
             hint: remove it to have it built again; `--replace` replaces it\n",
            machines.path(path).canonicalize().expect("there").display()
        )
    };
    // Whether it would be made again anyway or not.
    let outdated = ["build", "--set", "locale.timezone=Europe/Berlin"];
    for arguments in [&["build"][..], &["build", "agent1"], &["build", "--check"], &outdated] {
        let _ = machines.run(arguments).exits(2).stderr(&refused("out/agent1.img", " was"));
        assert_eq!(looks(&machines.path("out")), before, "{arguments:?}");
    }
    assert!(artifacts_planned(&machines).ends_with(
        "\n  changed since they were built, and replaced only with `--replace`: agent1.img\n"
    ),);
    let planned = machines.run(["plan", "--json"]).succeeds().stdout_text();
    let planned: serde_json::Value = serde_json::from_str(&planned).expect("JSON");
    let states = planned["artifacts"].as_array().expect("a list");
    assert!(states.contains(&serde_json::json!({ "name": "agent1.img", "state": "edited" })));
    // Other nodes are built meanwhile.
    let _ = machines.run(["build", "server1"]).succeeds();

    // A child needs its parent as it was.
    let parent = machines.path("out/small-base.qcow2");
    let mut bytes = fs::read(&parent).expect("there");
    let last = bytes.len() - 70_000;
    bytes[last] ^= 1;
    fs::write(&parent, bytes).expect("written");
    let both = refused("out/agent1.img", " and another file were");
    let _ = machines.run(["build"]).exits(2).stderr(&both);
    // One is given up, the other kept elsewhere, as the hints say.
    fs::remove_file(parent).expect("there");
    fs::rename(machines.path("out/agent1.img"), machines.path("mine.img")).expect("renamed");
    assert_eq!(made(&machines, &[]), names(&["agent1.img", "small-base.qcow2"]));
    let _ = machines.run(["cat", "mine.img:/etc/motd"]).succeeds().stdout("mine\n");
    // Or all of it is given up.
    let _ = machines.run(["cp", "motd", "out/agent1.img:/etc/motd"]).succeeds();
    let _ = machines.run(["build"]).exits(2);
    assert!(made(&machines, &["--replace"]).contains("agent1.img"));
    let _ = machines.run(["cat", "out/agent1.img:/etc/motd"]).fails();
}

/// What is not asked for any more is named, and removed by who says so.
#[test]
fn artifacts_of_nodes_and_formats_that_are_gone_can_be_removed() {
    let formats = r#"formats = ["raw", "raw.gz", "vmwarevm"]"#;
    let machines = Machines::new(Arch::Amd64, &["server1", "agent1"], formats);
    let _ = machines.run(["build"]).succeeds();
    let file = machines.path("cluster.toml");
    let text = fs::read_to_string(&file).expect("there");
    let fewer = text.replace("\"raw.gz\", ", "").replace("[[node]]\nhostname = \"agent1\"\n", "");
    fs::write(&file, fewer).expect("written");
    let left = "agent1.bmap, agent1.img, agent1.img.gz, agent1.vmwarevm, server1.img.gz";
    let kept = looks(&machines.path("out"));
    let built = machines.run(["build"]).succeeds().stderr_text();
    let note = format!(
        "left by earlier builds, and no longer asked for: {left}\nhint: `build --prune` removes them\n"
    );
    assert!(built.ends_with(&note), "{built}");
    assert!(kept.keys().all(|name| machines.path("out").join(name).exists()));

    // Not what somebody changed.
    fs::write(machines.path("motd"), "mine\n").expect("written");
    let _ = machines.run(["cp", "motd", "out/agent1.img:/etc/motd"]).succeeds();
    let said = machines.run(["build", "--prune"]).exits(2).stderr_text();
    assert!(
        said.contains("agent1.img` was changed since the last build, and would be lost"),
        "{said}"
    );
    assert!(kept.keys().all(|name| machines.path("out").join(name).exists()));
    fs::rename(machines.path("out/agent1.img"), machines.path("mine.img")).expect("renamed");

    let built = machines.run(["build", "--prune"]).succeeds().stderr_text();
    let removed = "removed, because no longer asked for: agent1.bmap, agent1.img.gz, agent1.vmwarevm, \
                   server1.img.gz\n";
    assert!(built.ends_with(removed), "{built}");
    let list = tool("ls", [machines.path("out")]);
    assert_eq!(
        list.lines().collect::<Vec<_>>(),
        [
            "SHA256SUMS",
            "known_hosts",
            "manifest.json",
            "sbom.spdx.json",
            "server1.bmap",
            "server1.img",
            "server1.vmwarevm",
            "small-template.vmwarevm"
        ]
    );
    let manifest = fs::read_to_string(machines.path("out/manifest.json")).expect("there");
    assert!(!manifest.contains("agent1"), "{manifest}");
    let built = machines.run(["build", "--prune"]).succeeds().stderr_text();
    assert!(built.ends_with("everything is there already as it would be built\n"), "{built}");
}
