//! The cluster drawn: roles in rows, nodes in boxes, tunnels as lines, virtual addresses above.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::Serialize;

use crate::change::{Action, Change};
use crate::config::{Cluster, Node, RoleKind, Setting};

/// Units of the drawing.
const WIDTH: u32 = 960;
const BOX_WIDTH: u32 = 216;
const GAP: u32 = 32;
const ROW_TITLE: u32 = 26;
const LINE: u32 = 17;
const PER_ROW: u32 = 4;
/// The most nodes of a role that are drawn.
const MOST: usize = 24;

/// What the template draws.
#[derive(Default, Serialize)]
pub(super) struct Picture {
    width: u32,
    height: u32,
    rows: Vec<Row>,
    boxes: Vec<NodeBox>,
    tunnels: Vec<Tunnel>,
    /// Addresses of no node's file: their settings, and what these say.
    pub(super) virtual_addresses: Vec<(String, String)>,
}

#[derive(Serialize)]
struct Row {
    y: u32,
    title: String,
}

#[derive(Serialize)]
struct NodeBox {
    x: u32,
    y: u32,
    width: u32,
    height: u32,
    hostname: String,
    is_first: bool,
    lines: Vec<BoxLine>,
}

#[derive(Serialize)]
struct BoxLine {
    y: u32,
    text: String,
}

#[derive(Serialize)]
struct Tunnel {
    path: String,
    title: String,
}

impl Picture {
    /// Draws a cluster; tunnels are read from its nodes' plans.
    pub(super) fn of(cluster: &Cluster, plans: &[(&Node, Vec<Change>)]) -> Self {
        let mut picture =
            Self { width: WIDTH, virtual_addresses: virtual_addresses(cluster), ..Self::default() };
        let mut y = 0;
        for (title, nodes) in rows(cluster) {
            picture.rows.push(Row { y: y + 16, title });
            y += ROW_TITLE;
            for chunk in nodes[..nodes.len().min(MOST)].chunks(PER_ROW as usize) {
                let tallest = chunk.iter().map(|it| lines_of(it).len()).max().unwrap_or(1);
                let height = 34 + LINE * u32::try_from(tallest).unwrap_or(4);
                for (x, node) in (0..).step_by((BOX_WIDTH + GAP) as usize).zip(chunk) {
                    let line = |(at, text)| BoxLine { y: y + 42 + LINE * at, text };
                    picture.boxes.push(NodeBox {
                        x,
                        y,
                        width: BOX_WIDTH,
                        height,
                        hostname: node.hostname.clone(),
                        is_first: node.is_first,
                        lines: (0..).zip(lines_of(node)).map(line).collect(),
                    });
                }
                y += height + 20;
            }
            if nodes.len() > MOST {
                let more = format!("and {} more", nodes.len() - MOST);
                picture.rows.push(Row { y: y + 4, title: more });
                y += ROW_TITLE;
            }
            y += 22;
        }
        picture.height = y;
        picture.tunnels = tunnels(plans)
            .into_iter()
            .zip(0..)
            .filter_map(|((from, to, name), index)| picture.tunnel(&from, &to, &name, index))
            .collect();
        picture
    }

    /// A line between two boxes, bent so that it is told from the frame, and beside those before it.
    fn tunnel(&self, from: &str, to: &str, name: &str, index: u32) -> Option<Tunnel> {
        let find = |name: &str| self.boxes.iter().find(|it| it.hostname == name);
        let (one, other) = (find(from)?, find(to)?);
        let (upper, lower) = if one.y <= other.y { (one, other) } else { (other, one) };
        // At the right of a box; its row's title is at the left.
        let end = |it: &NodeBox| it.x + it.width - 18 - 14 * (index % 5);
        let (x1, y1) = (end(upper), upper.y + upper.height);
        let (x2, y2) = (end(lower), if lower.y > upper.y { lower.y } else { y1 });
        let bend = if y2 > y1 { u32::midpoint(y1, y2) } else { y1 + 18 };
        let path = format!("M{x1} {y1} C{x1} {bend} {x2} {bend} {x2} {y2}");
        Some(Tunnel { path, title: format!("{name}: {from} – {to}") })
    }
}

