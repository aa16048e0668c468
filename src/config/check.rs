//! Rules that take more than one table to check.

use std::collections::BTreeMap;

use super::formats::FormatRule;
use super::node::PlacedNode;
use super::profile_types::{First, Profile, Role, RoleKind};
use super::reader::{Reader, Span};
use super::setting_types::Setting;
use crate::config::{address, suggest};
use crate::util::error::Problem;

/// Finds each node's role, and whether the roles make a cluster.
pub(super) fn roles(reader: &Reader, profile: &Profile, nodes: &mut [PlacedNode]) {
    let before = reader.problem_count();
    // A pattern's nodes share their place: one problem each is enough.
    let mut reported = None;
    for placed in nodes.iter_mut() {
        let role = match &placed.role {
            Some(_) => profile.role(&placed.node.role),
            None => profile.roles.iter().find(|role| role.pattern.is_match(&placed.node.hostname)),
        };
        let Some(role) = role else {
            if reported.as_ref() != Some(&placed.hostname) {
                report_no_role(reader, profile, placed);
            }
            reported = Some(placed.hostname.clone());
            continue;
        };
        role.name.clone_into(&mut placed.node.role);
        placed.node.is_first = is_first(role, &placed.node.hostname);
    }
    if reader.problem_count() == before && !nodes.is_empty() {
        check_first(reader, nodes);
        check_control_planes(reader, profile, nodes);
    }
}

/// No node's artifacts take the names of those that all nodes share.
pub(super) fn artifact_names(
    reader: &Reader,
    cluster: Option<&str>,
    nodes: &[PlacedNode],
    formats: &[FormatRule],
) {
    let Some(cluster) = cluster else { return };
    let reserved = formats.iter().filter_map(|it| it.reserved);
    let taken: Vec<_> = reserved.map(|what| format!("{cluster}{what}")).collect();
    for placed in nodes.iter().filter(|it| taken.contains(&it.node.hostname)) {
        let message = format!(
            "`{}` is what nodeforge calls the images that nodes share",
            placed.node.hostname
        );
        reader.wrong_hint(&placed.hostname, message, "give the node or the cluster another name");
    }
}

fn is_first(role: &Role, hostname: &str) -> bool {
    match &role.first {
        None => false,
        Some(First::Every) => true,
        Some(First::Pattern(pattern)) => pattern.is_match(hostname),
    }
}

fn report_no_role(reader: &Reader, profile: &Profile, placed: &PlacedNode) {
    let node = &placed.node;
    let names = || profile.roles.iter().map(|role| role.name.as_str());
    if let Some(span) = &placed.role {
        let hint = suggest::closest(&node.role, names())
            .unwrap_or_else(|| format!("its roles are {}", suggest::all(names())));
        let message = format!("the profile `{}` has no role `{}`", profile.name, node.role);
        reader.wrong_hint(span, message, hint);
        return;
    }
    let patterns: Vec<String> = profile
        .roles
        .iter()
        .map(|role| format!("`{}` is {}", role.pattern_text, role.name))
        .collect();
    let message =
        format!("the host name `{}` matches no role of `{}`", node.hostname, profile.name);
    let hint = if patterns.is_empty() {
        "the profile has no roles".to_owned()
    } else {
        format!("{}; or name one: `role = \"…\"`", patterns.join(", "))
    };
    reader.wrong_hint(&placed.hostname, message, hint);
}

fn check_first(reader: &Reader, nodes: &[PlacedNode]) {
    let mut firsts = nodes.iter().filter(|placed| placed.node.is_first);
    let Some(one) = firsts.next() else { return };
    // One name twice is reported as that.
    for other in firsts.filter(|other| other.node.hostname != one.node.hostname) {
        let message = format!(
            "two nodes would form the cluster: `{}` and `{}`",
            one.node.hostname, other.node.hostname
        );
        reader.report(
            Problem::new(message)
                .at(&reader.source, other.hostname.clone())
                .also_at(&reader.source, one.hostname.clone(), "the first is here")
                .hint("one node forms the cluster, and all others join it"),
        );
    }
}

