//! What is in the nodes, and what is not.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use super::super::support::{K3S, temporary_folder, tool};
use super::{HOMES, NODES, built, names};

const NETWORK: &str = "etc/systemd/network";

#[test]
fn four_nodes_come_from_one_build() {
    let built = built();
    let mut expected = NODES.map(|node| format!("{node}.qcow2")).to_vec();
    expected.extend(
        [
            "SHA256SUMS",
            "dns",
            "edge-k3s-base.qcow2",
            "known_hosts",
            "kubeconfig",
            "manifest.json",
            "verify.sh",
            "wireguard",
        ]
        .map(str::to_owned),
    );
    let mut found = names(&built.path("out"));
    found.retain(|name| !name.starts_with("sbom"));
    expected.sort();
    assert_eq!(found, expected);
    for node in NODES {
        let image = built.path(&format!("out/{node}.qcow2"));
        tool("qemu-img", ["check".as_ref(), image.as_os_str()]);
    }
}

#[test]
fn k3s_takes_every_configuration() {
    let temporary = temporary_folder();
    for (node, mode) in [
        ("k3s-node1", "server"),
        ("k3s-node2", "server"),
        ("k3s-node3", "server"),
        ("edge", "agent"),
    ] {
        let root = built().root_of(node, temporary.path());
        let root = format!("NODEFORGE_ROOT={}", root.display());
        tool("env", [root.as_str(), K3S, "check", mode]);
    }
}

#[test]
fn the_configurations_are_these() {
    let temporary = temporary_folder();
    // Passwords aside.
    let shown = |node: &str| {
        let root = built().root_of(node, temporary.path());
        let text = fs::read_to_string(root.join("etc/rancher/k3s/config.yaml")).expect("there");
        let password = regex::Regex::new("(::(server|node):|agent-token: \")[A-Za-z0-9]{32}\"")
            .expect("a regex");
        let text = password.replace_all(&text, "${1}PASSWORD\"").into_owned();
        regex::Regex::new("K10[0-9a-f]{64}::")
            .expect("a regex")
            .replace_all(&text, "K10HASH::")
            .into_owned()
    };
    let server = |what: &str, way: &str, own: &str| {
        let names = HOMES.iter().zip(5..).map(|(name, host)| {
            format!("- \"{name}\"\n- \"192.168.178.{host}\"\n- \"fda8:a1db:5685::{host}\"\n")
        });
        let names = names.collect::<Vec<_>>().concat();
        format!(
            "# {what}.\n{way}\ntoken: \"K10HASH::server:PASSWORD\"\nagent-token: \"PASSWORD\"\n\
             node-ip: {own}\ncluster-cidr: 10.42.0.0/16,fd01::/48\n\
             service-cidr: 10.43.0.0/16,fd02::/112\nflannel-ipv6-masq: true\n\
             flannel-conf: /etc/rancher/k3s/flannel.json\ndisable: [servicelb]\n\
             tls-san:\n- \"k3s.home.example.org\"\n{names}"
        )
    };
    assert_eq!(
        shown("k3s-node1"),
        server(
            "k3s-node1: forms the cluster",
            "cluster-init: true",
            "192.168.178.5,fda8:a1db:5685::5"
        )
    );
    assert_eq!(
        shown("k3s-node3"),
        server(
            "k3s-node3: joins k3s-node1",
            "server: https://192.168.178.5:6443",
            "192.168.178.7,fda8:a1db:5685::7"
        )
    );
    assert_eq!(
        shown("edge"),
        "# edge: an agent, on which the cluster schedules only pods that tolerate its taint.\n\
         server: https://192.168.178.5:6443\ntoken: \"K10HASH::node:PASSWORD\"\n\
         node-ip: 192.168.178.201,fda8:a1db:5685::201\nflannel-iface: wg0\n\
         flannel-conf: /etc/rancher/k3s/flannel.json\nnode-label: [\"example.org/edge=true\"]\n\
         node-taint: [\"example.org/edge=true:NoSchedule\"]\n"
    );
}

