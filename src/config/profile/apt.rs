//! `[[apt_source]]` and `[[artifact]]`: what comes from elsewhere.

use super::fields::owned;
use crate::config::base::{is_without_password, read_arch};
use crate::config::condition;
use crate::config::files::{check_path, read_mode};
use crate::config::profile_types::{AptSource, ArtifactSpec, ChecksumSpec, FIRST_USE};
use crate::config::reader::{Spanned, Table};
use crate::util::sha256::Sha256;

/// Who wants a password is not asked.
const OTHER_SERVER: &str = "use a server without a password, such as your own mirror";

pub(super) fn read(table: Table<'_>) -> Option<AptSource> {
    let reader = table.reader;
    let name = table.require("name", "name = \"kubernetes\"").and_then(|value| value.string());
    for name in name.iter().filter(|name| !is_file_name(name.value)) {
        let message = format!("`{}` is not a valid name for a file", name.value);
        reader.wrong_hint(&name.span, message, "letters, digits, `-` and `_`");
    }
    let uris = require_list(&table, "uris", "uris = [\"https://…\"]");
    for uri in &uris {
        is_without_password(reader, uri, OTHER_SERVER);
    }
    let uris = words(&table, uris);
    let suites = words(&table, require_list(&table, "suites", "suites = [\"/\"]"));
    let components = words(&table, table.strings("components"));
    let key_url = table.require("key_url", "key_url = \"https://…\"").and_then(|it| it.string());
    let fingerprint = table.string("fingerprint");
    if let Some(url) = &key_url {
        check_address(&table, url, fingerprint.is_some());
    }
    let fingerprint = fingerprint.and_then(|text| {
        let digits: String = text.value.chars().filter(|c| !c.is_whitespace()).collect();
        if digits.len() == 40 && digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Some(digits.to_ascii_uppercase());
        }
        let hint = "`gpg --show-keys KEYFILE` prints it: 40 hexadecimal digits";
        reader.wrong_hint(&text.span, "this is not the fingerprint of an OpenPGP key", hint);
        None
    });
    let when = condition::read(&table);
    table.finish();
    Some(AptSource {
        name: owned(name)?,
        uris,
        suites,
        components,
        key_url: owned(key_url)?,
        fingerprint,
        when,
    })
}

pub(super) fn read_artifact(table: Table<'_>) -> Option<ArtifactSpec> {
    let reader = table.reader;
    let url = table.require("url", "url = \"https://…\"").and_then(|value| value.string());
    let (sha256, sha256_url) = (table.string("sha256"), table.string("sha256_url"));
    if let Some(url) = &url {
        check_address(&table, url, sha256.as_ref().is_some_and(|it| it.value != FIRST_USE));
    }
    let checksum = match (sha256, sha256_url) {
        (Some(hash), None) => {
            let is_known = hash.value.contains("{{") || hash.value == FIRST_USE;
            if !is_known && hash.value.parse::<Sha256>().is_err() {
                reader.wrong(&hash.span, "`sha256` must be 64 hexadecimal digits");
            }
            Some(ChecksumSpec::Sha256(hash.value.to_owned()))
        }
        (None, Some(url)) => {
            check_address(&table, &url, false);
            Some(ChecksumSpec::Sha256Url(url.value.to_owned()))
        }
        (Some(_), Some(url)) => {
            reader.wrong_hint(
                &url.span,
                "`sha256` and `sha256_url` exclude each other",
                "keep one of them",
            );
            None
        }
        (None, None) => {
            let hint = "add `sha256 = \"…\"` or `sha256_url = \"https://…\"`";
            reader.wrong_hint(&table.span(), "the download has no checksum", hint);
            None
        }
    };
    let path = table.require("path", "path = \"/usr/local/bin/k3s\"").and_then(|it| it.string());
    let path = path.and_then(|path| check_path(reader, &path));
    let mode = table.get("mode").map_or(Some(0o644), |value| read_mode(reader, &value.string()?));
    let arch = table.get("arch").and_then(|value| read_arch(&value));
    let when = condition::read(&table);
    table.finish();
    let (url, checksum, path, mode) = (owned(url)?, checksum?, path?, mode?);
    Some(ArtifactSpec { url, checksum, path, mode, arch, when })
}

fn require_list<'a>(
    table: &'a Table<'_>,
    key: &'static str,
    example: &str,
) -> Vec<Spanned<&'a str>> {
    table.require(key, example).map(|value| value.strings()).unwrap_or_default()
}

/// Words of a deb822 field; anything else would break the file's lines.
fn words(table: &Table<'_>, values: Vec<Spanned<&str>>) -> Vec<String> {
    for text in &values {
        let is_template = text.value.contains("{{");
        if text.value.is_empty()
            || !is_template && !text.value.bytes().all(|b| b.is_ascii_graphic())
        {
            table.reader.wrong(&text.span, format!("`{}` is not one word", text.value));
        }
    }
    values.into_iter().map(|text| text.value.to_owned()).collect()
}

/// Plain http is for what is checked against something pinned. What a template makes of an address
/// shows when it is read.
fn check_address(table: &Table<'_>, url: &Spanned<&str>, is_pinned: bool) {
    let text = url.value;
    if !is_without_password(table.reader, url, OTHER_SERVER) {
        return;
    }
    let is_good = text.starts_with("https://")
        || text.starts_with("{{")
        || is_pinned && text.starts_with("http://");
    if !is_good || text.contains(char::is_control) {
        table.reader.wrong(&url.span, format!("`{text}` is not an https:// address"));
    }
}

fn is_file_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() < 100
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}
