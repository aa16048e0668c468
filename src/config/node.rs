//! `[[node]]`: machines, by name or by pattern.

use std::collections::HashMap;
use std::net::IpAddr;

use ipnet::IpNet;

use super::file_types::ExtraFile;
use super::reader::{Reader, Span, Spanned, Table};
use super::traits::NodeTraits;
use super::types::{Dhcp, Node};
use crate::config::{address, files, hostname};
use crate::util::error::Problem;

/// A node, with the places of what must be checked together with other nodes.
pub(super) struct PlacedNode {
    pub(super) node: Node,
    pub(super) hostname: Span,
    pub(super) role: Option<Span>,
    pub(super) addresses: Vec<Span>,
}

/// All nodes in the order of the file, and the packages that each of them has. Their roles are still to be found.
pub(super) fn read_all(root: &Table<'_>) -> (Vec<PlacedNode>, Vec<String>) {
    let reader = root.reader;
    let defaults = root.table("defaults").map(|table| {
        let traits = NodeTraits::read(&table);
        table.finish();
        traits
    });
    let defaults = defaults.unwrap_or_default();
    let tables = root.tables("node");
    if tables.is_empty() && root.get("node").is_none() {
        let hint = "for example `[[node]]` with `hostname = \"server1\"`";
        reader.wrong_hint(&root.span(), "the cluster has no nodes", hint);
    }
    let mut nodes = Vec::new();
    for table in tables {
        let span = table.span();
        nodes.extend(read(table, &defaults));
        if nodes.len() > hostname::MOST_NODES {
            let message = format!("a cluster has at most {} nodes", hostname::MOST_NODES);
            reader.wrong(&span, message);
            break;
        }
    }
    check_unique(reader, &nodes);
    (nodes, defaults.packages)
}

fn read(table: Table<'_>, defaults: &NodeTraits) -> Vec<PlacedNode> {
    let reader = table.reader;
    let hostname = table.require("hostname", "hostname = \"node1\"").and_then(|it| it.string());
    let role = table.string("role");
    let addresses = parsed(&table, "addresses", address::node_address);
    let host = |text: &str| address::host_address(text, address::A_HOST);
    let gateway = parsed(&table, "gateway", host);
    let dns = parsed(&table, "dns", host);
    let dhcp = read_dhcp(&table, &addresses);
    let own = NodeTraits::read(&table);
    let interface = table.get("interface").filter(|_| own.interface.is_some());
    let files = files::read_all(&table);
    table.finish();
    check_gateways(reader, &addresses, &gateway);
    if let Some(interface) = interface.filter(|_| addresses.is_empty()) {
        let hint = "add `addresses`, or leave `interface` out: each card asks DHCP for its own";
        let message = "`interface` says which card has the `addresses`, and there are none";
        reader.wrong_hint(&interface.span(), message, hint);
    }
    let traits = own.over(defaults);

    let Some(hostname) = hostname else { return Vec::new() };
    let names = reader.accept(&hostname.span, hostname::expand(hostname.value));
    let names = names.unwrap_or_default();
    if names.len() > 1
        && let Some(address) = addresses.first()
    {
        let message = format!("{} nodes cannot share the address `{}`", names.len(), address.value);
        reader.report(
            Problem::new(message)
                .at(&reader.source, address.span.clone())
                .also_at(&reader.source, hostname.span.clone(), "this pattern expands to them")
                .hint("give each of them a `[[node]]` of its own"),
        );
    }
    let mut nodes = Vec::with_capacity(names.len());
    for name in names {
        if let Err(error) = hostname::check_reserved(&name) {
            reader.accept::<()>(&hostname.span, Err(error));
            break;
        }
        if let Some(fault) = hostname::label_fault(&name) {
            let message = format!("the host name `{name}` is not a valid DNS label: {fault}");
            reader.wrong_hint(&hostname.span, message, hostname::LABEL_HINT);
            break;
        }
        let shared = Shared {
            role: &role,
            addresses: &addresses,
            gateway: &gateway,
            dns: &dns,
            dhcp,
            traits: &traits,
        };
        nodes.push(place(name, &hostname.span, &shared, &files));
    }
    nodes
}

/// What all nodes of one `[[node]]` have in common.
struct Shared<'a> {
    role: &'a Option<Spanned<&'a str>>,
    addresses: &'a [Spanned<IpNet>],
    gateway: &'a [Spanned<IpAddr>],
    dns: &'a [Spanned<IpAddr>],
    dhcp: Dhcp,
    traits: &'a NodeTraits,
}

fn place(name: String, span: &Span, shared: &Shared<'_>, files: &[ExtraFile]) -> PlacedNode {
    let node = Node {
        hostname: name,
        role: shared.role.as_ref().map(|role| role.value.to_owned()).unwrap_or_default(),
        role_is_explicit: shared.role.is_some(),
        is_first: false,
        addresses: shared.addresses.iter().map(|address| address.value).collect(),
        gateway: shared.gateway.iter().map(|address| address.value).collect(),
        dns: shared.dns.iter().map(|address| address.value).collect(),
        dhcp: shared.dhcp,
        interface: shared.traits.interface.clone().filter(|_| !shared.addresses.is_empty()),
        labels: shared.traits.labels.clone(),
        taints: shared.traits.taints.clone(),
        cmdline: shared.traits.cmdline.clone(),
        config_txt: shared.traits.config_txt.clone(),
        packages: shared.traits.packages.clone(),
        files: files.to_vec(),
    };
    PlacedNode {
        node,
        hostname: span.clone(),
        role: shared.role.as_ref().map(|role| role.span.clone()),
        addresses: shared.addresses.iter().map(|address| address.span.clone()).collect(),
    }
}

