//! What says whether a running cluster works: the scripts of edge-k3s and rpi5-kubeadm before good and bad
//! answers of stand-ins for kubectl, dig and curl, and the command that runs them. No cluster is asked.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::support::{Run, resources_are_known, temporary_folder, tool};

/// What a script is told, and what it must make of that.
struct Case<'a> {
    /// Replaced in the stand-ins.
    from: &'a str,
    to: &'a str,
    /// How a line of what is bad goes on.
    bad: &'a str,
    /// In what it says to look at.
    next: &'a str,
}

const fn case<'a>(from: &'a str, to: &'a str, bad: &'a str, next: &'a str) -> Case<'a> {
    Case { from, to, bad, next }
}

/// An example's cluster and its script, where a build would leave it.
fn script(profile: &str, settings: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = temporary_folder();
    let example = format!("{}/examples/{profile}", env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(format!("{example}/cluster.toml")).expect("an example");
    assert!(text.contains("[settings]\n"));
    let text = text.replace("[settings]\n", &format!("[settings]\n{settings}\n"));
    fs::write(folder.path().join("cluster.toml"), text).expect("written");
    fs::copy(format!("{example}/demo.pub"), folder.path().join("demo.pub")).expect("copied");
    let plan = Run::new(["plan", "--json"]).folder(folder.path()).succeeds().stdout_text();
    let plan: serde_json::Value = serde_json::from_str(&plan).expect("JSON");
    let handouts = plan["handouts"].as_array().expect("handouts");
    let script = handouts.iter().find(|it| it["path"] == "verify.sh").expect("one for people");
    fs::create_dir(folder.path().join("out")).expect("a folder");
    let path = folder.path().join("out/verify.sh");
    fs::write(&path, script["content"].as_str().expect("no secret")).expect("written");
    tool("shellcheck", [path.as_os_str()]);
    (folder, path)
}

/// Programs that answer as a cluster does that works, but for the change.
fn stand_ins(folder: &Path, programs: &[(&str, &str)], change: Option<&Case<'_>>) {
    for (name, text) in programs {
        let mut text = format!("#!/bin/sh\n{text}");
        if let Some(change) = change {
            text = text.replace(change.from, change.to);
        }
        fs::write(folder.join(name), text).expect("written");
        let mode = fs::Permissions::from_mode(0o755);
        fs::set_permissions(folder.join(name), mode).expect("set");
    }
}

/// All is well with the stand-ins as they are, with `good` lines, and each case is found out.
fn told_apart(script: &Path, programs: &[(&str, &str)], good: usize, cases: &[Case<'_>]) {
    let folder = temporary_folder();
    let verify = |change: Option<&Case<'_>>| {
        stand_ins(folder.path(), programs, change);
        let path = format!("{}:/usr/bin:/bin", folder.path().display());
        let mut sh = Command::new("/bin/sh");
        let output = sh.arg(script).env("PATH", path).env("KUBECONFIG", "").output();
        let output = output.expect("sh starts");
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let (code, said) = verify(None);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.ends_with("all is well\n") && !said.contains("BAD"), "{said}");
    assert_eq!(said.matches("good: ").count(), good, "{said}");
    for case in cases {
        assert!(programs.iter().any(|(_, text)| text.contains(case.from)), "{}", case.from);
        let (code, said) = verify(Some(case));
        assert_eq!(code, Some(1), "{}\n{said}", case.from);
        let after = said.split_once(&format!("BAD:  {}", case.bad));
        let after = after.unwrap_or_else(|| panic!("{}\n{said}", case.bad)).1;
        assert!(after.contains(case.next), "{}\n{said}", case.next);
    }
}

const EDGE_KUBECTL: &str = r#"case "$*" in
"--request-timeout 10s get --raw /readyz") printf ok ;;
"get nodes"*) printf '%s\n' 'k3s-node1 Ready control-plane 1d v1' 'k3s-node2 Ready control-plane 1d v1' 'k3s-node3 Ready control-plane 1d v1' 'edge Ready edge 1d v1' ;;
*"/api/v1/nodes/edge/proxy/stats/summary") echo '{}' ;;
*"-n metallb-system ipaddresspool home "*) printf '192.168.178.10-192.168.178.19 fda8:a1db:5685::10-fda8:a1db:5685::20' ;;
*"-n kube-system service traefik "*) printf '192.168.178.10 fda8:a1db:5685::10' ;;
"--server https://k3s.home.example.org:6443 "*"/readyz") echo ok ;;
*"clusterissuer acme "*) printf True ;;
"run nodeforge-verify-"*"nc -w 10 -z deb.debian.org 443") exit 0 ;;
*) echo "kubectl: $*" >&2; exit 1 ;;
esac
"#;

