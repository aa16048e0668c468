//! What profiles tell k3s, the kubelet, charts and containers, against lists of all that exactly
//! those versions know. `extract` makes a list from the program's own source; its head says which.

mod rpi5;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::support::{Arch, Run, User, names, temporary_folder, tiny_base, tool};

const HERE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/arguments");
const PROFILES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/profiles");
const MANIFESTS: &str = "/var/lib/rancher/k3s/server/manifests";
const SUM: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// One node of each role of a profile, with all that it can deploy.
struct Cluster {
    profile: &'static str,
    /// The roles' nodes and the command of k3s that each runs.
    nodes: &'static [(&'static str, &'static str)],
    text: String,
}

fn fusion(settings: &str) -> Cluster {
    let text = format!(
        "[settings]\noffline = false\ncharts = \"repository\"\ncalicoctl = false\nk3s_sha256_amd64 = \"{SUM}\"\ncloudflared = true\n\
         cloudflared_tunnel = \"6ff42ae2-765d-4adf-8112-31c55c1551ef\"\n{settings}\n\
         [[node]]\nhostname = \"server1\"\naddresses = [\"fd77:3be9:5d2e:1::11/64\"]\n\
         [[node]]\nhostname = \"server2\"\n[[node]]\nhostname = \"agent1\"\n"
    );
    let nodes = &[("server1", "server"), ("server2", "server"), ("agent1", "agent")];
    Cluster { profile: "fusion-k3s", nodes, text }
}

fn edge(settings: &str) -> Cluster {
    let text = format!(
        "[settings]\noffline = false\ncharts = \"repository\"\nk3s_sha256 = \"{SUM}\"\ncert_manager = true\n\
         edge_public_ipv4 = \"203.0.113.10\"\nedge_public_ipv6 = \"2001:db8:0:1::10\"\n{settings}\n\
         [[node]]\nhostname = \"k3s-node1\"\n\
         addresses = [\"192.168.178.5/24\", \"fda8:a1db:5685::5/64\"]\n\
         [[node]]\nhostname = \"k3s-node2\"\n\
         addresses = [\"192.168.178.6/24\", \"fda8:a1db:5685::6/64\"]\n\
         [[node]]\nhostname = \"edge\"\n"
    );
    let nodes = &[("k3s-node1", "server"), ("k3s-node2", "server"), ("edge", "agent")];
    Cluster { profile: "edge-k3s", nodes, text }
}

impl Cluster {
    /// The files of its nodes that a program reads.
    fn files(&self, folder: &Path) -> Vec<PathBuf> {
        tiny_base(folder, Arch::Amd64);
        let text = format!(
            "[cluster]\nname = \"home\"\nprofile = \"{}\"\n[base]\npath = \"base.img\"\n\
             arch = \"amd64\"\n[disk]\nsize = \"512M\"\n[access]\nuser = \"admin\"\n\
             ssh_authorized_keys = [\"demo.pub\"]\n[output]\nformats = [\"raw\"]\n{}",
            self.profile, self.text
        );
        fs::write(folder.join("cluster.toml"), text).expect("written");
        let key = Path::new(PROFILES).with_file_name("examples/fusion-k3s/demo.pub");
        fs::copy(key, folder.join("demo.pub")).expect("copied");
        let credentials = folder.join("cloudflared.json");
        fs::write(&credentials, "{\"AccountTag\": \"a\"}\n").expect("written");
        tool("chmod", [OsStr::new("600"), credentials.as_os_str()]);
        Run::new(["build", "--sandbox", "none"])
            .folder(folder)
            .env("XDG_CACHE_HOME", folder.join("cache"))
            .succeeds();
        let mut files = Vec::new();
        for (node, command) in self.nodes {
            let image = folder.join(format!("out/{node}.img"));
            let node = folder.join(node);
            let copy = |path: &str, into: &Path| {
                fs::create_dir_all(into).expect("a folder");
                let place = format!("{}:{path}", image.display());
                let mut ls = Command::new(env!("CARGO_BIN_EXE_nodeforge"));
                let is_there = ls.args(["ls", &place]).output().expect("starts").status.success();
                if is_there {
                    Run::new(["cp", "-r", &place, &format!("{}/", into.display())]).succeeds();
                }
                is_there
            };
            assert!(copy("/etc/rancher/k3s/config.yaml", &node));
            let config = node.join(format!("{command}.yaml"));
            fs::rename(node.join("config.yaml"), &config).expect("renamed");
            files.push(config);
            // What a clone that is made by hand begins with, and what servers render themselves.
            for (path, folder) in [("/usr/share/nodeforge/k3s", "k3s"), (MANIFESTS, "manifests")] {
                if copy(path, &node) {
                    let folder = node.join(folder);
                    files.extend(names(&folder).iter().map(|name| folder.join(name)));
                }
            }
        }
        files
    }
}

