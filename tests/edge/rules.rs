//! What cannot work is refused by `check`, which points at the cluster file and says what would do.

use std::fs;

use super::super::support::{Run, temporary_folder};
use super::EXAMPLE;

const SUM: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// `check` of the example with some settings given otherwise, or in addition.
fn check(settings: &str) -> (Option<i32>, String) {
    let folder = temporary_folder();
    let key = |line: &str| line.split_once(" = ").map(|(key, _)| key.to_owned());
    let given: Vec<_> = settings.lines().filter_map(key).collect();
    let text = fs::read_to_string(format!("{EXAMPLE}/cluster.toml")).expect("there");
    let kept = text.lines().filter(|line| key(line).is_none_or(|key| !given.contains(&key)));
    let text = kept.collect::<Vec<_>>().join("\n");
    let text = text.replacen("[settings]\n", &format!("[settings]\n{settings}\n"), 1);
    fs::write(folder.path().join("cluster.toml"), text).expect("written");
    fs::copy(format!("{EXAMPLE}/demo.pub"), folder.path().join("demo.pub")).expect("copied");
    let mut run = Run::new(["check"]).folder(folder.path());
    let output = run.command().output().expect("nodeforge starts");
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn what_works_is_accepted() {
    let offline = format!("offline = false\nk3s_sha256 = \"{SUM}\"");
    for settings in [
        "",
        &offline,
        "edge_label = \"edge\"",
        "edge_public_ipv4 = \"172.32.0.1\"\nmetallb_version = \"0.17.0-rc.1\"\nk3s_version = \"v1.36.3-rc1+k3s1\"",
        "edge_dial = \"ipv4\"\nwireguard_mtu = 1440",
        "wireguard_mtu = 1350\nwireguard_port = 65535",
        // A network of its own, for the laptop only.
        "peer_ipv4 = \"10.99.0.2\"\npeer_ipv6 = \"fd99::2\"",
        // Nobody has this address.
        "peer = \"none\"\npeer_ipv4 = \"192.168.178.201\"",
        "pods_ipv4 = \"10.64.0.0/22\"\npods_ipv6 = \"fd01::/62\"",
        "services_ipv4 = \"10.43.0.0/28\"\nservices_ipv6 = \"fd02::/124\"",
        "pool_ipv4 = \"192.168.178.16/29\"\ningress_ipv4 = \"192.168.178.23\"",
    ] {
        let (code, said) = check(settings);
        assert_eq!(code, Some(0), "{settings}\n{said}");
    }
}

#[test]
fn nonsense_is_refused_where_it_is_written() {
    for (setting, said) in [
        (
            "edge_label = \"node-role.kubernetes.io/edge\"",
            "is under a domain of Kubernetes' own, which a kubelet may not use for its node",
        ),
        ("edge_label = \"k8s.io/edge\"", "is under a domain of Kubernetes' own"),
        ("edge_label = \"example.org/edge=true\"", "is not a valid name of a label"),
        ("edge_label = \"example.org/\"", "is not a valid name of a label"),
        ("edge_label = \"\"", "is not a valid name of a label"),
        ("edge_label = \"a/b/c\"", "is not a valid name of a label"),
        ("edge_ipv4 = \"192.168.178.5\"", "is the address of a node"),
        ("edge_ipv6 = \"fda8:a1db:5685:0::6\"", "is the address of a node"),
        ("edge_ipv4 = \"192.168.178.1\"", "is the address of a router"),
        ("edge_ipv4 = \"192.168.179.201\"", "is not in home's network 192.168.178.0/24"),
        ("edge_ipv6 = \"fd00::201\"", "is not in home's network fda8:a1db:5685::/64"),
        ("edge_ipv4 = \"192.168.178.15\"", "is in `pool_ipv4` 192.168.178.10-192.168.178.19"),
        ("edge_ipv4 = \"fda8:a1db:5685::201\"", "is not an IPv4 address"),
        ("peer_ipv4 = \"192.168.178.201\"", "`peer_ipv4` and `edge_ipv4` are both"),
        ("peer_ipv6 = \"fda8:a1db:5685::5\"", "is the address of a node"),
        ("peer_ipv4 = \"10.42.0.9\"", "is in `pods_ipv4` 10.42.0.0/16"),
        ("peer_ipv6 = \"fd02::9\"", "is in `services_ipv6` fd02::/112"),
        ("ingress_ipv4 = \"192.168.178.20\"", "is not in `pool_ipv4`"),
        ("ingress_ipv6 = \"fda8:a1db:5685::21\"", "is not in `pool_ipv6`"),
        ("ingress_ipv4 = \"::1\"", "is not an IPv4 address"),
        ("edge_public_ipv4 = \"2001:db8::10\"", "is not an IPv4 address"),
        ("edge_public_ipv6 = \"203.0.113.10\"", "is not an IPv6 address"),
        ("edge_public_ipv6 = \"fda8:a1db:5685::9\"", "is in home's network"),
        ("edge_public_ipv4 = \"192.168.178.201\"", "is in home's network"),
        ("edge_public_ipv4 = \"10.0.0.1\"", "is not an address of the internet"),
        ("edge_public_ipv4 = \"127.0.0.1\"", "is not an address of the internet"),
        ("edge_public_ipv4 = \"100.64.0.9\"", "is not an address of the internet"),
        ("edge_public_ipv4 = \"172.31.255.1\"", "is not an address of the internet"),
        ("edge_public_ipv6 = \"fe80::1\"", "is not an address of the internet"),
        ("edge_public_ipv6 = \"::1\"", "is not an address of the internet"),
        ("edge_public_ipv6 = \"fd00::9\"", "is not an address of the internet"),
        ("edge_ipv4 = \"192.168.178.0\"", "is the first or the last address of 192.168.178.0/24"),
        ("edge_ipv4 = \"192.168.178.255\"", "is the first or the last address of"),
        ("edge_ipv6 = \"fda8:a1db:5685::\"", "is the first address of fda8:a1db:5685::/64"),
        ("edge_label = \"Example.org/edge\"", "is under no domain"),
        ("edge_label = \"exa_mple.org/edge\"", "is under no domain"),
        ("edge_label = \"example-.org/edge\"", "is under no domain"),
        ("k3s_version = \"v1.36.2\"", "is not the whole name of a release"),
        ("k3s_version = \"v1.36+k3s1\"", "is not the whole name of a release"),
        ("metallb_version = \"v0.16.1\"", "is not the whole name of a release"),
        ("metallb_version = \"0.16\"", "is not the whole name of a release"),
        ("traefik_version = \"v41.3.0\"", "is not the whole name of a release"),
        ("cert_manager_version = \"1.21.1\"", "is not the whole name of a release"),
        ("home_ipv6 = \"192.168.0.0/16\"", "is not an IPv6 network"),
        ("home_ipv4 = \"fda8::/64\"", "is not an IPv4 network"),
        ("home_ipv4 = \"192.168.0.0/16\"", "`k3s-node1` has no static address in home's network"),
        ("services_ipv4 = \"fd03::/112\"", "is not an IPv4 network"),
        ("services_ipv6 = \"10.99.0.0/16\"", "is not an IPv6 network"),
        ("services_ipv4 = \"10.64.0.0/11\"", "is not between a /12 and a /28"),
        ("services_ipv6 = \"fd02::/64\"", "is not between a /108 and a /124"),
        ("pods_ipv4 = \"fd05::/48\"", "is not an IPv4 network"),
        ("pods_ipv4 = \"10.42.0.0/23\"", "does not have a /24 for each of 4 nodes"),
        ("pods_ipv6 = \"fd01::/63\"", "does not have a /64 for each of 4 nodes"),
        ("pool_ipv4 = \"fda8:a1db:5685::30-fda8:a1db:5685::40\"", "is not a range of IPv4"),
        ("pool_ipv4 = \"10.9.0.1-10.9.0.9\"", "is not in home's network"),
        ("wireguard_mtu = 200", "is 200, and works from 1350 to 1420"),
        ("wireguard_mtu = 1440", "is 1440, and works from 1350 to 1420"),
        ("wireguard_mtu = 1279", "is 1279, and works from 1350"),
        ("wireguard_port = 99999", "is not a valid port: 1 to 65535"),
        ("wireguard_port = 0", "is not a valid port"),
        ("wireguard_port = 8472", "is the port of the pods' own network"),
        ("wireguard_keepalive = 0", "WireGuard takes 1 to 65535 seconds"),
        ("api_name = \"192.168.178.5\"", "is an address, and a name is needed"),
        ("internal_domain = \"fd00::1\"", "is an address, and a name is needed"),
        ("external_domain = \"home.example.org\"", "is below `internal_domain`"),
        ("external_domain = \"apps.home.example.org\"", "is below `internal_domain`"),
        ("internal_domain = \"home.apps.example.org\"", "is below `external_domain`"),
        ("acme_email = \"me\"\ncert_manager = true", "is not an e-mail address"),
        ("acme_server = \"letsencrypt\"\ncert_manager = true", "begins with https://"),
        ("offline = false", "`k3s_sha256` must say what nodes download"),
        ("offline = false\nk3s_sha256 = \"abc\"", "`k3s_sha256` must say what nodes download"),
    ] {
        let (code, found) = check(setting);
        assert_eq!(code, Some(2), "{setting}\n{found}");
        assert!(found.contains(said), "{setting}\n{found}");
        assert!(found.contains("--> cluster.toml:"), "{setting}\n{found}");
        let key = setting.split(' ').next().expect("a key");
        assert!(found.contains(&format!("{key} = ")), "{setting}\n{found}");
    }
}

/// An example of the other family would be no help.
#[test]
fn hints_are_of_the_settings_own_family() {
    for (setting, hint) in [
        ("home_ipv6 = \"home\"", "hint: for example `fda8:a1db:5685::/64`"),
        ("home_ipv6 = \"192.168.0.0/16\"", "hint: for example fda8:a1db:5685::/64"),
        ("services_ipv6 = \"10.99.0.0/16\"", "hint: for example fd02::/112"),
        ("services_ipv4 = \"fd03::/112\"", "hint: for example 10.43.0.0/16"),
        ("pods_ipv6 = \"pods\"", "hint: for example `fd01::/48`"),
        ("edge_ipv6 = \"edge\"", "hint: for example `fda8:a1db:5685::201`"),
        ("edge_ipv4 = \"edge\"", "hint: for example `192.168.178.201`"),
        ("edge_public_ipv4 = \"::1:1\"", "hint: for example 203.0.113.10"),
        ("ingress_ipv6 = \"192.168.178.10\"", "hint: for example fda8:a1db:5685::10"),
        ("pool_ipv6 = \"pool\"", "hint: for example `fda8:a1db:5685::10-fda8:a1db:5685::20`"),
    ] {
        let (code, said) = check(setting);
        assert_eq!(code, Some(2), "{setting}\n{said}");
        assert!(said.contains(hint), "{setting}\n{said}");
    }
}
