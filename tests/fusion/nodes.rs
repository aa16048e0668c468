//! What is in the nodes, and what is not.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs;
use std::path::Path;

use super::super::support::{Run, found_in, partitions, temporary_folder, tool};
use super::{Built, NODES, built, built_for_apple, k3s_accepts, plan};

/// The file in an artifact.
fn cat(built: &Built, artifact: &str, path: &str) -> String {
    let place = format!("{}:{path}", built.path("out").join(artifact).display());
    Run::new(["cat", &place]).succeeds().stdout_text()
}

#[test]
fn every_clone_reads_through_its_chain() {
    let built = built();
    for node in NODES {
        let disk = built.path(&format!("out/{node}.vmwarevm/disk.vmdk"));
        let check = [OsStr::new("check"), OsStr::new("-f"), OsStr::new("vmdk"), disk.as_os_str()];
        tool("qemu-img", check);
        let said = tool(
            "qemu-img",
            [
                OsStr::new("info"),
                OsStr::new("--backing-chain"),
                OsStr::new("--output=json"),
                disk.as_os_str(),
            ],
        );
        let chain: serde_json::Value = serde_json::from_str(&said).expect("JSON");
        let names: Vec<&str> = chain
            .as_array()
            .expect("a list")
            .iter()
            .filter_map(|image| image["filename"].as_str()?.rsplit("/out/").next())
            .collect();
        let base = names.last().expect("a base");
        assert!(base.ends_with("fusion-template.vmwarevm/base.vmdk"), "{names:?}");
        assert_eq!(names.len(), 2, "{names:?}");
    }
}

#[test]
fn k3s_takes_every_configuration() {
    let built = built();
    let temporary = temporary_folder();
    for (node, mode) in
        [("server1", "server"), ("server2", "server"), ("server3", "server"), ("agent1", "agent")]
    {
        let root = built.root_of(&format!("{node}.vmwarevm"), node, temporary.path());
        k3s_accepts(&root, mode);
    }
}

#[test]
fn the_configurations_are_these() {
    let built = built();
    let config =
        |node: &str| cat(built, &format!("{node}.vmwarevm"), "/etc/rancher/k3s/config.yaml");
    // Passwords aside.
    let shown = |node: &str| {
        let quoted = regex::Regex::new("(::(server|node):|agent-token: \")[A-Za-z0-9]{32}")
            .expect("a regex");
        let hash = regex::Regex::new("K10[0-9a-f]{64}").expect("a regex");
        let text = quoted.replace_all(&config(node), "${1}PASSWORD").into_owned();
        hash.replace_all(&text, "K10HASH").into_owned()
    };
    let common = "cluster-cidr: fd77:3be9:5d2e:ffcc::/112
service-cidr: fd77:3be9:5d2e:ff00::/112
# Explicit: the default would be the tenth address, ::a.
cluster-dns: fd77:3be9:5d2e:ff00::10
cluster-domain: k8s.example.net
flannel-backend: none
disable-network-policy: true
disable: [servicelb, traefik]
# The default /64 does not fit into the pods' network.
kube-controller-manager-arg: [node-cidr-mask-size-ipv6=120]
tls-san: [k3s-cluster.k8s.example.net, api.k8s.example.net]
secrets-encryption: true
";
    assert_eq!(
        shown("server1"),
        format!(
            "# server1 forms the cluster.\ncluster-init: true\ntoken: \"K10HASH::server:PASSWORD\"\n\
             agent-token: \"PASSWORD\"\nnode-ip: fd77:3be9:5d2e:1::11\n{common}"
        )
    );
    assert_eq!(
        shown("server2"),
        format!(
            "# server2 joins the cluster as a server.\nserver: https://k3s-cluster.k8s.example.net:6443\n\
             token: \"K10HASH::server:PASSWORD\"\nagent-token: \"PASSWORD\"\n\
             node-ip: fd77:3be9:5d2e:1::12\n{common}"
        )
    );
    assert_eq!(
        shown("agent1"),
        "# agent1 joins the cluster as an agent.\nserver: https://k3s-cluster.k8s.example.net:6443\n\
         token: \"K10HASH::node:PASSWORD\"\nnode-ip: fd77:3be9:5d2e:1::21\n"
    );
    assert!(!config("agent2").contains("node-ip"), "it is found on first boot");

    // All tokens name the one authority by its file's bytes.
    let authority = cat(built, "server1.vmwarevm", "/var/lib/rancher/k3s/server/tls/server-ca.crt");
    let file = built.path("server-ca.crt");
    fs::write(&file, authority).expect("written");
    let sum = tool("sha256sum", [file.as_os_str()]);
    let hash = sum.split(' ').next().expect("a hash");
    for node in NODES {
        assert!(config(node).contains(&format!("K10{hash}::")), "{node}");
    }
}

