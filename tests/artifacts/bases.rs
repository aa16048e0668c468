//! Nodes with packages of their own: prepared bases that some share, and what is made from each.

use std::collections::BTreeSet;
use std::fs;

use serde_json::Value;

use crate::support::{Arch, Machines, names, tool};

const FORMATS: &str = r#"formats = ["raw", "qcow2", "vmwarevm", "ova"]"#;
const NODES: [&str; 4] = ["server1", "agent1", "agent2", "agent3"];
/// Nothing of the tiny base runs: packages are left to the first boot.
const LATER: [&str; 2] = ["--sandbox", "none"];

/// A cluster of which two agents have lvm2, one of them by way of what else it has.
fn cluster() -> Machines {
    let machines = Machines::new(Arch::Amd64, &NODES, FORMATS);
    let profile = machines.path("profile/profile.toml");
    let text = fs::read_to_string(&profile).expect("there");
    let text = text.replacen(
        "[[role]]",
        "[packages]\ninstall = [\"curl\"]\nremove = [\"nano\"]\n[[role]]",
        1,
    );
    fs::write(&profile, text).expect("written");
    own(&machines, "agent1", "[\"lvm2\", \"curl\"]");
    own(&machines, "agent3", "[\"lvm2\"]");
    machines
}

/// Gives a node packages of its own.
fn own(machines: &Machines, node: &str, packages: &str) {
    let file = machines.path("cluster.toml");
    let text = fs::read_to_string(&file).expect("there");
    let line = format!("hostname = \"{node}\"\n");
    let (before, after) = text.split_once(&line).expect("the node");
    let after = match after.strip_prefix("packages = ") {
        Some(rest) => rest.split_once('\n').expect("a line").1,
        None => after,
    };
    fs::write(&file, format!("{before}{line}packages = {packages}\n{after}")).expect("written");
}

fn plan(machines: &Machines) -> Value {
    let said = machines.run(["plan", "--json"]).args(LATER).succeeds().stdout_text();
    serde_json::from_str(&said).expect("JSON")
}

/// What the first boot of a node installs.
fn installs(machines: &Machines, image: &str) -> String {
    let place = format!("{}:/etc/nodeforge/packages", machines.path("out").join(image).display());
    let text = machines.run(["cat", &place]).succeeds().stdout_text();
    let line = text.lines().find_map(|line| line.strip_prefix("INSTALL='")).expect("a list");
    line.trim_end_matches('\'').to_owned()
}

