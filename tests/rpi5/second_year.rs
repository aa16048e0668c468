//! What a control plane does when first boot is long over: certificates, restores that fail, choices.

use std::fs;

use super::super::support::{Node, Run, temporary_folder, tool};
use super::steps::{calls_of, control_plane};

pub(super) const OVERLAY: &str = "profiles/rpi5-kubeadm/overlays/kubeadm-control";
/// As `kubeadm certs renew --help` lists them.
const CERTIFICATES: [&str; 7] = [
    "apiserver",
    "apiserver-etcd-client",
    "apiserver-kubelet-client",
    "front-proxy-client",
    "etcd/healthcheck-client",
    "etcd/peer",
    "etcd/server",
];

/// Signs a certificate for so many days, as `$kubernetes/pki/NAME.crt` or into `NAME.conf`.
const SIGN: &str = "
    pki=$NODEFORGE_ROOT/etc/kubernetes/pki
    sign() {
        ca=$pki/ca; case $1 in etcd/*) ca=$pki/etcd/ca ;; esac
        openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=${1##*/} \\
            -addext subjectAltName=IP:127.0.0.1 -keyout $pki/$1.key -out $pki/$1.csr 2>/dev/null
        openssl x509 -req -days $2 -in $pki/$1.csr -CA $ca.crt -CAkey $ca.key -copy_extensions copy \\
            -CAcreateserial -out $pki/$1.crt 2>/dev/null
    }
    conf() {
        sign $1 $2
        echo \"    client-certificate-data: $(base64 -w0 <$pki/$1.crt)\" >$pki/../$1.conf
        rm $pki/$1.*
    }";

pub(super) fn kubernetes(node: &Node, days: u32) {
    let script = format!(
        "set -eu; mkdir -p $NODEFORGE_ROOT/etc/kubernetes/pki/etcd $NODEFORGE_ROOT/etc/kubernetes/manifests
        {SIGN}
        for ca in ca front-proxy-ca etcd/ca; do
            openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650 \\
                -subj /CN=${{ca##*/}} -keyout $pki/$ca.key -out $pki/$ca.crt 2>/dev/null
        done
        for name in {0}; do sign $name {days}; done
        for name in admin super-admin controller-manager scheduler; do conf $name {days}; done",
        CERTIFICATES.join(" ")
    );
    let output = node.shell(&script);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let renew = format!(
        "[ \"$*\" = 'certs renew all' ] || exit 9; set -eu; {SIGN}
        for name in {}; do sign $name 365; done
        for name in admin super-admin controller-manager scheduler; do conf $name 365; done",
        CERTIFICATES.join(" ")
    );
    node.stand_in("kubeadm", &renew);
    node.stand_in("kubectl", "exit 0");
    // A sandbox that was stopped is made anew under another name.
    node.stand_in(
        "crictl",
        "case $1 in
        stopp) [ ! -e $NODEFORGE_ROOT/stuck ] || exit 1 ;;
        pods) echo a-pod ;;
        esac",
    );
    node.stand_in("getent", &format!("echo pi:x:{0}::/home/pi:/bin/sh", id()));
    for name in ["etcd", "kube-apiserver", "kube-vip"] {
        node.write(&format!("etc/kubernetes/manifests/{name}.yaml"), "kind: Pod\n");
    }
}

/// Of the user who tests, `UID:GID`.
fn id() -> String {
    let id = |option: &str| tool("id", [option]).trim().to_owned();
    format!("{}:{}", id("-u"), id("-g"))
}

fn renew(node: &Node) -> (bool, String) {
    let output = node.shell(&format!(
        "NODEFORGE_POD_WAIT=0 exec sh {}/{OVERLAY}/usr/lib/nodeforge/renew-certificates",
        env!("CARGO_MANIFEST_DIR")
    ));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    (output.status.success(), said + &String::from_utf8_lossy(&output.stderr))
}

