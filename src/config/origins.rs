//! Which file, variable or default each value of a cluster came from.

use toml::de::{DeTable, DeValue};

use super::cluster_types::Cluster;
use super::origin::{ValueGiver, ValueOrigin};
use super::reader::{Reader, Span};
use super::setting_types::Setting;
use crate::util::error::Place;

/// The values that files, environment and command line give, sorted by key.
pub(super) fn given(reader: &Reader, root: &DeTable<'_>) -> Vec<ValueOrigin> {
    let mut values = Vec::new();
    walk(reader, "", root, &mut values);
    values.sort_by(|one, other| one.key.cmp(&other.key));
    values
}

/// The settings that keep the profile's default.
pub(super) fn defaults(cluster: &Cluster) -> Vec<ValueOrigin> {
    let giver = ValueGiver::Profile(cluster.profile.name.clone());
    let is_given = |key: &str| cluster.origins.iter().any(|origin| origin.key == key);
    let settings = cluster.settings.iter();
    let settings = settings.map(|(name, setting)| (format!("settings.{name}"), setting));
    settings
        .filter(|(key, _)| !is_given(key))
        .map(|(key, setting)| ValueOrigin { key, value: show(setting), giver: giver.clone() })
        .collect()
}

fn walk(reader: &Reader, prefix: &str, table: &DeTable<'_>, values: &mut Vec<ValueOrigin>) {
    for (name, value) in table {
        let name = name.get_ref();
        let key = if prefix.is_empty() { name.to_string() } else { format!("{prefix}.{name}") };
        let (span, shown) = match value.get_ref() {
            DeValue::Table(inner) if !is_secret(inner) => {
                walk(reader, &key, inner, values);
                continue;
            }
            // A list of tables stands in as many places as it has elements.
            DeValue::Array(tables) if tables.iter().all(|it| it.get_ref().is_table()) => {
                let Some(first) = tables.iter().next() else { continue };
                (first.span(), format!("{} of [[{key}]]", tables.len()))
            }
            DeValue::String(_)
            | DeValue::Integer(_)
            | DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_)
            | DeValue::Array(_)
            | DeValue::Table(_) => {
                let is_hash = name == "password_hash";
                let shown = || shorten(reader.slice(&value.span()));
                (value.span(), if is_hash { "…".to_owned() } else { shown() })
            }
        };
        values.push(ValueOrigin { key, value: shown, giver: giver(reader, &span) });
    }
}

/// `{ file = "…" }` and `{ env = "…" }` are values, and not tables of some.
fn is_secret(table: &DeTable<'_>) -> bool {
    table.len() == 1
        && table.iter().all(|(key, _)| matches!(key.get_ref().as_ref(), "file" | "env"))
}

fn giver(reader: &Reader, span: &Span) -> ValueGiver {
    let origin = reader.origin(span);
    let Place { source, span, .. } = reader.place(span);
    let before = source.text.get(..span.start).unwrap_or_default();
    let line = before.matches('\n').count() + 1;
    ValueGiver::Source { origin, name: source.name.clone(), line }
}

fn shorten(text: &str) -> String {
    const MOST: usize = 60;
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() <= MOST {
        return line;
    }
    let start: String = line.chars().take(MOST).collect();
    format!("{start}…")
}

/// A setting's value as a cluster file would have it; `…` for a secret.
pub fn show(setting: &Setting) -> String {
    match setting {
        Setting::Absent => "(none)".into(),
        Setting::Bool(switch) => switch.to_string(),
        Setting::Int(number) => number.to_string(),
        Setting::Secret(_) => "…".into(),
        Setting::List(elements) => {
            format!("[{}]", elements.iter().map(show).collect::<Vec<_>>().join(", "))
        }
        Setting::String(text) | Setting::Host(text) | Setting::Enum(text) => format!("{text:?}"),
        Setting::Cidr(net) => format!("\"{net}\""),
        Setting::Ip(address) => format!("\"{address}\""),
        Setting::IpPool(first, last) => format!("\"{first}-{last}\""),
        Setting::Path(path) => format!("\"{}\"", path.display()),
    }
}
