//! What nodes say for themselves: labels, taints, the card that has their addresses, their kernel.

use std::fs;

use serde_json::Value;

use super::support::{Run, temporary_folder};

/// An example's cluster with a node of it changed, in a folder of its own.
fn changed(profile: &str, hostname: &str, node: &str, top: &str) -> tempfile::TempDir {
    let folder = temporary_folder();
    let example = format!("{}/examples/{profile}", env!("CARGO_MANIFEST_DIR"));
    fs::copy(format!("{example}/demo.pub"), folder.path().join("demo.pub")).expect("copied");
    let text = fs::read_to_string(format!("{example}/cluster.toml")).expect("readable");
    let line = format!("hostname = \"{hostname}\"\n");
    assert!(text.contains(&line), "{hostname}");
    let text = text.replacen(&line, &format!("{line}{node}"), 1);
    fs::write(folder.path().join("cluster.toml"), format!("{text}{top}")).expect("written");
    folder
}

/// An error's first line and its hint.
fn refused(profile: &str, hostname: &str, node: &str) -> Vec<String> {
    let folder = changed(profile, hostname, node, "");
    let said = Run::new(["check"]).folder(folder.path()).exits(2).stderr_text();
    let is_message = |line: &&str| line.starts_with("error: ") || line.starts_with("hint: ");
    said.lines().filter(is_message).map(str::to_owned).collect()
}

#[test]
fn labels_that_a_kubelet_may_not_have_are_refused_in_every_profile() {
    for (profile, hostname) in
        [("rpi5-kubeadm", "node0"), ("fusion-k3s", "server1"), ("edge-k3s", "k3s-node1")]
    {
        for label in [
            "node-role.kubernetes.io/worker",
            "node-restriction.kubernetes.io/x",
            "k8s.io/x",
            "kubernetes.io/x",
        ] {
            assert_eq!(
                refused(profile, hostname, &format!("labels = {{ \"{label}\" = \"a\" }}\n")),
                [
                    format!("error: a kubelet may not give its node the label `{label}`"),
                    "hint: use a domain of your own, or `node.kubernetes.io/…`; an administrator may: `kubectl \
                     label node NAME KEY=VALUE`"
                        .to_owned(),
                ]
            );
        }
        let allowed = "labels = { \"node.kubernetes.io/x\" = \"a\", \"topology.kubernetes.io/zone\" = \"shelf\", \
                       \"example.org/disk\" = \"nvme\", \"x.kubelet.kubernetes.io/y\" = \"\" }\n";
        let folder = changed(profile, hostname, allowed, "");
        let _ = Run::new(["check"]).folder(folder.path()).succeeds();
    }
}

#[test]
fn what_kubelet_and_kernel_would_refuse_is_refused() {
    let refused = |node: &str| refused("rpi5-kubeadm", "node0", node).swap_remove(0);
    for (node, error) in [
        ("labels = { \"a b\" = \"c\" }", "error: `a b` is not a valid key of a label"),
        (
            "labels = { \"Example.org/a\" = \"c\" }",
            "error: `Example.org/a` is not a valid key of a label",
        ),
        ("labels = { a = \"-c\" }", "error: `-c` is not a valid value of a label or taint"),
        ("taints = [\"a=b\"]", "error: the taint `a=b` has no effect"),
        (
            "taints = [\"a=b:Never\"]",
            "error: `Never`: a taint's effect is one of NoSchedule, PreferNoSchedule and NoExecute",
        ),
        ("taints = [\"=b:NoExecute\"]", "error: `` is not a valid key of a taint"),
        ("interface = \"a/b\"", "error: `a/b` is neither a network card's name nor its MAC"),
        ("kernel = { cmdline = [\"a b\"] }", "error: `a b` is not one word"),
        ("config_txt = [\"a\\nb\"]", "error: `a\\nb` is not one line"),
    ] {
        assert_eq!(refused(&format!("{node}\n")), error, "{node}");
    }
    let folder = changed("edge-k3s", "edge", "interface = \"eth0\"\n", "");
    let said = Run::new(["check"]).folder(folder.path()).exits(2).stderr_text();
    let words = "error: `interface` says which card has the `addresses`, and there are none\n";
    assert!(said.starts_with(words), "{said}");
}

