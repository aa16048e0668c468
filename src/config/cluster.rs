//! `cluster.toml`: one file for all nodes.

use std::collections::BTreeMap;
use std::path::Path;

use super::base::choice;
use super::cluster_types::{Cluster, Places};
use super::formats::FormatRule;
use super::origin::Origin;
use super::profile_types::Profile;
use super::reader::{LayerText, Reader, Span, Spanned, Table, Value};
use super::types::{HostKeys, Keyboard, Locale, Output, Vm, VmNetwork};
use crate::config::{
    access, base, cache, check, disks, file, files, hostname, node, origins, pools, profile,
    recipient, setting, size,
};
use crate::util::error::{Error, Result};

/// Reads the cluster that `texts` describe, from the least to the most weighty; `path` names the
/// first, and `formats` are the artifact formats there are.
pub(super) fn parse_layers(
    path: &Path,
    texts: Vec<LayerText>,
    formats: &'static [FormatRule],
) -> Result<Cluster> {
    let reader = Reader::layered(texts);
    let entries = reader.parse()?;
    let cluster = read(Table::root(&reader, &entries), path, formats);
    reader.finish()?;
    let mut cluster =
        cluster.ok_or_else(|| Error::input(format!("`{}` cannot be read", path.display())))?;
    cluster.origins = origins::given(&reader, &entries);
    let defaults = origins::defaults(&cluster);
    cluster.origins.extend(defaults);
    cluster.sources = reader.sources();
    Ok(cluster)
}

/// Reads the text of the cluster file `path` in `directory`.
#[cfg(test)]
pub(crate) fn parse(path: &Path, text: String, directory: std::path::PathBuf) -> Result<Cluster> {
    let source = crate::util::error::Source { name: path.display().to_string(), text };
    let origin = Origin::File;
    let layer = LayerText { origin, source, directory };
    parse_layers(path, vec![layer], super::formats::example_rules())
}

fn read(root: Table<'_>, path: &Path, formats: &'static [FormatRule]) -> Option<Cluster> {
    let reader = root.reader;
    let header = root.require("cluster", "[cluster]").and_then(|value| value.table("[cluster]"));
    let header = header.map(read_header);
    let base_span = root.get("base").map(|value| value.span());
    let base = root.get("base").map(|value| base::read(&value));
    let disk_places = root.get("disk").map(|value| value.span());
    let disk = root.table("disk").map(disks::read).unwrap_or_default();
    let access = root.require("access", "[access]").and_then(|value| value.table("[access]"));
    let access = access.and_then(access::read);
    let host_keys = root.table("ssh").map(|table| {
        let choices = [("build", HostKeys::Build), ("first-boot", HostKeys::FirstBoot)];
        let keys = table.get("host_keys").map(|value| choice(&value, &choices));
        table.finish();
        keys
    });
    let secret_recipients = root.table("secrets").map(read_recipients).unwrap_or_default();
    let locale = root.table("locale").map(read_locale).unwrap_or_default();
    let settings = root.table("settings");
    let files = files::read_all(&root);
    let vm = root.table("vm").map(read_vm).unwrap_or_default();
    let registry = root.table("cache").map(cache::read).unwrap_or_default();
    let output = read_output(reader, root.table("output"), formats);
    let (mut nodes, default_packages) = node::read_all(&root);
    root.finish();

    let ClusterHeader { name, domain, profile, profile_span } = header?;
    let profile = profile?;
    let (settings, setting_places) =
        setting::merge(&profile.settings, settings, reader, &profile.name, &profile_span);
    check::roles(reader, &profile, &mut nodes);
    for role in disk.partitions.iter().flat_map(|it| &it.roles) {
        if profile.role(role).is_none() {
            let span = disk_places.clone().unwrap_or_default();
            let names: Vec<_> = profile.roles.iter().map(|it| it.name.as_str()).collect();
            let hint = format!("the profile has {}", super::suggest::all(names.into_iter()));
            reader.wrong_hint(
                &span,
                format!("a partition is for the role `{role}`, which there is not"),
                hint,
            );
        }
    }
    check::artifact_names(reader, name.as_deref(), &nodes, formats);
    let checked = check::Settings {
        reader,
        profile: &profile,
        values: &settings,
        profile_span: &profile_span,
        places: &setting_places,
    };
    check::networks(&checked, &nodes);
    pools::check(&checked, &nodes);
    let base = match base {
        Some(base) => base,
        None if profile.base.is_none() => {
            let message =
                format!("neither this file nor the profile `{}` has a base", profile.name);
            let hint = "for example `[base]` with `image = \"raspios-lite-arm64\"`";
            reader.wrong_hint(&profile_span, message, hint);
            None
        }
        None => profile.base.clone(),
    };
    let place = |span| reader.place(&span);
    Some(Cluster {
        file: path.to_owned(),
        directory: reader.directory.clone(),
        name: name?,
        domain,
        profile,
        base: base?,
        disk,
        access: access?,
        host_keys: host_keys.flatten().flatten().unwrap_or(HostKeys::Build),
        secret_recipients,
        locale,
        settings,
        files,
        vm,
        registry,
        output,
        default_packages,
        nodes: nodes.into_iter().map(|node| node.node).collect(),
        origins: Vec::new(),
        sources: Vec::new(),
        places: Places {
            base: place(base_span.unwrap_or_else(|| profile_span.clone())),
            profile: place(profile_span),
            settings: setting_places.into_iter().map(|(name, span)| (name, place(span))).collect(),
        },
    })
}

