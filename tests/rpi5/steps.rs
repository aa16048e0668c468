//! Its first-boot steps, under the node's own sh, with stand-ins for what a node has and a test has
//! not.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Output;

use super::super::support::Node;

const PROFILE: &str = "profiles/rpi5-kubeadm";
const AUTHORITIES: [&str; 8] = [
    "ca.crt",
    "ca.key",
    "etcd/ca.crt",
    "etcd/ca.key",
    "front-proxy-ca.crt",
    "front-proxy-ca.key",
    "sa.key",
    "sa.pub",
];

/// A kubeadm that leaves what the real one leaves, and fails when the test says so.
const KUBEADM: &str = "
    k=$NODEFORGE_ROOT/etc/kubernetes
    case $1 in
    init)
        mkdir -p $k/manifests; : >$k/manifests/etcd.yaml
        [ ! -e $NODEFORGE_ROOT/kubeadm-fails ] || exit 1
        : >$k/admin.conf ;;
    reset) rm -rf $k $NODEFORGE_ROOT/var/lib/etcd; mkdir $k ;;
    esac";

pub(super) fn control_plane() -> Node {
    let node = worker();
    for name in AUTHORITIES {
        node.write(&format!("etc/nodeforge/pki/{name}"), name);
    }
    node.overlay(&format!("{PROFILE}/overlays/kubeadm-control"));
    node.overlay(&format!("{PROFILE}/overlays/kubeadm-first"));
    node.write("etc/nodeforge/cluster.env", "LOGIN_USER='pi'\n");
    for baked in ["gateway-api.yaml", "cilium.tgz", "flux-operator.yaml"] {
        node.write(&format!("usr/share/nodeforge/{baked}"), "");
    }
    for name in ["helm", "curl"] {
        node.stand_in(name, "exit 0");
    }
    node
}

pub(super) fn worker() -> Node {
    let node = Node::new("node0");
    node.overlay(&format!("{PROFILE}/overlays/kubeadm-node"));
    node.write("root/kubeadm/kubeadm-join.yaml", "kind: JoinConfiguration\n");
    node.write(
        "etc/nodeforge/kubeadm.env",
        "API_ENDPOINT='k8s-api.home.arpa:6443'\nJOIN_AS='worker'\n",
    );
    node.write("root/kubeadm/kubeadm-init.yaml", "kind: InitConfiguration\n");
    node.write("etc/kubernetes/.kept", "");
    node.stand_in("kubeadm", KUBEADM);
    node.stand_in("kubectl", "exit 1");
    node
}

fn step(node: &Node, name: &str) -> Output {
    node.run_script(&format!("{PROFILE}/firstboot/{name}"))
}

#[track_caller]
pub(super) fn goes_well(node: &Node, name: &str) -> String {
    let output = step(node, name);
    let errors = String::from_utf8_lossy(&output.stderr);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}\n{errors}\n{}", node.calls());
    said
}