/// Whether it knows all that is in the files, and what it says.
pub(crate) fn judge(k3s: &str, files: &[PathBuf]) -> (bool, String) {
    let mut command = Command::new(format!("{HERE}/judge"));
    let output = command.arg(k3s).args(files).output().expect("the judge starts");
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&said).into_owned())
}

/// Wants every argument to be known, and those of these programs to be there.
#[track_caller]
fn are_known(k3s: &str, cluster: &Cluster, programs: &[&str]) {
    let folder = User::current().folder();
    let (is_good, said) = judge(k3s, &cluster.files(folder.path()));
    assert!(is_good, "{}\n{said}", cluster.profile);
    let judged: Vec<_> = said.lines().filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(judged, programs);
}

const TUNNEL: &str = "cloudflared_hostnames = [\"www.example.net\", \"shop.example.net\"]\n\
     cloudflared_services = [\"http://web.default\", \"https://shop.default\"]\n\
     cloudflared_origin_name = \"shop.internal\"\ncloudflared_kind = \"Deployment\"\n";

#[test]
fn fusion_k3s_gives_no_argument_that_is_unknown() {
    let programs = [
        "chart-metallb",
        "chart-tigera-operator",
        "cloudflared",
        "external-dns",
        "k3s",
        "kube-controller-manager",
    ];
    are_known("v1.36.2+k3s1", &fusion(TUNNEL), &programs);
}

#[test]
fn edge_k3s_gives_no_argument_that_is_unknown() {
    let programs = ["chart-cert-manager", "chart-metallb", "chart-traefik", "k3s", "whoami"];
    are_known("v1.36.2+k3s1", &edge(""), &programs);
}

#[test]
fn other_versions_know_the_same_arguments() {
    for (k3s, metallb, calico, external_dns, cloudflared) in [
        ("v1.35.6+k3s1", "0.15.3", "v3.31.7", "v0.21.0", "2025.9.1"),
        ("v1.34.2+k3s1", "0.15.2", "v3.31.5", "v0.18.0", "2025.9.1"),
    ] {
        let settings = format!(
            "{TUNNEL}k3s_version = \"{k3s}\"\nmetallb_version = \"{metallb}\"\n\
             calico_version = \"{calico}\"\nexternal_dns_version = \"{external_dns}\"\n\
             cloudflared_version = \"{cloudflared}\"\ncontainerd = \"debian\"\n"
        );
        let folder = User::current().folder();
        let (is_good, said) = judge(k3s, &fusion(&settings).files(folder.path()));
        assert!(is_good, "{k3s}\n{said}");
        // With a containerd that is not k3s's own each of them is told who makes the cgroups: three
        // nodes, and two clones made by hand, whose beginnings are in each of the three.
        assert!(said.lines().any(|line| line == "kubelet 9"), "{said}");
    }
}

/// Each setting that is a version names its program, and of one program there is one version.
#[test]
fn profiles_agree_on_the_versions_of_programs() {
    let mut versions: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for profile in names(Path::new(PROFILES)) {
        let text = fs::read_to_string(format!("{PROFILES}/{profile}/profile.toml")).expect("there");
        for table in text.split("\n[settings.").skip(1) {
            let (name, rest) = table.split_once("]\n").expect("a head");
            let lines = || rest.lines().take_while(|line| !line.starts_with('['));
            let value = |key: &str| {
                let line = lines().find_map(|line| line.strip_prefix(&format!("{key} = ")));
                line.map(|value| value.trim_matches(['"', 'v']).to_owned())
            };
            let is_version = ["_version", "_minor"].iter().any(|ending| name.ends_with(ending));
            let program = value("program");
            assert_eq!(is_version, program.is_some(), "{profile}: {name}");
            let Some(program) = program else { continue };
            let version = value("default").unwrap_or_else(|| panic!("{profile}: {name}"));
            versions.entry(program).or_default().push(version);
        }
    }
    for (program, all) in &versions {
        // A minor release stands for all patches of it.
        let longest = all.iter().max_by_key(|it| it.len()).expect("one");
        assert!(all.iter().all(|it| longest.starts_with(&**it)), "{program}: {all:?}");
    }
    let minor = |program: &str| -> Vec<String> {
        versions[program][0].split('.').take(2).map(str::to_owned).collect()
    };
    assert_eq!(minor("k3s"), minor("kubernetes"));
    assert!(versions.len() > 11, "{versions:?}");
}