#[test]
fn certificates_are_renewed_before_they_expire_and_nothing_keeps_the_old_ones() {
    let node = control_plane();
    kubernetes(&node, 61);
    let admin = node.read("etc/kubernetes/admin.conf");
    node.write("home/pi/.kube/config", &admin);
    let (well, said) = renew(&node);
    assert!(well && said.ends_with("no certificate expires within 60 days\n"), "{said}");
    assert!(calls_of(&node, "kubeadm").is_empty() && calls_of(&node, "crictl").is_empty());

    kubernetes(&node, 59);
    let admin = node.read("etc/kubernetes/admin.conf");
    node.write("home/pi/.kube/config", &admin);
    // The power fails before what has a copy got the new ones.
    node.write("stuck", "");
    let (well, said) = renew(&node);
    assert!(!well && said.contains("renewing: pki/apiserver-etcd-client.crt "), "{said}");
    for name in CERTIFICATES {
        assert!(said.contains(&format!(" pki/{name}.crt ")), "{name}: {said}");
    }
    assert!(said.contains(" super-admin.conf ") && !said.contains("/ca.crt"), "{said}");
    assert_eq!(node.read("home/pi/.kube/config"), admin);
    fs::remove_file(node.path("stuck")).expect("there");
    let (well, said) = renew(&node);
    assert!(well && said.ends_with("the certificates are renewed, and in use\n"), "{said}");
    assert_eq!(calls_of(&node, "kubeadm"), ["kubeadm certs renew all"]);
    let stopped = calls_of(&node, "crictl").iter().filter(|it| it.contains("stopp")).count();
    assert_eq!(stopped, 1 + 3, "each static pod, and the one that was stuck");
    assert!(calls_of(&node, "crictl").iter().any(|it| it.ends_with("--name ^kube-vip-node0$")));
    assert_eq!(node.read("home/pi/.kube/config"), node.read("etc/kubernetes/admin.conf"));
    assert_ne!(node.read("home/pi/.kube/config"), admin);
    assert!(!node.path("var/lib/nodeforge/renewal").exists());
    assert!(!node.path("run/nodeforge/renewal").exists());

    // One that its owner has changed is not replaced.
    kubernetes(&node, 59);
    node.write("home/pi/.kube/config", "other clusters\n");
    let (well, said) = renew(&node);
    assert!(well && said.contains(".kube/config is not a copy of admin.conf any more"), "{said}");
    assert_eq!(node.read("home/pi/.kube/config"), "other clusters\n");
}

#[test]
fn a_renewal_that_renews_nothing_fails() {
    let node = control_plane();
    kubernetes(&node, 5);
    node.stand_in("kubeadm", "exit 0");
    let (well, said) = renew(&node);
    assert!(
        !well && said.contains("still about to expire after the renewal: pki/apiserver"),
        "{said}"
    );
    assert!(calls_of(&node, "crictl").is_empty());
}

/// etcd's programs and the kubelet's effect are stand-ins: what fails is one of these, at one moment.
fn restorable() -> Node {
    let node = control_plane();
    node.write(
        "etc/kubernetes/manifests/etcd.yaml",
        "  - command:\n    - etcd\n    - --name=node0\n    - --initial-advertise-peer-urls=https://192.0.2.1:2380\n    \
         - --initial-cluster=node0=https://192.0.2.1:2380,node1=https://192.0.2.2:2380\n",
    );
    node.write("etc/kubernetes/manifests/kube-apiserver.yaml", "kind: Pod\n");
    node.write("var/lib/etcd/member/snap/db", "old");
    node.write("a.db", "snapshot");
    node.stand_in("pgrep", "exit 1");
    node.stand_in("kubectl", "exit 0");
    node.stand_in("etcdctl", "exit 1");
    node.stand_in(
        "etcdutl",
        "case \"$*\" in *--help) exit 0 ;; 'snapshot restore '*) ;; *) exit 0 ;; esac
        [ -e $NODEFORGE_ROOT/etc/kubernetes/manifests/etcd.yaml ] || exit 8
        mkdir -p $NODEFORGE_ROOT/var/lib/etcd.new/member/snap
        [ ! -e $NODEFORGE_ROOT/full ] || { echo 'no space left on device' >&2; exit 1; }
        echo new >$NODEFORGE_ROOT/var/lib/etcd.new/member/snap/db",
    );
    node
}

