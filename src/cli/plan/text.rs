//! A plan as text: what nodes of a role share is said once, then what each has of its own.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anstyle::{AnsiColor, Style};

use super::content_diff::content_diff;
use super::parts::NodePlan;
use crate::change::{Action, Change, Content, PackageState, UnitState};
use crate::cli::output::counted;
use crate::image::Image;
use crate::plan::{self, SideFile};
use crate::util::error::Result;
use crate::util::printable::printable_lines;

const TITLE: Style = Style::new().bold();

/// How many nodes of a role are named in its title.
const NAMED: usize = 8;

/// What becomes of a thing, as terraform and diff(1) mark it.
#[derive(Clone, Copy)]
enum Sign {
    Added,
    Changed,
    Removed,
}

impl Sign {
    fn of(action: &Action) -> Self {
        match action {
            Action::AptSource { .. }
            | Action::Download { .. }
            | Action::Images(_)
            | Action::File { .. }
            | Action::Directory { .. }
            | Action::Symlink { .. }
            | Action::User(_)
            | Action::KernelArgument { .. }
            | Action::ConfigTxt { .. }
            | Action::Package { state: PackageState::Installed, .. }
            | Action::Unit { state: UnitState::Enabled, .. } => Self::Added,
            Action::Remove { .. }
            | Action::KernelArgumentRemoved { .. }
            | Action::Package { state: PackageState::Removed, .. }
            | Action::Unit { state: UnitState::Disabled | UnitState::Masked, .. } => Self::Removed,
            Action::Grow { .. }
            | Action::Package { state: PackageState::Held | PackageState::Upgraded, .. }
            | Action::Hostname { .. }
            | Action::MachineId { .. }
            | Action::DiskId { .. }
            | Action::Locale { .. }
            | Action::Keyboard { .. }
            | Action::Timezone { .. } => Self::Changed,
        }
    }

    /// The sign in its colour.
    fn painted(self) -> String {
        let (sign, color) = match self {
            Self::Added => ('+', AnsiColor::Green),
            Self::Changed => ('~', AnsiColor::Yellow),
            Self::Removed => ('-', AnsiColor::Red),
        };
        let style = color.on_default();
        format!("{style}{sign}{style:#}")
    }
}

/// What is shown of a file beside the line that names it.
pub(super) enum Detail<'a> {
    /// Nothing.
    None,
    /// All of its text.
    Whole,
    /// How it differs from what the base has in its place.
    DiffBase(&'a Image),
}

/// The text of a plan, as it grows; what came from elsewhere in it is safe for a terminal.
pub(super) struct PlanText<'a> {
    text: String,
    detail: Detail<'a>,
    below: &'a [Change],
}

impl<'a> PlanText<'a> {
    /// Nothing yet; `below` is done to the base before nodes are made from it.
    pub(super) fn new(detail: Detail<'a>, below: &'a [Change]) -> Self {
        Self { text: String::new(), detail, below }
    }

    /// All of it, with colours, for a terminal.
    pub(super) fn finish(self) -> String {
        self.text
    }

    /// A line that is no change.
    pub(super) fn line(&mut self, line: &str) {
        self.text.push_str(&printable_lines(line));
        self.text.push('\n');
    }

    /// The heading of a section.
    pub(super) fn title(&mut self, title: &str) {
        writeln!(self.text, "{TITLE}{}{TITLE:#}", printable_lines(title))
            .expect("writing to a string");
    }

    /// A thing that becomes, under its sign.
    fn signed(&mut self, indent: &str, sign: Sign, what: &str) {
        let sign = sign.painted();
        writeln!(self.text, "{indent}{sign} {}", printable_lines(what))
            .expect("writing to a string");
    }

    /// Changes to the prepared base.
    pub(super) fn prepared(&mut self, changes: &[Change]) -> Result<()> {
        self.title("prepared base");
        changes.iter().try_for_each(|change| self.change("  ", change, &[]))
    }

