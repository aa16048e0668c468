//! Overlays: folders of files laid over the root.

use std::path::Path;

use super::folder::Folder;
use crate::config::profile_types::{OverlayFile, OverlaySpec};
use crate::config::reader::Table;
use crate::config::{condition, file, suggest};
use crate::util::error::{Error, Result};

/// The overlays that a table names.
pub(super) fn read_all(table: &Table<'_>, folder: &Folder) -> Vec<OverlaySpec> {
    let elements = table.get("overlays").and_then(|value| value.elements()).unwrap_or_default();
    let overlays = elements.iter().filter_map(|element| {
        let (name, when) = condition::named(element)?;
        let overlay = table.reader.accept(&name.span, load(folder, name.value))?;
        Some(OverlaySpec { when, ..overlay })
    });
    overlays.collect()
}

/// An overlay by name: the profile's own first, then the shipped ones.
fn load(profile: &Folder, name: &str) -> Result<OverlaySpec> {
    if name.is_empty() || name.contains(['/', '\\']) || name.starts_with('.') {
        return Err(Error::input(format!("`{name}` is not a valid name of an overlay"))
            .hint("an overlay is named by its folder in `overlays/`"));
    }
    let own = format!("overlays/{name}");
    let found = match profile.walk(&own)? {
        Some(entries) => Some((entries, profile.place(&own))),
        None => Folder::shipped_overlays().walk(name)?.map(|entries| (entries, None)),
    };
    let Some((entries, folder)) = found else {
        let own = profile.shown("overlays");
        let shipped = Folder::shipped_overlays().subfolders();
        let hint = suggest::closest(name, shipped.iter().copied())
            .unwrap_or_else(|| format!("the profile's own are folders in `{own}`"));
        return Err(Error::input(format!("there is no overlay `{name}`")).hint(hint));
    };
    let files = entries
        .into_iter()
        .filter(|(path, _)| !path.ends_with(".gitkeep"))
        .map(|(path, bytes)| overlay_file(name, folder.as_deref(), &path, bytes))
        .collect::<Result<_>>()?;
    Ok(OverlaySpec { name: name.to_owned(), files, when: None })
}

fn overlay_file(
    overlay: &str,
    folder: Option<&Path>,
    path: &str,
    bytes: Vec<u8>,
) -> Result<OverlayFile> {
    let source = folder.map(|folder| folder.join(path));
    file::check_script(&bytes, &format!("overlays/{overlay}/{path}"))?;
    let (path, is_template) = match path.strip_suffix(".j2") {
        Some(path) => (path, true),
        None => (path, false),
    };
    if is_template && std::str::from_utf8(&bytes).is_err() {
        return Err(Error::input(format!("overlay `{overlay}`: `{path}.j2` is not UTF-8 text")));
    }
    let mode = if bytes.starts_with(b"#!") { 0o755 } else { 0o644 };
    Ok(OverlayFile { path: format!("/{path}"), bytes, is_template, source, mode })
}
