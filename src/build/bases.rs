//! The prepared bases that artifacts are made from.

use crate::artifact::ArtifactFormat;
use crate::config::{Cluster, Node};
use crate::plan::{BaseOfNodes, SharedBases};
use crate::util::error::Result;

/// The prepared bases that nodes need in some formats, each with its nodes. The main one comes first, and is among
/// them where a format is made from no node's disk.
pub fn bases_for<'a>(
    cluster: &Cluster,
    formats: &[&'static ArtifactFormat],
    nodes: &[&'a Node],
) -> Result<Vec<BaseOfNodes<'a>>> {
    let shared = SharedBases::of(cluster)?;
    let mut bases = shared.of_nodes(nodes)?;
    let has_main = bases.iter().any(|(base, _)| base.own.is_empty());
    if !has_main && formats.iter().any(|it| it.is_of_no_node()) {
        bases.insert(0, (shared.main(), Vec::new()));
    }
    Ok(bases)
}
