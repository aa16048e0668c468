//! First-boot steps of k3s' nodes, under the node's own sh, with stand-ins for what a node has and
//! a test has not: mostly what they do when something is missing.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use super::super::support::Node;

const GUESTINFO: &str = "profiles/fusion-k3s/firstboot/25-guestinfo";
const HASH: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
const NETWORK: &str = "fd77:0:0:1::/64";
const ADDRESS: &str = r"2: eth0    inet6 fd77:0:0:1::11/64 scope global \       valid_lft forever preferred_lft forever";
const IPV4: &str = r"2: eth0    inet 192.168.1.5/24 scope global eth0\       valid_lft forever preferred_lft forever";

/// k3s' kubectl: `kubectl config --kubeconfig FILE set-cluster default --server URL`.
const SET_CLUSTER: &str = "
    [ \"$2 $5 $6\" != 'config set-cluster default' ] || sed -i \"s|server: .*|server: $8|\" \"$4\"";

fn node() -> Node {
    let node = Node::new("server1");
    let script =
        concat!(env!("CARGO_MANIFEST_DIR"), "/overlays/k3s/usr/lib/nodeforge/node-address");
    node.write("usr/lib/nodeforge/node-address", &fs::read_to_string(script).expect("a script"));
    let executable = fs::Permissions::from_mode(0o755);
    fs::set_permissions(node.path("usr/lib/nodeforge/node-address"), executable).expect("set");
    know(&node, NETWORK);
    node
}

/// The node's networks are these.
fn know(node: &Node, networks: &str) {
    let text = format!(
        "K3S_USER='admin'\nK3S_API='https://api.k8s.test:443'\nK3S_NODE_NETWORKS='{networks}'\n"
    );
    node.write("etc/nodeforge/k3s.env", &text);
}

/// Whether a script of the project ended well, and what it said.
fn run(node: &Node, environment: &str, path: &str) -> (bool, String) {
    let script = format!("{environment} sh {}/{path}", env!("CARGO_MANIFEST_DIR"));
    let output = node.shell(&script);
    (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
}

fn step(node: &Node, name: &str) -> (bool, String) {
    // Whatever is waited for has one chance.
    let environment = "NODEFORGE_DNS_WAIT=0 NODEFORGE_K3S_WAIT=0";
    run(node, environment, &format!("firstboot/steps/{name}"))
}

#[track_caller]
fn fails(node: &Node, name: &str, why: &str) {
    assert_eq!(step(node, name), (false, format!("nodeforge-firstboot: {why}\n")));
}

#[track_caller]
fn mode(node: &Node, path: &str) -> u32 {
    fs::metadata(node.path(path)).expect("there").permissions().mode() & 0o777
}

#[test]
fn k3s_is_told_which_addresses_are_the_nodes() {
    let found = "etc/rancher/k3s/config.yaml.d/10-node-ip.yaml";
    // The build knew it.
    let node = node();
    node.write("etc/nodeforge/node.env", "K3S_NODE_IP='fd77:0:0:1::11'\n");
    assert_eq!(step(&node, "30-k3s-address"), (true, String::new()));
    assert!(!node.path(found).exists());

    // It did not.
    node.write("etc/nodeforge/node.env", "K3S_NODE_IP=''\n");
    node.stand_in("ip", &format!("cat <<'END'\n{ADDRESS}\n{IPV4}\nEND"));
    let (well, said) = step(&node, "30-k3s-address");
    assert!(well && said == "nodeforge-firstboot: node-ip=fd77:0:0:1::11\n", "{said}");
    assert_eq!(
        (node.read(found).as_str(), mode(&node, found)),
        ("node-ip: \"fd77:0:0:1::11\"\n", 0o600)
    );
    know(&node, &format!("192.168.1.0/24 {NETWORK}"));
    assert!(step(&node, "30-k3s-address").0);
    assert_eq!(node.read(found), "node-ip: \"192.168.1.5,fd77:0:0:1::11\"\n");

    // There is none, or not in every network.
    fs::remove_file(node.path(found)).expect("there");
    // Time passes by itself.
    node.stand_in("cut", "n=$(cat $NODEFORGE_ROOT/time 2>/dev/null || echo 0); echo $((n + 200)) | tee $NODEFORGE_ROOT/time");
    node.stand_in("ip", &format!("cat <<'END'\n{ADDRESS}\nEND"));
    let why = format!("timed out waiting for an address in 192.168.1.0/24 {NETWORK}");
    fails(&node, "30-k3s-address", &why);
    node.stand_in("ip", "exit 1");
    fails(&node, "30-k3s-address", &why);
    assert!(!node.path(found).exists());
}

#[test]
fn servers_are_in_hosts_while_dns_does_not_know_them() {
    let node = node();
    let before = node.read("etc/hosts");
    // There is no server to join, or DNS knows them all.
    assert_eq!(step(&node, "35-join-name"), (true, String::new()));
    node.write(
        "etc/nodeforge/join-hosts",
        "fd77::11 k3s.test api.test\nfd77::12 k3s.test api.test\n",
    );
    node.stand_in("getent", "exit 0");
    assert_eq!(step(&node, "35-join-name"), (true, String::new()));
    assert_eq!(node.read("etc/hosts"), before);
    assert_eq!(node.calls(), "getent ahosts api.test\ngetent ahosts k3s.test\n");

    // One name is not enough; and twice is once.
    node.stand_in("getent", "[ \"$2\" = api.test ]");
    let lines = "fd77::11 k3s.test api.test # nodeforge: join\nfd77::12 k3s.test api.test # nodeforge: join\n";
    for _ in 0..2 {
        let (well, said) = step(&node, "35-join-name");
        assert!(well && said.contains("timed out waiting for DNS to know the servers\n"), "{said}");
        assert_eq!(node.read("etc/hosts"), format!("{before}{lines}"));
    }
    assert_eq!(mode(&node, "etc/hosts"), 0o644);
}

#[test]
fn k3s_that_is_nowhere_is_missed() {
    let node = node();
    fails(
        &node,
        "40-k3s-install",
        "there is no /usr/local/bin/k3s, and /etc/nodeforge/k3s.env does not say where to get it",
    );
    // Where, but not what.
    node.write("etc/nodeforge/k3s.env", "K3S_URL='https://k3s.test/k3s'\n");
    assert!(!step(&node, "40-k3s-install").0);
    // Baked in, and swap that does not go.
    node.program("usr/local/bin/k3s", "k3s", "exit 0");
    node.stand_in("swapoff", "exit 255");
    assert!(!step(&node, "40-k3s-install").0);
    node.stand_in("swapoff", "exit 0");
    assert_eq!(step(&node, "40-k3s-install"), (true, String::new()));
}

#[test]
fn a_containerd_that_is_not_k3s_own_is_given_the_images() {
    const STEP: &str = "profiles/fusion-k3s/firstboot/45-k3s-images";
    let node = node();
    node.write("var/lib/rancher/k3s/agent/images/k3s-airgap-images-arm64.tar.zst", "packed");
    node.stand_in("zstd", "case $* in *--test*) ;; *) echo images ;; esac");
    const PAUSE: &str = "docker.io/rancher/mirrored-pause";
    let has_pause = |pause: &str| {
        let body = format!(
            "case $* in *list*) printf '%s\\n' docker.io/rancher/k3s:v1 {pause} {pause}@sha256:0 ;; \
             *) cat >\"$NODEFORGE_ROOT/imported\" ;; esac"
        );
        node.stand_in("ctr", &body);
    };
    has_pause(&format!("{PAUSE}:3.6"));
    let config = format!("version = 2\n  sandbox_image = \"{PAUSE}:3.6\"\n");
    node.write("etc/containerd/config.toml", &config);
    // k3s does that itself for its own.
    assert_eq!((run(&node, "", STEP), node.calls()), ((true, String::new()), String::new()));

    node.write("etc/nodeforge/k3s.env", "K3S_CONTAINERD='/run/containerd/containerd.sock'\n");
    let said = "nodeforge-firstboot: importing k3s-airgap-images-arm64.tar.zst\n".to_owned();
    assert_eq!(run(&node, "", STEP), (true, said));
    assert_eq!(node.read("imported"), "images\n");
    let ctr = "ctr --address /run/containerd/containerd.sock --namespace k8s.io images import -\n";
    let calls = node.calls();
    assert!(calls.starts_with("systemctl start containerd.service\n"), "{calls}");
    assert!(calls.contains(ctr) && calls.contains("zstd -dc "), "{calls}");

    assert_eq!(node.read("etc/containerd/config.toml"), config);
    // Another release of k3s has another image that holds pods together.
    has_pause(&format!("{PAUSE}:3.10.1"));
    node.forget_calls();
    let (ends_well, said) = run(&node, "", STEP);
    assert!(
        ends_well
            && said
                .ends_with(": pods are held together by docker.io/rancher/mirrored-pause:3.10.1\n"),
        "{said}"
    );
    assert_eq!(node.read("etc/containerd/config.toml"), config.replace(":3.6", ":3.10.1"));
    assert!(node.calls().ends_with("systemctl restart containerd.service\n"), "{}", node.calls());
    // What nodeforge packed is not compressed.
    node.write("var/lib/rancher/k3s/agent/images/deployed.tar", "images of charts");
    let body = format!(
        "case $* in *list*) echo {PAUSE}:3.10.1 ;; \
         *) shift $(($# - 1)); cat \"$1\" >>\"$NODEFORGE_ROOT/imported\" ;; esac"
    );
    node.stand_in("ctr", &body);
    let (is_good, said) = run(&node, "", STEP);
    assert!(is_good && said.contains("importing deployed.tar\n"), "{said}");
    assert!(node.read("imported").contains("images of charts"));
    fs::remove_file(node.path("var/lib/rancher/k3s/agent/images/deployed.tar")).expect("there");
    has_pause(&format!("{PAUSE}:3.10.1"));

    // Nothing is imported of an archive that is cut short.
    node.write("imported", "nothing\n");
    node.stand_in("zstd", "case $* in *--test*) exit 1 ;; *) echo half ;; esac");
    assert!(!run(&node, "", STEP).0);
    assert_eq!(node.read("imported"), "nothing\n");
    node.stand_in("zstd", "case $* in *--test*) ;; *) echo images ;; esac");
    // Tried again when the images are not in it.
    node.stand_in("ctr", "exit 1");
    assert!(!run(&node, "", STEP).0);
    node.stand_in("systemctl", "exit 1");
    assert!(!run(&node, "", STEP).0);
    // Without `offline` there are none.
    fs::remove_dir_all(node.path("var/lib/rancher")).expect("there");
    assert_eq!(run(&node, "", STEP), (true, String::new()));
}

#[test]
fn an_agent_is_waited_for_until_its_kubelet_is_of_the_cluster() {
    let node = node();
    let vain = "timed out waiting for the k3s agent to join";
    // It runs, and no server let it in.
    fails(&node, "50-k3s-agent", vain);
    let start = "systemctl --quiet enable k3s-agent.service\nsystemctl --no-block start k3s-agent.service\n";
    assert!(node.calls().starts_with(start), "{}", node.calls());
    let kubeconfig = "var/lib/rancher/k3s/agent/kubelet.kubeconfig";
    node.write(kubeconfig, "");
    fails(&node, "50-k3s-agent", vain);
    // One that does not run any more.
    node.write(kubeconfig, "kind: Config\n");
    node.stand_in("systemctl", "[ \"$2\" != is-active ]");
    fails(&node, "50-k3s-agent", vain);
    for word in ["enable", "start"] {
        node.stand_in("systemctl", &format!("[ \"$2\" != {word} ]"));
        assert_eq!(step(&node, "50-k3s-agent"), (false, String::new()), "{word}");
    }
    node.stand_in("systemctl", "exit 0");
    let joined = "nodeforge-firstboot: k3s agent joined\n".to_owned();
    assert_eq!(step(&node, "50-k3s-agent"), (true, joined));
}

#[test]
fn a_server_is_waited_for_and_its_kubeconfig_given_to_the_user() {
    let node = node();
    node.program("usr/local/bin/k3s", "k3s", "exit 1");
    fails(&node, "50-k3s-server", "timed out waiting for the k3s server to be ready");
    assert!(node.calls().contains("k3s kubectl get --raw /readyz\n"), "{}", node.calls());
    for word in ["enable", "start"] {
        node.stand_in("systemctl", &format!("[ \"$2\" != {word} ]"));
        assert_eq!(step(&node, "50-k3s-server"), (false, String::new()), "{word}");
    }
    node.stand_in("systemctl", "exit 0");
    node.program("usr/local/bin/k3s", "k3s", "exit 0");

    let k3s_yaml = "etc/rancher/k3s/k3s.yaml";
    let config = "  cluster:\n    server: https://[::1]:6443\n  name: default\n";
    node.write(k3s_yaml, config);
    node.stand_in("getent", "exit 2");
    let ready = "k3s server ready\nnodeforge-firstboot: ";
    fails(&node, "50-k3s-server", &format!("{ready}there is no user admin"));
    // k3s answers, and has left no kubeconfig.
    node.stand_in("getent", "echo 'admin:x:1000:1000:,,,:/home/admin:/bin/bash'");
    node.stand_in("chown", "exit 0");
    fs::remove_file(node.path(k3s_yaml)).expect("there");
    assert!(!step(&node, "50-k3s-server").0);
    assert!(!node.path("home/admin/.kube/config").exists());
    node.program("usr/local/bin/k3s", "k3s", SET_CLUSTER);
    node.write(k3s_yaml, config);
    let said = "nodeforge-firstboot: k3s server ready\n".to_owned();
    assert_eq!(step(&node, "50-k3s-server"), (true, said));
    let config = "home/admin/.kube/config";
    assert_eq!(
        (node.read(config).as_str(), mode(&node, config)),
        ("  cluster:\n    server: https://api.k8s.test:443\n  name: default\n", 0o600)
    );
    let kube = node.path("home/admin/.kube").display().to_string();
    let chown = format!("chown 1000:1000 {kube} {kube}/config\n");
    assert!(node.calls().ends_with(&chown), "{}", node.calls());
    let copies = fs::read_dir(node.path("run/nodeforge")).expect("a folder").count();
    assert_eq!(copies, 0, "no copy is left of the administrator's kubeconfig");
    node.stand_in("chown", "exit 1");
    assert!(!step(&node, "50-k3s-server").0);
}

#[test]
fn a_server_without_a_name_server_is_a_server() {
    let node = node();
    let names = || run(&node, "", "profiles/fusion-k3s/firstboot/60-server-names");
    assert_eq!(names(), (true, String::new()));
    assert_eq!(node.calls(), "systemctl start nodeforge-dns.service\n");
    node.stand_in("systemctl", "exit 1");
    let (well, said) = names();
    assert!(
        well && said.contains("DNS does not know this server yet; it registers again"),
        "{said}"
    );
}

/// A clone made by hand, with what VMware would answer: `KEY VALUE` lines.
fn clone(answers: &str) -> Node {
    let node = node();
    for role in ["agent", "server"] {
        node.write(
            &format!("usr/share/nodeforge/k3s/{role}.yaml"),
            "server: https://k3s.test:6443\n",
        );
    }
    node.write("guestinfo", answers);
    let body = |request: &str| {
        format!(
            "set -- {request}\ncase $1 in info-get) sed -n \"s/^${{2#guestinfo.nodeforge.}} //p\" \
             \"$NODEFORGE_ROOT/guestinfo\" | grep . ;; esac"
        )
    };
    node.stand_in("vmware-rpctool", &body("$1"));
    node.stand_in("vmtoolsd", &body("$2"));
    node
}

fn guestinfo(node: &Node, role: &str) -> (bool, String) {
    run(node, &format!("NODEFORGE_ROLE={role}"), &format!("{GUESTINFO} 2>&1"))
}

#[test]
fn a_machine_that_was_built_asks_vmware_nothing() {
    let node = clone("");
    node.write("etc/rancher/k3s/config.yaml", "token: ours\n");
    assert_eq!(guestinfo(&node, "agent"), (true, String::new()));
    assert_eq!(
        (node.read("etc/rancher/k3s/config.yaml").as_str(), node.calls()),
        ("token: ours\n", String::new())
    );
}

#[test]
fn a_clone_without_a_proper_token_is_refused() {
    let (agents, servers) = (format!("K10{HASH}::node:abc1"), format!("K10{HASH}::server:abc1"));
    let missing = |key: &str| format!("guestinfo.nodeforge.{key} is missing or not a token");
    for (role, answers, said) in [
        ("first-server", String::new(), "a clone cannot be the first-server".to_owned()),
        ("agent", String::new(), missing("token")),
        ("agent", "token abc1".into(), missing("token")),
        ("agent", format!("token {servers}"), missing("token")),
        ("agent", format!("token {agents}\" evil: \"1"), missing("token")),
        ("server", format!("token {agents}\nagent-token abc1"), missing("token")),
        ("server", format!("token {servers}"), missing("agent-token")),
        ("server", format!("token {servers}\nagent-token a b"), missing("agent-token")),
    ] {
        let node = clone(&format!("{answers}\n"));
        let (well, found) = guestinfo(&node, role);
        assert!(!well && found.contains(&said), "{role} {answers}: {found}");
        assert!(!node.path("etc/rancher/k3s/config.yaml").exists(), "{role} {answers}");
        assert!(!node.calls().contains("info-set"), "it may be tried again: {}", node.calls());
    }
}

#[test]
fn a_clone_takes_its_tokens_through_either_program_of_vmwares() {
    let answers = format!("token K10{HASH}::server:abc1\nagent-token def2\n");
    for program in ["vmware-rpctool ", "vmtoolsd --cmd "] {
        let node = clone(&answers);
        if program.starts_with("vmtoolsd") {
            fs::remove_file(node.path("stand-ins/vmware-rpctool")).expect("there");
        }
        assert_eq!(guestinfo(&node, "server"), (true, String::new()), "{program}");
        let config = "etc/rancher/k3s/config.yaml";
        let expected = format!(
            "server: https://k3s.test:6443\ntoken: \"K10{HASH}::server:abc1\"\nagent-token: \"def2\"\n"
        );
        assert_eq!((node.read(config), mode(&node, config)), (expected, 0o600), "{program}");
        let requests = [
            "info-get guestinfo.nodeforge.token",
            "info-get guestinfo.nodeforge.agent-token",
            "info-set guestinfo.nodeforge.token ",
            "info-set guestinfo.nodeforge.agent-token ",
        ];
        let calls: String = requests.map(|request| format!("{program}{request}\n")).concat();
        assert_eq!(node.calls(), calls);
    }
    // What cannot be forgotten was taken all the same.
    let node = clone(&format!("token K10{HASH}::node:abc1\n"));
    let body = format!("[ \"${{1%% *}}\" != info-set ] && echo K10{HASH}::node:abc1");
    node.stand_in("vmware-rpctool", &body);
    assert_eq!(guestinfo(&node, "agent"), (true, String::new()));
    assert!(!node.read("etc/rancher/k3s/config.yaml").contains("agent-token"));
}
