//! The images booted, each to its success line. Programs that stand in for Kubernetes' own note
//! what they are called with on the console.

use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::Duration;

use super::super::support::{BOOT_REPORT_END, Powered, Run, User, report_when_up, tool};
use super::built::{AGE_KEY, Built, GIT_TOKEN, NODES, built, built_for_a_pi};

const DONE: &str = "nodeforge-firstboot: done";

/// A node on the network of its cluster, until a line matches; what it says goes to a file.
fn start(built: &Built, node: &str, until: &str) -> Child {
    let console = std::fs::File::create(console_of(built, node)).expect("made");
    // A name of its own: tests of another checkout may run at the same time.
    let network = built.folder.path().display().to_string();
    let mut run =
        Run::new(["boot", node, "--network", &network, "--cpus", "1"]).folder(built.folder.path());
    let command = run.command();
    command.args(["--timeout", "1500", "--until", until]);
    command.stdout(console).stderr(Stdio::null()).spawn().expect("nodeforge starts")
}

fn console_of(built: &Built, node: &str) -> PathBuf {
    built.path(&format!("{node}.console"))
}

#[test]
fn three_nodes_become_a_cluster() {
    let built = built();
    // Others ask it until they are done: it runs as long as they do, and is checked then.
    let mut first = start(built, NODES[0], "no line says this");
    let others = [NODES[1], NODES[2]].map(|node| start(built, node, DONE));
    for mut machine in others {
        machine.wait().expect("it ends");
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
    first.kill().expect("it runs");
    first.wait().expect("it ends");
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
                "skopeo-stand-in: copy --quiet docker-archive:/usr/share/nodeforge/images.tar:registry.k8s.io/pause:3.10.1 containers-storage:registry.k8s.io/pause:3.10.1",
                "kubeadm-stand-in: init ok",
                "step 55-kubeconfig done",
                "kubectl-stand-in: apply kind: ConfigMap",
                "kubectl-stand-in: apply kind: CustomResourceDefinition",
                "helm-stand-in: upgrade --install cilium --namespace kube-system",
                "kubectl-stand-in: apply kind: CiliumLoadBalancerIPPool kind: CiliumL2AnnouncementPolicy",
                "helm-stand-in: upgrade --install flux-operator --namespace flux-system",
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

/// Cuts the power in one first boot, each time when the console says one of these lines.
fn check_power_cuts(moments: &[&str]) {
    let built = built();
    let machine = Powered::on(&built.image("controlplane"));
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
}

#[test]
fn the_power_fails_and_the_cluster_is_formed() {
    check_power_cuts(&["step 50-kubeadm-init done"]);
}

mod long {
    use super::*;

    /// An image in Raspberry Pi OS's layout, its own kernel started as a Pi's firmware would: with the
    /// arguments of cmdline.txt.
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
    }

    #[test]
    #[ignore = "long: power cuts at ten moments"]
    fn the_power_fails_ten_times_and_the_cluster_is_formed() {
        const MOMENTS: [&str; 10] = [
            "nodeforge-firstboot: role=controlplane",
            "step 05-grow-root done",
            "kubeadm-stand-in: phase certs",
            "kubeadm-stand-in: phase kubeconfig",
            "kubeadm-stand-in: phase etcd",
            "kubeadm-stand-in: phase wait-control-plane",
            "kubeadm-stand-in: phase bootstrap-token",
            "step 50-kubeadm-init done",
            "helm-stand-in: upgrade --install cilium",
            "step 82-flux-secrets done",
        ];
        check_power_cuts(&MOMENTS);
    }
}
