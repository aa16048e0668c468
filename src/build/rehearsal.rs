//! Everything that a build plans, down to the last template, without making anything.

use std::collections::HashSet;
use std::net::IpAddr;

use crate::config::{Cluster, Node};
use crate::plan::{self, SharedBases};
use crate::secrets::Secrets;
use crate::util::error::Result;

/// Plans everything that a build would. Nothing is written.
pub fn rehearse(cluster: &Cluster) -> Result<()> {
    // Secrets that are not there yet are made up: templates must render, and nothing is kept.
    let secrets = Secrets::load_or_pretend(cluster)?;
    secrets.check_expiry(cluster)?;
    let nodes: Vec<_> = cluster.nodes.iter().collect();
    for (base, _) in SharedBases::of(cluster)?.of_nodes(&nodes)? {
        plan::prepare(cluster, &base.packages)?;
    }
    plan::template(cluster)?;
    // Templates can tell nodes apart by more than their shape, but clusters of thousands of nodes
    // follow a pattern; and a build renders for every node before it makes anything.
    const FEW: usize = 100;
    let mut seen = HashSet::new();
    for node in &cluster.nodes {
        if cluster.nodes.len() <= FEW || seen.insert(shape(node)) {
            plan::node(cluster, node, &secrets)?;
        }
    }
    plan::handouts(cluster, &secrets)?;
    Ok(())
}

/// What templates usually tell nodes apart by: all but names and numbers.
#[derive(PartialEq, Eq, Hash)]
struct Shape<'a> {
    role: &'a str,
    is_first: bool,
    /// Whether each is of IPv4.
    families: [Vec<bool>; 3],
    files: Vec<(&'a str, &'a [u8])>,
}

fn shape(node: &Node) -> Shape<'_> {
    let files = node.files.iter().map(|file| (file.path.as_str(), file.bytes.as_slice()));
    let addresses = node.addresses.iter().map(|it| it.addr().is_ipv4()).collect();
    let [gateway, dns] =
        [&node.gateway, &node.dns].map(|them| them.iter().map(IpAddr::is_ipv4).collect());
    Shape {
        role: &node.role,
        is_first: node.is_first,
        families: [addresses, gateway, dns],
        files: files.collect(),
    }
}
