//! Nodes that come later, and machines that were lost.

use std::fs;

use super::super::support::{checksum, temporary_folder};
use super::{Built, build_small, k3s_accepts, small};

const AGENT2: &str = "hostname = \"agent2\"\n";

fn replace(built: &Built, from: &str, to: &str) {
    let file = built.path("cluster.toml");
    let text = fs::read_to_string(&file).expect("there");
    assert!(text.contains(from), "{text}");
    fs::write(&file, text.replacen(from, to, 1)).expect("written");
}

#[test]
fn nodes_come_later_and_the_first_server_comes_back_as_another() {
    let built = Built { folder: small(&[]) };
    build_small(built.folder.path(), &[]).succeeds();
    let sum = |path: &str| checksum("sha256sum", &built.path(path));
    let disks = ["fusion-template.vmwarevm/base.vmdk", "server2.vmwarevm/disk.vmdk"];
    let before = disks.map(|disk| sum(&format!("out/{disk}")));
    let keys = built.read("out/router/named.keys");

    // An agent more.
    replace(&built, AGENT2, &format!("{AGENT2}\n[[node]]\nhostname = \"agent3\"\n"));
    build_small(built.folder.path(), &["agent3"]).succeeds();
    assert_eq!(disks.map(|disk| sum(&format!("out/{disk}"))), before);
    let roots = temporary_folder();
    let token = |name: &str| {
        let root = built.root_of(&format!("{name}.vmwarevm"), name, roots.path());
        let config = fs::read_to_string(root.join("etc/rancher/k3s/config.yaml")).expect("there");
        let token = config.lines().find(|line| line.starts_with("token: ")).map(str::to_owned);
        token.expect("a token")
    };
    assert_eq!(token("agent3"), token("agent2"));
    // BIND knows it beside the others, whose keys are what they were.
    let more = built.read("out/router/named.keys");
    let known = "key \"agent3.k8s.example.net\"";
    assert!(more.contains(known) && !keys.contains(known), "{more}");
    for line in keys.lines() {
        assert!(more.lines().any(|it| it == line), "{line}\n{more}");
    }
    assert!(built.read("out/router/named.conf").contains("grant agent3.k8s.example.net name"));

    // The first server is lost, and another takes its place.
    for (name, role) in [("server1", "server"), ("server2", "first-server")] {
        let hostname = format!("hostname = \"{name}\"\n");
        replace(&built, &hostname, &format!("{hostname}role = \"{role}\"\n"));
    }
    let old = built.root_of("server1.vmwarevm", "old", roots.path());
    build_small(built.folder.path(), &["server1"]).succeeds();
    assert_eq!(disks.map(|disk| sum(&format!("out/{disk}"))), before);
    let new = built.root_of("server1.vmwarevm", "server1", roots.path());
    k3s_accepts(&new, "server");
    let config = |root: &std::path::Path| {
        fs::read_to_string(root.join("etc/rancher/k3s/config.yaml")).expect("there")
    };
    assert!(config(&old).contains("cluster-init: true\n"));
    assert!(!config(&new).contains("cluster-init"), "{}", config(&new));
    assert!(config(&new).contains("server: https://k3s-cluster.k8s.example.net:6443\n"));
    let of = |root: &std::path::Path, key: &str| {
        let text = config(root);
        text.lines().find(|line| line.starts_with(key)).map(str::to_owned)
    };
    for key in ["token: ", "agent-token: ", "node-ip: "] {
        assert!(of(&old, key).is_some() && of(&old, key) == of(&new, key), "{key}");
    }
    // The machine knows its role by its name, on its disk too.
    let roles = fs::read_to_string(new.join("etc/nodeforge/roles")).expect("there");
    let own = roles.lines().find(|line| line.starts_with("server1 ")).expect("a line");
    assert!(own.starts_with("server1 server "), "{roles}");
}
