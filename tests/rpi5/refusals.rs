//! What makes no cluster is refused by `check`, with its place.

use std::fs;

use super::super::support::{Run, temporary_folder, tool};

/// `check` of the file to begin with, changed.
fn check(change: impl Fn(String) -> String) -> (Option<i32>, String) {
    let folder = temporary_folder();
    let start = concat!(env!("CARGO_MANIFEST_DIR"), "/profiles/rpi5-kubeadm/cluster.toml");
    let text = fs::read_to_string(start).expect("readable");
    let changed = change(text.clone());
    fs::write(folder.path().join("cluster.toml"), &changed).expect("written");
    let mut run = Run::new(["check"]).folder(folder.path());
    let output = run.command().output().expect("nodeforge starts");
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[track_caller]
fn refused(from: &str, to: &str, words: &[&str]) {
    let (code, said) = check(|text| {
        assert!(text.contains(from), "{from}");
        text.replacen(from, to, 1)
    });
    assert_eq!(code, Some(2), "{said}");
    for word in words {
        assert!(said.contains(word), "`{word}` is not in:\n{said}");
    }
    assert!(said.contains("--> cluster.toml:"), "{said}");
}

#[test]
fn the_file_to_begin_with_is_accepted() {
    let (code, said) = check(|text| text);
    let note = "note: no user can log in: [access] has neither SSH keys nor a password\n\
                hint: `build` refuses that, unless `login = false` says that nobody is to\n";
    assert_eq!((code, said.as_str()), (Some(0), note));
}

/// `check` on a day, with settings of its own.
fn warned(day: &str, settings: &str) -> String {
    let folder = temporary_folder();
    let start = concat!(env!("CARGO_MANIFEST_DIR"), "/profiles/rpi5-kubeadm/cluster.toml");
    let text = fs::read_to_string(start).expect("readable");
    let text = text.replace("[output]", &format!("{settings}[output]"));
    fs::write(folder.path().join("cluster.toml"), text).expect("written");
    let run = Run::new(["check"]).folder(folder.path()).env("NODEFORGE_TODAY", day);
    let said = run.succeeds().stderr_text();
    said.lines().filter(|line| line.starts_with("warning: ")).collect::<Vec<_>>().join("\n")
}

#[test]
fn what_is_not_supported_for_long_is_worth_a_warning() {
    assert_eq!(warned("2026-11-30", ""), "");
    // Half a year from the day the defaults were chosen.
    assert_eq!(warned("2027-04-28", ""), "");
    let mine =
        |version: &str| warned("2026-11-30", &format!("kubernetes_version = \"{version}\"\n"));
    assert_eq!(
        mine("1.34.2"),
        "warning: `kubernetes_version = \"1.34.2\"`: support of Kubernetes 1.34 ended on 2026-10-27; that of \
         1.37 ends on 2027-10-28"
    );
    assert_eq!(
        mine("1.38.0"),
        "warning: `kubernetes_version = \"1.38.0\"`: Kubernetes 1.38.0 is newer than this nodeforge knows: 1.37 \
         is the newest in its table"
    );
    assert_eq!(
        warned("2027-04-29", ""),
        "warning: `kubernetes_version = \"1.36.4\"`: support of Kubernetes 1.36 ends on 2027-06-28; that of 1.37 \
         ends on 2027-10-28"
    );
    let error = Run::new(["check"]).env("NODEFORGE_TODAY", "30.11.2026").exits(2).stderr_text();
    assert_eq!(
        error,
        "error: NODEFORGE_TODAY is `30.11.2026`, not a day\nhint: it is written like 2026-11-30\n"
    );
}

#[test]
fn the_keys_of_repositories_are_pinned_apart_from_the_clusters_minor() {
    let folder = temporary_folder();
    let start = concat!(env!("CARGO_MANIFEST_DIR"), "/profiles/rpi5-kubeadm/cluster.toml");
    let text = fs::read_to_string(start).expect("readable");
    let old = text.replace("[output]", "kubernetes_version = \"1.33.13\"\n[output]");
    fs::write(folder.path().join("cluster.toml"), old).expect("written");
    let plan = Run::new(["plan", "--json"]).folder(folder.path()).succeeds().stdout_text();
    let plan: serde_json::Value = serde_json::from_str(&plan).expect("JSON");
    let sources: Vec<_> = plan["prepare"]
        .as_array()
        .expect("changes")
        .iter()
        .filter(|it| it["action"] == "apt-source")
        .collect();
    let [kubernetes, crio] = sources[..] else { panic!("{sources:?}") };
    assert!(kubernetes["text"].as_str().expect("text").contains("/v1.33/deb/"), "{kubernetes}");
    assert_eq!(kubernetes["key_url"], "https://pkgs.k8s.io/core:/stable:/v1.37/deb/Release.key");
    assert_eq!(kubernetes["fingerprint"], "DE15B14486CD377B9E876E1A234654DA9A296436");
    assert!(crio["text"].as_str().expect("text").contains("/v1.33/deb/"), "{crio}");
    assert_eq!(crio["fingerprint"], "85B67D5C50100B1AC8CEFE49CBA9C85640A2B579");
}

#[test]
fn a_pool_that_nobody_brings_is_worth_a_warning() {
    assert_eq!(
        warned("2026-11-30", "load_balancer_in_git = true\n"),
        "warning: services will wait for an address: no Git repository brings the pool to the cluster"
    );
}

#[test]
fn what_no_release_time_or_image_is_called_is_refused() {
    for (setting, said) in [
        (
            "kube_vip_version = \"v1.2.3\"",
            "`kube_vip_version` v1.2.3 is not the whole name of a release",
        ),
        ("kube_vip_version = \"1.2\"", "`kube_vip_version` 1.2 is not the whole name of a release"),
        ("gateway_api_version = \"v1.4.1\"", "`gateway_api_version` v1.4.1 is not the whole name"),
        ("helm_version = \"v4\"", "`helm_version` v4 is not the whole name of a release"),
        ("flux_operator_version = \"v0.54.0\"", "`flux_operator_version` v0.54.0 is not the whole"),
        ("kube_vip_image = \"kube-vip\"", "`kube_vip_image` kube-vip is not a registry and a name"),
        (
            "kube_vip_image = \"ghcr.io/kube-vip/kube-vip:v1\"",
            "is not a registry and a name, without a tag",
        ),
        ("kube_vip_image = \"ghcr.io/Kube/Vip\"", "is not a registry and a name, without a tag"),
        (
            "api_address = \"127.0.0.1\"",
            "`api_address` 127.0.0.1 is another machine's on each node",
        ),
        ("api_address = \"fe80::1\"", "`api_address` fe80::1 is another machine's on each node"),
        (
            "etcd_snapshot_schedule = \"\"",
            "`etcd_snapshot_schedule` `` is no time that systemd knows",
        ),
        (
            "etcd_snapshot_schedule = \"often\"",
            "`etcd_snapshot_schedule` `often` is no time that systemd",
        ),
        (
            "etcd_snapshot_schedule = \"03:00;\"",
            "`etcd_snapshot_schedule` `03:00;` is no time that",
        ),
    ] {
        refused("[output]", &format!("{setting}\n[output]"), &[said, "hint: "]);
    }
    for schedule in ["hourly", "*-*-* 03:00", "Sun", "Mon..Fri *-*-* 00/6:00:00"] {
        // What is let pass, systemd takes.
        tool("systemd-analyze", ["calendar", schedule]);
        let setting = format!("etcd_snapshot_schedule = \"{schedule}\"\n");
        assert_eq!(warned("2026-11-30", &setting), "");
    }
}

#[test]
fn what_makes_no_cluster_is_refused() {
    let flux = "flux_url = \"https://github.com/me/cluster\"\n";
    refused(
        "[output]",
        &format!("{flux}[output]"),
        &[
            "Flux cannot decrypt the repository's secrets without `age_key`",
            "hint: in [settings]: `age_key = {",
        ],
    );
    refused(
        "[output]",
        &format!("{flux}age_key = {{ file = \"nowhere.txt\" }}\n[output]"),
        &["nowhere.txt"],
    );
    refused(
        "[output]",
        &format!("{flux}sops = false\nflux_private = true\n[output]"),
        &["a private repository needs `flux_git_token`", "flux_private = true"],
    );
    refused(
        "[output]",
        "flux_url = \"git@github.com:me/cluster\"\nsops = false\n[output]",
        &[
            "`git@github.com:me/cluster` is neither an https:// nor an ssh:// address",
            "hint: what git writes as `git@github.com:me/cluster` is `ssh://git@github.com/me/cluster`",
        ],
    );
    refused(
        "[output]",
        "flux_url = \"ssh://github.com/me/cluster\"\nflux_known_hosts = \"x\"\nsops = false\n[output]",
        &["`ssh://github.com/me/cluster` does not say as whom"],
    );
    refused(
        "[output]",
        "flux_url = \"ssh://git@git.home.arpa:2222/me/cluster\"\nsops = false\n[output]",
        &[
            "over SSH Flux must know the keys of the repository's machine: `flux_known_hosts`",
            "hint: `ssh-keyscan git.home.arpa` prints them",
        ],
    );
    refused(
        "[output]",
        "flux_scaffold = true\n[output]",
        &["`flux_scaffold` without `flux_url`: nothing would follow the repository"],
    );
    refused(
        "[output]",
        &format!("{flux}flux_scaffold = true\nage_key = {{ env = \"PATH\" }}\n[output]"),
        &["`age_key` does not hold an age key"],
    );
    refused(
        "addresses = [\"192.168.1.10/24\"]\ngateway = [\"192.168.1.1\"]\n",
        "",
        &[
            "the endpoint `k8s-api.home.arpa` does not resolve: `controlplane` has no address in this file",
        ],
    );
    refused("\"10.244.0.0/20\"", "\"10.244.64.0/20\"", &["overlaps"]);
    refused(
        "\"10.244.64.0/18\"",
        "\"192.168.0.0/16\"",
        &["overlaps the network of `controlplane`"],
    );
    refused(
        "hostname = \"node0\"\n",
        "hostname = \"node0\"\nrole = \"controlplane\"\n",
        &["two nodes would form the cluster: `controlplane` and `node0`"],
    );
    refused(
        "passwordless_sudo",
        "ssh_authorized_keys = [\"ssh-ed25519 AAAAC3Nz me\"]\npasswordless_sudo",
        &["is not an SSH public key"],
    );
    let images = "images = \"https://example.org/images.tar\"";
    refused(
        "[output]",
        &format!("offline = true\n{images}\n[output]"),
        &["`images` needs `images_sha256`, what the archive must hash to", images],
    );
    let hash = format!("images_sha256 = \"{}\"", "0".repeat(64));
    refused(
        "[output]",
        &format!("offline = true\n{hash}\n[output]"),
        &["`images_sha256` is of no archive: `images` is empty", &hash],
    );
}

#[test]
fn a_pool_is_in_the_lan_and_overlaps_nothing_else() {
    let pool = |pool: &str, words: &[&str]| refused("192.168.1.240-192.168.1.250", pool, words);
    pool(
        "192.168.1.15-192.168.1.30",
        &["holds an address that is taken", "`node0` is 192.168.1.20"],
    );
    pool("192.168.1.0/29", &["holds an address that is taken", "192.168.1.1 is the router of"]);
    pool("10.244.64.10-10.244.64.20", &["10.244.64.10-10.244.64.20 overlaps `pod_subnet`"]);
    pool("192.168.2.240-192.168.2.250", &["is in no network of the nodes", "192.168.1.0/24"]);
    pool("192.168.1.250-192.168.2.10", &["is in no network of the nodes"]);
    let (code, said) = check(|text| text.replace("192.168.1.240-192.168.1.250", "fd00::1-fd00::9"));
    assert_eq!(code, Some(0), "nodes may have such addresses by themselves: {said}");
}

#[test]
fn values_that_only_a_node_would_stumble_over_are_refused() {
    for ttl in ["a week", "168", "h", ""] {
        refused("168h0m0s", ttl, &["is not a duration that kubeadm accepts", "token_ttl"]);
    }
    refused("[output]", "api_port = 8443\n[output]", &["control planes listen on 6443"]);
    refused(
        "\"10.244.0.0/20\"",
        "\"fd00:1::/112\"",
        &["pods have IPv4 addresses, and services IPv6"],
    );
    for (version, words) in [
        ("v1.36.4", "is not a full version of Kubernetes"),
        ("1.36", "is not a full version of Kubernetes"),
        ("1.36.", "is not a full version of Kubernetes"),
        ("1.36.4-1.1", "is not a full version of Kubernetes"),
        ("1.31.14", "Kubernetes 1.31.14 is too old"),
    ] {
        refused("[output]", &format!("kubernetes_version = \"{version}\"\n[output]"), &[words]);
    }
    for (version, words) in [
        ("1.17.9", "Cilium 1.17.9 is too old"),
        ("1.9.0", "Cilium 1.9.0 is too old"),
        ("v1.19.8", "is not a full version of Cilium"),
        ("1.18", "is not a full version of Cilium"),
        ("main", "is not a full version of Cilium"),
    ] {
        refused("[output]", &format!("cilium_version = \"{version}\"\n[output]"), &[words]);
    }
    for path in ["./clusters/home", "/clusters/home", "clusters/home/", "clusters//home", ""] {
        let path = format!("flux_path = \"{path}\"\n[output]");
        refused("[output]", &path, &["`flux_path` is a folder of the repository, from its top"]);
    }
    let key = "age_key = { env = \"PATH\" }\n[output]";
    refused("[output]", key, &["`age_key` does not hold an age key", "AGE-SECRET-KEY-"]);
    let version = "gateway_api_version = \"1.5.0\"\n[output]";
    refused("[output]", version, &["the Gateway API 1.5.0 is newer than Cilium 1.19.8 supports"]);
    let version = "cilium_version = \"1.18.13\"\n[output]";
    refused("[output]", version, &["the Gateway API 1.4.1 is newer than Cilium 1.18.13 supports"]);
}

#[test]
fn networks_that_kubeadm_refuses_are_refused() {
    for mask in [16, 18, 33, 35] {
        let setting = format!("pod_mask = {mask}\n[output]");
        let words =
            format!("`pod_mask` is {mask}, and each node's share of 10.244.64.0/18 must be");
        refused("[output]", &setting, &[&words, "a /19 to /32"]);
    }
    let pods = |net: &str, words: &[&str]| refused("\"10.244.64.0/18\"", net, words);
    pods("\"100.0.0.0/7\"", &["must be a /8 to /23", "into 65536 shares"]);
    pods("\"10.244.64.0/29\"\npod_mask = 30", &["`pod_subnet` 10.244.64.0/29 has fewer than"]);
    let services = |net: &str, words: &[&str]| refused("10.244.0.0/20", net, words);
    services("10.0.0.0/11", &["`service_subnet` 10.0.0.0/11 is not a network between /12 and /28"]);
    services(
        "10.244.0.0/29",
        &["`service_subnet` 10.244.0.0/29 is not a network between /12 and /28"],
    );

    let both = |pods: &str, services: &str| {
        check(|text| {
            let text = text.replacen("\"10.244.64.0/18\"", pods, 1);
            text.replacen("10.244.0.0/20", services, 1)
        })
    };
    let six = "\"fd00:1::/56\"\npod_mask = 64";
    for services in ["fd00:2::/107", "fd00:2::/125"] {
        let (code, said) = both(six, services);
        assert_eq!(code, Some(2), "{said}");
        assert!(said.contains("is not a network between /108 and /124"), "{said}");
    }
    let (code, said) = both(six, "fd00:2::/112");
    assert_eq!(code, Some(2), "{said}");
    let words = "pods and services have IPv6 addresses, and `controlplane` has none";
    assert!(said.contains(words), "{said}");
    for services in ["10.240.0.0/12", "10.244.0.0/28"] {
        let (code, said) = both("\"10.128.0.0/10\"", services);
        assert_eq!(code, Some(0), "{said}");
    }
}

#[test]
fn two_control_planes_are_worth_a_note() {
    let more = |count: usize| {
        check(|text| {
            let mut text = text.replace("[output]", "api_address = \"192.168.1.9\"\n[output]");
            for number in 1..=count {
                text += &format!(
                    "\n[[node]]\nhostname = \"controlplane{number}\"\n\
                     addresses = [\"192.168.1.1{number}/24\"]\n"
                );
            }
            text
        })
    };
    let (code, said) = more(1);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("note: 2 control planes survive no more failures than 1"), "{said}");
    assert!(!more(2).1.contains("control planes"));
}