fn restore(node: &Node, options: &str) -> (Option<i32>, String) {
    let output = node.shell(&format!(
        "NODEFORGE_POD_WAIT=1 NODEFORGE_API_WAIT=1 NODEFORGE_DELAY=0.1 \
         exec sh {}/{OVERLAY}/usr/bin/nodeforge-etcd restore {options} $NODEFORGE_ROOT/a.db",
        env!("CARGO_MANIFEST_DIR")
    ));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    (output.status.code(), said + &String::from_utf8_lossy(&output.stderr))
}

/// Manifests that the kubelet runs, what etcd finds, and what is left beside it.
fn runs(node: &Node) -> (usize, String, Vec<String>) {
    let manifests = ["etcd", "kube-apiserver"];
    let count = manifests
        .iter()
        .filter(|name| node.path(&format!("etc/kubernetes/manifests/{name}.yaml")).exists())
        .count();
    let entries = fs::read_dir(node.path("var/lib")).expect("a folder");
    let names = entries.map(|it| it.expect("an entry").file_name().into_string().expect("UTF-8"));
    let mut left: Vec<_> = names.filter(|it| it.starts_with("etcd.")).collect();
    left.sort();
    (count, node.read("var/lib/etcd/member/snap/db"), left)
}

#[test]
fn a_restore_that_fails_leaves_the_cluster_running() {
    let node = restorable();
    let unchanged = (2, "old".to_owned(), Vec::new());
    // etcd fails, after half of it.
    node.write("full", "");
    let (code, said) = restore(&node, "");
    assert!(code == Some(1) && said.contains("no space left on device"), "{said}");
    assert_eq!(runs(&node), unchanged);
    fs::remove_file(node.path("full")).expect("there");
    // There is no space for it.
    node.stand_in(
        "df",
        "echo 'Filesystem 1024-blocks Used Available'; echo '/dev/a 1000000 900000 2048'",
    );
    let (code, said) = restore(&node, "");
    let words = format!(
        "restoring needs 128 MiB in {}var/lib, which has 2 MiB; nothing",
        node.path("").display()
    );
    assert!(code == Some(1) && said.contains(&words), "{said}");
    assert_eq!(runs(&node), unchanged);
    node.stand_in("df", "exec /usr/bin/df \"$@\"");
    // etcd does not stop.
    node.stand_in("pgrep", "exit 0");
    let (code, said) = restore(&node, "");
    assert!(
        code == Some(1)
            && said.contains("timed out waiting for etcd to stop")
            && said.ends_with("the restore failed; etcd and the API server run again\n"),
        "{said}"
    );
    assert_eq!(runs(&node), unchanged);
    // Somebody ends it while it waits for that.
    for (signal, number) in [("HUP", 129), ("INT", 130), ("TERM", 143)] {
        let pgrep = format!("[ $# -ne 2 ] || kill -{signal} $PPID");
        node.stand_in("pgrep", &pgrep);
        let (code, said) = restore(&node, "");
        assert_eq!(code, Some(number), "{said}");
        assert_eq!(runs(&node), unchanged, "{said}");
    }
    // The old member is away, and the new one cannot take its place.
    node.stand_in("pgrep", "exit 1");
    node.stand_in("mv", "case $1 in */etcd.new/member) exit 1 ;; esac; exec /usr/bin/mv \"$@\"");
    let (code, said) = restore(&node, "");
    assert_eq!(code, Some(1), "{said}");
    assert_eq!(runs(&node), unchanged, "{said}");
    // The power fails there: only what is on the disk is known the next time.
    node.stand_in(
        "mv",
        "case $1 in */etcd.new/member) kill -9 $PPID; exit 1 ;; esac; exec /usr/bin/mv \"$@\"",
    );
    let _ = restore(&node, "");
    assert!(!node.path("etc/kubernetes/manifests/etcd.yaml").exists());
    let before = node.read("var/lib/nodeforge/etcd/before");
    assert_eq!(
        fs::read_to_string(format!("{}/member/snap/db", before.trim())).expect("there"),
        "old"
    );
    node.stand_in("mv", "exec /usr/bin/mv \"$@\"");
    node.write("full", "");
    let (code, said) = restore(&node, "");
    assert!(code != Some(0), "{said}");
    assert_eq!(runs(&node), unchanged, "{said}");
    fs::remove_file(node.path("full")).expect("there");
    let (code, said) = restore(&node, "");
    assert_eq!((code, runs(&node).1.as_str()), (Some(0), "new\n"), "{said}");
}