#[test]
fn made_up_and_removed_arguments_are_found() {
    let folder = temporary_folder();
    let says = |k3s: &str, name: &str, text: &str| {
        let file = folder.path().join(name);
        fs::write(&file, text).expect("written");
        judge(k3s, &[file])
    };
    let pod = |image: &str, argument: &str| {
        let text = format!(
            "kind: Pod\nspec:\n  containers:\n  - image: example.org/{image}\n    args: [{argument}]\n"
        );
        says("v1.34.2+k3s1", "pod.yaml", &text)
    };
    // A version that does not know it yet, made up, and without or with a value where that is wrong.
    for (image, argument, is_known) in [
        ("external-dns:v0.19.0", "--rfc2136-axfr", false),
        ("external-dns:v0.21.0", "--rfc2136-axfr", false),
        ("external-dns:v0.22.0", "--rfc2136-axfr", true),
        ("external-dns:v0.18.0", "--rfc2136-tsig-axfr", true),
        ("external-dns:v0.22.0", "--rfc2136-tsig-axfr", true),
        ("external-dns:v0.22.0", "--rfc2136-tsig-axfr=true", false),
        ("external-dns:v0.22.0", "--policy", false),
        ("external-dns:v0.22.0", "--rfc2136-nonsense=1", false),
        ("cloudflared:2025.9.1", "tunnel, --proxy-dns, run", true),
        ("cloudflared:2026.8.2", "tunnel, --proxy-dns, run", false),
        ("cloudflared:2026.8.2", "tunnel, walk", false),
        ("external-dns:v0.1.0", "--policy=sync", false),
        ("unheard-of:1", "--anything", false),
    ] {
        let (is_good, said) = pod(image, argument);
        assert_eq!(is_good, is_known, "{image} {argument}: {said}");
    }
    let said = pod("external-dns:v0.19.0", "--rfc2136-axfr").1;
    assert_eq!(said, "pod.yaml: external-dns v0.19.0 does not know `--rfc2136-axfr`\n");

    for (k3s, text, is_known) in [
        ("v1.34.2+k3s1", "kubelet-arg: [cgroup-driver=systemd]", true),
        ("v1.34.2+k3s1", "kubelet-arg: [pod-infra-container-image=pause]", true),
        ("v1.35.6+k3s1", "kubelet-arg: [pod-infra-container-image=pause]", false),
        ("v1.34.2+k3s1", "kubelet-arg: [cgroups-driver=systemd]", false),
        ("v1.34.2+k3s1", "kube-controller-manager-arg: [min-compatibility-version=1]", false),
        ("v1.36.2+k3s1", "kube-controller-manager-arg: [min-compatibility-version=1]", true),
        ("v1.34.2+k3s1", "flannel-mtu: 1400", false),
        ("v1.34.2+k3s1", "no-deploy: [traefik]", false),
        ("v1.34.2+k3s1", "disable: [traefik]", true),
    ] {
        let (is_good, said) = says(k3s, "server.yaml", text);
        assert_eq!(is_good, is_known, "{k3s} {text}: {said}");
    }
    // An agent knows less than a server.
    assert!(!says("v1.34.2+k3s1", "agent.yaml", "disable: [traefik]").0);

    let chart = |text: &str| {
        let chart =
            "kind: HelmChart\nspec:\n  chart: metallb\n  version: 0.15.3\n  valuesContent: |-\n";
        says("v1.34.2+k3s1", "chart.yaml", &format!("{chart}    {text}\n")).0
    };
    assert!(chart("speaker: {frr: {enabled: false}}"));
    assert!(chart("speaker: {nodeSelector: {example.org/any: thing}}"));
    assert!(!chart("speaker: {frrr: {enabled: false}}"));
    assert!(!chart("speakers: {enabled: false}"));
    let baked = |value: &str| {
        let chart = "https://%{KUBERNETES_API}%/static/charts/tigera-operator-v3.32.1.tgz";
        let text =
            format!("kind: HelmChart\nspec:\n  chart: {chart}\n  valuesContent: '{value}'\n");
        says("v1.34.2+k3s1", "baked.yaml", &text).0
    };
    assert!(baked("installation: {enabled: false}") && !baked("installed: {enabled: false}"));
}

#[test]
fn lists_say_where_they_are_from() {
    let lists = Path::new(HERE).join("lists");
    for name in names(&lists) {
        let text = fs::read_to_string(lists.join(&name)).expect("there");
        for head in ["# repository: https://github.com/", "# commit: ", "# path: "] {
            assert!(text.lines().any(|line| line.starts_with(head)), "{name}: {head}");
        }
        let found = text.lines().filter(|line| !line.starts_with('#')).count();
        let is_small = name.starts_with("whoami-")
            || name.starts_with("kube-vip-")
            || name.starts_with("chart-tigera-");
        assert!(found > if is_small { 5 } else { 100 }, "{name}: {found}");
    }
}