    /// Nodes, grouped by role in the order of the cluster file.
    pub(super) fn nodes(&mut self, plans: &[NodePlan<'_>]) -> Result<()> {
        let mut roles: Vec<(&str, Vec<&NodePlan<'_>>)> = Vec::new();
        for plan in plans {
            let role = plan.0.role.as_str();
            match roles.iter_mut().find(|(name, _)| *name == role) {
                Some((_, members)) => members.push(plan),
                None => roles.push((role, vec![plan])),
            }
        }
        roles.iter().try_for_each(|(role, members)| self.role(role, members))
    }

    fn role(&mut self, role: &str, members: &[&NodePlan<'_>]) -> Result<()> {
        self.line("");
        let [(first, changes), others @ ..] = members else { return Ok(()) };
        if others.is_empty() {
            self.title(&format!("{} (role {role})", first.hostname));
            self.line(&format!("  {}", summary(changes)));
            return changes.iter().try_for_each(|change| self.change("  ", change, self.below));
        }
        let is_shared = |change: &&Change| others.iter().all(|(_, other)| other.contains(change));
        let shared: Vec<&Change> = changes.iter().filter(is_shared).collect();
        let names = members.iter().take(NAMED).map(|(node, _)| node.hostname.as_str());
        let mut names = names.collect::<Vec<_>>().join(", ");
        if let Some(more @ 1..) = members.len().checked_sub(NAMED) {
            write!(names, " and {more} more").expect("writing to a string");
        }
        self.title(&format!("role {role}: {names}"));
        self.line(&format!(
            "  on each of the {}: {}",
            members.len(),
            summary(shared.iter().copied())
        ));
        shared.iter().try_for_each(|change| self.change("  ", change, self.below))?;
        for (node, changes) in members {
            let own = || changes.iter().filter(|change| !shared.contains(change));
            self.title(&format!("  {}", node.hostname));
            own().try_for_each(|change| self.change("    ", change, self.below))?;
        }
        Ok(())
    }

    fn change(&mut self, indent: &str, change: &Change, below: &[Change]) -> Result<()> {
        self.signed(indent, Sign::of(&change.action), &plan::describe(change));
        let inner = format!("{indent}    ");
        match (&self.detail, &change.action) {
            (Detail::Whole, Action::File { content, .. }) => self.content(&inner, content),
            (Detail::DiffBase(base), action) => {
                for line in content_diff(*base, below, action)?.lines() {
                    self.line(format!("{inner}{line}").trim_end());
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Files for the people who run the cluster, with what is in them.
    pub(super) fn handouts(&mut self, handouts: &[SideFile]) {
        if handouts.is_empty() {
            return;
        }
        self.line("");
        self.title("handouts");
        for handout in handouts {
            self.signed("  ", Sign::Added, &plan::describe_handout(handout));
            self.content("      ", &handout.content);
        }
    }

    /// A file's text between the lines of the plan.
    fn content(&mut self, indent: &str, content: &Content) {
        let Some(bytes) = content.shown() else { return };
        let Ok(text) = std::str::from_utf8(bytes) else {
            return self.line(&format!("{indent}(a binary file)"));
        };
        for line in text.lines() {
            self.line(format!("{indent}| {line}").trim_end());
        }
    }
}

/// How much a list of changes is, by kind: `12 packages, 30 files, 9 units`.
fn summary<'a>(changes: impl IntoIterator<Item = &'a Change>) -> String {
    let mut counts: BTreeMap<(usize, &str, &str), u64> = BTreeMap::new();
    for change in changes {
        let kind = match &change.action {
            Action::Package { .. } => (0, "package", "packages"),
            Action::File { .. } | Action::Download { .. } | Action::Images(_) => {
                (1, "file", "files")
            }
            Action::Unit { .. } => (2, "unit", "units"),
            Action::User(_) => (3, "user", "users"),
            Action::Grow { .. }
            | Action::AptSource { .. }
            | Action::Directory { .. }
            | Action::Symlink { .. }
            | Action::Remove { .. }
            | Action::KernelArgument { .. }
            | Action::KernelArgumentRemoved { .. }
            | Action::ConfigTxt { .. }
            | Action::Hostname { .. }
            | Action::MachineId { .. }
            | Action::DiskId { .. }
            | Action::Locale { .. }
            | Action::Keyboard { .. }
            | Action::Timezone { .. } => (4, "other change", "other changes"),
        };
        *counts.entry(kind).or_default() += 1;
    }
    let counts = counts.iter().map(|((_, one, many), count)| counted(*count, one, many));
    let counts: Vec<_> = counts.collect();
    if counts.is_empty() { "nothing".to_owned() } else { counts.join(", ") }
}