/// The nodes of each role, control planes first.
fn rows(cluster: &Cluster) -> Vec<(String, Vec<&Node>)> {
    let mut rows: Vec<(bool, String, Vec<&Node>)> = Vec::new();
    for node in &cluster.nodes {
        if let Some((.., nodes)) = rows.iter_mut().find(|(_, role, _)| *role == node.role) {
            nodes.push(node);
        } else {
            let kind = cluster.profile.role(&node.role).and_then(|it| it.kind);
            let is_later = kind != Some(RoleKind::ControlPlane);
            rows.push((is_later, node.role.clone(), vec![node]));
        }
    }
    rows.sort_by_key(|(is_later, ..)| *is_later);
    let titled = rows.into_iter().map(|(is_later, role, nodes)| {
        let kind = if is_later { "" } else { ", control plane" };
        (format!("{role}{kind}"), nodes)
    });
    titled.collect()
}

fn lines_of(node: &Node) -> Vec<String> {
    if node.addresses.is_empty() {
        return vec!["automatic".to_owned()];
    }
    node.addresses.iter().map(ToString::to_string).collect()
}

/// Settings that are an address, or several, of no node alone.
fn virtual_addresses(cluster: &Cluster) -> Vec<(String, String)> {
    let is_own = |address: &IpAddr| {
        cluster.nodes.iter().any(|node| {
            let addresses = node.addresses.iter().map(IpNet::addr);
            addresses.chain(node.gateway.iter().copied()).any(|it| it == *address)
                || node.dns.contains(address)
        })
    };
    let said = |setting: &Setting| match setting {
        Setting::Ip(address) => (!is_own(address)).then(|| address.to_string()),
        Setting::IpPool(first, last) => Some(format!("{first} – {last}")),
        Setting::String(_)
        | Setting::Bool(_)
        | Setting::Int(_)
        | Setting::Cidr(_)
        | Setting::Host(_)
        | Setting::Path(_)
        | Setting::Enum(_)
        | Setting::List(_)
        | Setting::Secret(_)
        | Setting::Absent => None,
    };
    cluster.settings.iter().filter_map(|(name, it)| Some((name.clone(), said(it)?))).collect()
}

/// Pairs of nodes that a `WireGuard` tunnel joins, and the tunnel's name: where an end's peer may have an
/// address that another node has in a tunnel, or of its own (systemd.netdev(5)).
fn tunnels(plans: &[(&Node, Vec<Change>)]) -> Vec<(String, String, String)> {
    let mut owners: BTreeMap<IpAddr, &str> = BTreeMap::new();
    for (node, changes) in plans {
        let units = files(changes, ".network");
        let inside = units.flat_map(|(_, text)| values(&text, "Address"));
        let inside = inside.filter_map(|it| Some(it.parse::<IpNet>().ok()?.addr()));
        for address in inside.chain(node.addresses.iter().map(IpNet::addr)) {
            owners.entry(address).or_insert(&node.hostname);
        }
    }
    let mut found = Vec::new();
    for (node, changes) in plans {
        for (_, text) in files(changes, ".netdev").filter(|(_, it)| it.contains("Kind=wireguard")) {
            let name = values(&text, "Name").into_iter().next().unwrap_or_default();
            let allowed = values(&text, "AllowedIPs");
            let allowed = allowed.iter().flat_map(|it| it.split(','));
            for address in allowed.filter_map(|it| it.trim().parse::<IpNet>().ok()) {
                let peer = owners.get(&address.addr()).copied();
                // A whole network is not a machine.
                let Some(peer) = peer.filter(|_| address.prefix_len() == address.max_prefix_len())
                else {
                    continue;
                };
                let mut ends = [node.hostname.clone(), peer.to_owned()];
                ends.sort();
                let [from, to] = ends;
                if from != to && !found.contains(&(from.clone(), to.clone(), name.clone())) {
                    found.push((from, to, name.clone()));
                }
            }
        }
    }
    found
}

/// Files of a plan for networkd, by the ends of their names.
fn files<'a>(
    changes: &'a [Change],
    ending: &'a str,
) -> impl Iterator<Item = (&'a str, String)> + use<'a> {
    changes.iter().filter_map(move |change| {
        let Action::File { path, content, .. } = &change.action else { return None };
        let is_meant = path.starts_with("/etc/systemd/network/") && path.ends_with(ending);
        is_meant.then(|| (path.as_str(), String::from_utf8_lossy(&content.bytes).into_owned()))
    })
}

/// What a unit file gives a key.
fn values(text: &str, key: &str) -> Vec<String> {
    let lines = text.lines().filter_map(|line| line.trim().strip_prefix(key)?.strip_prefix('='));
    lines.map(|value| value.trim().to_owned()).collect()
}
