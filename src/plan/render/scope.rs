//! For whom a template is rendered, and which secrets it may see.

use crate::config::{Node, SecretSpec};
use crate::secrets::Secrets;

/// For whom a template is rendered.
pub(in crate::plan) enum Scope<'a> {
    /// For all nodes alike: the prepared base, or a template of machines.
    Shared,
    /// For one node.
    Node(&'a Node, &'a Secrets),
    /// For the people who run the cluster.
    People(&'a Secrets),
}

/// Who asks for a secret.
pub(super) enum Reach<'a> {
    Node(&'a Node),
    People,
}

impl Reach<'_> {
    /// Why the private part of a secret may not be had.
    pub(super) fn refusal(&self, spec: &SecretSpec) -> Option<String> {
        let Self::Node(node) = self else { return None };
        if spec.roles.is_empty() || spec.roles.contains(&node.role) {
            return None;
        }
        let roles = spec.roles.join(", ");
        Some(format!(
            "the secret `{}` is for {roles}, and this is a node of {}",
            spec.name, node.role
        ))
    }
}

impl<'a> Scope<'a> {
    /// The secrets that a template may see, and as whom.
    pub(super) fn secrets(&self) -> Option<(&'a Secrets, Reach<'a>)> {
        match *self {
            Self::Shared => None,
            Self::Node(node, secrets) => Some((secrets, Reach::Node(node))),
            Self::People(secrets) => Some((secrets, Reach::People)),
        }
    }
}
