//! A value of a TOML file, asked for by type.

use toml::Spanned as TomlSpanned;
use toml::de::DeValue;

use super::table::Table;
use super::{Reader, Span, Spanned};
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
