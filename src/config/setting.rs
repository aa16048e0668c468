//! Settings: declared with a type by the profile, given a value by the cluster file.

use std::collections::BTreeMap;

use zeroize::Zeroizing;

use super::reader::{Reader, Span, Spanned, Table, Value};
use super::setting_types::{SecretText, Setting, SettingKind, SettingSpec, SettingType};
use crate::config::{address, file, hostname, suggest};
use crate::util::error::{Error, Problem, Result};
use crate::versions;

/// One `[settings.NAME]` of a profile.
pub(super) fn read_spec(table: Table<'_>) -> Option<SettingSpec> {
    let choices = table.plain_strings("values");
    let element = read_element(&table);
    let kind = table.require("type", "type = \"string\"").and_then(|value| {
        let name = value.string()?;
        let Some(kind) = SettingKind::from_name(name.value) else {
            let hint = suggest::closest(name.value, SettingKind::names())
                .unwrap_or_else(|| format!("types are {}", suggest::all(SettingKind::names())));
            let message = format!("`{}` is not a type of setting", name.value);
            table.reader.wrong_hint(&name.span, message, hint);
            return None;
        };
        let kind = match kind {
            SettingKind::String => SettingType::String,
            SettingKind::Bool => SettingType::Bool,
            SettingKind::Int => SettingType::Int,
            SettingKind::Cidr => SettingType::Cidr,
            SettingKind::Ip => SettingType::Ip,
            SettingKind::IpPool => SettingType::IpPool,
            SettingKind::Host => SettingType::Host,
            SettingKind::HostPattern => SettingType::HostPattern,
            SettingKind::Path => SettingType::Path,
            SettingKind::Secret => SettingType::Secret,
            SettingKind::Enum => SettingType::Enum(choices.clone()),
            SettingKind::List => {
                let Some(element) = &element else {
                    if table.get("of").is_none() {
                        let message = "a setting of type `list` needs `of`";
                        let hint = "for example `of = \"host\"`";
                        table.reader.wrong_hint(&name.span, message, hint);
                    }
                    return None;
                };
                SettingType::List(Box::new(element.kind.clone()))
            }
        };
        if let (Some(element), false) = (&element, matches!(kind, SettingType::List(_))) {
            let message = "`of` is for settings of type `list`";
            table.reader.wrong_hint(&element.span, message, "for example `type = \"list\"`");
        }
        let is_enum = matches!(kind, SettingType::Enum(_));
        if is_enum == choices.is_empty() {
            let message = if is_enum {
                "a setting of type `enum` needs `values`"
            } else {
                "`values` is for settings of type `enum`"
            };
            table.reader.wrong_hint(&name.span, message, "for example `values = [\"a\", \"b\"]`");
        }
        Some(kind)
    });
    let kind = kind.filter(|kind| *kind != SettingType::Enum(Vec::new()));
    let default = table.get("default").zip(kind.as_ref());
    let default = default.and_then(|(value, kind)| read_value(table.reader, &value, kind, None));
    let description = table.string("description").map(|text| text.value.to_owned());
    let is_optional = table.get("optional").and_then(|value| value.boolean()).unwrap_or_default();
    let default = default.or(is_optional.then_some(Setting::Absent));
    let may_overlap = table.get("overlap").and_then(|value| value.boolean()).unwrap_or_default();
    let program = table.string("program").and_then(|name| {
        if versions::is_program(name.value) {
            return Some(name.value.to_owned());
        }
        let hint = suggest::closest(name.value, versions::programs())
            .unwrap_or_else(|| format!("it has {}", suggest::all(versions::programs())));
        let message = format!("`{}` is not in nodeforge's table of versions", name.value);
        table.reader.wrong_hint(&name.span, message, hint);
        None
    });
    table.finish();
    let description = description.unwrap_or_default();
    Some(SettingSpec { kind: kind?, default, description, may_overlap, program })
}

/// The type of a list's elements, and where it stands.
struct Element {
    kind: SettingType,
    span: Span,
}

