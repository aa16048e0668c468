//! The profile's rules, held against the cluster.

use super::render::{Renderer, Scope};
use crate::config::{Cluster, DataPartition, Rule};
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

/// What there is to say of a cluster that can be built, by the profile's rules and of its disks: each with
/// its hint.
pub fn advice(cluster: &Cluster) -> Result<Vec<(String, Option<String>)>> {
    let renderer = Renderer::new(cluster, Scope::Shared);
    let rules = cluster.profile.rules.iter().filter(|it| it.only_warns);
    let advice = rules.filter_map(|rule| broken(&renderer, rule).transpose());
    advice.chain(cluster.disk.partitions.iter().filter_map(changing_name).map(Ok)).collect()
}

/// Kernels number disks in the order in which they find them.
fn changing_name(partition: &DataPartition) -> Option<(String, Option<String>)> {
    const KINDS: [&str; 6] = ["sd", "nvme", "mmcblk", "vd", "xvd", "hd"];
    let (path, name) = (partition.disk.as_ref()?, &partition.name);
    let kernel_name = path.strip_prefix("/dev/")?;
    let is_numbered = KINDS.iter().any(|kind| kernel_name.starts_with(kind));
    let message = format!("`{path}`, for `{name}`, may be another disk at the next boot");
    let hint = "a link of /dev/disk/by-id names one disk, one of /dev/disk/by-path one connector of like machines";
    is_numbered.then(|| (message, Some(hint.to_owned())))
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