fn parsed<T>(
    table: &Table<'_>,
    key: &'static str,
    parse: fn(&str) -> crate::util::error::Result<T>,
) -> Vec<Spanned<T>> {
    let texts = table.strings(key);
    let values = texts.into_iter().filter_map(|text| {
        let value = table.reader.accept(&text.span, parse(text.value))?;
        Some(Spanned::new(value, text.span))
    });
    values.collect()
}

/// The family that has no static address may be asked for.
fn read_dhcp(table: &Table<'_>, addresses: &[Spanned<IpNet>]) -> Dhcp {
    let Some(text) = table.string("dhcp") else { return Dhcp::No };
    let Some(dhcp) = Dhcp::from_name(text.value) else {
        let message = format!("`{}` is not a choice of `dhcp`", text.value);
        table.reader.wrong_hint(&text.span, message, "it may be `no`, `ipv4` or `ipv6`");
        return Dhcp::No;
    };
    let has = |is_asked: fn(&IpNet) -> bool| addresses.iter().any(|it| is_asked(&it.value));
    let taken = match dhcp {
        Dhcp::No => None,
        Dhcp::Ipv4 => has(|it| it.addr().is_ipv4()).then_some("IPv4"),
        Dhcp::Ipv6 => has(|it| it.addr().is_ipv6()).then_some("IPv6"),
    };
    if addresses.is_empty() && dhcp != Dhcp::No {
        let message = "`dhcp` says what to ask for besides `addresses`, and there are none";
        table.reader.wrong_hint(&text.span, message, "without both, everything is asked for");
    } else if let Some(family) = taken {
        let message = format!("the node has a static {family} address, and asks DHCP for one");
        table.reader.wrong_hint(&text.span, message, "leave one of them out");
    }
    dhcp
}

/// Every router must be a neighbour. An address that is a network of its own, as providers assign them,
/// has none: its router is on the link all the same.
fn check_gateways(reader: &Reader, addresses: &[Spanned<IpNet>], gateways: &[Spanned<IpAddr>]) {
    for gateway in gateways {
        if matches!(gateway.value, IpAddr::V6(v6) if v6.is_unicast_link_local()) {
            continue;
        }
        let mut same_family = addresses
            .iter()
            .filter(|address| address.value.addr().is_ipv4() == gateway.value.is_ipv4());
        let Some(first) = same_family.clone().next() else {
            let family = if gateway.value.is_ipv4() { "IPv4" } else { "IPv6" };
            let message = format!("a gateway for {family}, but no {family} address");
            let hint = "with DHCP or router advertisements the network gives the gateway";
            reader.wrong_hint(&gateway.span, message, hint);
            continue;
        };
        if let Some(own) = same_family.clone().find(|own| own.value.addr() == gateway.value) {
            reader.report(
                Problem::new(format!("the node is its own gateway `{}`", gateway.value))
                    .at(&reader.source, gateway.span.clone())
                    .also_at(&reader.source, own.span.clone(), "its address"),
            );
        } else if !same_family.clone().any(|address| address.value.contains(&gateway.value))
            && !same_family.any(|address| is_alone(&address.value))
        {
            let net = first.value.trunc();
            let message = format!("the address `{}` is outside the gateway's subnet", first.value);
            reader.report(
                Problem::new(message)
                    .at(&reader.source, first.span.clone())
                    .also_at(&reader.source, gateway.span.clone(), format!("not in {net}"))
                    .hint("a node reaches its gateway without any router in between"),
            );
        }
    }
}

/// `/32` or `/128`.
fn is_alone(address: &IpNet) -> bool {
    address.prefix_len() == address.max_prefix_len()
}

/// No two nodes of one name, no two machines at one address.
fn check_unique(reader: &Reader, nodes: &[PlacedNode]) {
    let mut names = HashMap::new();
    let mut addresses = HashMap::new();
    // One problem a place: a pattern that repeats another's names says so once.
    let mut reported = None;
    for placed in nodes {
        if let Some(first) = names.insert(placed.node.hostname.as_str(), &placed.hostname)
            && reported.replace(&placed.hostname) != Some(&placed.hostname)
        {
            let message = format!("two nodes are called `{}`", placed.node.hostname);
            reader.report(
                Problem::new(message).at(&reader.source, placed.hostname.clone()).also_at(
                    &reader.source,
                    first.clone(),
                    "the first is here",
                ),
            );
        }
        for (address, span) in placed.node.addresses.iter().zip(&placed.addresses) {
            if let Some(first) = addresses.insert(address.addr(), span)
                && first != span
            {
                let message = format!("two nodes have the address `{}`", address.addr());
                reader.report(Problem::new(message).at(&reader.source, span.clone()).also_at(
                    &reader.source,
                    first.clone(),
                    "the first is here",
                ));
            }
        }
    }
}
