//! What the parts of a printed plan have in common.

use crate::change::{Action, Change, Content};
use crate::config::Node;

/// A node, and the changes that make the base into it.
pub(super) type NodePlan<'a> = (&'a Node, Vec<Change>);

/// The path and the text of a change that writes a file.
pub(super) fn file_of(change: &Change) -> Option<(&str, &Content)> {
    if let Action::File { path, content, .. } = &change.action {
        return Some((path, content));
    }
    None
}
