//! One file of a plan, as the nodes get it.

use super::parts::{NodePlan, file_of};
use crate::change::{Change, Content};
use crate::config::closest;
use crate::plan::SideFile;
use crate::util::error::{Error, Result};

/// What each place that writes `path` writes there: bare when it is the same for all, else under the
/// names of who gets which, as head(1) titles files.
pub(super) fn show(
    path: &str,
    prepare: &[Change],
    plans: &[NodePlan<'_>],
    handouts: &[SideFile],
) -> Result<String> {
    let mut variants: Vec<(Vec<&str>, &Content)> = Vec::new();
    let mut add = |who, content| match variants.iter_mut().find(|(_, other)| *other == content) {
        Some((names, _)) => names.push(who),
        None => variants.push((vec![who], content)),
    };
    for (node, changes) in plans {
        written(changes, path).for_each(|content| add(node.hostname.as_str(), content));
    }
    for handout in handouts.iter().filter(|handout| handout.path == path) {
        add("handouts", &handout.content);
    }
    let is_on_nodes = !variants.is_empty();
    // What a node has in the same place counts.
    if !is_on_nodes {
        written(prepare, path).for_each(|content| variants.push((vec!["prepared base"], content)));
    }
    match variants.as_slice() {
        [] => Err(unknown(path, prepare, plans, handouts)),
        [(_, content)] => Ok(text_of(content)),
        several => Ok(several
            .iter()
            .map(|(names, content)| format!("==> {} <==\n{}", names.join(", "), text_of(content)))
            .collect::<Vec<_>>()
            .join("\n")),
    }
}

fn written<'a>(changes: &'a [Change], wanted: &str) -> impl Iterator<Item = &'a Content> {
    let files = changes.iter().filter_map(file_of);
    files.filter(move |(path, _)| *path == wanted).map(|(_, content)| content)
}

fn text_of(content: &Content) -> String {
    let text = content.shown().and_then(|bytes| std::str::from_utf8(bytes).ok());
    let mut text = text.unwrap_or("(a binary file)\n").to_owned();
    if !text.ends_with('\n') {
        text.push('\n');
    }
    text
}

fn unknown(path: &str, prepare: &[Change], plans: &[NodePlan<'_>], handouts: &[SideFile]) -> Error {
    let changes = prepare.iter().chain(plans.iter().flat_map(|(_, changes)| changes));
    let paths = changes.filter_map(file_of).map(|(path, _)| path);
    let paths = paths.chain(handouts.iter().map(|handout| handout.path.as_str()));
    let error = Error::input(format!("the plan writes no file `{path}`"));
    let hint = closest(path, paths);
    error.hint(hint.unwrap_or_else(|| "`nodeforge plan` lists the files that it writes".into()))
}