#[track_caller]
pub(super) fn goes_wrong(node: &Node, name: &str) -> String {
    let output = step(node, name);
    assert!(!output.status.success(), "{}", node.calls());
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The lines of the calls of one program.
pub(super) fn calls_of(node: &Node, program: &str) -> Vec<String> {
    let calls = node.calls();
    let own = calls.lines().filter(|line| line.split(' ').next() == Some(program));
    own.map(|line| line.replace(node.path("").to_str().expect("text"), "/")).collect()
}

pub(super) fn assert_authorities(node: &Node) {
    for name in AUTHORITIES {
        let path = format!("etc/kubernetes/pki/{name}");
        assert_eq!(node.read(&path), name);
        let mode = fs::metadata(node.path(&path)).expect("there").permissions().mode() & 0o777;
        assert_eq!(mode, if name.ends_with(".key") { 0o600 } else { 0o644 }, "{name}");
    }
}

pub(super) fn spent(node: &Node) -> Vec<String> {
    let text = node.read("var/lib/nodeforge/firstboot/the-step.spent");
    let root = node.path("").display().to_string();
    let mut names: Vec<_> = text.lines().map(|line| line.replace(&root, "/")).collect();
    names.sort();
    names
}

#[test]
fn the_first_control_plane_has_its_authorities_before_kubeadm_looks() {
    let node = control_plane();
    goes_well(&node, "50-kubeadm-init");
    assert_eq!(
        calls_of(&node, "kubeadm"),
        ["kubeadm init --config /root/kubeadm/kubeadm-init.yaml --skip-token-print"]
    );
    assert_authorities(&node);
    let mut expected = AUTHORITIES.map(|name| format!("/etc/nodeforge/pki/{name}")).to_vec();
    expected.push("/root/kubeadm/kubeadm-init.yaml".into());
    assert_eq!(spent(&node), expected);
}

#[test]
fn an_init_that_failed_starts_over_with_the_same_authorities() {
    let node = control_plane();
    node.write("kubeadm-fails", "");
    goes_wrong(&node, "50-kubeadm-init");
    assert!(!node.path("var/lib/nodeforge/firstboot/the-step.spent").exists());
    fs::remove_file(node.path("kubeadm-fails")).expect("there");
    goes_well(&node, "50-kubeadm-init");
    let calls = calls_of(&node, "kubeadm");
    assert_eq!(calls[1], "kubeadm reset --force --cri-socket unix:///var/run/crio/crio.sock");
    assert_eq!(calls.len(), 3);
    assert_authorities(&node);
}

#[test]
fn an_init_that_was_cut_goes_on_when_its_api_answers() {
    let node = control_plane();
    node.write("etc/kubernetes/manifests/etcd.yaml", "");
    node.write("etc/kubernetes/admin.conf", "");
    node.write("var/lib/etcd/member", "");
    node.stand_in("kubectl", "exit 0");
    goes_well(&node, "50-kubeadm-init");
    let calls = calls_of(&node, "kubeadm");
    assert_eq!(calls.len(), 1, "{calls:?}");
    assert!(
        calls[0].contains("--ignore-preflight-errors=FileAvailable--etc-kubernetes-manifests-")
    );

    // One that does not answer holds nothing.
    node.stand_in("kubectl", "exit 1");
    let said = goes_well(&node, "50-kubeadm-init");
    assert!(said.contains("timed out waiting for the API of an earlier try\n"), "{said}");
    assert!(calls_of(&node, "kubeadm")[1].starts_with("kubeadm reset "));
}

#[test]
fn cri_o_is_waited_for() {
    let node = worker();
    node.stand_in("crictl", "exit 0");
    goes_well(&node, "36-cri-o");
    node.stand_in("crictl", "exit 1");
    // Time passes by itself.
    node.stand_in("cut", "n=$(cat $NODEFORGE_ROOT/time 2>/dev/null || echo 0); echo $((n + 200)) | tee $NODEFORGE_ROOT/time");
    assert!(goes_wrong(&node, "36-cri-o").contains("timed out waiting for CRI-O\n"));
    node.stand_in("systemctl", "exit 5");
    goes_wrong(&node, "36-cri-o");
}

#[test]
fn swap_goes_off_for_good() {
    let node = worker();
    node.stand_in("swapoff", "exit 0");
    let header = "Filename Type Size Used Priority\n";
    node.write("proc/swaps", header);
    node.write("etc/fstab", "UUID=1 / ext4 defaults 0 1\n/dev/sda2 none swap sw 0 0\n# swap\n");
    assert!(node.run_step("30-swap-off").status.success());
    let expected = "UUID=1 / ext4 defaults 0 1\n#/dev/sda2 none swap sw 0 0\n# swap\n";
    assert_eq!(node.read("etc/fstab"), expected);
    assert!(node.run_step("30-swap-off").status.success());
    assert_eq!(node.read("etc/fstab"), expected, "twice the same");
    assert!(!node.calls().contains("systemctl"), "{}", node.calls());

    // Raspberry Pi OS, of Debian 12.
    node.write("usr/lib/systemd/system/dphys-swapfile.service", "");
    node.stand_in("systemctl", "exit 0");
    assert!(node.run_step("30-swap-off").status.success());
    assert!(node.calls().contains("systemctl mask --now dphys-swapfile.service\nswapoff --all\n"));

    node.write("proc/swaps", &format!("{header}/dev/zram0 partition 1 0 100\n"));
    let output = node.run_step("30-swap-off");
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stdout).contains("swap is still on: /dev/zram0"));
    node.stand_in("swapoff", "exit 255");
    assert!(!node.run_step("30-swap-off").status.success());
}

