//! The prepared bases of a plan: how many there are, for whom, and what each takes.

use serde_json::{Value, json};

use super::text::PlanText;
use crate::artifact::chosen;
use crate::build::{Preparation, Project, bases_for};
use crate::change::Change;
use crate::cli::ui::bytes;
use crate::config::{Cluster, Node};
use crate::plan::{self, BaseOfNodes, SharedBase};
use crate::prepare::CacheStatus;
use crate::util::error::Result;

/// A prepared base as it is planned.
pub(super) struct PlannedBase<'a> {
    base: SharedBase,
    nodes: Vec<&'a Node>,
    pub(super) changes: Vec<Change>,
    /// What preparing would do; an error where that cannot be told yet.
    pub(super) status: Result<CacheStatus>,
}

/// The prepared bases of these nodes, each with what preparing it would do; there is one at least.
pub(super) fn planned<'a>(
    cluster: &Cluster,
    nodes: &[&'a Node],
    how: Preparation,
) -> Result<Vec<PlannedBase<'a>>> {
    let plan = |(base, nodes): BaseOfNodes<'a>| {
        let changes = plan::prepare(cluster, &base.packages)?;
        let status = Project::look(cluster).and_then(|it| it.status(how, &base));
        Ok(PlannedBase { base, nodes, changes, status })
    };
    bases_for(cluster, &chosen(cluster), nodes)?.into_iter().map(plan).collect()
}

/// What preparing would do, in words.
pub(super) fn describe(status: &Result<CacheStatus>) -> String {
    match status {
        Ok(CacheStatus::Cached(found)) => format!("in the cache as {}", &found.key[..12]),
        Ok(CacheStatus::New) => "to be made: nothing was prepared for this cluster yet".into(),
        Ok(CacheStatus::Changed(reasons)) => format!("to be made again: {}", reasons.join(", ")),
        Err(error) => {
            let error = error.to_string();
            let reason = error.lines().next().unwrap_or_default();
            format!("whether it must be made is known after `nodeforge fetch`: {reason}")
        }
    }
}

/// Of several bases, for whom each is and what it takes.
pub(super) fn tell_costs(bases: &[PlannedBase<'_>], text: &mut PlanText<'_>) {
    if bases.len() < 2 {
        return;
    }
    text.title(&format!("{} prepared bases", bases.len()));
    let cached = |it: &PlannedBase<'_>| match &it.status {
        Ok(CacheStatus::Cached(found)) => Some(found.occupied),
        Ok(CacheStatus::New | CacheStatus::Changed(_)) | Err(_) => None,
    };
    let known = bases.iter().find_map(cached);
    for base in bases {
        let names: Vec<_> = base.nodes.iter().map(|it| it.hostname.as_str()).collect();
        let nodes = match names.as_slice() {
            [] => "no node, and templates".to_owned(),
            [_, _, _, _, ..] => format!("{} nodes", names.len()),
            few => few.join(", "),
        };
        let cost = match (cached(base), known) {
            (Some(occupied), _) => format!("in the cache, where it takes {}", bytes(occupied)),
            (None, Some(other)) => {
                format!("to be made, and kept in the cache: another takes {} there", bytes(other))
            }
            (None, None) => "to be made, and kept in the cache".to_owned(),
        };
        text.line(&format!("  {}, for {nodes}: {cost}", base.base.name));
    }
    text.line("");
}

/// Changes that are in one of two lists only, each with its sign: bases differ by packages.
fn differing(one: &[Change], other: &[Change]) -> Vec<String> {
    let only = |sign: char, mine: &[Change], theirs: &[Change]| -> Vec<String> {
        let only = mine.iter().filter(|change| !theirs.contains(change));
        only.map(|change| format!("{sign} {}", plan::describe(change))).collect()
    };
    [only('-', one, other), only('+', other, one)].concat()
}

/// How the other bases differ from the first.
pub(super) fn tell_others(bases: &[PlannedBase<'_>], text: &mut PlanText<'_>) {
    for other in &bases[1..] {
        text.line("");
        text.title(&format!("prepared base {}: as the first, but", other.base.name));
        for line in differing(&bases[0].changes, &other.changes) {
            text.line(&format!("  {line}"));
        }
        text.line(&format!("  {}", describe(&other.status)));
    }
}

impl PlannedBase<'_> {
    pub(super) fn to_json(&self) -> Value {
        let nodes: Vec<_> = self.nodes.iter().map(|it| it.hostname.as_str()).collect();
        let changes: Vec<_> = self.changes.iter().map(plan::to_json).collect();
        let (name, packages) = (&self.base.name, &self.base.packages);
        let mut base =
            json!({ "name": name, "packages": packages, "nodes": nodes, "changes": changes });
        base["state"] = match &self.status {
            Ok(CacheStatus::Cached(found)) => {
                base["key"] = found.key.as_str().into();
                base["occupied"] = found.occupied.into();
                "cached"
            }
            Ok(CacheStatus::New) => "new",
            Ok(CacheStatus::Changed(_)) => "changed",
            Err(_) => "unknown",
        }
        .into();
        base
    }
}
