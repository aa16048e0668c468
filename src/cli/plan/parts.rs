//! What a plan is made of, as its printers have it.

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
