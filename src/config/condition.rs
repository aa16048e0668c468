//! `when = "…"`: whether something is wanted at all.

use super::file_types::Condition;
use super::reader::{Spanned, Table, Value};

/// The condition of a table that may have one.
pub(super) fn read(table: &Table<'_>) -> Option<Condition> {
    read_key(table, "when")
}

/// The condition under a key of its own.
pub(super) fn read_key(table: &Table<'_>, key: &'static str) -> Option<Condition> {
    let text = table.string(key)?;
    if text.value.trim().is_empty() {
        let hint = format!("for example `{key} = \"settings.backup == 'restic'\"`");
        table.reader.wrong_hint(&text.span, "the condition is empty", hint);
        return None;
    }
    let place = table.reader.place(&text.span);
    Some(Condition { text: text.value.to_owned(), place })
}

/// An element of a list of names: a string, or `{ name = "…", when = "…" }`.
pub(super) fn named<'a>(value: &Value<'a>) -> Option<(Spanned<&'a str>, Option<Condition>)> {
    if !value.is_table() {
        return value.string().map(|name| (name, None));
    }
    let table = value.table(value.title())?;
    let name = table.require("name", "{ name = \"…\", when = \"…\" }").and_then(|it| it.string());
    let when = read(&table);
    table.finish();
    Some((name?, when))
}
