//! A node's own network unit. Source: systemd.network(5).

use std::fmt::Write as _;
use std::net::IpAddr;

use crate::config::{Node, OverlayFile, OverlaySpec};

/// Sorts before whatever the profile has for all interfaces, and before what netplan and cloud-init
/// write, whose names begin with `10-`: the first that matches is the only one that counts.
pub(super) const PATH: &str = "/etc/systemd/network/05-nodeforge.network";

/// The files that a node needs; none when the profile's own, with DHCP and router advertisements, do.
/// What only adds name servers adds them to the profile's units for wired cards, of which a unit of its
/// own would hide all the rest.
pub(super) fn files(
    node: &Node,
    domain: Option<&str>,
    overlays: &[&OverlaySpec],
) -> Vec<(String, String)> {
    if node.addresses.is_empty() && node.dns.is_empty() {
        return Vec::new();
    }
    let of_profile =
        overlays.iter().flat_map(|overlay| &overlay.files).filter(|file| is_wired(file));
    let of_profile: Vec<&str> = of_profile.map(|file| file.path.as_str()).collect();
    if !node.addresses.is_empty() || of_profile.is_empty() {
        return vec![(PATH.to_owned(), unit(node, domain))];
    }
    // One that the profile has itself under this name is the profile's to fill.
    if of_profile.contains(&PATH) {
        return Vec::new();
    }
    let mut text =
        format!("# The name servers of {}, from its cluster file.\n[Network]\n", node.hostname);
    name_servers(&mut text, node, domain);
    of_profile.iter().map(|path| (format!("{path}.d/05-nodeforge.conf"), text.clone())).collect()
}

/// Whether it is a unit of networkd's for the cards that a unit of ours would be for.
fn is_wired(file: &OverlayFile) -> bool {
    let text = String::from_utf8_lossy(&file.bytes);
    let names = text.lines().filter_map(|line| line.strip_prefix("Name="));
    let mut names = names.flat_map(str::split_whitespace);
    file.path.starts_with("/etc/systemd/network/")
        && file.path.ends_with(".network")
        && names.any(|name| name.starts_with("en") || name.starts_with("eth") || name == "*")
}

fn name_servers(text: &mut String, node: &Node, domain: Option<&str>) {
    let servers = node.dns.iter().map(|server| format!("DNS={server}\n"));
    text.extend(servers.chain(domain.map(|domain| format!("Domains={domain}\n"))));
}

/// A unit for the card that the file names, or for all wired ones.
fn unit(node: &Node, domain: Option<&str>) -> String {
    let card = match &node.interface {
        Some(mac) if mac.contains(':') => format!("MACAddress={mac}"),
        Some(name) => format!("Name={name}"),
        None => "Name=en* eth*".to_owned(),
    };
    let mut text = format!(
        "# The addresses of {}, from its cluster file.\n[Match]\n{card}\n\n[Network]\n",
        node.hostname
    );
    let mut line = |key: &str, value: &dyn std::fmt::Display| {
        writeln!(text, "{key}={value}").expect("writing to a string");
    };
    line("DHCP", &if node.addresses.is_empty() { "yes" } else { node.dhcp.name() });
    // Said aloud, because forwarding switches it off otherwise. A static IPv6 router is told
    // instead of asked.
    let has_router = node.gateway.iter().any(IpAddr::is_ipv6);
    line("IPv6AcceptRA", &if has_router { "no" } else { "yes" });
    for address in &node.addresses {
        line("Address", address);
    }
    for gateway in node.gateway.iter().filter(|it| is_neighbour(node, it)) {
        line("Gateway", gateway);
    }
    name_servers(&mut text, node, domain);
    for gateway in node.gateway.iter().filter(|it| !is_neighbour(node, it)) {
        write!(text, "\n[Route]\nGateway={gateway}\nGatewayOnLink=yes\n")
            .expect("writing to a string");
    }
    text
}

/// Whether the node knows a router to be on its link: by its own network, or by the kind of address.
fn is_neighbour(node: &Node, gateway: &IpAddr) -> bool {
    matches!(gateway, IpAddr::V6(v6) if v6.is_unicast_link_local())
        || node.addresses.iter().any(|address| address.contains(gateway))
}