#[test]
fn a_kernel_that_does_not_count_memory_is_refused() {
    let node = worker();
    node.write("sys/fs/cgroup/cgroup.controllers", "cpuset cpu io memory pids\n");
    assert!(node.run_step("32-cgroups").status.success());
    node.write("sys/fs/cgroup/cgroup.controllers", "cpuset cpu io pids\n");
    let output = node.run_step("32-cgroups");
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stdout).contains("cgroup_enable=memory is missing"));
}

#[test]
fn baked_images_go_to_the_store_of_cri_o() {
    let node = worker();
    goes_well(&node, "38-images");
    assert_eq!(calls_of(&node, "skopeo").len(), 0);
    let manifest = r#"[{"Config":"a.json","RepoTags":["registry.k8s.io/pause:3.10.1"],"Layers":["a"]},{"Config":"b.json","RepoTags":["quay.io/cilium/cilium:v1","quay.io/cilium/cilium:latest"],"Layers":[]}]"#;
    let bake = |manifest: &str| {
        node.write("usr/share/nodeforge/manifest.json", manifest);
        node.shell("cd $NODEFORGE_ROOT/usr/share/nodeforge && tar -cf images.tar manifest.json");
    };
    // Saved by digest, an image has no name that a pod could ask for.
    for untagged in ["[]", "null"] {
        bake(&manifest.replace("[\"registry.k8s.io/pause:3.10.1\"]", untagged));
        let said = goes_wrong(&node, "38-images");
        assert!(said.contains("of 2 images in images.tar, 1 have a tag"), "{said}");
    }
    assert_eq!(calls_of(&node, "skopeo").len(), 0);
    bake(manifest);
    node.stand_in("skopeo", "exit 1");
    goes_wrong(&node, "38-images");
    assert!(node.path("usr/share/nodeforge/images.tar").exists());
    node.stand_in("skopeo", "exit 0");
    goes_well(&node, "38-images");
    let copied: Vec<_> = calls_of(&node, "skopeo")[1..]
        .iter()
        .map(|line| line.rsplit(' ').next().expect("a word").to_owned())
        .collect();
    assert_eq!(
        copied,
        [
            "registry.k8s.io/pause:3.10.1",
            "quay.io/cilium/cilium:v1",
            "quay.io/cilium/cilium:latest"
        ]
        .map(|name| format!("containers-storage:{name}"))
    );
    assert!(!node.path("usr/share/nodeforge/images.tar").exists());
}

#[test]
fn the_login_user_gets_the_kubeconfig() {
    let node = control_plane();
    node.write("etc/kubernetes/admin.conf", "config");
    node.stand_in("getent", "echo 'pi:x:1000:1000:,,,:/home/pi:/bin/bash'");
    node.stand_in("chown", "exit 0");
    goes_well(&node, "55-kubeconfig");
    assert_eq!(node.read("home/pi/.kube/config"), "config");
    assert_eq!(calls_of(&node, "chown"), ["chown 1000:1000 /home/pi/.kube /home/pi/.kube/config"]);
    node.stand_in("getent", "exit 2");
    goes_wrong(&node, "55-kubeconfig");
}

#[test]
fn helm_comes_out_of_its_archive() {
    let node = control_plane();
    goes_wrong(&node, "60-helm");
    node.write("usr/share/nodeforge/linux-arm64/helm", "#!helm");
    node.write("usr/share/nodeforge/linux-arm64/LICENSE", "no");
    node.shell("cd $NODEFORGE_ROOT/usr/share/nodeforge && tar -czf helm.tar.gz linux-arm64");
    goes_well(&node, "60-helm");
    assert_eq!(node.read("usr/local/bin/helm"), "#!helm");
}

#[test]
fn what_the_cluster_is_given_came_with_the_image() {
    let node = control_plane();
    node.stand_in("kubectl", "exit 0");
    goes_well(&node, "70-gateway-api");
    assert!(calls_of(&node, "kubectl")[0].ends_with("/usr/share/nodeforge/gateway-api.yaml"));
    for name in ["70-gateway-api", "72-cilium", "80-flux-operator"] {
        goes_well(&node, name);
    }
    assert_eq!(calls_of(&node, "curl").len(), 0);
    node.stand_in("kubectl", "exit 1");
    goes_wrong(&node, "70-gateway-api");
}

