//! The edge on whatever a provider rents: kinds of addresses, and no IPv6 at all.

use std::fs;

use super::super::support::Run;
use super::cluster;

const UNIT: &str = "/etc/systemd/network/05-nodeforge.network";

/// The cluster with these lines for the edge's network instead of its own, and further settings.
fn with(network: &str, settings: &str) -> tempfile::TempDir {
    let folder = cluster(settings);
    let file = folder.path().join("cluster.toml");
    let text = fs::read_to_string(&file).expect("there");
    let (start, rest) = text.split_once("hostname = \"edge\"\n").expect("an edge");
    let rest = rest.lines().skip(2).collect::<Vec<_>>().join("\n");
    fs::write(&file, format!("{start}hostname = \"edge\"\n{network}\n{rest}\n")).expect("written");
    folder
}

fn plan(folder: &tempfile::TempDir) -> serde_json::Value {
    let text = Run::new(["plan", "--json"]).folder(folder.path()).succeeds().stdout_text();
    serde_json::from_str(&text).expect("JSON")
}

fn changes<'a>(plan: &'a serde_json::Value, node: &str) -> &'a [serde_json::Value] {
    let nodes = plan["nodes"].as_array().expect("nodes");
    let node = nodes.iter().find(|it| it["hostname"] == node).expect("a node");
    node["changes"].as_array().expect("changes")
}

/// The edge's network unit behind `[Network]`, without name servers.
fn unit(network: &str) -> String {
    let plan = plan(&with(network, ""));
    let file = changes(&plan, "edge").iter().find(|it| it["path"] == UNIT).expect("a unit");
    let text = file["content"].as_str().expect("it is public");
    let (_, network) = text.split_once("[Network]\n").expect("a section");
    network.replace("Domains=home.arpa\n", "")
}

#[test]
fn a_router_may_be_outside_of_a_network_of_one_address() {
    assert_eq!(
        unit(
            "addresses = [\"203.0.113.10/32\", \"2001:db8:0:1::10/128\"]\n\
             gateway = [\"198.51.100.1\", \"2001:db8:ffff::1\"]"
        ),
        "DHCP=no\nIPv6AcceptRA=no\nAddress=203.0.113.10/32\nAddress=2001:db8:0:1::10/128\n\n\
         [Route]\nGateway=198.51.100.1\nGatewayOnLink=yes\n\n\
         [Route]\nGateway=2001:db8:ffff::1\nGatewayOnLink=yes\n"
    );
    // A link-local router is on the link by its nature, and one inside by the network.
    assert_eq!(
        unit(
            "addresses = [\"203.0.113.10/24\", \"2001:db8:0:1::10/128\"]\n\
             gateway = [\"203.0.113.1\", \"fe80::1\"]"
        ),
        "DHCP=no\nIPv6AcceptRA=no\nAddress=203.0.113.10/24\nAddress=2001:db8:0:1::10/128\n\
         Gateway=203.0.113.1\nGateway=fe80::1\n"
    );
}

#[test]
fn one_family_may_be_static_and_the_other_not() {
    assert_eq!(
        unit("addresses = [\"2001:db8:0:1::10/64\"]\ngateway = [\"fe80::1\"]\ndhcp = \"ipv4\""),
        "DHCP=ipv4\nIPv6AcceptRA=no\nAddress=2001:db8:0:1::10/64\nGateway=fe80::1\n"
    );
    assert_eq!(
        unit("addresses = [\"203.0.113.10/24\"]\ngateway = [\"203.0.113.1\"]\ndhcp = \"ipv6\""),
        "DHCP=ipv6\nIPv6AcceptRA=yes\nAddress=203.0.113.10/24\nGateway=203.0.113.1\n"
    );
}

#[test]
fn what_contradicts_itself_is_refused() {
    for (network, said) in [
        (
            "addresses = [\"203.0.113.10/24\"]\ngateway = [\"198.51.100.1\"]",
            "the address `203.0.113.10/24` is outside the gateway's subnet",
        ),
        (
            "addresses = [\"203.0.113.10/24\"]\ndhcp = \"ipv4\"",
            "the node has a static IPv4 address, and asks DHCP for one",
        ),
        (
            "dns = [\"192.0.2.53\"]\ndhcp = \"ipv4\"",
            "`dhcp` says what to ask for besides `addresses`",
        ),
        ("addresses = [\"203.0.113.10/24\"]\ndhcp = \"v6\"", "`v6` is not a choice of `dhcp`"),
    ] {
        let folder = with(network, "");
        let said_so = Run::new(["check"]).folder(folder.path()).exits(2).stderr_text();
        assert!(said_so.contains(said), "{said_so}");
    }
}

#[test]
fn an_edge_without_ipv6_is_dialled_by_ipv4() {
    let without = |settings: &str| {
        let folder = cluster(settings);
        let file = folder.path().join("cluster.toml");
        let text = fs::read_to_string(&file).expect("there");
        let line = "edge_public_ipv6 = \"2001:db8:0:1::10\"\n";
        assert!(text.contains(line), "{text}");
        fs::write(&file, text.replace(line, "")).expect("written");
        folder
    };
    let folder = without("wireguard_mtu = 1440");
    let plan = plan(&folder);
    let home = changes(&plan, "k3s-node1");
    let netdev = home.iter().find(|it| it["path"] == "/etc/systemd/network/50-wg0.netdev");
    let netdev = netdev.expect("a tunnel")["content"].as_str().expect("shown").to_owned();
    assert!(netdev.contains("\nEndpoint=203.0.113.10:56527\n"), "{netdev}");
    let handouts = plan["handouts"].as_array().expect("handouts");
    let zone = handouts.iter().find(|it| it["path"] == "dns/public.zone").expect("a zone");
    let zone = zone["content"].as_str().expect("it is public");
    assert!(zone.contains("*\tIN\tA\t203.0.113.10\n") && !zone.contains("AAAA"), "{zone}");

    let folder = without("edge_dial = \"ipv6\"");
    let said = Run::new(["check"]).folder(folder.path()).exits(2).stderr_text();
    for words in ["home cannot dial IPv6", "`edge_dial = \"ipv4\"`, or without it"] {
        assert!(said.contains(words), "{said}");
    }
}
