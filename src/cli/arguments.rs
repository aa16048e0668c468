//! Arguments that several commands take: a cluster file, then nodes.

use std::path::{Path, PathBuf};

use crate::config::{Cluster, Node};
use crate::util::error::{Error, Result};

/// What commands read when no file is named.
pub(super) const CLUSTER_FILE: &str = "cluster.toml";

/// Sorts positional arguments `[FILE] [NODE…]` into the cluster file and the nodes: the first is a
/// file when it looks like one.
pub(super) fn file_and_nodes(arguments: &[String]) -> (Option<PathBuf>, &[String]) {
    match arguments {
        [first, nodes @ ..] if looks_like_file(first) => (Some(PathBuf::from(first)), nodes),
        nodes => (None, nodes),
    }
}

/// A host name has neither dots nor slashes.
pub(super) fn looks_like_file(argument: &str) -> bool {
    argument.contains(['.', '/']) || Path::new(argument).is_file()
}

/// The nodes named, or all, in the order of the cluster file.
pub(super) fn select<'a>(cluster: &'a Cluster, names: &[String]) -> Result<Vec<&'a Node>> {
    for name in names {
        if !cluster.nodes.iter().any(|node| node.hostname == *name) {
            let known: Vec<_> = cluster.nodes.iter().map(|it| it.hostname.as_str()).collect();
            return Err(Error::input(format!("the cluster has no node `{name}`"))
                .hint(format!("its nodes are {}", known.join(", "))));
        }
    }
    let wanted = |node: &&Node| names.is_empty() || names.contains(&node.hostname);
    Ok(cluster.nodes.iter().filter(wanted).collect())
}