struct ClusterHeader {
    name: Option<String>,
    domain: Option<String>,
    profile: Option<Profile>,
    profile_span: Span,
}

fn read_header(table: Table<'_>) -> ClusterHeader {
    let reader = table.reader;
    let name = table.require("name", "name = \"home\"").and_then(|value| {
        let name = value.string()?;
        let Some(fault) = hostname::label_fault(name.value) else {
            return Some(name.value.to_owned());
        };
        let message =
            format!("the cluster's name `{}` is not a valid DNS label: {fault}", name.value);
        reader.wrong_hint(&name.span, message, hostname::LABEL_HINT);
        None
    });
    let domain = table.string("domain").and_then(|domain| {
        let Some(fault) = hostname::domain_fault(domain.value) else {
            return Some(domain.value.to_owned());
        };
        let message = format!("`{}` is not a valid DNS domain: {fault}", domain.value);
        reader.wrong_hint(&domain.span, message, "for example `home.arpa`");
        None
    });
    let profile_name =
        table.require("profile", "profile = \"quickstart\"").and_then(|value| value.string());
    let profile_span = profile_name.as_ref().map_or(table.span(), |name| name.span.clone());
    let profile =
        profile_name.and_then(|name| reader.accept(&name.span, profile::load(reader, &name)));
    table.finish();
    ClusterHeader { name, domain, profile, profile_span }
}

fn read_recipients(table: Table<'_>) -> Vec<String> {
    let recipients = table.strings("recipients");
    for recipient in &recipients {
        match recipient::check(recipient.value) {
            Err(error) if recipient.value.starts_with("AGE-SECRET-KEY-") => {
                let hint = "a recipient is public: `age-keygen -y KEYFILE` prints it";
                table.reader.wrong_secret(&recipient.span, error.to_string(), hint);
            }
            checked => _ = table.reader.accept(&recipient.span, checked),
        }
    }
    table.finish();
    recipients.into_iter().map(|recipient| recipient.value.to_owned()).collect()
}

fn read_locale(table: Table<'_>) -> Locale {
    let word = |key, example: &str, extra: &[u8]| {
        let text = table.string(key)?;
        let clean = !text.value.is_empty()
            && text.value.len() < 100
            && text.value.bytes().all(|byte| byte.is_ascii_alphanumeric() || extra.contains(&byte));
        if !clean || text.value.split('/').any(|part| part.is_empty() || part.starts_with('.')) {
            let message = format!("`{}` is not a valid {key}", text.value);
            table.reader.wrong_hint(&text.span, message, format!("for example `{example}`"));
            return None;
        }
        Some(text.value.to_owned())
    };
    let locale = Locale {
        timezone: word("timezone", "Europe/Berlin", b"/_+-"),
        keyboard: table.string("keyboard").and_then(|text| read_keyboard(table.reader, &text)),
        locale: word("locale", "C.UTF-8", b"_.@-"),
    };
    table.finish();
    locale
}

/// `LAYOUT`, or `LAYOUT(VARIANT)`.
fn read_keyboard(reader: &Reader, text: &Spanned<&str>) -> Option<Keyboard> {
    let (layout, variant) = match text.value.split_once('(') {
        Some((layout, rest)) => (layout, rest.strip_suffix(')').or(Some(""))),
        None => (text.value, None),
    };
    let is_word = |word: &str, extra: &[u8]| {
        (1..100).contains(&word.len())
            && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || extra.contains(&byte))
    };
    if is_word(layout, b"_/") && variant.is_none_or(|it| is_word(it, b"_-")) {
        let (layout, variant) = (layout.to_owned(), variant.map(str::to_owned));
        return Some(Keyboard { layout, variant });
    }
    let hint = match text.value.split_once('-') {
        Some((layout, variant)) if is_word(layout, b"") && is_word(variant, b"_-") => {
            format!("a variant stands in brackets: `{layout}({variant})`")
        }
        _ => "for example `de`, or with a variant `us(intl)`".to_owned(),
    };
    reader.wrong_hint(&text.span, format!("`{}` is not a valid keyboard", text.value), hint);
    None
}

