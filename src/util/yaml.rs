//! YAML, read into values of JSON: manifests of Kubernetes, and values of charts.
//!
//! Only `null`, `true` and `false` have a type of their own. A number stays the text that it is written as: a
//! version `1.10` is not 1.1.

use std::borrow::Cow;
use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle};
use serde_json::{Map, Value};

use super::error::{Error, Result};

/// The most values one text may have, those that aliases repeat included.
const MOST: usize = 1_000_000;
/// How deep values may lie within each other.
const DEEPEST: usize = 100;

/// The documents of a text, empty ones left out.
pub(crate) fn documents(text: &str) -> Result<Vec<Value>> {
    let mut reader = DocumentReader::default();
    for event in Parser::new_from_str(text) {
        let (event, _) = event.map_err(|error| Error::input(format!("it is not YAML: {error}")))?;
        reader.take(event)?;
    }
    Ok(reader.documents)
}

/// A list or mapping that is being read, and its anchor.
enum Open {
    List(Vec<Value>, usize),
    /// With the key whose value comes next.
    Table(Map<String, Value>, Option<String>, usize),
}

#[derive(Default)]
struct DocumentReader {
    documents: Vec<Value>,
    open: Vec<Open>,
    anchors: HashMap<usize, (Value, usize)>,
    count: usize,
}

impl DocumentReader {
    fn take(&mut self, event: Event<'_>) -> Result<()> {
        match event {
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd => Ok(()),
            Event::Alias(anchor) => {
                let (value, size) =
                    self.anchors.get(&anchor).cloned().ok_or_else(|| {
                        Error::input("it is not YAML: an alias names what it is in")
                    })?;
                self.counted(size)?;
                self.put(value)
            }
            Event::Scalar(text, style, anchor, _) => {
                self.counted(1)?;
                self.close(scalar(text, style), anchor)
            }
            Event::SequenceStart(anchor, _) => self.open(Open::List(Vec::new(), anchor)),
            Event::MappingStart(anchor, _) => self.open(Open::Table(Map::new(), None, anchor)),
            Event::SequenceEnd | Event::MappingEnd => match self.open.pop() {
                Some(Open::List(list, anchor)) => self.close(Value::Array(list), anchor),
                Some(Open::Table(table, _, anchor)) => self.close(Value::Object(table), anchor),
                None => Ok(()),
            },
        }
    }

    fn open(&mut self, open: Open) -> Result<()> {
        self.counted(1)?;
        if self.open.len() == DEEPEST {
            return Err(Error::input(format!("values lie more than {DEEPEST} deep")));
        }
        self.open.push(open);
        Ok(())
    }

    fn counted(&mut self, more: usize) -> Result<()> {
        self.count = self.count.saturating_add(more);
        if self.count > MOST {
            return Err(Error::input(format!("it has more than {MOST} values")));
        }
        Ok(())
    }

    fn close(&mut self, value: Value, anchor: usize) -> Result<()> {
        if anchor > 0 {
            let size = size(&value);
            self.counted(size)?;
            self.anchors.insert(anchor, (value.clone(), size));
        }
        self.put(value)
    }

    fn put(&mut self, value: Value) -> Result<()> {
        match self.open.last_mut() {
            None if value.is_null() => {}
            None => self.documents.push(value),
            Some(Open::List(list, _)) => list.push(value),
            Some(Open::Table(table, key, _)) => match key.take() {
                Some(key) => {
                    table.insert(key, value);
                }
                None => *key = Some(word(value)?),
            },
        }
        Ok(())
    }
}

/// A key as text.
fn word(value: Value) -> Result<String> {
    match value {
        Value::String(text) => Ok(text),
        Value::Null => Ok(String::new()),
        Value::Bool(is_true) => Ok(is_true.to_string()),
        Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            Err(Error::input("a key is a list or a mapping"))
        }
    }
}

fn scalar(text: Cow<'_, str>, style: ScalarStyle) -> Value {
    if style == ScalarStyle::Plain {
        match text.as_ref() {
            "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
            "true" | "True" | "TRUE" => return Value::Bool(true),
            "false" | "False" | "FALSE" => return Value::Bool(false),
            _ => {}
        }
    }
    Value::String(text.into_owned())
}

fn size(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 1,
        Value::Array(list) => 1 + list.iter().map(size).sum::<usize>(),
        Value::Object(table) => 1 + table.values().map(size).sum::<usize>(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn documents_are_read_as_they_are_written() {
        let text = "# a chart's values\nimage: {tag: 1.10, pull: true}\nlist: [a, ~, 'null']\n---\n---\n\
                    80: x\ntext: |-\n  a: b\n";
        assert_eq!(
            documents(text).unwrap(),
            [
                json!({"image": {"tag": "1.10", "pull": true}, "list": ["a", null, "null"]}),
                json!({"80": "x", "text": "a: b"}),
            ]
        );
    }

    #[test]
    fn aliases_repeat_and_do_not_multiply_without_bound() {
        let text = "a: &a {x: y}\nb: *a\n";
        assert_eq!(documents(text).unwrap(), [json!({"a": {"x": "y"}, "b": {"x": "y"}})]);
        let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..30 {
            let before = format!("*a{}, ", level - 1).repeat(10);
            bomb.push_str(&format!("a{level}: &a{level} [{before}]\n"));
        }
        let error = documents(&bomb).unwrap_err().to_string();
        assert_eq!(error, "it has more than 1000000 values");
        let deep = "[".repeat(2000);
        assert!(documents(&deep).is_err());
        assert!(documents("a: [").is_err() && documents("a: b: c").is_err());
    }
}
