//! `[base]`: where the base comes from; in cluster files and in profiles.

use super::reader::{Reader, Spanned, Table, Value};
use super::types::{Arch, Base, Bootstrap, Layout};
use crate::config::suggest;
use crate::util::error::{Error, Problem, Result};

const KINDS: &str = "`image`, `path`, `url` or `bootstrap`";

/// A table with exactly one of image, path, url and bootstrap; in profiles also just a name.
pub(super) fn read(value: &Value<'_>) -> Option<Base> {
    if value.is_string() {
        return value.string().map(|name| Base::Catalogue(name.value.to_owned()));
    }
    let table = value.table("[base]")?;
    let reader = table.reader;
    let image = table.get("image");
    let path = table.get("path");
    let url = table.get("url");
    let bootstrap = table.get("bootstrap");
    let mut given = [&image, &path, &url, &bootstrap].into_iter().flatten();
    match (given.next(), given.next()) {
        (None, _) => {
            let hint = "for example `image = \"raspios-lite-arm64\"`";
            reader.wrong_hint(&table.span(), format!("[base] needs one of {KINDS}"), hint);
        }
        (Some(one), Some(other)) => reader.report(
            Problem::new(format!("[base] takes only one of {KINDS}"))
                .also_at(&reader.source, one.span(), "this is one")
                .also_at(&reader.source, other.span(), "this is another"),
        ),
        _ => {}
    }
    let base = if let Some(image) = &image {
        image.string().map(|name| Base::Catalogue(name.value.to_owned()))
    } else if let Some(path) = &path {
        let arch = table.get("arch").and_then(|value| read_arch(&value));
        let path = path.string();
        let path = path.and_then(|path| reader.accept(&path.span, reader.resolve(&path)));
        path.map(|path| Base::Path { path, arch })
    } else if let Some(bootstrap) = &bootstrap {
        bootstrap.table("`bootstrap`").and_then(read_bootstrap).map(Base::Bootstrap)
    } else {
        url.as_ref().and_then(|url| read_url(&table, &url.string()?))
    };
    table.finish();
    base
}

fn read_url(table: &Table<'_>, url: &Spanned<&str>) -> Option<Base> {
    let sha256 = digest(table, "sha256", 64).and_then(|digits| digits.parse().ok());
    let sha512 = digest(table, "sha512", 128);
    let signature = table.string("signature");
    let key = table.string("key");
    let arch = table.get("arch").and_then(|value| read_arch(&value));
    let text = url.value;
    let reader = table.reader;
    let is_https = text.starts_with("https://");
    let hint = "use a server without a password, or a file on this machine: `path = \"…\"`";
    if !is_without_password(reader, url, hint) {
        return None;
    }
    // One that is malformed is reported as that.
    let pinned = table.get("sha256").is_some() || table.get("sha512").is_some();
    if !is_https && !text.starts_with("http://") {
        let hint = "an image on this machine is `path = \"…\"`";
        reader.wrong_hint(&url.span, format!("`{text}` is not an https:// address"), hint);
        return None;
    }
    if !is_https && !pinned {
        let message = format!("`{text}` is not encrypted, and no hash pins what it must be");
        reader.wrong_hint(&url.span, message, "use https://, or add `sha256 = \"…\"`");
        return None;
    }
    match (&signature, &key) {
        (Some(signature), None) => {
            let hint = "add `key = \"…\"`, the publisher's key";
            reader.wrong_hint(&signature.span, "a signature without its key", hint);
        }
        (None, Some(key)) => {
            let hint = "add `signature = \"https://…/image.sig\"`";
            reader.wrong_hint(&key.span, "a key without its signature", hint);
        }
        (None, None) if !pinned => {
            let hint = "add `sha256 = \"…\"`, or `signature` and `key`, from where the image is \
                        published";
            reader.wrong_hint(&url.span, "the image has neither a checksum nor a signature", hint);
        }
        _ => {}
    }
    Some(Base::Url {
        url: text.to_owned(),
        sha256,
        sha512,
        signature: signature.map(|it| it.value.to_owned()),
        key: key.and_then(|key| reader.accept(&key.span, place_of_key(reader, &key))),
        arch,
    })
}