/// A helm that knows a release in this state, in whose notes there is a trap.
fn release(state: &str) -> String {
    format!(
        r#"[ $1 != status ] || echo '{{"info":{{"notes":"STATUS: pending-none","status":"{state}"}}}}'"#
    )
}

#[test]
fn cilium_is_installed_and_given_its_addresses() {
    let node = control_plane();
    node.stand_in("kubectl", "exit 0");
    node.write("etc/nodeforge/cilium/lan.yaml", "");
    goes_well(&node, "72-cilium");
    let install = "helm upgrade --install cilium --namespace kube-system --create-namespace";
    let values = "--values /etc/nodeforge/cilium/values.yaml";
    let baked = format!("{install} /usr/share/nodeforge/cilium.tgz {values}");
    assert_eq!(
        calls_of(&node, "helm"),
        ["helm status cilium --namespace kube-system --output json", &baked]
    );
    assert!(calls_of(&node, "kubectl")[1].ends_with("/etc/nodeforge/cilium/lan.yaml"));

    // The power failed in the middle of it, or of what mends that.
    for state in ["pending-install", "pending-upgrade", "uninstalling"] {
        node.stand_in("helm", &release(state));
        goes_well(&node, "72-cilium");
        let calls = calls_of(&node, "helm");
        let calls = &calls[calls.len() - 2..];
        let uninstall = "helm uninstall cilium --namespace kube-system --no-hooks";
        assert_eq!(calls, [uninstall, &baked], "{state}");
    }
    for state in ["deployed", "failed"] {
        node.stand_in("helm", &release(state));
        goes_well(&node, "72-cilium");
        let calls = calls_of(&node, "helm");
        assert!(calls[calls.len() - 2].starts_with("helm status "), "{state}");
    }

    node.stand_in("helm", "[ $1 = status ]");
    goes_wrong(&node, "72-cilium");
}

#[test]
fn without_a_repository_flux_is_left_out() {
    let node = control_plane();
    for name in ["80-flux-operator", "82-flux-secrets", "84-flux-instance"] {
        goes_well(&node, name);
    }
    assert_eq!(node.calls(), "");
}

#[test]
fn flux_gets_its_keys_and_the_disk_loses_them() {
    let node = control_plane();
    node.write("etc/nodeforge/flux-instance.yaml", "kind: FluxInstance\n");
    node.stand_in("kubectl", "cat 2>/dev/null; exit 0");
    goes_well(&node, "80-flux-operator");
    assert!(calls_of(&node, "kubectl")[0].ends_with("/usr/share/nodeforge/flux-operator.yaml"));
    node.write("usr/share/nodeforge/flux-operator.tgz", "");
    goes_well(&node, "80-flux-operator");
    assert!(calls_of(&node, "helm")[1].ends_with(" /usr/share/nodeforge/flux-operator.tgz"));
    assert_eq!(calls_of(&node, "kubectl").len(), 1);
    node.forget_calls();
    goes_well(&node, "82-flux-secrets");
    assert_eq!(calls_of(&node, "kubectl").len(), 0, "nothing to give");

    node.write("root/keys.txt", "AGE-SECRET-KEY-1");
    node.write("etc/nodeforge/secrets/flux-git-token", "token");
    goes_well(&node, "82-flux-secrets");
    let calls = node.calls();
    let key = node.path("root/keys.txt").display().to_string();
    assert!(calls.contains(&format!(
        "create secret generic flux-sops --namespace flux-system --dry-run=client --output yaml --from-file=age.agekey={key}"
    )), "{calls}");
    assert_eq!(spent(&node), ["/etc/nodeforge/secrets/flux-git-token", "/root/keys.txt"]);
    goes_well(&node, "84-flux-instance");
    node.stand_in("kubectl", "exit 1");
    node.write("var/lib/nodeforge/firstboot/the-step.spent", "");
    goes_wrong(&node, "82-flux-secrets");
    assert_eq!(spent(&node).len(), 0, "a key that was not given is not thrown away");
    goes_wrong(&node, "84-flux-instance");
}
