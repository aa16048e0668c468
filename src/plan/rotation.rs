//! What a profile says to do after one of its secrets was replaced.

use super::render::{Renderer, Scope};
use crate::config::{Cluster, SecretSpec};
use crate::util::error::Result;

/// The commands that such a text may name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RotationCommands {
    /// How to get to the node that forms the cluster: `ssh -t me@server1`; `ssh` in templates.
    pub ssh: String,
    /// What prints the new secret, for a shell to put in its place; `reveal` in templates.
    pub reveal: String,
}

/// The text that the profile has for the users of a secret; `None` when it has none.
pub fn after_rotation(
    cluster: &Cluster,
    spec: &SecretSpec,
    commands: &RotationCommands,
) -> Result<Option<String>> {
    let Some(text) = &spec.after_rotation else { return Ok(None) };
    let renderer = Renderer::new(cluster, Scope::Shared)
        .with("ssh", &commands.ssh)
        .with("reveal", &commands.reveal);
    let name = format!("the `after_rotation` of the secret `{}`", spec.name);
    let content = renderer.render(&name, text)?;
    Ok(Some(String::from_utf8_lossy(&content.bytes).trim_end().to_owned()))
}
