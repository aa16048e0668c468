//! A list of changes as it grows.

use std::collections::HashSet;

use super::render::Renderer;
use crate::change::{Action, Change, Content, ImageArchive, Owner, Requester, UnitState};
use crate::config::{ExtraFile, OverlaySpec, Units};
use crate::util::error::{Error, Place, Problem, Result};

/// Changes in the order in which they are applied.
#[derive(Default)]
pub(super) struct ChangeList(Vec<Change>);

impl ChangeList {
    pub(super) fn push(&mut self, origin: &Requester, action: Action) {
        self.0.push(Change::new(action, origin.clone()));
    }

    /// A change that files of this machine went into.
    pub(super) fn push_from(&mut self, origin: &Requester, action: Action, sources: Vec<String>) {
        self.0.push(Change { action, origin: origin.clone(), sources });
    }

    /// A public file of root's.
    pub(super) fn file(
        &mut self,
        origin: &Requester,
        path: &str,
        mode: u32,
        bytes: impl Into<Vec<u8>>,
    ) {
        let content = Content::public(bytes);
        let action = Action::File { path: path.to_owned(), content, mode, owner: Owner::root() };
        self.push(origin, action);
    }

    pub(super) fn unit(&mut self, origin: &Requester, name: &str, state: UnitState) {
        self.push(origin, Action::Unit { name: name.to_owned(), state });
    }

    pub(super) fn units(&mut self, origin: &Requester, units: &Units) {
        for (names, state) in [
            (&units.mask, UnitState::Masked),
            (&units.disable, UnitState::Disabled),
            (&units.enable, UnitState::Enabled),
        ] {
            for name in names {
                self.unit(origin, name, state);
            }
        }
    }

    /// All files of an overlay, templates rendered. One that holds a secret is for root's eyes only:
    /// a folder of files has no other place to say so.
    pub(super) fn overlay(&mut self, overlay: &OverlaySpec, renderer: &Renderer<'_>) -> Result<()> {
        let origin = Requester::Overlay(overlay.name.clone());
        if !renderer.holds(overlay.when.as_ref())? {
            return Ok(());
        }
        for file in &overlay.files {
            let name = format!("overlays/{}{}", overlay.name, file.path);
            let content = content(&file.bytes, file.is_template, &format!("{name}.j2"), renderer)?;
            let mode = if content.secrets.is_empty() { file.mode } else { file.mode & 0o700 };
            let (path, owner) = (file.path.clone(), Owner::root());
            let sources = renderer.sources(file.source.as_deref(), &content);
            self.push_from(&origin, Action::File { path, content, mode, owner }, sources);
        }
        Ok(())
    }

    /// A single file, rendered when it is a template.
    pub(super) fn extra(
        &mut self,
        origin: &Requester,
        file: &ExtraFile,
        renderer: &Renderer<'_>,
    ) -> Result<()> {
        if !renderer.holds(file.when.as_ref())? {
            return Ok(());
        }
        let content = content(&file.bytes, file.is_template, &file.template_name, renderer)?;
        let owner = Owner { user: file.user.clone(), group: file.group.clone() };
        let sources = renderer.sources(file.source.as_deref(), &content);
        let action = Action::File { path: file.path.clone(), content, mode: file.mode, owner };
        guard(&action, file.place.as_ref())?;
        self.push_from(origin, action, sources);
        Ok(())
    }

    /// The list without what a later change makes void, so that what is printed is applied.
    pub(super) fn finish(mut self) -> Vec<Change> {
        let mut seen = HashSet::new();
        self.0.reverse();
        self.0.retain(|change| seen.insert(subject_of(&change.action)));
        self.0.reverse();
        self.0
    }
}

/// A file that holds secrets must be for root's eyes only.
fn guard(action: &Action, place: Option<&Place>) -> Result<()> {
    if let Action::File { path, content, mode, owner } = action
        && !content.secrets.is_empty()
        && let Some(who) = who_else_reads(*mode, owner)
    {
        let names = content.secrets.join("`, `");
        let message = format!("`{path}` would show the secret `{names}` to {who}");
        let hint = format!(
            "it belongs to {}:{} and has mode {mode:04o}; let only root read it: `mode = \"0600\"`",
            owner.user, owner.group
        );
        let problem = Problem::new(message).at_places(place.cloned());
        return Err(Error::input(problem.hint(hint)));
    }
    Ok(())
}

/// Who besides root gets to see a file of this mode.
fn who_else_reads(mode: u32, owner: &Owner) -> Option<String> {
    /// Groups that people are in.
    const PEOPLE: [&str; 8] =
        ["adm", "sudo", "users", "staff", "wheel", "admin", "docker", "nogroup"];
    let group = owner.group.as_str();
    if owner.user != "root" {
        return Some(format!("the user {}", owner.user));
    }
    if mode & 0o007 != 0 {
        return Some("everybody".into());
    }
    // Group root has root alone in it, and still should not read it. A group of people could
    // have any other name: stamp looks up its number in the image.
    let is_risky = mode & 0o070 != 0 && (group == "root" || PEOPLE.contains(&group));
    is_risky.then(|| format!("the group {group}"))
}

pub(super) fn content(
    bytes: &[u8],
    is_template: bool,
    name: &str,
    renderer: &Renderer<'_>,
) -> Result<Content> {
    if !is_template {
        return Ok(Content::public(bytes));
    }
    let text = std::str::from_utf8(bytes)
        .map_err(|_| Error::input(format!("the template `{name}` is not UTF-8 text")))?;
    renderer.render(name, text)
}

/// What a change is about, for people: `package containerd`.
pub(crate) fn subject(action: &Action) -> String {
    let (kind, name) = subject_of(action);
    if kind == "path" { name } else { format!("{kind} {name}").trim_end().to_owned() }
}

/// What a change is about: of two about the same, the later alone counts.
fn subject_of(action: &Action) -> (&'static str, String) {
    match action {
        Action::Grow { .. } => ("disk", String::new()),
        Action::AptSource { name, .. } => ("apt source", name.clone()),
        Action::Package { name, .. } => {
            // `kubelet=1.34.0-1.1` and `kubelet` are one package, but holding is not installing.
            let is_held =
                matches!(action, Action::Package { state: crate::change::PackageState::Held, .. });
            let name = name.split('=').next().unwrap_or(name);
            (if is_held { "hold" } else { "package" }, name.to_owned())
        }
        // One path may hold another file on another processor.
        Action::Download { path, arch: Some(arch), .. } => (arch.name(), path.clone()),
        Action::Download { path, arch: None, .. }
        | Action::Images(ImageArchive { path, .. })
        | Action::File { path, .. }
        | Action::Directory { path, .. }
        | Action::Symlink { path, .. }
        | Action::Remove { path } => ("path", path.clone()),
        Action::Unit { name, .. } => ("unit", name.clone()),
        Action::User(user) => ("user", user.name.clone()),
        Action::KernelArgument { argument } | Action::KernelArgumentRemoved { argument } => {
            ("argument", argument.clone())
        }
        Action::ConfigTxt { line } => ("config.txt", line.clone()),
        Action::Hostname { .. } => ("host name", String::new()),
        Action::MachineId { .. } => ("machine id", String::new()),
        Action::DiskId { .. } => ("disk id", String::new()),
        Action::Locale { .. } => ("locale", String::new()),
        Action::Keyboard { .. } => ("keyboard", String::new()),
        Action::Timezone { .. } => ("time zone", String::new()),
    }
}
