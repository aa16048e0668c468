//! What a build made from one prepared base.

use super::prepared::PreparedCluster;
use super::stamp::StampedNode;
use crate::artifact::Artifact;
use crate::plan::SharedBase;

/// What a build made from one prepared base.
pub struct BuiltBase<'a> {
    /// Which base it is.
    pub base: SharedBase,
    /// What was made of it all.
    pub prepared: PreparedCluster,
    /// The nodes of which something was made, in the order of the cluster file.
    pub nodes: Vec<StampedNode<'a>>,
    /// The artifacts of nodes, and those that they share, with those that were there already.
    pub artifacts: Vec<Artifact>,
}