/// A key by its address, its fingerprint or its file. A file of a profile's is the profile's own.
fn place_of_key(reader: &Reader, key: &Spanned<&str>) -> Result<String> {
    let text = key.value;
    let is_hexadecimal = text.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b' ');
    if !reader.is_confined() || is_hexadecimal || text.contains("://") {
        return Ok(text.to_owned());
    }
    let path = std::path::absolute(reader.resolve(key)?)?;
    path.into_os_string().into_string().map_err(|_| Error::input("its path is not UTF-8 text"))
}

/// Whether an address gives no user's name or password away; reports it if it does.
pub(super) fn is_without_password(reader: &Reader, url: &Spanned<&str>, hint: &str) -> bool {
    let host = url.value.split_once("://").and_then(|(_, rest)| rest.split('/').next());
    let is_without = !host.is_some_and(|host| host.contains('@'));
    if !is_without {
        let message =
            "the address has a password in it, which lock files, manifests and images would show";
        reader.wrong_secret(&url.span, message, hint);
    }
    is_without
}

/// A hash in lower case.
fn digest(table: &Table<'_>, key: &'static str, length: usize) -> Option<String> {
    let text = table.string(key)?;
    if text.value.len() == length && text.value.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Some(text.value.to_ascii_lowercase());
    }
    let message = format!("`{key}` must be {length} hexadecimal digits");
    let characters = text.value.chars().count();
    table.reader.wrong_hint(&text.span, message, format!("it has {characters} characters"));
    None
}

fn read_bootstrap(table: Table<'_>) -> Option<Bootstrap> {
    let suite = table.require("suite", "suite = \"trixie\"").and_then(|value| value.string());
    let arch = table.require("arch", "arch = \"amd64\"").and_then(|value| read_arch(&value));
    let layout = table.require("layout", "layout = \"uefi\"").and_then(|value| {
        let all: Vec<_> = Layout::ALL.iter().map(|layout| (layout.name(), *layout)).collect();
        choice(&value, &all)
    });
    let mirror = table.string("mirror");
    for text in suite.iter().filter(|text| !is_suite(text.value)) {
        let message = format!("`{}` is not the name of a Debian release", text.value);
        table.reader.wrong_hint(&text.span, message, "for example `trixie` or `bookworm`");
    }
    let is_foreign = |text: &str| table.reader.is_confined() && text.starts_with("file:");
    for text in mirror.iter().filter(|text| !is_mirror(text.value) || is_foreign(text.value)) {
        let message = format!("`{}` is not the address of a mirror", text.value);
        table.reader.wrong_hint(&text.span, message, "for example `https://deb.debian.org/debian`");
    }
    table.finish();
    Some(Bootstrap {
        suite: suite?.value.to_owned(),
        arch: arch?,
        layout: layout?,
        mirror: mirror.map(|text| text.value.to_owned()),
    })
}

fn is_suite(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'))
}

/// It becomes an argument of mmdebstrap and a line of sources.list.
fn is_mirror(text: &str) -> bool {
    ["https://", "http://", "file:///"].iter().any(|scheme| text.starts_with(scheme))
        && text.bytes().all(|byte| byte.is_ascii_graphic())
}

pub(super) fn read_arch(value: &Value<'_>) -> Option<Arch> {
    choice(value, &[("amd64", Arch::Amd64), ("arm64", Arch::Arm64)])
}

/// One of a few words.
pub(super) fn choice<T: Copy>(value: &Value<'_>, choices: &[(&'static str, T)]) -> Option<T> {
    let text = value.string()?;
    let found = choices.iter().find(|(name, _)| *name == text.value);
    if found.is_none() {
        let names = || choices.iter().map(|(name, _)| *name);
        let message = format!("{} cannot be `{}`", value.title(), text.value);
        let hint = suggest::closest(text.value, names())
            .unwrap_or_else(|| format!("it may be {}", suggest::any(names())));
        value.reader().wrong_hint(&text.span, message, hint);
    }
    found.map(|(_, choice)| *choice)
}