fn read_element(table: &Table<'_>) -> Option<Element> {
    let name = table.string("of")?;
    let kind = match SettingKind::from_name(name.value) {
        Some(SettingKind::String) => SettingType::String,
        Some(SettingKind::Int) => SettingType::Int,
        Some(SettingKind::Cidr) => SettingType::Cidr,
        Some(SettingKind::Ip) => SettingType::Ip,
        Some(SettingKind::Host) => SettingType::Host,
        Some(SettingKind::HostPattern) => SettingType::HostPattern,
        Some(
            SettingKind::Bool
            | SettingKind::IpPool
            | SettingKind::Path
            | SettingKind::Secret
            | SettingKind::Enum
            | SettingKind::List,
        )
        | None => {
            let message = format!("`{}` is not a type of a list's elements", name.value);
            let hint = "it may be `string`, `int`, `cidr`, `ip`, `host` or `host-pattern`";
            table.reader.wrong_hint(&name.span, message, hint);
            return None;
        }
    };
    Some(Element { kind, span: name.span })
}

/// The cluster file's `[settings]` over the profile's defaults. The places of given values are
/// returned beside them, for checks that compare several.
pub(super) fn merge(
    specs: &BTreeMap<String, SettingSpec>,
    given: Option<Table<'_>>,
    reader: &Reader,
    profile: &str,
    profile_span: &Span,
) -> (BTreeMap<String, Setting>, BTreeMap<String, Span>) {
    let mut values = BTreeMap::new();
    let mut places = BTreeMap::new();
    for (name, value) in given.map(|table| table.entries()).unwrap_or_default() {
        let Some(spec) = specs.get(name.value) else {
            let known = || specs.keys().map(String::as_str);
            let hint = suggest::closest(name.value, known())
                .unwrap_or_else(|| format!("the profile's settings are {}", suggest::all(known())));
            let message = format!("the profile `{profile}` has no setting `{}`", name.value);
            reader.wrong_hint(&name.span, message, hint);
            continue;
        };
        places.insert(name.value.to_owned(), value.span());
        if let Some(setting) = read_value(reader, &value, &spec.kind, spec.default.as_ref()) {
            values.insert(name.value.to_owned(), setting);
        }
    }
    for (name, spec) in specs {
        if places.contains_key(name) {
            continue;
        }
        match &spec.default {
            Some(default) => _ = values.insert(name.clone(), default.clone()),
            None => reader.report(
                Problem::new(format!("the profile `{profile}` needs the setting `{name}`"))
                    .at(&reader.source, profile_span.clone())
                    .hint(format!("in [settings]: `{name} = {}`", example(&spec.kind))),
            ),
        }
    }
    (values, places)
}

/// A value of a known type. Its default is the example that fits best: it is of the right family.
fn read_value(
    reader: &Reader,
    value: &Value<'_>,
    kind: &SettingType,
    default: Option<&Setting>,
) -> Option<Setting> {
    let like = |otherwise: &str| match default {
        Some(Setting::Cidr(net)) => net.to_string(),
        Some(Setting::Ip(address)) => address.to_string(),
        Some(Setting::IpPool(first, last)) => format!("{first}-{last}"),
        _ => otherwise.to_owned(),
    };
    // A text that `parse` understands; what is wrong with it is reported at its place.
    let parsed = |parse: &dyn Fn(&Spanned<&str>) -> Result<Setting>| {
        let text = value.string()?;
        reader.accept(&text.span, parse(&text))
    };
    match kind {
        SettingType::Bool => value.boolean().map(Setting::Bool),
        SettingType::Int => value.integer().map(Setting::Int),
        SettingType::Secret => read_secret(reader, value),
        SettingType::String => parsed(&|text| Ok(Setting::String(text.value.to_owned()))),
        SettingType::Cidr => parsed(&|text| {
            address::network(text.value, &like(address::A_NETWORK)).map(Setting::Cidr)
        }),
        SettingType::Ip => parsed(&|text| {
            address::host_address(text.value, &like(address::A_HOST)).map(Setting::Ip)
        }),
        SettingType::IpPool => parsed(&|text| {
            let pool = address::pool(text.value, &like(address::A_POOL));
            pool.map(|(first, last)| Setting::IpPool(first, last))
        }),
        SettingType::Host => parsed(&|text| host(text.value)),
        SettingType::HostPattern => parsed(&|text| host_pattern(text.value)),
        SettingType::Path => parsed(&|text| path(reader, text)),
        SettingType::Enum(choices) => parsed(&|text| choice(text.value, choices)),
        SettingType::List(element) => {
            let elements = value.elements()?;
            let read = |one: &Value<'_>| read_value(reader, one, element, None);
            Some(Setting::List(elements.iter().filter_map(read).collect()))
        }
    }
}

