//! Values of a TOML file, asked for by type; of a table each key is asked for once, and what was never
//! asked for is unknown.

use std::cell::RefCell;

use toml::Spanned as TomlSpanned;
use toml::de::{DeTable, DeValue};

use super::layers::Reader;
use super::span::{Span, Spanned};
use crate::config::suggest;
use crate::util::error::Problem;

/// A value, with the words that name it in messages.
#[derive(Clone)]
pub(in crate::config) struct Value<'a> {
    pub(super) reader: &'a Reader,
    /// `` `size` in [disk] ``
    pub(super) title: String,
    pub(super) inner: &'a TomlSpanned<DeValue<'a>>,
}

impl<'a> Value<'a> {
    pub(in crate::config) fn span(&self) -> Span {
        self.inner.span()
    }

    /// `` `size` in [disk] ``
    pub(in crate::config) fn title(&self) -> &str {
        &self.title
    }

    pub(in crate::config) fn reader(&self) -> &'a Reader {
        self.reader
    }

    pub(in crate::config) fn is_table(&self) -> bool {
        self.inner.get_ref().is_table()
    }

    pub(in crate::config) fn is_integer(&self) -> bool {
        self.inner.get_ref().is_integer()
    }

    pub(in crate::config) fn is_string(&self) -> bool {
        self.inner.get_ref().is_str()
    }

    pub(in crate::config) fn string(&self) -> Option<Spanned<&'a str>> {
        let found = self.inner.get_ref().as_str().map(|text| Spanned::new(text, self.span()));
        self.expect(found, "a string")
    }

    pub(in crate::config) fn boolean(&self) -> Option<bool> {
        self.expect(self.inner.get_ref().as_bool(), "true or false")
    }

    pub(in crate::config) fn integer(&self) -> Option<i64> {
        let integer = self.expect(self.inner.get_ref().as_integer(), "a whole number")?;
        let number = i64::from_str_radix(integer.as_str(), integer.radix());
        if number.is_err() {
            self.reader.wrong(&self.span(), format!("{} is too large a number", self.title));
        }
        number.ok()
    }

    /// The elements of an array.
    pub(in crate::config) fn elements(&self) -> Option<Vec<Value<'a>>> {
        let array = self.expect(self.inner.get_ref().as_array(), "an array")?;
        let element = |inner| Value {
            reader: self.reader,
            title: format!("an element of {}", self.title),
            inner,
        };
        Some(array.iter().map(element).collect())
    }

    /// Strings of an array; those that are none are reported and left out.
    pub(in crate::config) fn strings(&self) -> Vec<Spanned<&'a str>> {
        let elements = self.elements().unwrap_or_default();
        elements.iter().filter_map(Value::string).collect()
    }

    /// A table; `name` is what messages call it.
    pub(in crate::config) fn table(&self, name: &str) -> Option<Table<'a>> {
        let table = self.expect(self.inner.get_ref().as_table(), "a table")?;
        Some(Table::new(self.reader, name, table, self.span()))
    }

    fn expect<T>(&self, found: Option<T>, wanted: &str) -> Option<T> {
        if found.is_none() {
            let has = type_name(self.inner.get_ref());
            let message = format!("{} must be {wanted}, not {has}", self.title);
            let mut problem = Problem::new(message).at(&self.reader.source, self.span());
            problem.hints.extend(self.mended(wanted));
            self.reader.report(problem);
        }
        found
    }

    /// The value as it was probably meant.
    fn mended(&self, wanted: &str) -> Option<String> {
        const LONGEST: usize = 40;
        let written = self.reader.source.text.get(self.span())?;
        if written.len() > LONGEST || written.contains('\n') {
            return None;
        }
        match (self.inner.get_ref(), wanted) {
            (DeValue::String(_), "an array") => Some(format!("in brackets: `[{written}]`")),
            (
                DeValue::Integer(_)
                | DeValue::Float(_)
                | DeValue::Boolean(_)
                | DeValue::Datetime(_),
                "a string",
            ) => Some(format!("in quotes: `\"{written}\"`")),
            (DeValue::String(text), "true or false") if matches!(&**text, "true" | "false") => {
                Some(format!("without quotes: `{text}`"))
            }
            (DeValue::String(text), "a whole number") if text.parse::<i64>().is_ok() => {
                Some(format!("without quotes: `{text}`"))
            }
            _ => None,
        }
    }
}

fn type_name(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "an array",
        DeValue::Table(_) => "a table",
    }
}

/// A table, with the words that name it in messages.
pub(in crate::config) struct Table<'a> {
    pub(in crate::config) reader: &'a Reader,
    /// `[cluster]`
    name: String,
    entries: &'a DeTable<'a>,
    span: Span,
    known: RefCell<Vec<&'static str>>,
}

