//! `[[handout]]`: files for people.

use super::folder::Folder;
use crate::config::file_types::SideFileSpec;
use crate::config::profile_types::Profile;
use crate::config::reader::{Spanned, Table};
use crate::config::{condition, files};

pub(super) fn read_all(root: &Table<'_>, folder: &Folder, profile: &mut Profile) {
    for handout in root.tables("handout").into_iter().filter_map(|it| read(it, folder)) {
        // Two of one path may have conditions that exclude each other.
        profile.handouts.retain(|it| it.path != handout.path || it.when != handout.when);
        profile.handouts.push(handout);
    }
}

fn read(table: Table<'_>, folder: &Folder) -> Option<SideFileSpec> {
    let reader = table.reader;
    let path = table.require("path", "path = \"wireguard/laptop.conf\"");
    let path = path.and_then(|value| value.string());
    let when = condition::read(&table);
    let load = |source: &Spanned<&str>| folder.load_source(reader, source);
    let body = files::read_body(&table, path.as_ref().map(|path| path.value), &load);
    if let Some(path) = &path
        && let Some(fault) = SideFileSpec::path_fault(path.value)
    {
        let hint = "it goes to the output folder: for example `wireguard/laptop.conf`";
        reader.wrong_hint(&path.span, format!("`{}` {fault}", path.value), hint);
    }
    table.finish();
    let files::Body { bytes, is_template, template_name, source } = body?;
    let path = path?;
    let place = reader.place(&path.span);
    let path = path.value.to_owned();
    Some(SideFileSpec { path, bytes, is_template, template_name, source, when, place })
}

impl SideFileSpec {
    /// What is wrong with the path of an artifact.
    pub(crate) const TAKEN: &str = "is where a build puts an artifact";

    /// Why no handout may have this path, whichever formats there are; `None` when one may.
    pub(crate) fn path_fault(path: &str) -> Option<&'static str> {
        /// What a build itself puts into the output folder.
        const TAKEN: [&str; 4] = ["manifest.json", "SHA256SUMS", "known_hosts", "sbom.spdx.json"];
        if path.starts_with('/') {
            return Some("is absolute");
        }
        if path.is_empty() || path.len() > 255 || path.chars().any(char::is_control) {
            return Some("is not a path");
        }
        // What git, a shell or an editor would act upon is not a profile's to write.
        let name = path.strip_suffix("/.sops.yaml").unwrap_or(path);
        if name.split('/').any(|part| part.is_empty() || part.starts_with('.')) {
            return Some("has an empty part, or one that begins with a dot");
        }
        let top = path.split('/').next().unwrap_or_default();
        (TAKEN.contains(&top) || top.starts_with("sbom+")).then_some(Self::TAKEN)
    }
}