#[test]
fn addresses_have_the_same_host_part_under_every_prefix() {
    let built = built();
    let unit =
        |node| cat(built, &format!("{node}.vmwarevm"), "/etc/systemd/network/05-nodeforge.network");
    assert!(unit("server1").contains("\nToken=static:::11\n"));
    assert!(unit("agent1").contains("\nToken=static:::21\n"));
    assert!(!unit("agent2").contains("Token="));
    for node in NODES {
        for line in ["DHCP=no", "IPv6AcceptRA=yes", "LinkLocalAddressing=ipv6", "UseDNS=yes"] {
            assert!(unit(node).lines().any(|it| it == line), "{node}: {line}");
        }
    }
}

/// The disk as one file, read through its chain by a program that is not ours.
fn raw(built: &Built, artifact: &str, folder: &Path) -> std::path::PathBuf {
    let disk = built.path("out").join(artifact).join("disk.vmdk");
    let raw = folder.join("disk.raw");
    tool(
        "qemu-img",
        [
            OsStr::new("convert"),
            OsStr::new("-O"),
            OsStr::new("raw"),
            disk.as_os_str(),
            raw.as_os_str(),
        ],
    );
    raw
}

/// A secret's private value as a line that would be found in a file made of it.
fn line_of(store: &toml::Table, name: &str) -> String {
    let value = store["secrets"][name]["value"].as_str().expect("a value");
    // Of a key the middle, of anything else all of it.
    value.lines().nth(1).unwrap_or(value).to_owned()
}

/// The keys by which BIND knows the nodes.
fn dns_keys(built: &Built) -> BTreeMap<String, String> {
    let text = built.read("out/router/named.keys");
    let key = regex::Regex::new(
        "key \"([a-z0-9]+)\\.k8s\\.example\\.net\" \\{\n\talgorithm hmac-sha256;\n\tsecret \"([0-9a-f]{64})\";",
    )
    .expect("a regex");
    let keys: BTreeMap<_, _> =
        key.captures_iter(&text).map(|it| (it[1].to_owned(), it[2].to_owned())).collect();
    assert_eq!(keys.len(), NODES.len(), "{text}");
    keys
}

#[test]
fn secrets_are_where_they_belong_and_nowhere_else() {
    let built = built();
    let store: toml::Table = built.read("nodeforge.secrets").parse().expect("TOML");
    let lines = |names: &[&str]| -> BTreeSet<String> {
        names.iter().map(|name| line_of(&store, name)).collect()
    };
    let first = [
        "server_ca",
        "client_ca",
        "request_header_ca",
        "etcd_peer_ca",
        "etcd_server_ca",
        "service_key",
        "bgp_password",
        "external_dns_key",
    ];
    let mut all = first.to_vec();
    all.extend(["server_token", "agent_token"]);
    let first = all.clone();
    // What nodes' keys follow from is on none of them.
    all.push("dns_key");
    let keys = dns_keys(built);
    for (artifact, has) in [
        ("server1.vmwarevm", first),
        ("server2.vmwarevm", vec!["server_token", "agent_token"]),
        ("agent1.vmwarevm", vec!["agent_token"]),
        ("fusion-template.vmwarevm", vec![]),
    ] {
        let temporary = temporary_folder();
        let raw = raw(built, artifact, temporary.path());
        let node = artifact.split('.').next().expect("a name");
        let mut own = lines(&has);
        own.extend(keys.get(node).cloned());
        let looked_for: BTreeSet<_> =
            lines(&all).into_iter().chain(keys.values().cloned()).collect();
        let found = found_in(&raw, looked_for.iter().map(String::as_str));
        assert_eq!(found, own, "{artifact}");
    }
    // What may be shown shows none.
    for text in [plan(built.folder.path()).to_string(), built.read("out/manifest.json")] {
        for line in lines(&all) {
            assert!(!text.contains(&line));
        }
    }
}

mod long {
    use super::*;

    /// For arm64, on a base made of Debian's packages as well; boots.rs boots it.
    #[test]
    #[ignore = "long: emulates another processor"]
    fn an_arm64_clone_is_like_the_others() {
        let built = built_for_apple();
        let temporary = temporary_folder();
        let root = built.root_of("server1.vmwarevm", "server1", temporary.path());
        k3s_accepts(&root, "server");
        let said = cat(built, "server1.vmwarevm", "/etc/nodeforge/k3s.env");
        assert!(said.contains("/k3s-arm64'\n"), "{said}");

        let raw = raw(built, "server1.vmwarevm", temporary.path());
        let root = partitions(&raw).into_iter().find(|it| it.0 == 1).expect("a root").1;
        tool("e2fsck", ["-fn", &format!("{}?offset={}", raw.display(), root.start)]);
        let loader = format!("{}:/boot/efi/EFI/BOOT", raw.display());
        assert_eq!(Run::new(["ls", &loader]).succeeds().stdout_text(), "BOOTAA64.EFI\n");
    }
}