#[test]
fn nodes_with_the_same_packages_share_a_base() {
    let machines = cluster();
    let _ = machines.run(["fetch"]).succeeds();
    let planned = machines.run(["plan"]).args(LATER).succeeds().stdout_text();
    let head = "2 prepared bases\n  small, for server1, agent2: to be made, and kept in the cache\n  small+lvm2, for \
                agent1, agent3: to be made, and kept in the cache\n\nprepared base\n";
    assert!(planned.starts_with(head), "{planned}");
    let other = "\nprepared base small+lvm2: as the first, but\n  + install lvm2 (cluster file)\n  to be \
                 made: nothing was prepared for this cluster yet\n";
    assert!(planned.contains(other), "{planned}");

    let _ = machines.run(["build"]).args(LATER).succeeds();
    let expected: BTreeSet<_> = [
        "SHA256SUMS",
        "known_hosts",
        "manifest.json",
        "sbom+lvm2.spdx.json",
        "sbom.spdx.json",
        "small+lvm2-base.qcow2",
        "small+lvm2-template.vmwarevm",
        "small-base.qcow2",
        "small-template.vmwarevm",
        "small.ova",
    ]
    .into_iter()
    .map(str::to_owned)
    .chain(NODES.iter().flat_map(|node| {
        ["bmap", "img", "qcow2", "vmwarevm"].map(|ending| format!("{node}.{ending}"))
    }))
    .collect();
    assert_eq!(names(&machines.path("out")).into_iter().collect::<BTreeSet<_>>(), expected);
    for (node, packages, base) in [
        ("server1", "curl", "small"),
        ("agent1", "curl lvm2", "small+lvm2"),
        ("agent3", "curl lvm2", "small+lvm2"),
    ] {
        for ending in ["img", "qcow2", "vmwarevm"] {
            assert_eq!(
                installs(&machines, &format!("{node}.{ending}")),
                packages,
                "{node}.{ending}"
            );
        }
        let overlay = machines.path(&format!("out/{node}.qcow2")).display().to_string();
        let info = tool("qemu-img", ["info", "--output=json", &overlay]);
        let info: Value = serde_json::from_str(&info).expect("JSON");
        assert_eq!(info["backing-filename"], format!("{base}-base.qcow2"), "{node}");
        // The two say the same to a reader that is not ours.
        let raw = machines.path(&format!("out/{node}.img")).display().to_string();
        tool("qemu-img", ["compare", &raw, &overlay]);
        let clone = fs::read_to_string(machines.path(&format!("out/{node}.vmwarevm/{node}.vmsd")));
        let template = format!("../{base}-template.vmwarevm/{base}-template.vmx");
        assert!(clone.expect("there").contains(&template), "{node}");
    }
    assert_eq!(installs(&machines, "small-template.vmwarevm"), "curl");
    let manifest = fs::read_to_string(machines.path("out/manifest.json")).expect("there");
    let manifest: Value = serde_json::from_str(&manifest).expect("JSON");
    let bases = manifest["bases"].as_array().expect("bases");
    assert_eq!(bases.len(), 1);
    assert_eq!(
        (&bases[0]["name"], &bases[0]["own"]),
        (&"small+lvm2".into(), &serde_json::json!(["lvm2"]))
    );
    let of = |node: usize| manifest["nodes"][node]["base"].clone();
    assert_eq!(
        [of(0), of(1), of(2), of(3)],
        [Value::Null, "small+lvm2".into(), Value::Null, "small+lvm2".into()]
    );
    assert_ne!(fs::read(machines.path("out/sbom.spdx.json")).expect("there"), b"");

    let planned = plan(&machines);
    let states: Vec<_> =
        planned["bases"].as_array().expect("bases").iter().map(|it| &it["state"]).collect();
    assert_eq!(states, ["cached", "cached"]);
    assert!(
        planned["artifacts"].as_array().expect("artifacts").iter().all(|it| it["state"] == "kept")
    );
    let said = machines.run(["build"]).args(LATER).succeeds().stderr_text();
    assert!(said.ends_with("\neverything is there already as it would be built\n"), "{said}");
    let said = machines.run(["plan"]).args(LATER).succeeds().stdout_text();
    assert!(
        said.contains("  small+lvm2, for agent1, agent3: in the cache, where it takes "),
        "{said}"
    );
    let said = machines.run(["prepare", "--json"]).args(LATER).succeeds().stdout_text();
    let said: Value = serde_json::from_str(&said).expect("JSON");
    let prepared: Vec<_> =
        said["bases"].as_array().expect("bases").iter().map(|it| &it["name"]).collect();
    assert_eq!(prepared, ["small", "small+lvm2"]);
    assert_eq!(said["key"], said["bases"][0]["key"]);
}

