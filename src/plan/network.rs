//! A node's own network unit. Source: systemd.network(5).

use std::fmt::Write as _;
use std::net::IpAddr;

use crate::config::Node;

/// Sorts before whatever the profile has for all interfaces, and before what netplan and cloud-init
/// write, whose names begin with `10-`: the first that matches is the only one that counts.
pub(super) const PATH: &str = "/etc/systemd/network/05-nodeforge.network";

/// The unit's text; `None` when the profile's own, with DHCP and router advertisements, does.
pub(super) fn unit(node: &Node, domain: Option<&str>) -> Option<String> {
    if node.addresses.is_empty() && node.dns.is_empty() {
        return None;
    }
    let mut text = format!(
        "# The addresses of {}, from its cluster file.\n[Match]\nName=en* eth*\n\n[Network]\n",
        node.hostname
    );
    let mut line = |key: &str, value: &dyn std::fmt::Display| {
        writeln!(text, "{key}={value}").expect("writing to a string");
    };
    line("DHCP", &if node.addresses.is_empty() { "yes" } else { "no" });
    // Said aloud, because forwarding switches it off otherwise. A static IPv6 router is told
    // instead of asked.
    let has_router = node.gateway.iter().any(IpAddr::is_ipv6);
    line("IPv6AcceptRA", &if has_router { "no" } else { "yes" });
    for address in &node.addresses {
        line("Address", address);
    }
    for gateway in &node.gateway {
        line("Gateway", gateway);
    }
    for server in &node.dns {
        line("DNS", server);
    }
    if let Some(domain) = domain {
        line("Domains", &domain);
    }
    Some(text)
}
