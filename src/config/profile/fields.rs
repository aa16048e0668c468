//! What several tables of a profile have in common.

use crate::config::profile_types::Units;
use crate::config::reader::{Spanned, Table};

/// What a template can write after a dot.
pub(super) fn is_identifier(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_'))
}

pub(super) fn read_units(table: Table<'_>, units: &mut Units) {
    for (key, list) in
        [("enable", &mut units.enable), ("disable", &mut units.disable), ("mask", &mut units.mask)]
    {
        let hint = "units are named with their ending: `ssh.service`";
        extend_checked(&table, key, list, is_unit, "not a valid name of a unit", hint);
    }
    table.finish();
}

/// Source: systemd.unit(5).
fn is_unit(name: &str) -> bool {
    const ENDINGS: [&str; 11] = [
        "service",
        "socket",
        "device",
        "mount",
        "automount",
        "swap",
        "target",
        "path",
        "timer",
        "slice",
        "scope",
    ];
    name.len() < 256
        && name.rsplit_once('.').is_some_and(|(stem, ending)| {
            !stem.is_empty() && !stem.starts_with('.') && ENDINGS.contains(&ending)
        })
        && name.bytes().all(|byte| {
            byte.is_ascii_alphanumeric() || matches!(byte, b':' | b'-' | b'_' | b'.' | b'\\' | b'@')
        })
}

/// Adds the strings of a key to a list, each once; those that are not `good` are reported.
pub(super) fn extend_checked(
    table: &Table<'_>,
    key: &'static str,
    list: &mut Vec<String>,
    good: fn(&str) -> bool,
    fault: &str,
    hint: &str,
) {
    for text in table.strings(key) {
        if !good(text.value) {
            let message = format!("`{}` is {fault}", text.value);
            table.reader.wrong_hint(&text.span, message, hint);
        } else if !list.iter().any(|other| other == text.value) {
            list.push(text.value.to_owned());
        }
    }
}

/// A string without its place.
pub(super) fn owned(text: Option<Spanned<&str>>) -> Option<String> {
    text.map(|text| text.value.to_owned())
}
