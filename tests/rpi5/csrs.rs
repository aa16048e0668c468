//! Whose serving certificates are approved: real requests, made by openssl.

use std::io::Write as _;
use std::process::{Command, Stdio};

use super::super::add::{Api, kubectl};
use super::super::support::{Node, tool};

const OVERLAY: &str = "profiles/rpi5-kubeadm/overlays/kubeadm-control";
const APPROVER: &str =
    "profiles/rpi5-kubeadm/overlays/kubeadm-control/usr/lib/nodeforge/approve-kubelet-csrs";
/// What kubectl makes of the `ConfigMap`, and of one that is not there.
const NODES: &str = "controlplane 192.168.1.10 fd77:3be9:5d2e:1::10\n\
                     node0 192.168.1.20 fd77::1:0:20\nnode1 \n\
                     100 192.168.1.100\n1 192.168.1.1\n01 192.168.1.2\n";
const SERVING: &str = "kubernetes.io/kubelet-serving";

/// A signing request, in PEM.
fn pem(subject: &str, extensions: &[&str]) -> String {
    let mut command = Command::new("openssl");
    command.args(["req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]);
    command.args(["-keyout", "/dev/null", "-subj", subject]);
    for extension in extensions {
        command.args(["-addext", extension]);
    }
    let output = command.output().expect("openssl starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

/// In base64, as the API has it.
fn base64(bytes: &[u8]) -> String {
    pipe(&["base64", "-w0"], bytes)
}

/// What a command makes of its standard input.
fn pipe(command: &[&str], input: &[u8]) -> String {
    let mut child = Command::new(command[0]);
    child.args(&command[1..]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = child.spawn().expect("it starts");
    child.stdin.take().expect("piped").write_all(input).expect("sent");
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{command:?}");
    String::from_utf8(output.stdout).expect("text")
}

fn request(subject: &str, names: &str) -> String {
    let extension = format!("subjectAltName={names}");
    let extensions = [extension.as_str()];
    base64(pem(subject, if names.is_empty() { &[] } else { &extensions }).as_bytes())
}

/// Alternative names by tag and content, as `openssl req` takes them.
fn der(names: &[(u8, &[u8])]) -> String {
    let element = |tag: u8, content: &[u8]| {
        let length = u8::try_from(content.len()).ok().filter(|it| *it < 128).expect("short");
        [&[tag, length], content].concat()
    };
    let names: Vec<u8> = names.iter().flat_map(|(tag, content)| element(*tag, content)).collect();
    let hex: Vec<String> = element(0x30, &names).iter().map(|it| format!("{it:02x}")).collect();
    format!("DER:{}", hex.join(":"))
}

/// What becomes of a request: the log's line, without its time.
fn verdict(signer: &str, user: &str, request: &str) -> String {
    verdict_among(NODES, signer, user, request)
}

fn verdict_among(nodes: &str, signer: &str, user: &str, request: &str) -> String {
    let node = Node::new("controlplane");
    node.overlay(OVERLAY);
    node.write("nodes", nodes);
    node.write("var/log/.kept", "");
    node.write("requests", &format!("csr-1 {signer} {request} \"{user}\"\n"));
    node.stand_in(
        "kubectl",
        "case \"$1 $2\" in\n'get csr') cat $NODEFORGE_ROOT/requests ;;\n\
         'get configmap') cat $NODEFORGE_ROOT/nodes ;;\nesac",
    );
    let output = node.run_script(APPROVER);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let log = std::fs::read_to_string(node.path("var/log/approve-kubelet-csrs.log"));
    let log = log.unwrap_or_default();
    assert!(log.lines().count() <= 1, "{log}");
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
fn requests_with_names_of_others_are_left_alone() {
    for (names, foreign) in [
        ("DNS:node0,IP:192.168.1.10", "IP Address:192.168.1.10"),
        ("DNS:node0,IP:10.0.0.1", "IP Address:10.0.0.1"),
        ("DNS:controlplane", "DNS:controlplane"),
        ("DNS:k8s-api.home.arpa,IP:192.168.1.20", "DNS:k8s-api.home.arpa"),
        ("DNS:node0,IP:fd77:3be9:5d2e:1::10", "IP Address:fd77:3be9:5d2e:1::10"),
        ("DNS:node0,URI:https://node0", "URI:https://node0"),
        ("DNS:node0,email:root@node0", "email:root@node0"),
        ("DNS:node00", "DNS:node00"),
        ("DNS:*", "DNS:*"),
        ("RID:1.2.3.4", "tag 88:*\\x03\\x04"),
    ] {
        let expected = format!("csr-1 left alone: node0 asks for {foreign}, which is not its own");
        assert_eq!(node0(names), expected, "{names}");
    }
    assert_eq!(node0(""), "csr-1 left alone: it names no address");
    // A node without an address of its own in the cluster file.
    let own = request("/O=system:nodes/CN=system:node:node1", "DNS:node1,IP:192.168.1.20");
    assert!(verdict(SERVING, "system:node:node1", &own).contains("node1 asks for IP Address:"));
}

/// To awk, names of digits are numbers.
#[test]
fn names_of_digits_are_names() {
    for (name, address) in [("100", "192.168.1.100"), ("1", "192.168.1.1"), ("01", "192.168.1.2")] {
        let user = format!("system:node:{name}");
        let own =
            request(&format!("/O=system:nodes/CN={user}"), &format!("DNS:{name},IP:{address}"));
        assert_eq!(verdict(SERVING, &user, &own), format!("csr-1 approved for {user}"));
    }
    for name in ["1e2", "0x64", "100.0", "001"] {
        let user = format!("system:node:{name}");
        let other = request(&format!("/O=system:nodes/CN={user}"), "DNS:100,IP:192.168.1.100");
        let expected = format!("csr-1 left alone: {user} is not in the ConfigMap nodeforge-nodes");
        assert_eq!(verdict(SERVING, &user, &other), expected);
    }
}

#[test]
fn requests_that_are_not_from_nodes_are_not_approved() {
    let good = request("/O=system:nodes/CN=system:node:node0", "DNS:node0");
    for user in [
        "system:node:node9",
        "system:node:",
        "system:node:node.",
        "node0",
        "admin",
        "system:node:#",
        "system:node:node\\060",
        "system:node:node0\\ncsr-2 kubernetes.io/kubelet-serving",
        "system:node:*",
    ] {
        let line = verdict(SERVING, user, &good);
        assert_eq!(
            line,
            format!("csr-1 left alone: {user} is not in the ConfigMap nodeforge-nodes")
        );
    }
    // Asked for by one node, in another's name.
    let line = verdict(SERVING, "system:node:controlplane", &good);
    assert!(line.starts_with("csr-1 left alone: its subject is CN=system:node:node0"), "{line}");
    for subject in [
        "/O=system:masters/CN=system:node:node0",
        "/O=system:nodes/O=system:masters/CN=system:node:node0",
        "/CN=system:node:node0",
        "/O=system:nodes/CN=system:node:node0\\,O=system:nodes",
        "/O=system:nodes/CN=system:node:node0\n",
        "/O=system:nodes/CN=system:node:node0\nsubject=CN=system:node:node0,O=system:nodes",
        "/O=system:nodes\n/CN=system:node:node0",
        "/O=system:nodes/CN=\u{8}system:node:node0",
        "/O=system:nodes+CN=system:node:node0",
    ] {
        let line = verdict(SERVING, "system:node:node0", &request(subject, "DNS:node0"));
        assert!(line.starts_with("csr-1 left alone: its subject is "), "{subject}: {line}");
    }
    for broken in ["%%%", "aGVsbG8=", "Cg=="] {
        assert!(
            verdict(SERVING, "system:node:node0", broken)
                .starts_with("csr-1 left alone: it is not ")
        );
    }
    // Not its business: nothing is said.
    let line = verdict("kubernetes.io/kube-apiserver-client-kubelet", "system:node:node0", &good);
    assert_eq!(line, "");
}

/// openssl prints names as they are: what follows a line break was not looked at.
#[test]
fn a_name_that_looks_like_several_is_one() {
    let four: &[u8] = &[10, 244, 0, 1];
    let (dns, ip, own) = (0x82, 0x87, &[192, 168, 1, 20]);
    for (name, shown) in [
        ("node0\n x", "node0\\x0a\\x20x"),
        ("node0\n", "node0\\x0a"),
        ("node0\0", "node0\\x00"),
        ("node0, DNS:node0", "node0,\\x20DNS:node0"),
        ("node0\r", "node0\\x0d"),
        ("NODE0", "NODE0"),
        ("", ""),
    ] {
        let names = [
            (dns, name.as_bytes()),
            (dns, b"kubernetes.default.svc"),
            (ip, four),
            (ip, own.as_slice()),
        ];
        let expected =
            format!("csr-1 left alone: node0 asks for DNS:{shown}, which is not its own");
        assert_eq!(node0(&der(&names)), expected);
    }
    // An address that is a name, and one with its netmask.
    for name in [(dns, own.as_slice()), (ip, b"node0"), (ip, &[192, 168, 1, 20, 255, 255, 255, 0])]
    {
        let line = node0(&der(&[(dns, b"node0"), name]));
        assert!(line.ends_with("which is not its own"), "{line}");
    }
    assert_eq!(node0(&der(&[])), "csr-1 left alone: it names no address");
    let both = der(&[(dns, b"node0"), (ip, own.as_slice())]);
    assert_eq!(node0(&both), "csr-1 approved for system:node:node0");
}

#[test]
fn only_what_kubelets_write_is_read() {
    let (subject, user) = ("/O=system:nodes/CN=system:node:node0", "system:node:node0");
    let own = "subjectAltName=DNS:node0";
    for extensions in [
        // Names twice, something else beside them, no names, marked critical.
        [own, "2.5.29.17=DER:30:0c:82:0a:6b:75:62:65:72:6e:65:74:65:73"].as_slice(),
        &["2.5.29.17=DER:30:0a:82:08:6b:75:62:65:72:6e:65:74", own],
        &[own, "basicConstraints=CA:TRUE"],
        &["keyUsage=digitalSignature"],
        &["subjectAltName=critical,DNS:node0"],
        &["subjectAltName=DER:82:05:6e:6f:64:65:30"],
        &["subjectAltName=DER:30:07:82:05:6e:6f:64:65:30:05:00"],
        &["subjectAltName=DER:30:80:82:05:6e:6f:64:65:30:00:00"],
    ] {
        let extensions: Vec<&str> = extensions.to_vec();
        let line = verdict(SERVING, user, &base64(pem(subject, &extensions).as_bytes()));
        assert_eq!(line, "csr-1 left alone: it is not built like a kubelet's", "{extensions:?}");
    }

    // Of two requests, or of what only openssl or only Kubernetes takes for one.
    let good = pem(subject, &[own]);
    let evil = pem(subject, &["subjectAltName=DNS:kubernetes.default.svc"]);
    let unseen = good.replacen("BEGIN", "BEG\0IN", 1);
    for pem in [
        format!("{good}{evil}"),
        format!("{unseen}{evil}"),
        format!("x\n{good}"),
        format!("{good}\n"),
        good.replace("CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST"),
    ] {
        let line = verdict(SERVING, user, &base64(pem.as_bytes()));
        assert_eq!(line, "csr-1 left alone: it is not one signing request in PEM", "{pem}");
    }

    // Another's key.
    let forged = "openssl req -outform DER | { head -c -1; printf x; } | openssl req -inform DER";
    let forged = pipe(&["sh", "-c", forged], good.as_bytes());
    let line = verdict(SERVING, user, &base64(forged.as_bytes()));
    assert_eq!(line, "csr-1 left alone: it is not signed by its own key");
}

/// A new node boots before anybody told the cluster of it: it is approved as soon as that is done.
#[test]
fn without_a_list_requests_wait() {
    let own = request("/O=system:nodes/CN=system:node:node0", "DNS:node0");
    let line = verdict_among("", SERVING, "system:node:node0", &own);
    assert_eq!(line, "csr-1 left alone: system:node:node0 is not in the ConfigMap nodeforge-nodes");
}

/// What first boot gives the cluster is what the approver reads, through a real kubectl and a stand-in for the API.
#[test]
fn the_list_comes_out_of_the_cluster_as_it_went_in() {
    let (api, node) = (Api::with(&[]), Node::new("controlplane"));
    let program = kubectl().display().to_string();
    let (config, cache) = (api.config(), node.path("cache"));
    let real =
        format!("{program} --kubeconfig {} --cache-dir {}", config.display(), cache.display());
    node.overlay(OVERLAY);
    node.write("var/log/.kept", "");
    let list = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: nodeforge-nodes, namespace: kube-system}\n\
                data: {\"100\": \"192.168.1.100\", node0: \"192.168.1.20 fd77::1:0:20\", node1: \"\"}\n";
    node.write("list.yaml", list);
    let apply = format!(
        "{real} apply --server-side --field-manager=nodeforge --filename {}",
        node.path("list.yaml").display()
    );
    tool("sh", ["-c", &apply]);
    let own = |name: &str, names: &str| {
        let subject = format!("/O=system:nodes/CN=system:node:{name}");
        format!("csr-{name} {SERVING} {} \"system:node:{name}\"\n", request(&subject, names))
    };
    let requests = [
        own("node0", "DNS:node0,IP:192.168.1.20,IP:fd77::1:0:20"),
        own("100", "DNS:100,IP:192.168.1.100"),
        own("node1", "DNS:node1,IP:192.168.1.20"),
    ];
    node.write("requests", &requests.concat());
    let stand_in = format!(
        "case \"$1 $2\" in\n'get csr') cat $NODEFORGE_ROOT/requests ;;\n'get configmap') exec {real} \"$@\" ;;\nesac"
    );
    node.stand_in("kubectl", &stand_in);
    let output = node.run_script(APPROVER);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let log = node.read("var/log/approve-kubelet-csrs.log");
    let said: Vec<&str> = log.lines().filter_map(|line| Some(line.split_once(' ')?.1)).collect();
    assert_eq!(
        said,
        [
            "csr-node0 approved for system:node:node0",
            "csr-100 approved for system:node:100",
            "csr-node1 left alone: node1 asks for IP Address:192.168.1.20, which is not its own",
        ]
    );
}

#[test]
fn a_users_name_is_one_field_of_one_line() {
    let node = Node::new("controlplane");
    node.overlay(OVERLAY);
    node.stand_in("kubectl", "exit 0");
    assert!(node.run_script(APPROVER).status.success());
    let calls = node.calls();
    assert!(calls.contains(r#"{{printf "%q" .spec.username}}"#), "{calls}");
    let list = "get configmap nodeforge-nodes --namespace kube-system --ignore-not-found";
    assert!(calls.contains(list), "{calls}");
}
