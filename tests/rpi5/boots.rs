//! The images booted, each to its success line. Programs that stand in for Kubernetes' own note
//! what they are called with on the console.

use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::Duration;

use super::super::support::{BOOT_REPORT_END, Powered, Run, User, report_when_up, tool};
use super::built::{AGE_KEY, Built, GIT_TOKEN, NODES, built, built_for_a_pi};
use super::raspberry_pi_os;

const DONE: &str = "nodeforge-firstboot: done";

/// A machine that is switched off at the latest when its test ends, however that does: others want the processors.
struct Running(Child);

impl Running {
    fn wait(&mut self) {
        self.0.wait().expect("it ends");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// A node on the network of its cluster, until a line matches; what it says goes to a file.
fn start(built: &Built, node: &str, until: &str) -> Running {
    let console = std::fs::File::create(console_of(built, node)).expect("made");
    // A name of its own: tests of another checkout may run at the same time.
    let network = built.folder.path().display().to_string();
    let mut run =
        Run::new(["boot", node, "--network", &network, "--cpus", "1"]).folder(built.folder.path());
    let command = run.command();
    command.args(["--timeout", "1500", "--until", until]);
    Running(command.stdout(console).stderr(Stdio::null()).spawn().expect("nodeforge starts"))
}

fn console_of(built: &Built, node: &str) -> PathBuf {
    built.path(&format!("{node}.console"))
}

#[test]
fn three_nodes_become_a_cluster() {
    let built = built();
    // Others ask it until they are done: it runs as long as they do, and is checked then.
    let first = start(built, NODES[0], "no line says this");
    let others = [NODES[1], NODES[2]].map(|node| start(built, node, DONE));
    for mut machine in others {
        machine.wait();
    }
    let is_done = || {
        let said = std::fs::read_to_string(console_of(built, NODES[0])).unwrap_or_default();
        said.contains(DONE) || said.contains("nodeforge-firstboot: failed")
    };
    for _ in 0..300 {
        if is_done() {
            break;
        }
        std::thread::sleep(Duration::from_secs(1));
    }
    drop(first);
    for node in NODES {
        let said = std::fs::read_to_string(console_of(built, node)).expect("there");
        assert!(said.contains(DONE), "{node}:\n{said}");
        println!("--- {node}");
        for line in said.lines().filter(|line| line.contains("-stand-in: ")) {
            println!("{line}");
        }
        for secret in [AGE_KEY, GIT_TOKEN, "PRIVATE KEY"] {
            assert!(!said.contains(secret), "{node} shows a secret");
        }
        let wanted: &[&str] = match node {
            "controlplane" => &[
                "skopeo-stand-in: copy --quiet oci:/var/lib/nodeforge/images:registry.k8s.io/etcd:3.6.9-0 containers-storage:registry.k8s.io/etcd:3.6.9-0",
                // Before kubeadm has bound the group of admin.conf.
                "kube-vip-stand-in: has 192.168.1.9 with super-admin.conf",
                "kubeadm-stand-in: init ok",
                "step 55-kubeconfig done",
                "kubectl-stand-in: apply kind: ConfigMap",
                "kubectl-stand-in: apply kind: CustomResourceDefinition",
                "helm-stand-in: upgrade --install cilium --namespace kube-system",
                "kubectl-stand-in: apply kind: CiliumLoadBalancerIPPool kind: CiliumL2AnnouncementPolicy",
                "kubectl-stand-in: apply kind: Deployment",
                "kubectl-stand-in: apply kind: Secret # flux-sops",
                "kubectl-stand-in: apply kind: FluxInstance",
            ],
            _ => &["kubeadm-stand-in: discovered sha256:", "kubeadm-stand-in: join ok"],
        };
        for line in wanted {
            assert!(said.contains(line), "{node} did not say `{line}`:\n{said}");
        }
        let control = said.contains("\"controlPlane\": {\"localAPIEndpoint\"");
        assert_eq!(control, node == "controlplane1");
    }
}

/// The image of the first control plane whose etcd has a disk of its own.
fn with_a_disk_for_etcd(built: &Built) -> PathBuf {
    let text = std::fs::read_to_string(built.path("cluster.toml")).expect("readable");
    let disk = "\n[[disk.partition]]\nname = \"etcd\"\nmount = \"/var/lib/etcd\"\n\
                disk = \"/dev/disk/by-id/nvme-QEMU_NVMe_Ctrl_etcd\"\nroles = [\"controlplane\"]\n";
    std::fs::write(built.path("disks.toml"), text + disk).expect("written");
    // Nothing is downloaded: it has the cluster's prepared base.
    let _ = Run::new(["build", "disks.toml", "controlplane", "--offline", "-o", "disks"])
        .folder(built.folder.path())
        .succeeds();
    built.path("disks/controlplane.img")
}

/// Cuts the power in one first boot, each time when the console says one of these lines. etcd's disk holds
/// somebody's photos to begin with.
fn check_power_cuts(moments: &[&str]) {
    const ETCD: &str = "kubeadm-stand-in: etcd keeps its data on /dev/nvme0n1 ext4";
    let built = built();
    let mut machine = Powered::on(&with_a_disk_for_etcd(built));
    let etcd = machine.add_disk("etcd", 256 << 20);
    let path = etcd.display().to_string();
    tool("mkfs.vfat", ["-n", "PHOTOS", &path]);
    let before = std::fs::read(&etcd).expect("readable");
    let untouched = "/dev/disk/by-id/nvme-QEMU_NVMe_Ctrl_etcd holds vfat and is not touched: \
                     `wipefs --all /dev/disk/by-id/nvme-QEMU_NVMe_Ctrl_etcd` empties it for etcd";
    let said = machine.run_until(untouched, Duration::from_secs(600));
    assert!(!said.contains(ETCD), "{said}");
    assert!(std::fs::read(&etcd).expect("readable") == before, "not a byte");
    tool("wipefs", ["--all", &path]);
    for moment in moments {
        let said = machine.run_until(moment, Duration::from_secs(600));
        assert!(!said.contains("nodeforge-firstboot: failed"), "{moment}:\n{said}");
        println!("--- cut at `{moment}`");
        for line in said.lines().filter(|line| line.contains("nodeforge-firstboot: ")) {
            println!("{line}");
        }
    }
    let said = machine.run_until(DONE, Duration::from_secs(600));
    println!("--- to its end\n{said}");
    // What was finished before the power failed is not repeated, and what was cut short is.
    assert!(said.contains("step 50-kubeadm-init was done before"), "{said}");
    assert!(said.contains("step 84-flux-instance done"), "{said}");
    // The keys are not even in the free space any more: shredded, not unlinked.
    let disk = machine.disk().display().to_string();
    let script = "! grep -qaF -e \"$1\" -e \"$2\" \"$0\"";
    tool("sh", ["-c", script, &disk, AGE_KEY, GIT_TOKEN]);
    // etcd's disk was made once, mounted again at each boot before etcd, and has its data.
    assert!(said.contains(ETCD), "{said}");
    let label = tool("blkid", ["-p", "-o", "value", "-s", "LABEL", &path]);
    assert_eq!(label, "etcd\n");
    let script =
        "e2fsck -fy \"$0\" >/dev/null 2>&1 || [ $? = 1 ]; e2fsck -fn \"$0\" >/dev/null 2>&1 &&
        debugfs -R 'ls -p /member/snap' \"$0\"";
    let listed = tool("sh", ["-c", script, &path]);
    assert!(listed.contains("/db/"), "{listed}");
}

#[test]
fn the_power_fails_and_the_cluster_is_formed_with_etcd_on_a_disk_of_its_own() {
    check_power_cuts(&["step 50-kubeadm-init done"]);
}

mod long {
    use std::time::Instant;

    use super::*;

    /// Waits for a line of a node's console.
    #[track_caller]
    fn says(built: &Built, node: &str, line: &str, seconds: u64) {
        let until = Instant::now() + Duration::from_secs(seconds);
        loop {
            let said = std::fs::read_to_string(console_of(built, node)).unwrap_or_default();
            if said.contains(line) {
                return;
            }
            assert!(Instant::now() < until, "{node} did not say `{line}`:\n{said}");
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// Which control plane answers at the API's address, as a worker finds it, once it is neither that one nor
    /// nobody.
    #[track_caller]
    fn answered_by(built: &Built, but: &str, seconds: u64) -> String {
        let until = Instant::now() + Duration::from_secs(seconds);
        loop {
            let said = std::fs::read_to_string(console_of(built, "node0")).expect("there");
            let last = said.rsplit_once("k8s-api.home.arpa is answered by ");
            let last =
                last.and_then(|(_, rest)| rest.split_whitespace().next()).unwrap_or("nobody");
            if last != "nobody" && last != but {
                return last.to_owned();
            }
            assert!(Instant::now() < until, "{said}");
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// etcd is Debian's own. What kube-vip does is a stand-in's, and so is the API: `programs/kubelet` says by
    /// which rules.
    #[test]
    #[ignore = "long: boots four machines"]
    fn the_first_of_three_control_planes_is_switched_off_and_the_api_answers() {
        let built = built();
        let nodes = ["controlplane", "controlplane1", "controlplane2", "node0"];
        let [first, _second, _third, _worker] =
            nodes.map(|node| start(built, node, "no line says this"));
        for node in nodes {
            says(built, node, DONE, 1200);
        }
        for node in &nodes[1..3] {
            says(built, node, "kubeadm-stand-in: votes in etcd", 1);
        }
        assert_eq!(answered_by(built, "", 180), "controlplane");
        drop(first);
        let off = Instant::now();
        // The lease that lets another have the address is in etcd: two of its three members agreed.
        let other = answered_by(built, "controlplane", 300);
        println!("answered again, by {other}, after {} s", off.elapsed().as_secs());
        assert!(other == "controlplane1" || other == "controlplane2", "{other}");
        says(built, &other, "kube-vip-stand-in: has 192.168.1.9 with admin.conf", 1);
    }

    /// An image that is as Raspberry Pi OS in all but its kernel, which is started as a Pi's firmware would: with
    /// the arguments of cmdline.txt. What the publisher has on, and a node must not, stays off.
    #[test]
    #[ignore = "long: emulates another processor"]
    fn an_arm64_node_forms_the_cluster_and_no_unit_fails() {
        let built = built_for_a_pi();
        report_when_up(&User::current(), &built.image(NODES[0]));
        let said = Run::new(["boot", NODES[0], "--until", BOOT_REPORT_END, "--timeout", "1500"])
            .folder(built.folder.path())
            .succeeds()
            .stdout_text();
        let lines =
            said.lines().filter(|it| it.contains("stand-in: ") || it.contains("firstboot: "));
        for line in lines {
            println!("{line}");
        }
        for line in [
            "cgroup_enable=memory cgroup_memory=1",
            "kubeadm-stand-in: init ok",
            "step 05-grow-root done",
            "step 84-flux-instance done",
            DONE,
            "nodeforge-test: running, failed: none",
        ] {
            assert!(said.contains(line), "`{line}` was not said:\n{said}");
        }
        for line in raspberry_pi_os::UNWANTED {
            assert!(!said.contains(line), "`{line}` was said:\n{said}");
        }
    }

    #[test]
    #[ignore = "long: power cuts at ten moments"]
    fn the_power_fails_ten_times_and_the_cluster_is_formed() {
        // A step may be done before the power is off: then the next boot says that it was.
        const MOMENTS: [&str; 10] = [
            "nodeforge-firstboot: role=controlplane",
            "step 06-disks",
            "kubeadm-stand-in: phase certs",
            "kubeadm-stand-in: phase kubeconfig",
            "kubeadm-stand-in: phase etcd",
            "kubeadm-stand-in: phase wait-control-plane",
            "kubeadm-stand-in: phase bootstrap-token",
            "step 50-kubeadm-init",
            "helm-stand-in: upgrade --install cilium",
            "step 82-flux-secrets",
        ];
        check_power_cuts(&MOMENTS);
    }
}
