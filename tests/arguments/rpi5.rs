//! The same for rpi5-kubeadm: Cilium's values and kube-vip's environment. kubeadm's objects, which hold secrets, are
//! judged in the images of `rpi5::images`.

use std::fs;
use std::path::{Path, PathBuf};

use super::super::support::{Run, User};
use super::{PROFILES, judge};

/// What is planned for the first of two control planes.
fn files(folder: &Path, cilium: &str, kube_vip: &str, more: &str) -> Vec<PathBuf> {
    let text = format!(
        "[cluster]\nname = \"home\"\nprofile = \"rpi5-kubeadm\"\n[access]\nuser = \"admin\"\n\
         ssh_authorized_keys = [\"demo.pub\"]\n[settings]\napi_address = \"192.168.1.9\"\n\
         cilium_version = \"{cilium}\"\nkube_vip_version = \"{kube_vip}\"\n{more}\n\
         [[node]]\nhostname = \"controlplane\"\naddresses = [\"192.168.1.10/24\"]\ninterface = \"eth0\"\n\
         [[node]]\nhostname = \"controlplane1\"\naddresses = [\"192.168.1.11/24\"]\n\
         [[node]]\nhostname = \"node0\"\naddresses = [\"192.168.1.20/24\"]\n"
    );
    fs::write(folder.join("cluster.toml"), text).expect("written");
    let key = Path::new(PROFILES).with_file_name("examples/rpi5-kubeadm/demo.pub");
    fs::copy(key, folder.join("demo.pub")).expect("copied");
    let plan = Run::new(["plan", "--json"]).folder(folder).succeeds().stdout_text();
    let plan: serde_json::Value = serde_json::from_str(&plan).expect("JSON");
    let nodes = plan["nodes"].as_array().expect("nodes");
    let node = nodes.iter().find(|it| it["hostname"] == "controlplane").expect("planned");
    let take = |inside: &str, name: &str| {
        let changes = node["changes"].as_array().expect("changes");
        let change = changes.iter().find(|it| it["path"] == inside).expect("planned");
        let text = change["content"].as_str().expect("no secret");
        fs::write(folder.join(name), text).expect("written");
        folder.join(name)
    };
    vec![
        take("/etc/nodeforge/kube-vip.yaml", "kube-vip.yaml"),
        take("/etc/nodeforge/cilium/values.yaml", &format!("values-cilium-{cilium}.yaml")),
    ]
}

#[test]
fn rpi5_kubeadm_gives_no_argument_that_is_unknown() {
    // Images from an archive have no digests, which more values say.
    let other = "gateway_api_version = \"1.3.0\"\noffline = true\n";
    for (cilium, kube_vip, more) in [("1.19.8", "1.2.3", ""), ("1.18.12", "1.1.2", other)] {
        let folder = User::current().folder();
        let (is_good, said) = judge("v1.36.4", &files(folder.path(), cilium, kube_vip, more));
        assert!(is_good, "{cilium}\n{said}");
        let judged: Vec<_> = said.lines().filter_map(|line| line.split(' ').next()).collect();
        assert_eq!(judged, ["chart-cilium", "kube-vip"]);
    }
}

#[test]
fn keys_that_kubeadm_cilium_or_kube_vip_do_not_know_are_found() {
    let folder = User::current().folder();
    let says = |name: &str, text: &str| {
        let file = folder.path().join(name);
        fs::write(&file, text).expect("written");
        judge("v1.36.4", &[file])
    };
    let init = |text: &str| {
        let head = "apiVersion: kubeadm.k8s.io/v1beta4\nkind: InitConfiguration\n";
        says("init.yaml", &format!("{head}{text}\n"))
    };
    for (text, is_known) in [
        ("skipPhases: [addon/kube-proxy]", true),
        ("timeouts: {kubeletHealthCheck: 10m0s}", true),
        // Of v1beta3.
        ("timeoutForControlPlane: 10m0s", false),
        ("bootstrapTokens: [{token: a, ttl: 1h}]", true),
        ("bootstrapTokens: [{token: a, ttl2: 1h}]", false),
        ("nodeRegistration: {kubeletExtraArgs: [{name: node-ip, value: '::1'}]}", true),
        ("nodeRegistration: {kubeletExtraArgs: [{name: node-ipp, value: '::1'}]}", false),
    ] {
        let (is_good, said) = init(text);
        assert_eq!(is_good, is_known, "{text}: {said}");
    }
    let kubelet = "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n";
    assert!(says("k.yaml", &format!("{kubelet}featureGates: {{Any: true}}\n")).0);
    assert!(!says("k.yaml", &format!("{kubelet}cgroupsDriver: systemd\n")).0);
    let cilium = |text: &str| says("values-cilium-1.19.8.yaml", text).0;
    assert!(cilium("l2announcements: {enabled: true}\n"));
    assert!(!cilium("l2announcement: {enabled: true}\n"));
    let kube_vip = |argument: &str, variable: &str| {
        let text = format!(
            "kind: Pod\nspec:\n  containers:\n  - image: example.org/kube-vip:v1.2.3\n    \
             args: [{argument}]\n    env: [{{name: {variable}, value: '1'}}]\n"
        );
        says("pod.yaml", &text).0
    };
    assert!(kube_vip("manager", "vip_leaseduration"));
    assert!(!kube_vip("manage", "vip_leaseduration") && !kube_vip("manager", "vip_lease_duration"));
}