impl<'a> Table<'a> {
    pub(super) fn new(
        reader: &'a Reader,
        name: impl Into<String>,
        entries: &'a DeTable<'a>,
        span: Span,
    ) -> Self {
        Self { reader, name: name.into(), entries, span, known: RefCell::default() }
    }

    /// The file itself.
    pub(in crate::config) fn root(reader: &'a Reader, entries: &'a DeTable<'a>) -> Self {
        Self::new(reader, "the file", entries, 0..0)
    }

    /// Where the table begins.
    pub(in crate::config) fn span(&self) -> Span {
        self.span.clone()
    }

    /// `[cluster]`
    pub(in crate::config) fn name(&self) -> &str {
        &self.name
    }

    /// A key's value.
    pub(in crate::config) fn get(&self, key: &'static str) -> Option<Value<'a>> {
        let mut known = self.known.borrow_mut();
        if !known.contains(&key) {
            known.push(key);
        }
        let inner = self.entries.get(key)?;
        Some(Value { reader: self.reader, title: format!("`{key}` in {}", self.name), inner })
    }

    /// A key's value; its absence is reported with `example` as the hint.
    pub(in crate::config) fn require(&self, key: &'static str, example: &str) -> Option<Value<'a>> {
        let value = self.get(key);
        if value.is_none() {
            let message = if self.is_root() && example.starts_with('[') {
                format!("the table [{key}] is missing")
            } else {
                format!("{} needs `{key}`", self.name)
            };
            self.reader.wrong_hint(&self.span, message, format!("for example `{example}`"));
        }
        value
    }

    /// All keys with their values: for tables whose keys are names the user chose.
    pub(in crate::config) fn entries(&self) -> Vec<(Spanned<&'a str>, Value<'a>)> {
        let mut entries: Vec<_> = self
            .entries
            .iter()
            .map(|(key, value)| {
                let title = format!("`{}` in {}", key.get_ref(), self.name);
                let key = Spanned::new(key.get_ref().as_ref(), key.span());
                (key, Value { reader: self.reader, title, inner: value })
            })
            .collect();
        entries.sort_by_key(|(key, _)| key.span.start);
        entries
    }

    /// An optional string.
    pub(in crate::config) fn string(&self, key: &'static str) -> Option<Spanned<&'a str>> {
        self.get(key)?.string()
    }

    /// An optional array of strings; empty when it is missing.
    pub(in crate::config) fn strings(&self, key: &'static str) -> Vec<Spanned<&'a str>> {
        self.get(key).map(|value| value.strings()).unwrap_or_default()
    }

    /// An optional array of strings without their places.
    pub(in crate::config) fn plain_strings(&self, key: &'static str) -> Vec<String> {
        self.strings(key).into_iter().map(|text| text.value.to_owned()).collect()
    }

    /// An optional `[key]`.
    pub(in crate::config) fn table(&self, key: &'static str) -> Option<Table<'a>> {
        self.get(key)?.table(&format!("[{}]", self.path_of(key)))
    }

    /// All of an array of tables `[[key]]`.
    pub(in crate::config) fn tables(&self, key: &'static str) -> Vec<Table<'a>> {
        let Some(value) = self.get(key) else { return Vec::new() };
        if value.is_table() {
            let path = self.path_of(key);
            self.reader.wrong_hint(
                &value.span(),
                format!("`{path}` is a list of tables"),
                format!("write `[[{path}]]`"),
            );
            return Vec::new();
        }
        let name = format!("[[{}]]", self.path_of(key));
        let elements = value.elements().unwrap_or_default();
        elements.iter().filter_map(|element| element.table(&name)).collect()
    }

    /// `node.files` for the `files` of `[[node]]`.
    fn path_of(&self, key: &str) -> String {
        let own = self.name.trim_matches(['[', ']']);
        if self.is_root() { key.to_owned() } else { format!("{own}.{key}") }
    }

    fn is_root(&self) -> bool {
        !self.name.starts_with('[')
    }

    /// Reports every key that was never asked for.
    pub(in crate::config) fn finish(self) {
        let known = self.known.into_inner();
        for (key, value) in self.entries {
            let name = key.get_ref();
            if known.contains(&name.as_ref()) {
                continue;
            }
            let is_nested = matches!(value.get_ref(), DeValue::Table(_) | DeValue::Array(_));
            let place = if is_nested && key.span().is_empty() { value.span() } else { key.span() };
            let hint = suggest::closest(name, known.iter().copied())
                .unwrap_or_else(|| format!("it may hold {}", suggest::all(known.iter().copied())));
            let message = format!("unknown key `{name}` in {}", self.name);
            self.reader.wrong_hint(&place, message, hint);
        }
    }
}