#[test]
fn without_the_internet_the_chart_is_of_its_version_and_images_go_by_tag() {
    let plan = |offline: &str| {
        let folder = temporary_folder();
        let start = concat!(env!("CARGO_MANIFEST_DIR"), "/profiles/rpi5-kubeadm/cluster.toml");
        let text = fs::read_to_string(start).expect("readable");
        let text =
            text.replace("[output]", &format!("{offline}cilium_version = \"1.19.7\"\n[output]"));
        fs::write(folder.path().join("cluster.toml"), text).expect("written");
        Run::new(["plan", "--json"]).folder(folder.path()).succeeds().stdout_text()
    };
    let own = "images = \"https://example.org/images.tar\"\nimages_sha256";
    let own = plan(&format!("offline = true\n{own} = \"{}\"\n", "0".repeat(64)));
    assert!(own.contains("\"https://example.org/images.tar\""), "{own}");
    assert!(!own.contains("registry.k8s.io/kube-apiserver"), "{own}");
    let offline = plan("offline = true\n");
    assert!(offline.contains("registry.k8s.io/kube-apiserver:v1.36.4"), "{offline}");
    assert!(offline.contains("\"https://helm.cilium.io/cilium-1.19.7.tgz\""), "{offline}");
    assert_eq!(offline.matches("useDigest: false").count(), 4, "{offline}");
    assert!(offline.contains("\"/etc/nodeforge/not-before\""), "{offline}");
    assert!(!plan("").contains("useDigest"));
}
