//! `[[role]]`: what a node does, found by its hostname.

use regex::Regex;

use super::fields::{owned, read_units};
use super::folder::Folder;
use crate::config::base::choice;
use crate::config::profile::{folder, overlay};
use crate::config::profile_types::{First, FirstbootStep, Profile, Role, RoleKind, Units};
use crate::config::reader::{Reader, Spanned, Table};
use crate::config::{file, files, suggest};
use crate::util::error::{Error, Problem, Result};

/// All roles in their order; one that has the name of an extended profile's replaces it there.
pub(super) fn read_all(root: &Table<'_>, folder: &Folder, profile: &mut Profile) {
    let mut seen: Vec<Spanned<String>> = Vec::new();
    for table in root.tables("role") {
        let span = table.span();
        let Some(role) = read(table, folder, profile) else { continue };
        if let Some(first) = seen.iter().find(|other| other.value == role.name) {
            root.reader.report(
                Problem::new(format!("two roles are called `{}`", role.name))
                    .at(&root.reader.source, span.clone())
                    .also_at(&root.reader.source, first.span.clone(), "the first is here"),
            );
        }
        seen.push(Spanned::new(role.name.clone(), span));
        match profile.roles.iter_mut().find(|other| other.name == role.name) {
            Some(inherited) => *inherited = role,
            None => profile.roles.push(role),
        }
    }
}

fn read(table: Table<'_>, folder: &Folder, profile: &mut Profile) -> Option<Role> {
    let reader = table.reader;
    let name = table.require("name", "name = \"worker\"").and_then(|value| value.string());
    for name in name.iter().filter(|name| !is_name(name.value)) {
        let message = format!("`{}` is not a valid name of a role", name.value);
        reader.wrong_hint(&name.span, message, "lower case letters, digits and `-`");
    }
    let pattern = table.require("pattern", "pattern = \"node[0-9]+\"").and_then(|it| it.string());
    let regex = pattern.as_ref().and_then(|pattern| compile(reader, pattern));
    let kind = table.get("kind").and_then(|value| {
        choice(&value, &[("control-plane", RoleKind::ControlPlane), ("worker", RoleKind::Worker)])
    });
    let first = table.get("first").and_then(|value| {
        if value.is_string() {
            return compile(reader, &value.string()?).map(First::Pattern);
        }
        value.boolean()?.then_some(First::Every)
    });
    let overlays = overlay::read_all(&table, folder);
    let mut units = Units::default();
    if let Some(table) = table.table("units") {
        read_units(table, &mut units);
    }
    let files = files::read_with(&table, &|source| folder.load_source(reader, source));
    let mut firstboot = Vec::new();
    for step in table.strings("firstboot") {
        if let Some(script) = reader.accept(&step.span, load_step(folder, step.value)) {
            profile.firstboot_steps.insert(step.value.to_owned(), script);
            firstboot.push(step.value.to_owned());
        }
    }
    table.finish();
    Some(Role {
        name: owned(name)?,
        pattern: regex?,
        pattern_text: owned(pattern)?,
        kind,
        first,
        overlays,
        files,
        units,
        firstboot,
    })
}

/// A pattern anchored to the whole hostname.
///
/// On the node it is `grep -E` that matches, so only what POSIX extended regular expressions and
/// the regex crate read alike is taken.
fn compile(reader: &Reader, pattern: &Spanned<&str>) -> Option<Regex> {
    let text = pattern.value;
    let hint = "patterns are POSIX extended regular expressions: `node[0-9]+`";
    let foreign = ["\\", "(?", "*?", "+?", "??", "}?", "[[", "&&", "--", "~~"];
    if text.is_empty() || text.contains(char::is_whitespace) || text.starts_with('#') {
        reader.wrong_hint(&pattern.span, format!("`{text}` is not a pattern for host names"), hint);
        return None;
    }
    if let Some(found) = foreign.iter().find(|found| text.contains(**found)) {
        let message = format!("`{found}` in a pattern means nothing to the node's `grep -E`");
        reader.wrong_hint(&pattern.span, message, hint);
        return None;
    }
    // Small: hostnames are 63 characters, and a stranger's pattern must not fill the memory.
    let built = regex::RegexBuilder::new(&format!("^(?:{text})$")).size_limit(1 << 20).build();
    match built {
        Ok(regex) => Some(regex),
        Err(error) => {
            let error = error.to_string();
            let last = error.lines().last().unwrap_or_default();
            let why = last.trim().trim_start_matches("error: ");
            let message = format!("`{text}` is not a valid regular expression: {why}");
            reader.wrong_hint(&pattern.span, message, hint);
            None
        }
    }
}

/// A first-boot step: the profile's own first, then the shipped ones.
fn load_step(profile: &Folder, name: &str) -> Result<FirstbootStep> {
    let has_number = name.len() > 3
        && name.as_bytes()[..2].iter().all(u8::is_ascii_digit)
        && name.as_bytes()[2] == b'-';
    let clean = name.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-'));
    if !has_number || !clean {
        return Err(Error::input(format!("`{name}` is not a valid name of a first-boot step"))
            .hint("steps are named with their number: `10-identity`"));
    }
    let path = format!("firstboot/{name}");
    if let Some(bytes) = profile.read(&path, file::MOST_CONTENT)? {
        file::check_script(&bytes, &path)?;
        return Ok(FirstbootStep { bytes, source: profile.place(&path) });
    }
    let shipped = folder::firstboot(&format!("steps/{name}"));
    let shipped = shipped.map(|bytes| FirstbootStep { bytes: bytes.to_vec(), source: None });
    shipped.ok_or_else(|| {
        let error = Error::input(format!("there is no first-boot step `{name}`"));
        let names = folder::firstboot_steps();
        error.hint(suggest::closest(name, names.iter().copied()).unwrap_or_else(|| {
            format!("the profile's own are scripts: `{}`", profile.shown(&path))
        }))
    })
}

fn is_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 63
        && name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'))
}