#[test]
fn a_restore_is_refused_while_another_member_answers() {
    let node = restorable();
    node.stand_in("ip", "echo '2: eth0    inet 192.0.2.3/24 brd 192.0.2.255'");
    node.write(
        "etc/nodeforge/etcd-snapshots.env",
        "KEEP=2\nCONTROL_PLANES='[2001:db8::4] 192.0.2.3 '\n",
    );
    let members = "1, started, node0, https://192.0.2.1:2380, https://192.0.2.1:2379, false
2, started, node9, https://192.0.2.9:2380, https://192.0.2.9:2379, false";
    let etcdctl = |answers: &str| {
        node.stand_in(
            "etcdctl",
            &format!(
                "case \"$*\" in *'member list') echo '{members}' ;; *'endpoint status') case $2 in {answers}) exit 0 ;; \
                 esac; exit 1 ;; *) exit 1 ;; esac"
            ),
        );
    };
    // Of the manifest, of the running etcd, and of the cluster file.
    for host in ["192.0.2.2", "192.0.2.9", "[2001:db8::4]"] {
        etcdctl(&format!("'https://{host}:2379'"));
        let (code, said) = restore(&node, "");
        let words = format!(
            "nodeforge-firstboot: etcd of other control planes runs: {host}. Two clusters would answer from now on; \
             nothing was changed\n"
        );
        assert!(code == Some(1) && said.starts_with(&words), "{said}");
        assert!(said.contains("mv /etc/kubernetes/manifests/*.yaml /etc/kubernetes/stopped/\n"));
        assert_eq!(runs(&node), (2, "old".to_owned(), Vec::new()));
    }
    // This machine's own addresses are no others.
    etcdctl("https://192.0.2.1:2379 | https://192.0.2.3:2379");
    let (code, said) = restore(&node, "");
    assert!(code == Some(0) && said.contains("the cluster is what it was in "), "{said}");
    assert_eq!(runs(&node).1, "new\n");
    let asked = calls_of(&node, "kubectl").pop().expect("asked");
    assert!(
        asked.contains(
            " --server https://127.0.0.1:6443 --tls-server-name kubernetes get --raw /readyz"
        ),
        "{asked}"
    );
    etcdctl("*");
    assert_eq!(restore(&node, "").0, Some(1));
    let (code, said) = restore(&node, "--force");
    assert_eq!(code, Some(0), "{said}");
}

