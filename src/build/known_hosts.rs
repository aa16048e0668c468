//! `known_hosts`: what ssh(1) checks the nodes by.

use std::fmt::Write as _;

use crate::config::Cluster;
use crate::secrets::Secrets;
use crate::util::error::Result;

/// The file's name in the output folder.
pub(super) const KNOWN_HOSTS: &str = "known_hosts";

/// A line for every node, under all names and addresses that are known of it.
pub(super) fn known_hosts(cluster: &Cluster, secrets: &Secrets) -> Result<String> {
    let mut text = String::new();
    for node in &cluster.nodes {
        let mut names = vec![node.hostname.clone()];
        names.extend(cluster.domain.iter().map(|domain| format!("{}.{domain}", node.hostname)));
        names.extend(node.addresses.iter().map(|address| address.addr().to_string()));
        let key = &secrets.ssh_host_key(&node.hostname)?.public;
        // The comment at its end is for the node's own file.
        let key: Vec<&str> = key.split_whitespace().take(2).collect();
        writeln!(text, "{} {}", names.join(","), key.join(" ")).expect("writing to a string");
    }
    Ok(text)
}