fn host(text: &str) -> Result<Setting> {
    let is_address = text.parse::<std::net::IpAddr>().is_ok();
    match hostname::domain_fault(text) {
        Some(fault) if !is_address => {
            Err(Error::input(format!("`{text}` is not a valid DNS name: {fault}")))
        }
        Some(_) | None => Ok(Setting::Host(text.to_owned())),
    }
}

/// A wildcard stands for whole labels, and only at the beginning: so say cloudflared (`validateHostname` and
/// `matchHost` of its ingress package) and DNS itself (RFC 4592, section 2.1.1).
fn host_pattern(text: &str) -> Result<Setting> {
    let name = text.strip_prefix("*.").unwrap_or(text);
    if name.contains('*') {
        return Err(Error::input(format!("`{text}` has a `*` elsewhere than as its first label"))
            .hint("`*.example.org` stands for all names below example.org"));
    }
    if name.parse::<std::net::IpAddr>().is_ok() {
        return Err(Error::input(format!("`{text}` is an address and not a DNS name")));
    }
    match hostname::domain_fault(name) {
        Some(fault) => Err(Error::input(format!("`{text}` is not a valid DNS name: {fault}"))),
        None => Ok(Setting::Host(text.to_owned())),
    }
}

fn path(reader: &Reader, written: &Spanned<&str>) -> Result<Setting> {
    let path = reader.resolve(written)?;
    if path.try_exists().unwrap_or_default() {
        return Ok(Setting::Path(path));
    }
    Err(Error::input(format!("there is no `{}`", path.display())))
}

fn choice(text: &str, choices: &[String]) -> Result<Setting> {
    if choices.iter().any(|choice| choice == text) {
        return Ok(Setting::Enum(text.to_owned()));
    }
    let names = || choices.iter().map(String::as_str);
    let hint = suggest::closest(text, names())
        .unwrap_or_else(|| format!("it may be {}", suggest::any(names())));
    Err(Error::input(format!("`{text}` is not a choice of this setting")).hint(hint))
}

/// `{ file = "…" }` or `{ env = "…" }`: a secret itself has no place in a file that is shared.
fn read_secret(reader: &Reader, value: &Value<'_>) -> Option<Setting> {
    let hint = "keep it out of this file: `{ file = \"~/secret\" }` or `{ env = \"NAME\" }`";
    if value.is_string() {
        reader.wrong_secret(&value.span(), format!("{} is a secret", value.title()), hint);
        return None;
    }
    let table = value.table(value.title())?;
    let file = table.string("file");
    let variable = table.string("env");
    let span = table.span();
    table.finish();
    let (text, file) = match (file, variable) {
        (Some(path), None) => {
            let file = reader.accept(&path.span, reader.resolve(&path))?;
            let text = file::read_text(&file, file::MOST_KEY);
            (Zeroizing::new(reader.accept(&path.span, text)?), Some(file))
        }
        (None, Some(name)) if reader.is_confined() => {
            let hint = "the cluster file may: in [settings], `NAME = { env = \"…\" }`";
            reader.wrong_hint(&name.span, "a profile reads no variable of the environment", hint);
            return None;
        }
        (None, Some(name)) => {
            let text = std::env::var(name.value).map_err(|_| {
                Error::input(format!("the environment has no variable `{}`", name.value))
            });
            (Zeroizing::new(reader.accept(&name.span, text)?), None)
        }
        _ => {
            reader.wrong_hint(
                &span,
                format!("{} is either a file or a variable", value.title()),
                hint,
            );
            return None;
        }
    };
    let text = Zeroizing::new(text.trim_end_matches(['\r', '\n']).to_owned());
    Some(Setting::Secret(SecretText { text, file }))
}

fn example(kind: &SettingType) -> String {
    let example = match kind {
        SettingType::String => "\"…\"",
        SettingType::Bool => "true",
        SettingType::Int => "1",
        SettingType::Cidr => "\"10.244.0.0/16\"",
        SettingType::Ip => "\"192.168.1.1\"",
        SettingType::IpPool => "\"192.168.1.240-192.168.1.250\"",
        SettingType::Host => "\"api.home.arpa\"",
        SettingType::HostPattern => "\"*.home.arpa\"",
        SettingType::Path => "\"~/file\"",
        SettingType::Secret => "{ file = \"~/secret\" }",
        SettingType::Enum(choices) => {
            return choices
                .first()
                .map_or_else(|| "\"…\"".into(), |choice| format!("\"{choice}\""));
        }
        SettingType::List(element) => return format!("[{}]", self::example(element)),
    };
    example.to_owned()
}