/// Each control plane has a day, and systemd reads it.
#[test]
fn certificates_are_renewed_on_a_day_of_its_own() {
    let folder = temporary_folder();
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/rpi5-kubeadm");
    tool("cp", ["-r", &format!("{example}/."), &folder.path().display().to_string()]);
    let cluster = folder.path().join("cluster.toml");
    let mut text = fs::read_to_string(&cluster).expect("readable");
    for (name, address) in [("controlplane2", 11), ("controlplane3", 12)] {
        text += &format!(
            "\n[[node]]\nhostname = \"{name}\"\nrole = \"controlplane-replica\"\naddresses = \
             [\"192.168.1.{address}/24\"]\n"
        );
    }
    fs::write(&cluster, text).expect("written");
    let plan = Run::new(["plan", "--json", "--set", "settings.api_address=192.168.1.9"]);
    let plan = plan.folder(folder.path()).succeeds().stdout_text();
    let plan: serde_json::Value = serde_json::from_str(&plan).expect("JSON");
    let content = |hostname: &str, path: &str| {
        let nodes = plan["nodes"].as_array().expect("nodes");
        let node = nodes.iter().find(|it| it["hostname"] == hostname).expect("the node");
        let changes = node["changes"].as_array().expect("changes");
        let file = changes.iter().find(|it| it["path"] == path).expect("there");
        file["content"].as_str().expect("text").to_owned()
    };
    let names = ["controlplane", "controlplane2", "controlplane3"];
    for (name, day) in names.into_iter().zip(["Mon", "Tue", "Wed"]) {
        let timer = content(name, "/etc/systemd/system/renew-certificates.timer");
        let line = timer.lines().find_map(|it| it.strip_prefix("OnCalendar=")).expect("a day");
        assert_eq!(line, format!("{day} 00:00"));
        let _ = tool("systemd-analyze", ["calendar", line]);
    }
    let env = content("controlplane2", "/etc/nodeforge/etcd-snapshots.env");
    assert!(env.ends_with("\nCONTROL_PLANES='192.168.1.10 192.168.1.12 '\n"), "{env}");
}

/// Held packages are apt's business: unattended-upgrades leaves them alone, as `apt upgrade` does.
#[test]
fn security_upgrades_are_a_choice_of_every_profile() {
    let folder = temporary_folder();
    let profiles = ["rpi5-kubeadm", "fusion-k3s", "edge-k3s", "quickstart"];
    for profile in profiles {
        let shown =
            Run::new(["profile", "show", profile]).folder(folder.path()).succeeds().stdout_text();
        assert!(shown.contains("security_upgrades"), "{profile}: {shown}");
    }
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/quickstart");
    tool("cp", ["-r", &format!("{example}/."), &folder.path().display().to_string()]);
    let plan = |set: &str| {
        Run::new(["plan", "--set", &format!("settings.security_upgrades={set}")])
            .folder(folder.path())
            .succeeds()
            .stdout_text()
    };
    assert!(!plan("false").contains("unattended"));
    let wanted = plan("true");
    assert!(wanted.contains("unattended-upgrades"), "{wanted}");
    assert!(wanted.contains("/etc/apt/apt.conf.d/52nodeforge-upgrades"), "{wanted}");
    // apt itself reads them, after the package's own.
    let files =
        concat!(env!("CARGO_MANIFEST_DIR"), "/overlays/security-upgrades/etc/apt/apt.conf.d");
    let own = folder.path().join("50unattended-upgrades");
    fs::write(&own, "Unattended-Upgrade::Origins-Pattern { \"origin=Debian\"; };\n")
        .expect("written");
    let dump = tool(
        "sh",
        [
            "-c",
            "cat \"$0\" \"$1\"/* >\"$0.all\" && apt-config -c \"$0.all\" dump",
            &own.display().to_string(),
            files,
        ],
    );
    assert!(!dump.contains("\"origin=Debian\""), "{dump}");
    assert!(dump.contains("Unattended-Upgrade::Automatic-Reboot \"false\";"), "{dump}");
    assert!(dump.contains("codename=${distro_codename}-security,label=Debian-Security"), "{dump}");
}

#[test]
fn a_node_is_ready_for_ceph_when_it_is_asked_to_be() {
    let folder = temporary_folder();
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/rpi5-kubeadm");
    tool("cp", ["-r", &format!("{example}/."), &folder.path().display().to_string()]);
    let plan = |set: &str| {
        Run::new(["plan", "--set", &format!("settings.ceph={set}")])
            .folder(folder.path())
            .succeeds()
            .stdout_text()
    };
    assert!(!plan("false").contains("lvm2"));
    let said = plan("true");
    assert!(said.contains("lvm2") && said.contains("/etc/modules-load.d/ceph.conf"), "{said}");
}
