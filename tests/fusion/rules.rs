//! What cannot work is refused by `check`, which points at the cluster file.

use std::fs;
use std::path::Path;

use super::super::support::{Run, temporary_folder};
use super::EXAMPLE;

const SUM: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// `check` of the example with some settings given otherwise, or in addition.
fn check(settings: &str, change: (&str, &str)) -> (Option<i32>, String) {
    let folder = temporary_folder();
    let text = fs::read_to_string(EXAMPLE).expect("the example is there");
    let given = |line: &str| {
        let key = |line: &str| line.split_once(" = ").map(|(key, _)| key.to_owned());
        key(line)
            .is_some_and(|wanted| settings.lines().any(|line| key(line).as_ref() == Some(&wanted)))
    };
    let mut changed = String::new();
    for line in text.lines().filter(|line| !given(line)) {
        changed += &format!("{line}\n");
        if line == "[settings]" {
            changed += &format!("{settings}\n");
        }
    }
    assert!(changed.contains(change.0), "{}", change.0);
    fs::write(folder.path().join("cluster.toml"), changed.replacen(change.0, change.1, 1))
        .expect("written");
    let key = Path::new(EXAMPLE).with_file_name("demo.pub");
    fs::copy(key, folder.path().join("demo.pub")).expect("copied");
    let mut run = Run::new(["check"]).folder(folder.path());
    let output = run.command().output().expect("nodeforge starts");
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[track_caller]
fn accepted(settings: &str) {
    let (code, said) = check(settings, ("", ""));
    assert_eq!(code, Some(0), "{settings}\n{said}");
}

#[track_caller]
fn refused(settings: &str, words: &[&str]) {
    refused_with(settings, ("", ""), words);
}

#[track_caller]
fn refused_with(settings: &str, change: (&str, &str), words: &[&str]) {
    let (code, said) = check(settings, change);
    assert_eq!(code, Some(2), "{settings}\n{said}");
    for word in words {
        assert!(said.contains(word), "`{word}` is not in:\n{said}");
    }
    assert!(said.contains("--> cluster.toml:"), "{said}");
}

#[test]
fn what_works_is_accepted() {
    let offline = format!("offline = false\nk3s_sha256_arm64 = \"{SUM}\"");
    for settings in [
        "",
        "calico = false\nmetallb = false\nha = \"dns\"",
        "bgp = false\nmetallb = false\nha = \"none\"",
        "metallb = false\nha = \"dns\"",
        "external_dns = false\nha = \"none\"",
        "dns_registration = false",
        "dns_registration = false\nha = \"none\"\njoin_name = \"servers.home.arpa\"",
        "ha = \"none\"\napi_name = \"api.home.arpa\"",
        "join_name = \"k8s.example.net\"\napi_name = \"a.b.k8s.example.net\"",
        "dns_registration = false\nha = \"none\"\njoin_name = \"server1.k8s.example.net\"",
        "ha = \"none\"\napi_name = \"k3s-cluster.k8s.example.net\"",
        "k3s_version = \"v1.33.6+k3s1\"",
        "k3s_version = \"v1.36.0+k3s1\"",
        "calico = false\nmetallb = false\nha = \"dns\"\nk3s_version = \"v1.34.1+k3s1\"",
        "router_as = 4294967295\ncluster_as = 1\nrouter_interface = \"br-lan.100\"\ndns_port = 53",
        "service_cidr = \"fd77:3be9:5d2e:ff00::/108\"",
        "pod_cidr = \"fd77:3be9:5d2e:ffcc::/104\"",
        "node_cidr_mask = 128",
        "pod_cidr = \"fd77:3be9:5d2e:ff00::/56\"\nnode_cidr_mask = 64\nservice_cidr = \
         \"fd77:3be9:5d2f::/112\"\ncalico = false\nmetallb = false\nha = \"dns\"",
        "global_prefix_length = 56\nbalancer_pool = \"::f1:0:0:0:0/112\"",
        &offline,
    ] {
        accepted(settings);
    }
}

#[test]
fn a_containerd_that_kubernetes_does_not_support_is_warned_of() {
    let warned = |settings: &str| {
        let (code, said) = check(settings, ("", ""));
        assert_eq!(code, Some(0), "{said}");
        let is_of_it = |line: &&str| line.contains("containerd");
        said.lines().filter(is_of_it).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(
        warned("containerd = \"debian\""),
        [
            "warning: k3s v1.36.2+k3s1 is of a Kubernetes that does not support containerd 1.x, which is what Debian 12 \
             and 13 have",
            "hint: in [settings]: `containerd = \"embedded\"` or `\"docker\"`, or a k3s before v1.36",
        ]
    );
    assert_eq!(warned("containerd = \"debian\"\nk3s_version = \"v1.35.6+k3s1\""), [""; 0]);
    assert_eq!(warned("containerd = \"docker\""), [""; 0]);
}

#[test]
fn parts_that_need_each_other_are_refused_alone() {
    let metallb = "`ha = \"metallb\"` needs `calico`, `bgp` and `metallb`";
    refused("calico = false", &[metallb, "without `calico` and `bgp` the router does not learn"]);
    refused("bgp = false", &[metallb, "hint: in [settings]: `metallb = false`"]);
    refused("metallb = false", &[metallb, "hint: in [settings]: `ha = \"dns\"`"]);
    refused(
        "calico = false\nmetallb = false\nha = \"dns\"\ncontainerd = \"debian\"",
        &["the pods' network is flannel, which only k3s' own containerd finds"],
    );
    refused(
        "external_dns = false",
        &["nothing registers `api_name` api.k8s.example.net", "external_dns = false"],
    );
    refused("dns_registration = false\nha = \"dns\"", &["`ha = \"dns\"` needs `dns_registration`"]);
    refused_with(
        "dns_registration = false",
        ("addresses = [\"fd77:3be9:5d2e:1::11/64\"]\n", ""),
        &[
            "no node can find `server1`: it does not register its address, and has none in this file",
        ],
    );
    let tunnel =
        "a tunnel needs `cloudflared_tunnel`, `cloudflared_hostnames` and `cloudflared_services`";
    refused("cloudflared = true", &[tunnel]);
    refused(
        "cloudflared = true\ncloudflared_tunnel = \"6ff42ae2\"\ncloudflared_hostnames = [\"a.test\"]",
        &[tunnel],
    );
}

#[test]
fn a_tunnels_names_and_services_fit_each_other() {
    for (settings, said) in [
        ("cloudflared_hostnames = \"a.test\"", "must be an array, not a string"),
        ("cloudflared_hostnames = [\"a.test\", 5]", "an element of `cloudflared_hostnames`"),
        ("cloudflared_hostnames = [\"a_b!\"]", "`a_b!` is not a valid DNS name"),
        ("cloudflared_hostnames = [\"a.test\", \"a.test\"]", "has a name twice"),
        ("cloudflared_hostnames = [\"*.a.test\", \"*.a.test\"]", "has a name twice"),
        ("cloudflared_hostnames = [\"*\"]", "`*` has a `*` elsewhere than as its first label"),
        ("cloudflared_hostnames = [\"*a.test\"]", "`*a.test` has a `*` elsewhere than as its"),
        ("cloudflared_hostnames = [\"www.*.test\"]", "`www.*.test` has a `*` elsewhere than as"),
        ("cloudflared_hostnames = [\"*.*.a.test\"]", "`*.*.a.test` has a `*` elsewhere than as"),
        ("cloudflared_hostnames = [\"*.\"]", "`*.` is not a valid DNS name: it has an empty part"),
        ("cloudflared_hostnames = [\"192.0.2.1\"]", "`192.0.2.1` is an address and not a DNS"),
        ("cloudflared_origin_name = \"*.a.test\"", "`*.a.test` is not a valid DNS name"),
        (
            "cloudflared_services = [\"http://a\", \"http://b\"]",
            "0 `cloudflared_hostnames` lead to 2",
        ),
        ("cloudflared_services = [\"web.default\"]", "does not begin with http://, https://"),
        ("cloudflared_tunnel = \"a; reboot\"", "is not a tunnel's id or name"),
        (
            "cloudflared_origin_name = \"a.test\"",
            "no service in `cloudflared_services` is reached by",
        ),
        ("cloudflared_replicas = 0", "is 0, and may be 1 to 100"),
    ] {
        refused(settings, &[said]);
    }
}

#[test]
fn services_may_have_a_zone_of_their_own() {
    accepted("services_zone = \"apps.example.net\"\napi_name = \"api.apps.example.net\"");
    accepted("services_zone = \"apps.example.net\"\nha = \"dns\"");
    for (settings, said) in [
        ("services_zone = \"apps.example.net\"", "is not in `services_zone` apps.example.net"),
        (
            "services_zone = \"a.test\"\nexternal_dns = false\nha = \"dns\"",
            "nothing registers names in",
        ),
        (
            "services_zone = \"k8s.example.net\"\ncluster_domain = \"k8s.example.net\"",
            "is `cluster_domain`",
        ),
    ] {
        refused(settings, &[said]);
    }
}

#[test]
fn networks_that_kubernetes_or_nodes_could_not_use_are_refused() {
    let no_local = "is not a unique local /64";
    for network in ["fd77:3be9:5d2e::/48", "2001:db8:0:1::/64", "192.168.1.0/24"] {
        refused(&format!("node_network = \"{network}\""), &[no_local, "node_network = "]);
    }
    let stranger = "`server1` has no address in `node_network` fd77:3be9:5d2e:2::/64";
    refused(
        "node_network = \"fd77:3be9:5d2e:2::/64\"",
        &[stranger, "`router` fd77:3be9:5d2e:1::1 is not in `node_network`"],
    );
    // In it, but the only one of a network of its own.
    refused_with(
        "",
        ("5d2e:1::21/64", "5d2e:1::21/128"),
        &["`agent1` has no address in `node_network` fd77:3be9:5d2e:1::/64", "end in /64"],
    );
    refused("router = \"fe80::1\"", &["`router` fe80::1 is not in `node_network`"]);
    refused("pod_cidr = \"10.42.0.0/16\"", &["`pod_cidr` 10.42.0.0/16 is not IPv6"]);
    refused("service_cidr = \"10.43.0.0/16\"", &["is not an IPv6 network between /108 and /123"]);
    refused(
        "service_cidr = \"fd77:3be9:5d2e:ff00::/64\"",
        &["`service_cidr` fd77:3be9:5d2e:ff00::/64 is not an IPv6 network between /108 and /123"],
    );
    refused("service_cidr = \"fd77:3be9:5d2e:ff00::/124\"", &["between /108 and /123"]);
    for (mask, range) in [(112, "/113 to /128"), (129, "/113 to /128"), (-1, "/113 to /128")] {
        let said = format!("`node_cidr_mask` is {mask}, and each node's part of fd77");
        refused(&format!("node_cidr_mask = {mask}"), &[&said, range]);
    }
    refused("pod_cidr = \"fd77:3be9:5d2e:ffcc::/64\"", &["must be a /65 to /80", "65536 parts"]);
    refused("node_cidr_mask = 114", &["Calico's blocks are /116 to /128"]);
    refused("balancer_pool = \"10.0.0.0/24\"", &["is not an IPv6 network smaller"]);
    refused("global_prefix_length = 112", &["smaller than the global prefix, /112"]);
    refused("dns_server = \"192.168.1.1\"", &["`dns_server` 192.168.1.1 is not IPv6"]);
}

/// Load balancers would get their addresses.
#[test]
fn a_pool_that_holds_nodes_is_refused() {
    let holds = "holds the host part of server1";
    let hint = "hint: low bits that no node has";
    for pool in ["::/112", "2001:db8::/112", "::10/124", "::/65"] {
        refused(&format!("balancer_pool = \"{pool}\""), &[holds, hint, "balancer_pool = "]);
    }
    // The first subnet may well be the nodes'.
    refused("global_prefix_length = 56\nbalancer_pool = \"::/112\"", &[holds]);
    refused("balancer_pool = \"::20/124\"", &["holds the host part of agent1"]);
}

/// Nodes without IPv4 never had Calico of these: k3s-io/k3s#12947.
#[test]
fn releases_that_do_not_install_calico_are_refused() {
    let never = "never installs Calico here: it expects the API at 127.0.0.1";
    for release in
        ["v1.34.1+k3s1", "v1.33.5+k3s1", "v1.32.9+k3s1", "v1.31.13+k3s1", "v1.30.14+k3s2"]
    {
        let setting = format!("k3s_version = \"{release}\"");
        refused(&setting, &[never, "hint: v1.34.2+k3s1 asks at ::1", "k3s_version = "]);
    }
}

/// Its chart's versions have a letter and three numbers.
#[test]
fn half_a_version_of_calico_is_refused() {
    for version in ["3.31", "v3.31", "3.31.5", "v3.31.x", "v3..5", "latest"] {
        let said = format!("`calico_version` {version} is not the whole name of a release");
        let setting = format!("calico_version = \"{version}\"");
        refused(&setting, &[&said, "hint: like v3.32.1", "calico_version = "]);
    }
    accepted("calico_version = \"v3.31.5\"");
}

#[test]
fn what_nodes_would_download_is_a_hash() {
    let said = "without `offline`, `k3s_sha256_arm64` must say what nodes download";
    refused(&format!("offline = false\nk3s_sha256_arm64 = \"{}\"", "z".repeat(64)), &[said]);
}

#[test]
fn half_a_name_of_a_release_is_refused() {
    for (setting, hint) in [
        ("k3s_version = \"v1.36.2\"", "like v1.36.2+k3s1"),
        ("k3s_version = \"v1.36.2-k3s1\"", "like v1.36.2+k3s1"),
        ("metallb_version = \"v0.16.1\"", "like 0.16.1"),
        ("external_dns_version = \"0.22.0\"", "like v0.22.0"),
        ("external_dns_version = \"v0.22\"", "like v0.22.0"),
        ("cloudflared_version = \"latest\"", "like 2026.8.2"),
    ] {
        let (name, value) = setting.split_once(" = ").expect("both");
        let said =
            format!("`{name}` {} is not the whole name of a release", value.replace('"', ""));
        refused(setting, &[&said, &format!("hint: {hint}"), name]);
    }
}

/// FRR, BIND and radvd would not load them.
#[test]
fn what_the_router_could_not_load_is_refused() {
    for (setting, said) in [
        ("router = \"192.168.1.1\"\nbgp = false\nmetallb = false\nha = \"dns\"", "is not IPv6"),
        ("router_id = \"fd00::1\"", "`router_id` fd00::1 is not in the form of an IPv4 address"),
        ("router_as = 4294967296", "`router_as` 4294967296 is not a valid AS number"),
        ("router_as = -1", "`router_as` -1 is not a valid AS number"),
        ("cluster_as = 0", "`cluster_as` 0 is not a valid AS number"),
        ("cluster_as = 4294967296", "`cluster_as` 4294967296 is not a valid AS number"),
        ("dns_port = 70000", "`dns_port` 70000 is not a valid port: 1 to 65535"),
        ("dns_port = 0", "`dns_port` 0 is not a valid port"),
        ("dns_ttl = -1", "`dns_ttl` -1 is not a valid time to live"),
        ("router_interface = \"\"", "is not a valid interface name"),
        ("router_interface = \"eth0 {\"", "is not a valid interface name"),
        ("router_interface = \"interface0123456\"", "at most 15 letters"),
    ] {
        let key = setting.split(' ').next().expect("a key");
        refused(setting, &[said, &format!("{key} = ")]);
    }
}

#[test]
fn shared_names_are_not_the_name_of_one_node() {
    let own = "server2.k8s.example.net is a node's own name";
    let name = |key: &str| format!("{key} = \"server2.k8s.example.net\"");
    refused(&name("join_name"), &[own, "a name that only servers share", "join_name = "]);
    refused(&name("api_name"), &[own, "a name that no machine has", "api_name = "]);
    refused(&format!("ha = \"dns\"\n{}", name("api_name")), &[own]);
    for ha in ["metallb", "dns"] {
        let one = format!("ha = \"{ha}\"\napi_name = \"k3s-cluster.k8s.example.net\"");
        refused(&one, &["`api_name` and `join_name` are both k3s-cluster.k8s.example.net"]);
    }
}

#[test]
fn names_outside_the_zone_are_refused() {
    refused(
        "join_name = \"servers.home.arpa\"",
        &["`join_name` servers.home.arpa is not in `dns_zone` k8s.example.net"],
    );
    // An end that is no whole label.
    refused("join_name = \"serversk8s.example.net\"", &["is not in `dns_zone`"]);
    for ha in ["metallb", "dns"] {
        refused(
            &format!("ha = \"{ha}\"\napi_name = \"api.home.arpa\""),
            &["`api_name` api.home.arpa is not in `dns_zone` k8s.example.net"],
        );
    }
}

#[test]
fn a_download_without_its_hash_is_blamed_on_the_cluster_file() {
    let wanted = "without `offline`, `k3s_sha256_arm64` must say what nodes download";
    let hint = "/v1.36.2%2Bk3s1/sha256sum-arm64.txt";
    refused("offline = false", &[wanted, hint, "offline = false"]);
    let other = format!("offline = false\nk3s_sha256_amd64 = \"{SUM}\"");
    refused(&other, &[wanted]);
    refused("offline = false\nk3s_sha256_arm64 = \"abc\"", &[wanted]);
}
