//! What a running cluster must learn of nodes that join it: what its profile says, and whatever else would be
//! different on the nodes that run, had they been built with the new ones in the cluster file.

use similar::{ChangeTag, TextDiff};

use super::list::{content, subject};
use super::render::{Renderer, Scope};
use super::{SideFile, describe, handouts, node, prepare, rules};
use crate::change::{Action, Change, Content};
use crate::config::{Cluster, LessonSubject, Node};
use crate::guest::identity::hosts_line;
use crate::secrets::Secrets;
use crate::util::error::{Context as _, Error, Result};

/// What a running cluster must learn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addition {
    /// For its API.
    pub manifests: Vec<ApiManifest>,
    /// On nodes that run.
    pub differences: Vec<NodeDifference>,
    /// For people: the side files that will be others, from the output folder.
    pub side_files: Vec<String>,
}

/// Something for the cluster's API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiManifest {
    /// What it is.
    pub about: String,
    /// YAML; there may be secrets in it.
    pub text: String,
}

/// What is different on some nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeDifference {
    /// The nodes' host names; none means: in the base of all.
    pub nodes: Vec<String>,
    /// What it is.
    pub what: Different,
}

/// What is different.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Different {
    /// Lines of `/etc/hosts`.
    Hosts {
        /// That are new.
        added: Vec<String>,
        /// That are not there any more.
        removed: Vec<String>,
    },
    /// What the profile says of it.
    Said(String),
    /// A file's lines, `+ new` and `- old`.
    Lines(String, Vec<String>),
    /// A file that is binary, or that has secrets in it.
    Opaque(String),
    /// Anything else, as a plan has it.
    Other(String),
}

/// What the cluster must learn of these nodes of its file. What they join with is good until then, as RFC 3339
/// has it.
pub fn addition(
    cluster: &Cluster,
    new: &[&Node],
    secrets: &Secrets,
    until: &str,
) -> Result<Addition> {
    if let Some(first) = new.iter().find(|it| it.is_first) {
        return Err(Error::input(format!(
            "`{}` is the node that forms the cluster: there is none that it could join",
            first.hostname
        )));
    }
    let mut before = cluster.clone();
    before.nodes.retain(|it| new.iter().all(|new| new.hostname != it.hostname));
    rules::check(&before).context(|| {
        let names: Vec<String> = new.iter().map(|it| format!("`{}`", it.hostname)).collect();
        format!("without {}, this is no cluster that runs", names.join(", "))
    })?;
    let mut differences = base(&before, cluster)?;
    // What they differ in is shown, and no secret with it.
    let names = secrets.as_names();
    for old in &before.nodes {
        let renderer = Renderer::new(cluster, Scope::Node(old, &names));
        let (without, with) = (node(&before, old, &names)?, node(cluster, old, &names)?);
        for pair in pairs(&without, &with) {
            let Some(what) = different(pair, cluster, &renderer)? else { continue };
            match differences.iter_mut().find(|it| it.what == what && !it.nodes.is_empty()) {
                Some(same) => same.nodes.push(old.hostname.clone()),
                None => {
                    differences.push(NodeDifference { nodes: vec![old.hostname.clone()], what });
                }
            }
        }
    }
    let side_files = side_files(&handouts(&before, secrets)?, &handouts(cluster, secrets)?);
    let manifests = manifests(cluster, new, secrets, until)?;
    Ok(Addition { manifests, differences, side_files })
}

/// The profile's manifests. One that is the same for several nodes is there once.
fn manifests(
    cluster: &Cluster,
    new: &[&Node],
    secrets: &Secrets,
    until: &str,
) -> Result<Vec<ApiManifest>> {
    let mut manifests: Vec<ApiManifest> = Vec::new();
    for lesson in &cluster.profile.lessons {
        let LessonSubject::Manifest { bytes, is_template, template_name } = &lesson.subject else {
            continue;
        };
        for node in new {
            let renderer = Renderer::new(cluster, Scope::Node(node, secrets)).with("until", until);
            if !renderer.holds(lesson.when.as_ref())? {
                continue;
            }
            let body = content(bytes, *is_template, template_name, &renderer)?;
            let about = said(lesson.about.as_deref().unwrap_or_default(), &renderer)?;
            let manifest = ApiManifest { about, text: text(&body) };
            if !manifests.contains(&manifest) {
                manifests.push(manifest);
            }
        }
    }
    Ok(manifests)
}

