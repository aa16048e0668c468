//! The profile's rules, held against the cluster.

use super::render::{Renderer, Scope};
use crate::config::{Cluster, Rule};
use crate::util::error::{Error, Problem, Result};

/// Every rule that the cluster breaks, as one error.
pub(super) fn check(cluster: &Cluster) -> Result<()> {
    let renderer = Renderer::new(cluster, Scope::Shared);
    let mut problems = Vec::new();
    for rule in cluster.profile.rules.iter().filter(|it| !it.only_warns) {
        let Some((message, hint)) = broken(&renderer, rule)? else { continue };
        let mut problem = Problem::new(message);
        let place = rule.setting.as_ref().and_then(|name| cluster.places.settings.get(name));
        problem = problem.at_places([place.unwrap_or(&cluster.places.profile).clone()]);
        if let Some(hint) = hint {
            problem = problem.hint(hint);
        }
        problems.push(problem);
    }
    Error::check(problems)
}

/// What the profile's rules say of a cluster that can be built: each with its hint.
pub fn advice(cluster: &Cluster) -> Result<Vec<(String, Option<String>)>> {
    let renderer = Renderer::new(cluster, Scope::Shared);
    let rules = cluster.profile.rules.iter().filter(|it| it.only_warns);
    rules.filter_map(|rule| broken(&renderer, rule).transpose()).collect()
}

/// A rule's message and hint, when the cluster breaks it.
fn broken(renderer: &Renderer<'_>, rule: &Rule) -> Result<Option<(String, Option<String>)>> {
    if !renderer.evaluate(&rule.broken)? {
        return Ok(None);
    }
    let text = |name: &str, text: &str| -> Result<String> {
        let content = renderer.render(name, text)?;
        Ok(String::from_utf8_lossy(&content.bytes).into_owned())
    };
    let message = text("the `message` of a rule", &rule.message)?;
    let hint = rule.hint.as_ref().map(|hint| text("the `hint` of a rule", hint)).transpose()?;
    Ok(Some((message, hint)))
}
