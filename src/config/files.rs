//! `[[files]]`: single extra files, in cluster files and in a profile's roles.

use std::path::PathBuf;

use super::file_types::ExtraFile;
use super::reader::{Reader, Spanned, Table};
use crate::config::{condition, file};
use crate::util::error::Result;

/// A file that a `source` names.
pub(super) struct Loaded {
    pub(super) bytes: Vec<u8>,
    /// What to call it in errors.
    pub(super) name: String,
    /// Where it is on this machine; `None` in the binary.
    pub(super) path: Option<PathBuf>,
}

/// Reads the file that a `source` names.
pub(super) type Load<'a> = dyn Fn(&Spanned<&str>) -> Result<Loaded> + 'a;

/// What stands in a file.
pub(super) struct Body {
    pub(super) bytes: Vec<u8>,
    pub(super) is_template: bool,
    pub(super) template_name: String,
    pub(super) source: Option<PathBuf>,
}

/// All of `[[files]]` of a table in a cluster file.
pub(super) fn read_all(table: &Table<'_>) -> Vec<ExtraFile> {
    let reader = table.reader;
    read_with(table, &|source| {
        let path = reader.resolve(source)?;
        let bytes = file::read(&path, file::MOST_CONTENT)?;
        Ok(Loaded { bytes, name: source.value.to_owned(), path: Some(path) })
    })
}

/// All of `[[files]]` of a table, whose sources are where `load` finds them.
pub(super) fn read_with(table: &Table<'_>, load: &Load<'_>) -> Vec<ExtraFile> {
    table.tables("files").into_iter().filter_map(|table| read(table, load)).collect()
}

fn read(table: Table<'_>, load: &Load<'_>) -> Option<ExtraFile> {
    let reader = table.reader;
    let path = table.require("path", "path = \"/etc/motd\"").and_then(|value| value.string());
    let span = path.as_ref().map_or(table.span(), |path| path.span.clone());
    let path = path.and_then(|path| check_path(reader, &path));
    let mode = table.get("mode").map_or(Some(0o644), |value| read_mode(reader, &value.string()?));
    let owner = match table.string("owner") {
        Some(owner) => read_owner(reader, &owner),
        None => Some(("root".to_owned(), "root".to_owned())),
    };
    let when = condition::read(&table);
    let body = read_body(&table, path.as_deref(), load);
    table.finish();
    let Body { bytes, is_template, template_name, source } = body?;
    let place = Some(reader.place(&span));
    let (path, mode, (user, group)) = (path?, mode?, owner?);
    Some(ExtraFile {
        path,
        bytes,
        is_template,
        template_name,
        source,
        mode,
        user,
        group,
        when,
        place,
    })
}

/// `content`, which is a template, or `source`, which is one when its name ends in `.j2`.
pub(super) fn read_body(table: &Table<'_>, path: Option<&str>, load: &Load<'_>) -> Option<Body> {
    let reader = table.reader;
    let name = table.name();
    match (table.string("content"), table.string("source")) {
        (Some(content), None) => {
            let bytes = content.value.as_bytes().to_vec();
            let template_name = format!("content of {}", path.unwrap_or(name));
            Some(Body { bytes, is_template: true, template_name, source: None })
        }
        (None, Some(source)) => {
            let loaded = reader.accept(&source.span, load(&source))?;
            let Loaded { bytes, name: template_name, path } = loaded;
            reader.accept(&source.span, file::check_script(&bytes, &template_name))?;
            let is_template = source.value.strip_suffix(".j2").is_some();
            if is_template && std::str::from_utf8(&bytes).is_err() {
                reader.wrong(&source.span, format!("`{}` is not UTF-8 text", source.value));
                return None;
            }
            Some(Body { bytes, is_template, template_name, source: path })
        }
        (None, None) => {
            let hint = "for example `content = \"hello\\n\"` or `source = \"motd.j2\"`";
            reader.wrong_hint(&table.span(), format!("{name} needs `content` or `source`"), hint);
            None
        }
        (Some(_), Some(source)) => {
            reader.wrong_hint(
                &source.span,
                "`content` and `source` exclude each other",
                "keep one of them",
            );
            None
        }
    }
}

/// `USER`, whose group has the same name, or `USER:GROUP`. The image is asked only later whether
/// it knows them.
fn read_owner(reader: &Reader, text: &Spanned<&str>) -> Option<(String, String)> {
    let (user, group) = text.value.split_once(':').unwrap_or((text.value, text.value));
    let is_name = |name: &str| {
        (1..=32).contains(&name.len())
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    if is_name(user) && is_name(group) {
        return Some((user.to_owned(), group.to_owned()));
    }
    let message = format!("`{}` is not a valid owner of a file", text.value);
    reader.wrong_hint(&text.span, message, "a user, or a user and a group: `root:systemd-network`");
    None
}

/// An absolute path inside an image, in its only spelling.
pub(super) fn check_path(reader: &Reader, path: &Spanned<&str>) -> Option<String> {
    let text = path.value;
    let Some((message, hint)) = path_problem(text) else {
        return Some(text.to_owned());
    };
    reader.wrong_hint(&path.span, format!("`{text}` {message}"), hint);
    None
}

/// What keeps a text from being the absolute path of a file on a node, and what to do about it.
pub fn path_problem(text: &str) -> Option<(&'static str, &'static str)> {
    if !text.starts_with('/') {
        Some(("is not absolute", "paths on the node start with `/`"))
    } else if text.len() > 4095 || text.chars().any(char::is_control) {
        Some(("is not a path", "it is too long, or has control characters"))
    } else if text.split('/').skip(1).any(|part| matches!(part, "" | "." | "..")) {
        Some(("is not a plain path to a file", "leave out `.`, `..`, `//` and a `/` at the end"))
    } else {
        None
    }
}

/// Permission bits from octal digits.
pub(super) fn read_mode(reader: &Reader, text: &Spanned<&str>) -> Option<u32> {
    let is_octal = (3..=4).contains(&text.value.len())
        && text.value.bytes().all(|byte| matches!(byte, b'0'..=b'7'));
    if !is_octal {
        let message = format!("`{}` is not a file mode", text.value);
        reader.wrong_hint(&text.span, message, "a mode is three or four octal digits: `0644`");
        return None;
    }
    u32::from_str_radix(text.value, 8).ok()
}
