//! Whose serving certificates are approved: real requests, made by openssl.

use std::process::Command;

use super::super::support::Node;

const APPROVER: &str =
    "profiles/rpi5-kubeadm/overlays/kubeadm-first/usr/lib/nodeforge/approve-kubelet-csrs";
const NODES: &str = "# NAME ADDRESS…\ncontrolplane 192.168.1.10 fd77:3be9:5d2e:1::10\n\
                     node0 192.168.1.20 fd77::1:0:20\nnode1\n";
const SERVING: &str = "kubernetes.io/kubelet-serving";

/// A signing request, in base64 as the API has it.
fn request(subject: &str, names: &str) -> String {
    let extension = format!("subjectAltName={names}");
    let mut command = Command::new("openssl");
    command.args(["req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]);
    command.args(["-keyout", "/dev/null", "-subj", subject]);
    if !names.is_empty() {
        command.args(["-addext", &extension]);
    }
    let output = command.output().expect("openssl starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut base64 = Command::new("base64");
    base64.arg("-w0").stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
    let mut base64 = base64.spawn().expect("base64 starts");
    std::io::Write::write_all(base64.stdin.as_mut().expect("piped"), &output.stdout).expect("sent");
    let output = base64.wait_with_output().expect("base64 ends");
    String::from_utf8(output.stdout).expect("text")
}

/// What becomes of a request: the log's line, without its time.
fn verdict(signer: &str, user: &str, request: &str) -> String {
    let node = Node::new("controlplane");
    node.write("etc/nodeforge/nodes", NODES);
    node.write("var/log/.kept", "");
    node.stand_in(
        "kubectl",
        &format!("[ \"$1\" != get ] || echo 'csr-1 {signer} {user} {request}'"),
    );
    let output = node.run_script(APPROVER);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let log = std::fs::read_to_string(node.path("var/log/approve-kubelet-csrs.log"));
    let log = log.unwrap_or_default();
    let line = log.trim_end().split_once(' ').map_or("", |(_, rest)| rest).to_owned();
    let approved = node.calls().contains("kubectl certificate approve csr-1\n");
    assert_eq!(approved, line.starts_with("csr-1 approved for"), "{log}");
    // Looked at again, nothing is said twice.
    node.run_script(APPROVER);
    if !log.is_empty() {
        assert_eq!(node.read("var/log/approve-kubelet-csrs.log"), log);
    }
    line
}

fn node0(names: &str) -> String {
    verdict(SERVING, "system:node:node0", &request("/O=system:nodes/CN=system:node:node0", names))
}

#[test]
fn a_node_gets_its_own_name_and_addresses() {
    for names in [
        "DNS:node0,IP:192.168.1.20",
        "DNS:node0",
        "IP:192.168.1.20",
        // Whichever way each side writes them.
        "DNS:node0,IP:fd77:0:0:0:0:1:0:20",
        "DNS:node0,IP:192.168.1.20,IP:fd77::1:0:20",
    ] {
        assert_eq!(node0(names), "csr-1 approved for system:node:node0", "{names}");
    }
    let own = request("/O=system:nodes/CN=system:node:node1", "DNS:node1");
    assert_eq!(verdict(SERVING, "system:node:node1", &own), "csr-1 approved for system:node:node1");
}

#[test]
fn what_is_anothers_is_left_alone() {
    for (names, foreign) in [
        ("DNS:node0,IP:192.168.1.10", "IP Address:192.168.1.10"),
        ("DNS:node0,IP:10.0.0.1", "IP Address:10.0.0.1"),
        ("DNS:controlplane", "DNS:controlplane"),
        ("DNS:k8s-api.home.arpa,IP:192.168.1.20", "DNS:k8s-api.home.arpa"),
        ("DNS:node0,IP:fd77:3be9:5d2e:1::10", "IP Address:FD77:3BE9:5D2E:1:0:0:0:10"),
        ("DNS:node0,URI:https://node0", "URI:https://node0"),
        ("DNS:node0,email:root@node0", "email:root@node0"),
        ("DNS:node00", "DNS:node00"),
        ("DNS:*", "DNS:*"),
    ] {
        let expected = format!("csr-1 left alone: node0 asks for {foreign}, which is not its own");
        assert_eq!(node0(names), expected, "{names}");
    }
    assert_eq!(node0(""), "csr-1 left alone: it names no address");
    // A node without an address of its own in the cluster file.
    let own = request("/O=system:nodes/CN=system:node:node1", "DNS:node1,IP:192.168.1.20");
    assert!(verdict(SERVING, "system:node:node1", &own).contains("node1 asks for IP Address:"));
}

#[test]
fn whoever_is_no_node_gets_nothing() {
    let good = request("/O=system:nodes/CN=system:node:node0", "DNS:node0");
    for user in [
        "system:node:node9",
        "system:node:",
        "system:node:node.",
        "node0",
        "admin",
        "system:node:#",
    ] {
        let line = verdict(SERVING, user, &good);
        assert_eq!(line, format!("csr-1 left alone: {user} is no node of the cluster file"));
    }
    // Asked for by one node, in another's name.
    let line = verdict(SERVING, "system:node:controlplane", &good);
    assert!(line.starts_with("csr-1 left alone: its subject is CN=system:node:node0"), "{line}");
    for subject in [
        "/O=system:masters/CN=system:node:node0",
        "/O=system:nodes/O=system:masters/CN=system:node:node0",
        "/CN=system:node:node0",
        "/O=system:nodes/CN=system:node:node0\\,O=system:nodes",
    ] {
        let line = verdict(SERVING, "system:node:node0", &request(subject, "DNS:node0"));
        assert!(line.starts_with("csr-1 left alone: its subject is "), "{subject}: {line}");
    }
    for broken in ["%%%", "aGVsbG8="] {
        assert!(
            verdict(SERVING, "system:node:node0", broken)
                .starts_with("csr-1 left alone: it is not ")
        );
    }
    // Not its business: nothing is said.
    let line = verdict("kubernetes.io/kube-apiserver-client-kubelet", "system:node:node0", &good);
    assert_eq!(line, "");
}
