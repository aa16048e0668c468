//! Back to a snapshot of etcd by the command that the documentation names, with etcd itself: of the machine that tests,
//! and of the series that kubeadm's images have. Three members are in `control_planes.rs`.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Child, Command};

use super::super::support::{Node, etcd_of_debian_13, tool};
use super::second_year::{OVERLAY, kubernetes};
use super::steps::control_plane;

/// A kubelet as far as etcd is concerned: the real one runs while its manifest is there.
struct Kubelet(Child);

impl Kubelet {
    fn start(node: &Node, etcd: &Path) -> Self {
        let script = "cd \"$0\"; pid=; manifest=etc/kubernetes/manifests/etcd.yaml
            while [ -e kubelet-runs ]; do
                if [ -e $manifest ]; then
                    if [ -z \"$pid\" ] || ! kill -0 $pid 2>/dev/null; then
                        etcd $(sed -n 's/^ *- *\\(--.*\\)/\\1/p' $manifest) >>etcd.log 2>&1 & pid=$!
                    fi
                elif [ -n \"$pid\" ]; then
                    kill $pid; wait $pid; pid=
                fi
                sleep 0.2
            done
            [ -z \"$pid\" ] || kill $pid";
        node.write("kubelet-runs", "");
        let path = format!("{}:/usr/bin:/bin", etcd.display());
        let mut command = Command::new("sh");
        command.args(["-c", script]).arg(node.path("")).env("PATH", path);
        let kubelet = Self(command.spawn().expect("sh starts"));
        // Other tests run an etcd, too.
        let pgrep = format!("exec /usr/bin/pgrep --parent {} \"$@\"", kubelet.0.id());
        node.stand_in("pgrep", &pgrep);
        kubelet
    }
}

/// A cluster of one member, with the programs of this folder.
fn becomes_what_it_was(etcd: &Path, version: &str) {
    let node = control_plane();
    kubernetes(&node, 365);
    let said = tool(etcd.join("etcd").to_str().expect("UTF-8"), ["--version"]);
    assert!(said.starts_with(&format!("etcd Version: {version}.")), "{said}");
    for program in ["etcdctl", "etcdutl"] {
        if etcd.join(program).exists() {
            symlink(etcd.join(program), node.path(&format!("stand-ins/{program}")))
                .expect("linked");
        }
    }
    let free = || std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let (client, peer) = (free(), free());
    let port = |it: &std::net::TcpListener| it.local_addr().expect("an address").port();
    let (client_port, peer_port) = (port(&client), port(&peer));
    drop((client, peer));
    let root = node.path("").display().to_string();
    let root = root.trim_end_matches('/');
    let pki = format!("{root}/etc/kubernetes/pki/etcd");
    // As kubeadm writes it.
    let manifest = format!(
        "spec:\n  containers:\n  - command:\n    - etcd\n    - --name=node0\n    - --data-dir={root}/var/lib/etcd\n    \
         - --listen-client-urls=https://127.0.0.1:{client_port}\n    \
         - --advertise-client-urls=https://127.0.0.1:{client_port}\n    \
         - --listen-peer-urls=https://127.0.0.1:{peer_port}\n    \
         - --initial-advertise-peer-urls=https://127.0.0.1:{peer_port}\n    \
         - --initial-cluster=node0=https://127.0.0.1:{peer_port}\n    \
         - --cert-file={pki}/server.crt\n    - --key-file={pki}/server.key\n    - --client-cert-auth=true\n    \
         - --trusted-ca-file={pki}/ca.crt\n    - --peer-cert-file={pki}/peer.crt\n    - --peer-key-file={pki}/peer.key\n    \
         - --peer-client-cert-auth=true\n    - --peer-trusted-ca-file={pki}/ca.crt\n"
    );
    node.write("etc/kubernetes/manifests/etcd.yaml", &manifest);
    let mut kubelet = Kubelet::start(&node, etcd);
    let etcdctl = |arguments: &str| {
        let output = node.shell(&format!(
            "ETCDCTL_API=3 exec etcdctl --endpoints https://127.0.0.1:{client_port} --cacert {pki}/ca.crt \
             --cert {pki}/healthcheck-client.crt --key {pki}/healthcheck-client.key {arguments}"
        ));
        (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let wait = || {
        let up = (0..100).any(|_| {
            std::thread::sleep(std::time::Duration::from_millis(200));
            etcdctl("endpoint health").0
        });
        assert!(up, "{}", node.read("etcd.log"));
    };
    wait();
    let run = |arguments: &str| {
        let output = node.shell(&format!(
            "NODEFORGE_ETCD=https://127.0.0.1:{client_port} NODEFORGE_POD_WAIT=60 NODEFORGE_DELAY=0.2 \
             exec sh {}/{OVERLAY}/usr/bin/nodeforge-etcd {arguments}",
            env!("CARGO_MANIFEST_DIR")
        ));
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        (output.status.code(), said + &String::from_utf8_lossy(&output.stderr))
    };
    assert!(etcdctl("put /registry/a before").0);
    node.write("etc/nodeforge/etcd-snapshots.env", "KEEP='2'\n");
    let (code, said) = run("save");
    assert!(code == Some(0) && said.contains("1 of at most 2 are kept"), "{said}");
    let (_, first) = run("list");
    let kept = node.path("kept.db");
    fs::copy(first.trim(), &kept).expect("copied");
    assert!(etcdctl("put /registry/a after").0 && etcdctl("put /registry/b new").0);
    for _ in 0..2 {
        std::thread::sleep(std::time::Duration::from_millis(1100));
        assert_eq!(run("save").0, Some(0));
    }
    let (_, list) = run("list");
    assert!(list.lines().count() == 2 && !list.contains(first.trim()), "{list}");

    // What is no snapshot changes nothing.
    node.write("half.db", "half");
    let (code, said) = run(&format!("restore {root}/half.db"));
    assert!(
        code == Some(1) && said.contains("is not a whole snapshot; nothing was changed"),
        "{said}"
    );
    assert!(etcdctl("get /registry/b").1.contains("new"));

    let (code, said) = run(&format!("restore {}", kept.display()));
    assert!(code == Some(0) && said.contains("the cluster is what it was in "), "{said}");
    wait();
    assert_eq!(etcdctl("get /registry --prefix").1, "/registry/a\nbefore\n");
    assert!(etcdctl("member list").1.contains(", started, node0, "));
    assert_eq!(node.read("etc/kubernetes/manifests/etcd.yaml"), manifest);
    assert!(node.path("etc/kubernetes/manifests/kube-apiserver.yaml").exists());
    let old: Vec<_> = fs::read_dir(node.path("var/lib"))
        .expect("a folder")
        .map(|it| it.expect("an entry").file_name().into_string().expect("UTF-8"))
        .filter(|name| name.starts_with("etcd.before-"))
        .collect();
    assert_eq!(old.len(), 1, "{old:?}");
    assert_eq!(run("restore").0, Some(2));
    fs::remove_file(node.path("kubelet-runs")).expect("there");
    kubelet.0.wait().expect("it ends");
}

#[test]
fn the_cluster_becomes_what_it_was_in_a_snapshot() {
    let etcd = Path::new("/usr/bin");
    let said = tool("etcd", ["--version"]);
    let version = said.lines().next().and_then(|it| it.strip_prefix("etcd Version: "));
    let version = version.and_then(|it| it.rsplit_once('.')).expect("a version").0;
    becomes_what_it_was(etcd, version);
}

#[test]
fn so_it_does_with_the_etcd_of_kubeadms_series() {
    becomes_what_it_was(&etcd_of_debian_13(), "3.5");
}
