//! The profile's rules, held against the cluster.

use super::render::{Renderer, Scope};
use crate::config::Cluster;
use crate::util::error::{Error, Problem, Result};

/// Every rule that the cluster breaks, as one error.
pub(super) fn check(cluster: &Cluster) -> Result<()> {
    let renderer = Renderer::new(cluster, Scope::Shared);
    let mut problems = Vec::new();
    for rule in &cluster.profile.rules {
        if !renderer.evaluate(&rule.refuse)? {
            continue;
        }
        let text = |name: &str, text: &str| -> Result<String> {
            let content = renderer.render(name, text)?;
            Ok(String::from_utf8_lossy(&content.bytes).into_owned())
        };
        let mut problem = Problem::new(text("the `message` of a rule", &rule.message)?);
        let place = rule.setting.as_ref().and_then(|name| cluster.places.settings.get(name));
        problem = problem.at_places([place.unwrap_or(&cluster.places.profile).clone()]);
        if let Some(hint) = &rule.hint {
            problem = problem.hint(text("the `hint` of a rule", hint)?);
        }
        problems.push(problem);
    }
    Error::check(problems)
}