fn read_vm(table: Table<'_>) -> Vm {
    let default = Vm::default();
    let vm = Vm {
        memory: table.get("memory").and_then(|value| read_memory(&value)).unwrap_or(default.memory),
        cpus: number(&table, "cpus", 1, 256).unwrap_or(default.cpus),
        network: table
            .get("network")
            .and_then(|value| read_network(&value))
            .unwrap_or(default.network),
        hardware_version: number(&table, "hardware_version", 18, 22)
            .unwrap_or(default.hardware_version),
    };
    table.finish();
    vm
}

/// MiB as a number, or a size with its unit.
fn read_memory(value: &Value<'_>) -> Option<u32> {
    let mib = if value.is_string() {
        let text = value.string()?;
        value.reader().accept(&text.span, size::parse(text.value))? >> 20
    } else {
        u64::try_from(value.integer()?).unwrap_or_default()
    };
    let mib = u32::try_from(mib).unwrap_or(u32::MAX);
    if !(256..=4 << 20).contains(&mib) || !mib.is_multiple_of(4) {
        let message = "a machine's memory is a multiple of 4 MiB, from 256 to 4194304";
        value.reader().wrong_hint(
            &value.span(),
            message,
            "for example `memory = 2048` or `\"2G\"`",
        );
        return None;
    }
    Some(mib)
}

fn read_network(value: &Value<'_>) -> Option<VmNetwork> {
    let number = value.string()?.value.strip_prefix("vmnet").map(str::parse::<u8>);
    match number {
        // As many as VMware's network editor has.
        Some(Ok(number)) if number < 20 => Some(VmNetwork::Custom(number)),
        Some(_) => {
            let message = format!("{} must be from vmnet0 to vmnet19", value.title());
            value.reader().wrong(&value.span(), message);
            None
        }
        None => choice(
            value,
            &[
                ("nat", VmNetwork::Nat),
                ("bridged", VmNetwork::Bridged),
                ("hostonly", VmNetwork::HostOnly),
                // Found above; here for the hint.
                ("vmnet2", VmNetwork::Custom(2)),
            ],
        ),
    }
}

fn number(table: &Table<'_>, key: &'static str, least: u32, most: u32) -> Option<u32> {
    let value = table.get(key)?;
    let number = u32::try_from(value.integer()?).unwrap_or_default();
    if !(least..=most).contains(&number) {
        let message = format!("{} must be from {least} to {most}", value.title());
        table.reader.wrong(&value.span(), message);
        return None;
    }
    Some(number)
}

/// A colleague's file fills a folder below its own; what is typed may fill any.
fn read_output_folder(reader: &Reader, directory: &Spanned<&str>, output: &mut Output) {
    let own = match reader.origin(&directory.span) {
        Origin::File => Some(reader.directory_of(&directory.span).to_owned()),
        Origin::Environment | Origin::CommandLine => None,
    };
    if let (Some(_), Some(fault)) = (&own, file::plain_fault(Path::new(directory.value))) {
        let message = format!("`{}` {fault}", directory.value);
        let hint = "artifacts stay below the cluster file's folder; `-o` names any other";
        reader.wrong_hint(&directory.span, message, hint);
        return;
    }
    output.kept_in = own;
    output.directory =
        reader.accept(&directory.span, reader.resolve(directory)).unwrap_or_default();
}

fn read_output(reader: &Reader, table: Option<Table<'_>>, known: &'static [FormatRule]) -> Output {
    let mut output = Output {
        directory: reader.directory.join("out"),
        kept_in: Some(reader.directory.clone()),
        formats: known.iter().map(|it| it.name).take(1).collect(),
        variants: BTreeMap::new(),
        known,
    };
    let Some(table) = table else { return output };
    if let Some(directory) = table.string("directory") {
        read_output_folder(reader, &directory, &mut output);
    }
    if let Some(value) = table.get("formats") {
        let formats = value.elements().unwrap_or_default();
        if formats.is_empty() {
            let message = format!("{} lists no format", value.title());
            reader.wrong_hint(&value.span(), message, "for example `formats = [\"raw\"]`");
        }
        let all: Vec<_> = known.iter().map(|it| (it.name, it.name)).collect();
        output.formats.clear();
        for format in formats.iter().filter_map(|value| choice(value, &all)) {
            if !output.formats.contains(&format) {
                output.formats.push(format);
            }
        }
    }
    for FormatRule { name, variants, .. } in known.iter().filter(|it| !it.variants.is_empty()) {
        if let Some(value) = table.get(name) {
            let choices: Vec<_> = variants.iter().map(|it| (*it, *it)).collect();
            output.variants.extend(choice(&value, &choices).map(|it| (*name, it)));
        }
    }
    table.finish();
    output
}