fn check_control_planes(reader: &Reader, profile: &Profile, nodes: &[PlacedNode]) {
    let kind_of = |placed: &PlacedNode| profile.role(&placed.node.role)?.kind;
    let of_kind = |kind| nodes.iter().find(|placed| kind_of(placed) == Some(kind));
    let patterns: Vec<&str> = profile
        .roles
        .iter()
        .filter(|role| role.kind == Some(RoleKind::ControlPlane))
        .map(|role| role.pattern_text.as_str())
        .collect();
    match (of_kind(RoleKind::ControlPlane), of_kind(RoleKind::Worker)) {
        (None, Some(worker)) => {
            let message = format!("`{}` has no control plane to join", worker.node.hostname);
            let hint = format!("control planes are called {}", suggest::any(patterns));
            reader.wrong_hint(&worker.hostname, message, hint);
        }
        (Some(joining), _) if !nodes.iter().any(|placed| placed.node.is_first) => {
            let firsts: Vec<&str> = profile.roles.iter().filter_map(first_pattern).collect();
            if !firsts.is_empty() {
                let message =
                    format!("no node forms the cluster that `{}` joins", joining.node.hostname);
                let hint = format!("the one that does is called {}", suggest::any(firsts));
                reader.wrong_hint(&joining.hostname, message, hint);
            }
        }
        _ => {}
    }
}

fn first_pattern(role: &Role) -> Option<&str> {
    match role.first.as_ref()? {
        First::Every => Some(&role.pattern_text),
        First::Pattern(pattern) => {
            let text = pattern.as_str();
            Some(text.trim_start_matches("^(?:").trim_end_matches(")$"))
        }
    }
}

/// A cluster's settings, and where they stand.
pub(super) struct Settings<'a> {
    pub(super) reader: &'a Reader,
    pub(super) profile: &'a Profile,
    pub(super) values: &'a BTreeMap<String, Setting>,
    /// Where the cluster file names the profile.
    pub(super) profile_span: &'a Span,
    /// Where the cluster file gives a value.
    pub(super) places: &'a BTreeMap<String, Span>,
}

impl Settings<'_> {
    /// Those whose addresses must be theirs alone.
    pub(super) fn apart(&self) -> impl Iterator<Item = (&str, &Setting)> {
        let is_apart = |name| self.profile.settings.get(name).is_some_and(|it| !it.may_overlap);
        let all = self.values.iter().map(|(name, value)| (name.as_str(), value));
        all.filter(move |(name, _)| is_apart(*name))
    }

    /// Shows where a setting's value stands. What the file does not give is the profile's default.
    pub(super) fn point(&self, problem: Problem, name: &str) -> Problem {
        let (span, note) = match self.places.get(name) {
            Some(span) => (span, name.to_owned()),
            None => (self.profile_span, format!("the default of `{name}`")),
        };
        problem.also_at(&self.reader.source, span.clone(), note)
    }
}

/// Networks of the settings share addresses neither with each other nor with the nodes.
pub(super) fn networks(settings: &Settings<'_>, nodes: &[PlacedNode]) {
    let reader = settings.reader;
    let nets: Vec<_> =
        settings.apart().filter_map(|(name, setting)| Some((name, setting.network()?))).collect();
    let hint = "each needs its own addresses; [settings] can change them";
    for (index, (name, net)) in nets.iter().enumerate() {
        for (other_name, other) in &nets[..index] {
            if address::overlap(net, other) {
                let message = format!("`{name}` {net} overlaps `{other_name}` {other}");
                let problem = settings.point(Problem::new(message), name);
                let problem = settings.point(problem, other_name);
                reader.report(problem.hint(hint));
            }
        }
        // One node is enough to say it.
        let clash = nodes.iter().find_map(|placed| {
            let mut own = placed.node.addresses.iter().zip(&placed.addresses);
            own.find(|(own, _)| address::overlap(net, own)).map(|found| (placed, found))
        });
        if let Some((placed, (address, span))) = clash {
            let hostname = &placed.node.hostname;
            let message = format!("`{name}` {net} overlaps the network of `{hostname}`");
            let problem = Problem::new(message).also_at(
                &reader.source,
                span.clone(),
                format!("{hostname} is in {}", address.trunc()),
            );
            reader.report(settings.point(problem, name).hint(hint));
        }
    }
}