const EDGE_DIG: &str = r#"for word; do type=${name:-}; name=$word; done
case "$type $name" in
"A k3s.home.example.org") printf '%s\n' 192.168.178.5 192.168.178.6 192.168.178.7 ;;
"A nodeforge-verify.home.example.org") echo 192.168.178.10 ;;
"AAAA nodeforge-verify.home.example.org") echo fda8:a1db:5685::10 ;;
"A nodeforge-verify.apps.example.org") printf '%s\n' edge.example.net. 203.0.113.10 ;;
"AAAA nodeforge-verify.apps.example.org") echo 2001:DB8:0:1::10 ;;
*) echo "dig: $*" >&2; exit 1 ;;
esac
"#;

const CURL: &str = r"for address; do :; done
case $address in
http://192.168.178.10/ | http://203.0.113.10/) exit 0 ;;
*) exit 7 ;;
esac
";

#[test]
fn edge_k3s_is_told_apart() {
    let (_folder, script) = script("edge-k3s", "cert_manager = true");
    let programs = [("kubectl", EDGE_KUBECTL), ("dig", EDGE_DIG), ("curl", CURL)];
    let cases = [
        case(
            "printf ok",
            "echo no; exit 1",
            "the API does not answer: no",
            "x509: this kubeconfig",
        ),
        case("edge Ready", "edge NotReady", "node edge is not ready", "nodeforge-firstboot status"),
        case("echo '{}'", "exit 1", "the edge does not answer through", "wireguard_mtu 1420"),
        case(
            "192.168.178.19 ",
            "192.168.178.9 ",
            "MetalLB's pool is '192.",
            "helm-install-metallb",
        ),
        case(
            "printf '192.168.178.10 fda8",
            "printf 'fda8",
            "the internal Traefik does not have 192.168.178.10",
            "describe service traefik",
        ),
        case(
            "%s\\n' 192.168.178.5 192",
            "' 192",
            "k3s.home.example.org does not resolve",
            "home.conf",
        ),
        case(
            "echo ok",
            "echo x509; exit 1",
            "the API does not answer at https://k3s.home",
            "-verify_h",
        ),
        case(
            "echo 192.168.178.10",
            ":",
            "nodeforge-verify.home.example.org leads to ''",
            "home.conf",
        ),
        case(
            "echo 2001",
            "echo 2002",
            "nodeforge-verify.apps.example.org leads to '2002",
            "public.zone",
        ),
        case(
            "http://192.168.178.10/ |",
            "",
            "the internal Traefik does not answer at",
            "answers ARP",
        ),
        case(
            "| http://203.0.113.10/",
            "",
            "the external Traefik does not answer at",
            "ports 80 and 443",
        ),
        case("printf True", "printf False", "the ACME server does not know", "clusterissuer acme"),
        case("443\") exit 0", "443\") exit 1", "a pod does not reach deb.debian.org", "masquerade"),
    ];
    told_apart(&script, &programs, 18, &cases);
}

/// The nodes of an offline cluster have the images of what it deploys, and no other: this pod's is none of them.
#[test]
fn what_cannot_be_asked_offline_is_left_out() {
    for (offline, code, end) in [
        (
            true,
            0,
            "left out: whether a pod reaches the internet: with offline = true no node has busybox, and none could \
                   pull it\nall is well\n",
        ),
        (false, 1, "1 of these are wrong\n"),
    ] {
        let sums = format!("k3s_sha256 = \"{}\"", "a".repeat(64));
        let settings = format!(
            "cert_manager = true\noffline = {offline}\n{}",
            if offline { "" } else { &sums }
        );
        let (_folder, script) = script("edge-k3s", &settings);
        let kubectl = EDGE_KUBECTL.replace("443\") exit 0", "443\") exit 1").replace(
            "*) echo \"kubectl",
            "\"get events --field-selector involvedObject.name=nodeforge-verify-\"*\",reason=Failed \"*) \
             echo 'Failed to pull image \"docker.io/library/busybox:1.37\"' ;;\n*) echo \"kubectl",
        );
        let folder = temporary_folder();
        let programs = [("kubectl", &*kubectl), ("dig", EDGE_DIG), ("curl", CURL)];
        stand_ins(folder.path(), &programs, None);
        let path = format!("{}:/usr/bin:/bin", folder.path().display());
        let output =
            Command::new("/bin/sh").arg(&script).env("PATH", path).env("KUBECONFIG", "").output();
        let output = output.expect("sh starts");
        let said = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(code), "{said}");
        assert!(said.ends_with(end), "{said}");
    }
}

