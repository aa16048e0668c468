//! `[[learn]]`: what a running cluster must learn of a node that joins it.

use super::fields::owned;
use super::folder::Folder;
use crate::config::file_types::{Lesson, LessonSubject};
use crate::config::profile_types::Profile;
use crate::config::reader::{Spanned, Table};
use crate::config::{condition, files};

/// All of them, in their order, after those of the profile that is extended.
pub(super) fn read_all(root: &Table<'_>, folder: &Folder, profile: &mut Profile) {
    let lessons = root.tables("learn").into_iter().filter_map(|table| read(table, folder));
    profile.lessons.extend(lessons);
}

fn read(table: Table<'_>, folder: &Folder) -> Option<Lesson> {
    let reader = table.reader;
    let when = condition::read(&table);
    let subject = if let Some(path) = table.string("path") {
        for key in ["content", "source"] {
            if let Some(value) = table.get(key) {
                let message = format!("`path` and `{key}` exclude each other");
                let hint =
                    "a `path` is of a file that nodes have; `content` and `source` are manifests";
                reader.wrong_hint(&value.span(), message, hint);
            }
        }
        if !path.value.starts_with('/') {
            let hint = "for example `/etc/nodeforge/nodes.yaml`";
            reader.wrong_hint(&path.span, format!("`{}` is not absolute", path.value), hint);
        }
        Some(LessonSubject::File(path.value.to_owned()))
    } else {
        let load = |source: &Spanned<&str>| folder.load_source(reader, source);
        let body = files::read_body(&table, None, &load);
        body.map(|files::Body { bytes, is_template, template_name, .. }| LessonSubject::Manifest {
            bytes,
            is_template,
            template_name,
        })
    };
    let about = match subject {
        Some(LessonSubject::Manifest { .. }) => {
            Some(owned(table.require("about", "about = \"…\"").and_then(|it| it.string()))?)
        }
        Some(LessonSubject::File(_)) | None => owned(table.string("about")),
    };
    table.finish();
    Some(Lesson { about, subject: subject?, when })
}