/// What `wg pubkey` makes of a private key.
fn public(private: &str) -> String {
    let mut child = Command::new("wg")
        .arg("pubkey")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("wg starts");
    child.stdin.take().expect("piped").write_all(private.as_bytes()).expect("written");
    let output = child.wait_with_output().expect("wg ends");
    assert!(output.status.success());
    String::from_utf8(output.stdout).expect("base64").trim().to_owned()
}

/// The value of a key in the section of a file that has `mark` in it.
fn value<'a>(text: &'a str, mark: &str, key: &str) -> &'a str {
    let section = text.split("\n[").find(|section| section.contains(mark));
    let section = section.unwrap_or_else(|| panic!("{mark}"));
    let line = section.lines().find_map(|line| line.strip_prefix(key)?.trim().strip_prefix('='));
    line.unwrap_or_else(|| panic!("{key} of {mark}")).trim()
}

#[test]
fn both_ends_of_a_tunnel_agree_and_keys_stay_at_home() {
    let built = built();
    let temporary = temporary_folder();
    let roots = NODES.map(|node| built.root_of(node, temporary.path()));
    let read =
        |root: &Path, name: &str| fs::read_to_string(root.join(NETWORK).join(name)).expect("there");
    let privates = roots.each_ref().map(|root| read(root, "wg0.key").trim().to_owned());
    let publics = privates.each_ref().map(|key| public(key));
    let laptop = fs::read_to_string(built.path("out/wireguard/laptop.conf")).expect("there");
    let laptop_private = value(&laptop, "PrivateKey", "PrivateKey");
    let edge = read(&roots[3], "50-wg0.netdev");

    for home in 0..3 {
        let own = read(&roots[home], "50-wg0.netdev");
        assert_eq!(value(&own, &publics[3], "Endpoint"), "[2001:db8:0:1::10]:56527");
        assert_eq!(value(&own, &publics[3], "PersistentKeepalive"), "25");
        assert_eq!(
            value(&own, &publics[3], "PresharedKey"),
            value(&edge, &publics[home], "PresharedKey")
        );
        let host = home + 5;
        assert_eq!(
            value(&edge, &publics[home], "AllowedIPs"),
            format!("192.168.178.{host}/32,fda8:a1db:5685::{host}/128")
        );
    }
    assert_eq!(value(&edge, "ListenPort", "ListenPort"), "56527");
    assert!(!edge.contains("Endpoint"), "home dials");
    assert_eq!(
        value(&edge, &public(laptop_private), "PresharedKey"),
        value(&laptop, &publics[3], "PresharedKey")
    );

    // Raw bytes: no cluster of a qcow2 is compressed, and what is not in a delta is in the base.
    let mut keys: Vec<&str> = privates.iter().map(String::as_str).collect();
    keys.push(laptop_private);
    for (image, own) in
        [("edge-k3s-base", None), ("k3s-node1", Some(0)), ("k3s-node2", Some(1)), ("edge", Some(3))]
    {
        let bytes = fs::read(built.path(&format!("out/{image}.qcow2"))).expect("there");
        for (number, key) in keys.iter().enumerate() {
            let is_there = bytes
                .windows(key.len())
                .any(|window| window[0] == key.as_bytes()[0] && window == key.as_bytes());
            assert_eq!(is_there, own == Some(number), "key {number} in {image}");
        }
    }
}

#[test]
fn what_cannot_work_is_refused() {
    let folder = super::cluster("");
    let path = folder.path().join("cluster.toml");
    let text = fs::read_to_string(&path).expect("there");
    for (from, to, why) in [
        (
            "addresses = [\"192.168.178.6/24\", \"fda8:a1db:5685::6/64\"]",
            "addresses = [\"192.168.178.6/24\"]",
            "`k3s-node2` has no static address in home's network fda8:a1db:5685::/64",
        ),
        (
            "hostname = \"edge\"",
            "hostname = \"vps\"\nrole = \"edge\"\n\n[[node]]\nhostname = \"edge\"",
            "edge-k3s joins one edge to home, and the cluster file has 2",
        ),
    ] {
        assert!(text.contains(from));
        fs::write(&path, text.replacen(from, to, 1)).expect("written");
        let said = super::Run::new(["check"]).folder(folder.path()).fails().stderr_text();
        assert!(said.contains(why), "{said}");
    }
}