#[test]
fn a_node_has_its_own_and_what_all_have() {
    let folder = changed(
        "rpi5-kubeadm",
        "node0",
        "interface = \"D8:3A:DD:01:02:03\"\nkernel = { cmdline = [\"quiet\"] }\nconfig_txt = [\"dtparam=pciex1\"]\n\
         packages = [\"htop=3.3.0-4\"]\n",
        "\n[defaults]\npackages = [\"htop=3.4.1-5\", \"lsof\"]\ninterface = \"eth0\"\nkernel.cmdline = [\"panic=10\"]\nconfig_txt = [\"dtoverlay=disable-bt\"]\n",
    );
    let plan = Run::new(["plan", "--json"]).folder(folder.path()).succeeds().stdout_text();
    let plan: Value = serde_json::from_str(&plan).expect("JSON");
    let changes = |hostname: &str| -> Vec<Value> {
        let nodes = plan["nodes"].as_array().expect("nodes");
        let node = nodes.iter().find(|it| it["hostname"] == hostname).expect("the node");
        node["changes"].as_array().expect("changes").clone()
    };
    let all = |hostname: &str, action: &str, key: &str| -> Vec<String> {
        let wanted = changes(hostname).into_iter().filter(|it| it["action"] == action);
        wanted.map(|it| it[key].as_str().expect("text").to_owned()).collect()
    };
    assert_eq!(all("controlplane", "kernel-argument", "argument"), ["panic=10"]);
    assert_eq!(all("node0", "kernel-argument", "argument"), ["panic=10", "quiet"]);
    assert_eq!(all("controlplane", "config-txt", "line"), ["dtoverlay=disable-bt"]);
    assert_eq!(all("node0", "config-txt", "line"), ["dtoverlay=disable-bt", "dtparam=pciex1"]);
    // Of two versions the node's own.
    let bases = plan["bases"].as_array().expect("bases");
    let of_node = bases.iter().find(|it| it["nodes"][0] == "node0").expect("a base of its own");
    assert_eq!(of_node["packages"], serde_json::json!(["htop=3.3.0-4", "lsof"]));
    let unit = |hostname: &str| {
        let path = "/etc/systemd/network/05-nodeforge.network";
        let file = changes(hostname).into_iter().find(|it| it["path"] == path).expect("there");
        file["content"].as_str().expect("text").to_owned()
    };
    assert!(unit("controlplane").contains("\n[Match]\nName=eth0\n\n[Network]\n"));
    assert!(unit("node0").contains("\n[Match]\nMACAddress=d8:3a:dd:01:02:03\n\n[Network]\n"));
}

/// Linux takes `enP1p1s0` and `enp1p1s0` for two cards.
#[test]
fn a_cards_name_keeps_its_upper_case() {
    let folder = changed("rpi5-kubeadm", "controlplane", "interface = \"enP1p1s0\"\n", "");
    let set = ["settings.ha=kube-vip", "settings.api_address=192.168.1.9"];
    let arguments = ["plan", "--json", "--set", set[0], "--set", set[1]];
    let plan = Run::new(arguments).folder(folder.path()).succeeds().stdout_text();
    let plan: Value = serde_json::from_str(&plan).expect("JSON");
    let nodes = plan["nodes"].as_array().expect("nodes");
    let node = nodes.iter().find(|it| it["hostname"] == "controlplane").expect("the node");
    let content = |path: &str| {
        let changes = node["changes"].as_array().expect("changes");
        let file = changes.iter().find(|it| it["path"] == path).expect("there");
        file["content"].as_str().expect("text").to_owned()
    };
    let unit = content("/etc/systemd/network/05-nodeforge.network");
    assert!(unit.contains("\n[Match]\nName=enP1p1s0\n\n[Network]\n"), "{unit}");
    let manifest = content("/etc/nodeforge/kube-vip.yaml");
    assert!(manifest.contains("{name: vip_interface, value: \"enP1p1s0\"}"), "{manifest}");
}
