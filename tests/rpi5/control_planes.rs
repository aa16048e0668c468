//! Three control planes in network namespaces, formed by their own first boot: one of them is switched off, and
//! they go back to a snapshot. etcd is Debian 13's, and all else of Kubernetes a stand-in: see `programs`.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::super::support::{Run, etcd_of_debian_13, run_in_namespaces, temporary_folder, tool};
use super::built::{Built, built};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/rpi5/control-planes");
const PROGRAMS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/rpi5/programs");
const GUIDE: &str = include_str!("../../docs/rpi5-kubeadm.md");

/// What first boot and restores use of an image's root.
fn root_of(built: &Built, node: &str, into: &Path) {
    let paths = [
        "/etc/hosts",
        "/etc/nodeforge",
        "/etc/systemd/network",
        "/root/kubeadm",
        "/usr/bin/nodeforge-etcd",
        "/usr/lib/nodeforge",
    ];
    // A worker takes no snapshots.
    for path in paths.iter().filter(|it| node != "node0" || !it.ends_with("-etcd")) {
        let target = into.join(node).join(path.trim_start_matches('/'));
        let parent = target.parent().expect("a folder");
        fs::create_dir_all(parent).expect("made");
        let source = format!("{}:{path}", built.image(node).display());
        let _ = Run::new(["cp", "-r", &source, &format!("{}/", parent.display())]).succeeds();
    }
}

/// The lines of the guide's block that has this in it, without the fence.
fn documented(words: &str) -> String {
    let mut blocks = GUIDE.split("```").skip(1).step_by(2);
    let block = blocks.find(|it| it.contains(words)).expect("the guide has it");
    block.trim_start_matches("sh").to_owned()
}

/// What the script says of one of its cases, and the seconds that it measured.
fn run(case: &str) -> (String, impl Fn(&str) -> f64) {
    let folder = temporary_folder();
    let path = |name: &str| folder.path().join(name);
    for node in ["controlplane", "controlplane1", "controlplane2", "node0"] {
        root_of(built(), node, folder.path());
    }
    tool("cp", ["-r", PROGRAMS, &path("programs").display().to_string()]);
    // Emulated machines are given more time than etcd takes by itself.
    let kubeadm = fs::read_to_string(path("programs/kubeadm")).expect("there");
    let slow = "\"--heartbeat-interval=500\", \"--election-timeout=5000\",\n";
    assert!(kubeadm.contains(slow));
    fs::write(path("programs/kubeadm"), kubeadm.replace(slow, "\n")).expect("written");
    let executable = fs::Permissions::from_mode(0o755);
    fs::set_permissions(path("programs/kubelet"), executable).expect("set");
    tool(
        "cp",
        ["-r", &etcd_of_debian_13().display().to_string(), &path("etcd").display().to_string()],
    );
    fs::write(path("stop"), documented("/etc/kubernetes/stopped")).expect("written");
    fs::write(path("restore"), documented("nodeforge-etcd restore")).expect("written");
    let said = run_in_namespaces(SCRIPT, &[folder.path().as_os_str(), case.as_ref()]);
    assert!(said.contains("right: etcd Version: 3.5."), "{said}");
    let measured = said.clone();
    let of = move |what: &str| {
        let prefix = format!("measured: {what} ");
        let seconds = measured.lines().find_map(|line| line.strip_prefix(&prefix)?.parse().ok());
        seconds.unwrap_or_else(|| panic!("{what}: {measured}"))
    };
    (said, of)
}

/// The lease that lets another have the address is in etcd, whose two members that are left must agree on a leader
/// first.
#[test]
fn the_first_is_switched_off_and_the_api_answers() {
    let (_, seconds) = run("switched-off");
    let back = seconds("back");
    assert!((1.0..38.0).contains(&back), "{back}");
}

#[test]
fn they_go_back_to_a_snapshot_as_the_guide_says() {
    let (said, _) = run("restored");
    for line in [
        "right: nothing is restored while other members answer",
        "right: three members vote in etcd again",
        "right: and have what was restored",
    ] {
        assert!(said.contains(line), "{said}");
    }
}
