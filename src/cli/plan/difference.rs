//! What sets two nodes apart.

use std::fmt::Write as _;

use similar::TextDiff;

use super::parts::file_of;
use crate::change::{Action, Change};
use crate::plan;

/// The changes that one node has and the other has not, as diff(1) marks them; of a file that both
/// have, how its text differs. Who asked for a change is no difference.
pub(super) fn difference(first: &str, one: &[Change], second: &str, other: &[Change]) -> String {
    let mut text = format!("--- {first}\n+++ {second}\n");
    for change in one {
        if has(other, &change.action) {
            continue;
        }
        match counterpart(other, change) {
            Some(theirs) => file_difference(&mut text, change, theirs),
            None => mark(&mut text, '-', change),
        }
    }
    for change in other {
        if !has(one, &change.action) && counterpart(one, change).is_none() {
            mark(&mut text, '+', change);
        }
    }
    text
}

fn has(changes: &[Change], action: &Action) -> bool {
    changes.iter().any(|change| change.action == *action)
}

/// The change that writes the same file with another text, or with other rights.
fn counterpart<'a>(changes: &'a [Change], change: &Change) -> Option<&'a Change> {
    let (path, _) = file_of(change)?;
    changes.iter().find(|other| file_of(other).is_some_and(|(it, _)| it == path))
}

fn file_difference(text: &mut String, mine: &Change, theirs: &Change) {
    let shown = |change| file_of(change).and_then(|(_, content)| content.shown());
    let lines = |change| shown(change).and_then(|bytes| std::str::from_utf8(bytes).ok());
    let (Some(old), Some(new)) = (lines(mine), lines(theirs)) else {
        mark(text, '-', mine);
        return mark(text, '+', theirs);
    };
    if old == new {
        // Their rights differ.
        mark(text, '-', mine);
        return mark(text, '+', theirs);
    }
    writeln!(text, "~ {}", plan::describe(theirs)).expect("writing to a string");
    let diff = TextDiff::from_lines(old, new);
    for line in diff.unified_diff().missing_newline_hint(false).to_string().lines() {
        writeln!(text, "{}", format!("    {line}").trim_end()).expect("writing to a string");
    }
}

fn mark(text: &mut String, sign: char, change: &Change) {
    writeln!(text, "{sign} {}", plan::describe(change)).expect("writing to a string");
}
