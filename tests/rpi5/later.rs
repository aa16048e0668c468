//! A node that comes later: the same cluster file, one node more.

use std::fs;

use super::super::support::{Run, tool};
use super::built::built;

const NODE: &str = "\n[[node]]\nhostname = \"node1\"\naddresses = [\"192.168.1.21/24\"]\n\
    gateway = [\"192.168.1.1\"]\ndns = [\"192.168.1.1\"]\n";
/// Its address is the router's to give.
const NODE_OF_DHCP: &str = "\n[[node]]\nhostname = \"node2\"\n";

#[test]
fn a_node_added_later_joins_and_changes_nothing_else() {
    let built = built();
    let store = || {
        let text = fs::read_to_string(built.path("nodeforge.secrets")).expect("readable");
        text.parse::<toml::Table>().expect("TOML")
    };
    let before = store();
    let text = fs::read_to_string(built.path("cluster.toml")).expect("readable");
    fs::write(built.path("later.toml"), text + NODE + NODE_OF_DHCP).expect("written");
    // Nothing is downloaded: the prepared base is the cluster's.
    let nodes = ["controlplane", "node0", "node1", "node2"];
    let _ = Run::new(["build", "later.toml", "--locked", "--offline", "-o", "later"])
        .args(nodes)
        .folder(built.folder.path())
        .succeeds();

    let after = store();
    assert_eq!(after["seed"], before["seed"]);
    assert_eq!(after["secrets"], before["secrets"]);
    for (host, key) in before["ssh_host_keys"].as_table().expect("a table") {
        assert_eq!(&after["ssh_host_keys"][host], key, "{host}");
    }
    let image = |node: &str| built.path(&format!("later/{node}.img"));
    // Nodes that were there before would only know one name more, and need no new build; what the first control
    // plane gives a new cluster, `nodeforge add` tells a running one.
    for (node, files) in [
        ("controlplane", &["/etc/hosts", "/etc/nodeforge/nodes.yaml"][..]),
        ("node0", &["/etc/hosts"]),
    ] {
        let both = [built.image(node), image(node)].map(|it| it.display().to_string());
        let said = Run::new(["diff", &both[0], &both[1]]).exits(1).stdout_text();
        let paths: Vec<_> = said.split_whitespace().filter(|word| word.starts_with('/')).collect();
        assert_eq!(paths, files, "{said}");
    }

    let cat = |node: &str, path: &str| {
        let place = format!("{}:{path}", image(node).display());
        Run::new(["cat", &place]).succeeds().stdout_text()
    };
    let join = cat("node1", "/root/kubeadm/kubeadm-join.yaml");
    let known = built.cat("node0", "/root/kubeadm/kubeadm-join.yaml");
    let expected = known.replace("node0", "node1").replace("192.168.1.20", "192.168.1.21");
    assert_eq!(join, expected, "it joins as one that is known to join");
    let file = built.path("join.yaml");
    fs::write(&file, &join).expect("written");
    let kubeadm = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/rpi5/programs/kubeadm");
    let file = file.display().to_string();
    tool("python3", [kubeadm, "config", "validate", "--config", &file]);

    // A node whose address nobody knows signs its own certificate: it, and none of the others.
    let own = cat("node2", "/root/kubeadm/kubeadm-join.yaml");
    fs::write(&file, &own).expect("written");
    tool("python3", [kubeadm, "config", "validate", "--config", &file]);
    let argument = "\n    - name: rotate-server-certificates\n      value: \"false\"\n";
    assert!(own.contains(argument) && !join.contains("rotate-server"), "{own}");
    let init = cat("controlplane", "/root/kubeadm/kubeadm-init.yaml");
    assert!(
        init.contains("\nserverTLSBootstrap: true\n") && !init.contains("rotate-server"),
        "{init}"
    );

    // The authority and the token that it names are the running cluster's.
    let authority = built.path("running-ca.crt");
    fs::write(&authority, built.cat("controlplane", "/etc/nodeforge/pki/ca.crt")).expect("written");
    let script =
        "openssl x509 -noout -pubkey -in \"$0\" | openssl pkey -pubin -outform DER | sha256sum";
    let hash = tool("sh", ["-c".as_ref(), script.as_ref(), authority.as_os_str()]);
    let hash = hash.split_whitespace().next().expect("a hash");
    assert!(join.contains(&format!("caCertHashes: [\"sha256:{hash}\"]")), "{join}");
    let reveal = ["secrets", "show", "later.toml", "--reveal", "kubeadm-token"];
    let token = Run::new(reveal).folder(built.folder.path()).succeeds().stdout_text();
    assert!(join.contains(token.trim_end()));
    let init = built.cat("controlplane", "/root/kubeadm/kubeadm-init.yaml");
    assert!(init.contains(token.trim_end()));
}