fn said(about: &str, renderer: &Renderer<'_>) -> Result<String> {
    let said = renderer.render("the `about` of a [[learn]]", about)?;
    Ok(text(&said).trim().to_owned())
}

fn text(content: &Content) -> String {
    String::from_utf8_lossy(&content.bytes).into_owned()
}

/// What each of two lists has of one subject, where that is not the same.
fn pairs<'a>(
    without: &'a [Change],
    with: &'a [Change],
) -> Vec<(Option<&'a Change>, Option<&'a Change>)> {
    let of = |list: &'a [Change], change: &Change| {
        let wanted = subject(&change.action);
        list.iter().find(|it| subject(&it.action) == wanted)
    };
    let new = with.iter().map(|new| (of(without, new), Some(new)));
    let new = new.filter(|(old, new)| old.map(|it| &it.action) != new.map(|it| &it.action));
    let gone = without.iter().filter(|old| of(with, old).is_none()).map(|old| (Some(old), None));
    new.chain(gone).collect()
}

fn base(before: &Cluster, cluster: &Cluster) -> Result<Vec<NodeDifference>> {
    let (without, with) = (prepare(before, &[])?, prepare(cluster, &[])?);
    let pairs = pairs(&without, &with);
    let other = |(old, new)| NodeDifference { nodes: Vec::new(), what: other(old, new) };
    Ok(pairs.into_iter().map(other).collect())
}

/// `None` where the profile says that it is of no matter.
fn different(
    (old, new): (Option<&Change>, Option<&Change>),
    cluster: &Cluster,
    renderer: &Renderer<'_>,
) -> Result<Option<Different>> {
    let hosts = |change: Option<&Change>| {
        let Some(Change { action: Action::Hostname { hosts, domain, .. }, .. }) = change else {
            return None;
        };
        let line = |(address, peer): &(ipnet::IpNet, String)| {
            hosts_line(*address, peer, domain.as_deref())
        };
        Some(hosts.iter().map(line).collect::<Vec<_>>())
    };
    if let (Some(old), Some(new)) = (hosts(old), hosts(new)) {
        let missing = |from: &[String], list: Vec<String>| -> Vec<String> {
            list.into_iter().filter(|line| !from.contains(line)).collect()
        };
        let removed = missing(&new, old.clone());
        return Ok(Some(Different::Hosts { added: missing(&old, new), removed }));
    }
    let (before, after) = (file(old), file(new));
    let Some((path, _)) = after.or(before) else { return Ok(Some(other(old, new))) };
    for lesson in &cluster.profile.lessons {
        let is_of = matches!(&lesson.subject, LessonSubject::File(of) if of == path);
        if is_of && renderer.holds(lesson.when.as_ref())? {
            let about = lesson.about.as_ref();
            return about.map(|it| said(it, renderer).map(Different::Said)).transpose();
        }
    }
    let side = |file: Option<(_, &'_ Content)>| match file {
        Some((_, content)) => {
            content.shown().and_then(|it| std::str::from_utf8(it).ok()).map(str::to_owned)
        }
        None => Some(String::new()),
    };
    let path = path.to_owned();
    Ok(Some(match (side(before), side(after)) {
        (Some(old), Some(new)) => Different::Lines(path, lines(&old, &new)),
        (None, _) | (_, None) => Different::Opaque(path),
    }))
}

/// Path and content, if it is a file.
fn file(change: Option<&Change>) -> Option<(&str, &Content)> {
    if let Action::File { path, content, .. } = &change?.action {
        Some((path, content))
    } else {
        None
    }
}

fn other(old: Option<&Change>, new: Option<&Change>) -> Different {
    Different::Other(match (old, new) {
        (_, Some(new)) => describe(new),
        (Some(old), None) => format!("not any more: {}", describe(old)),
        (None, None) => String::new(),
    })
}

fn lines(old: &str, new: &str) -> Vec<String> {
    let diff = TextDiff::from_lines(old, new);
    let line = |change: similar::Change<&str>| {
        let mark = match change.tag() {
            ChangeTag::Equal => return None,
            ChangeTag::Delete => '-',
            ChangeTag::Insert => '+',
        };
        Some(format!("{mark} {}", change.value().trim_end_matches('\n')))
    };
    diff.iter_all_changes().filter_map(line).collect()
}

fn side_files(without: &[SideFile], with: &[SideFile]) -> Vec<String> {
    let is_same =
        |new: &&SideFile| without.iter().any(|it| it.path == new.path && it.content == new.content);
    with.iter().filter(|it| !is_same(it)).map(|it| it.path.clone()).collect()
}