const RPI_KUBECTL: &str = r#"case "$*" in
"--request-timeout 10s get --raw /readyz") printf ok ;;
"get nodes"*) printf '%s\n' 'controlplane Ready control-plane 1d v1' 'node0 Ready <none> 1d v1' 'node1 Ready <none> 1d v1' ;;
"--server https://k8s-api.home.arpa:6443 "*"/readyz") echo ok ;;
"get csr --no-headers") printf '%s\n' 'csr-a 1d kubernetes.io/kubelet-serving system:node:node0 <none> Approved,Issued' ;;
*"rollout status daemonset/cilium "*) exit 0 ;;
*"PoolConflict"*"ciliumloadbalancerippool lan"* | *"ciliumloadbalancerippool lan"*"PoolConflict"*) printf False ;;
*"ciliumloadbalancerippool lan"*) printf '192.168.1.240-192.168.1.250' ;;
*"ciliuml2announcementpolicy lan"*) printf lan ;;
*"gatewayclass cilium"*) printf True ;;
*"fluxinstance flux"*) printf 'True' ;;
"run nodeforge-verify-"*"nc -w 10 -z deb.debian.org 443") exit 0 ;;
*) echo "kubectl: $*" >&2; exit 1 ;;
esac
"#;

#[test]
fn rpi5_kubeadm_is_told_apart() {
    let (_folder, script) = script("rpi5-kubeadm", "");
    let cases = [
        case(
            "printf ok",
            "echo no; exit 1",
            "the API does not answer: no",
            "x509: this kubeconfig",
        ),
        case("node1 Ready", "node1 NotReady", "node node1 is not ready", "-u kubelet -u crio"),
        case(
            "echo ok",
            "echo 'dial tcp: lookup k8s-api.home.arpa: no such host'; exit 1",
            "k8s-api.home.arpa does not resolve here",
            "192.168.1.10 k8s-api.home.arpa",
        ),
        case(
            "echo ok",
            "echo x509; exit 1",
            "the API does not answer at https://k8s-api",
            "-verify_h",
        ),
        case(
            "Approved,Issued",
            "Pending",
            "1 requests for certificates wait",
            "approve-kubelet-csrs",
        ),
        case(
            "cilium \"*) exit 0",
            "cilium \"*) exit 1",
            "Cilium does not run on all",
            "k8s-app=cilium",
        ),
        case("'192.168.1.240-", "'192.168.1.24-", "Cilium's pool is '192.168.1.24-", "lan.yaml"),
        case(
            "printf False",
            "printf True",
            "Cilium's pool 192.168.1.240-192.168.1.250 overlaps",
            "get",
        ),
        case("printf lan", ":", "no node answers for services", "cilium-l2announce"),
        case(
            "cilium\"*) printf True",
            "cilium\"*) :",
            "the Gateway API is not ready",
            "cilium-operator",
        ),
        case("printf 'True'", ":", "Flux does not follow https://github.com", "fluxinstance flux"),
        case("443\") exit 0", "443\") exit 1", "a pod does not reach deb.debian.org", "cilium-dbg"),
    ];
    told_apart(&script, &[("kubectl", RPI_KUBECTL)], 12, &cases);
}

#[test]
fn the_command_runs_the_script_of_the_clusters_folder() {
    let (folder, script) = script("rpi5-kubeadm", "");
    let bin = temporary_folder();
    stand_ins(bin.path(), &[("kubectl", RPI_KUBECTL)], None);
    let path = format!("{}:/usr/bin:/bin", bin.path().display());
    let run = || Run::new(["verify"]).folder(folder.path()).env("PATH", &path);
    let said = run().succeeds().stdout_text();
    assert!(said.ends_with("all is well\n"), "{said}");
    let unwell = case("node1 Ready", "node1 NotReady", "", "");
    stand_ins(bin.path(), &[("kubectl", RPI_KUBECTL)], Some(&unwell));
    let said = run().exits(1);
    assert_eq!(said.stderr_text(), "", "the script said it all");
    // Without kubectl nothing is asked.
    let said = run().env("PATH", "/usr/bin:/bin").env("KUBECTL", "no-kubectl --now").exits(2);
    assert_eq!(said.stderr_text(), "the program no-kubectl is not installed, which this needs\n");
    fs::write(&script, "exit 7\n").expect("written");
    assert_eq!(
        run().exits(1).stderr_text(),
        format!("error: `sh {}` failed: exit status: 7\n", script.display())
    );
    fs::remove_file(&script).expect("there");
    assert_eq!(
        run().exits(2).stderr_text(),
        format!("error: there is no `{}`\nhint: `nodeforge build` writes it\n", script.display())
    );
    let file = folder.path().join("cluster.toml");
    let text = "[cluster]\nname = \"lab\"\nprofile = \"quickstart\"\n[base]\npath = \"base.img\"\n\
                [access]\nuser = \"me\"\n[[node]]\nhostname = \"server1\"\n";
    fs::write(&file, text).expect("written");
    assert_eq!(
        run().exits(2).stderr_text(),
        "error: the profile `quickstart` has no verify.sh\n\
         hint: a profile has one as a `[[handout]]` whose `path` is `verify.sh`\n"
    );
}

#[test]
fn the_services_to_try_with_are_ones_that_kubernetes_knows() {
    let example = |name| Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(name);
    let files = ["fusion-k3s", "rpi5-kubeadm"].map(|it| example(it).join("test-services.yaml"));
    resources_are_known(&files);
}