#[test]
fn a_node_that_gets_other_packages_is_built_again_and_the_others_stay() {
    let machines = cluster();
    let _ = machines.run(["build"]).args(LATER).succeeds();
    let sums = |machines: &Machines| {
        let text = fs::read_to_string(machines.path("out/SHA256SUMS")).expect("there");
        text.lines().map(str::to_owned).collect::<BTreeSet<_>>()
    };
    let before = sums(&machines);
    own(&machines, "agent1", "[\"xfsprogs\"]");
    let outdated: Vec<_> = plan(&machines)["artifacts"]
        .as_array()
        .expect("artifacts")
        .iter()
        .filter(|it| it["state"] != "kept")
        .map(|it| it["name"].as_str().expect("a name").to_owned())
        .collect();
    let expected = [
        "agent1.img",
        "small+xfsprogs-base.qcow2",
        "agent1.qcow2",
        "small+xfsprogs-template.vmwarevm",
        "agent1.vmwarevm",
        "agent1.bmap",
    ];
    assert_eq!(
        outdated.iter().collect::<BTreeSet<_>>(),
        expected.map(str::to_owned).iter().collect()
    );
    let device = machines.path("disk");
    let flash = ["flash", "agent1", device.to_str().expect("plain"), "--to-file", "--yes"];
    let said = machines.run(flash).exits(2).stderr_text();
    assert!(said.contains("is out of date: what it was built from has changed"), "{said}");
    // That node alone: the main base and lvm2's are not even asked for.
    let _ = machines.run(["build", "cluster.toml", "agent1"]).args(LATER).succeeds();
    assert_eq!(installs(&machines, "agent1.qcow2"), "curl xfsprogs");
    let changed = |line: &&String| {
        line.contains("agent1") || line.contains("xfsprogs") || line.contains(" sbom")
    };
    let rest = |sums: &BTreeSet<String>| {
        sums.iter().filter(|it| !changed(it)).cloned().collect::<Vec<_>>()
    };
    assert_eq!(rest(&before), rest(&sums(&machines)));
    let manifest = fs::read_to_string(machines.path("out/manifest.json")).expect("there");
    let manifest: Value = serde_json::from_str(&manifest).expect("JSON");
    let bases: Vec<_> =
        manifest["bases"].as_array().expect("bases").iter().map(|it| &it["name"]).collect();
    assert_eq!(bases, ["small+lvm2", "small+xfsprogs"]);
    assert_ne!(manifest["packages"], serde_json::json!([]), "the main base's");
    let said = machines.run(flash).succeeds().stderr_text();
    assert!(!said.contains("out of date"), "{said}");

    // A node that was not built is stamped over the base that it has.
    fs::remove_dir_all(machines.path("out")).expect("there");
    fs::remove_file(&device).expect("there");
    let _ = machines.run(flash).args(LATER).succeeds();
    let place = format!("{}:/etc/nodeforge/packages", device.display());
    let text = machines.run(["cat", &place]).succeeds().stdout_text();
    assert!(text.contains("\nINSTALL='curl xfsprogs'\n"), "{text}");
}

#[test]
fn what_all_nodes_have_is_in_the_main_base() {
    let machines = cluster();
    let file = machines.path("cluster.toml");
    let text = fs::read_to_string(&file).expect("there");
    fs::write(&file, format!("{text}[defaults]\npackages = [\"lvm2\", \"tree\"]\n"))
        .expect("written");
    own(
        &machines,
        "server1",
        "[\"a-very-long-name-of-a-package\", \"another-long-name-of-a-package\"]",
    );
    let planned = plan(&machines);
    let bases = planned["bases"].as_array().expect("bases");
    let shown: Vec<_> =
        bases.iter().map(|it| (it["nodes"].to_string(), it["packages"].to_string())).collect();
    assert_eq!(
        shown,
        [
            ("[\"agent1\",\"agent2\",\"agent3\"]".to_owned(), "[\"lvm2\",\"tree\"]".to_owned()),
            (
                "[\"server1\"]".to_owned(),
                "[\"a-very-long-name-of-a-package\",\"another-long-name-of-a-package\",\"lvm2\",\"tree\"]".to_owned()
            ),
        ]
    );
    assert_eq!(bases[0]["name"], "small");
    let name = bases[1]["name"].as_str().expect("a name");
    let (label, is_hash) = (&name["small+".len()..], |it: char| it.is_ascii_hexdigit());
    assert!(label.len() == 12 && label.chars().all(is_hash), "{name}");
}

#[test]
fn packages_that_contradict_the_profile_are_refused() {
    let machines = cluster();
    let check = |node: &str, packages: &str| {
        own(&machines, node, packages);
        let said = machines.run(["check"]).exits(2).stderr_text();
        own(&machines, node, "[]");
        let is_message = |line: &&str| line.starts_with("error: ") || line.starts_with("hint: ");
        said.lines().filter(is_message).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(
        check("agent2", "[\"nano\"]"),
        [
            "error: `packages` asks for `nano`, which the profile removes",
            "hint: leave it out, or take another profile",
        ]
    );
    assert_eq!(
        check("agent2", "[\"curl=8.14.1-2\"]"),
        [
            "error: `packages` asks for `curl=8.14.1-2`, and the base has `curl` for all nodes",
            "hint: leave it out: a setting of the profile may say which version that is",
        ]
    );
    for name in ["Curl", "a", "../x", "a b", "-y", "curl=", "curl=$(x)"] {
        assert_eq!(
            check("agent2", &format!("[\"{name}\"]")),
            [
                format!("error: `{name}` is not a package's name"),
                "hint: for example `lvm2`, or with its version `lvm2=2.03.31-2`".to_owned(),
            ],
            "{name}"
        );
    }
}
