//! `[access]`: who logs in, and how.

use std::path::{Path, PathBuf};

use super::reader::{Reader, Spanned, Table};
use super::types::Access;
use crate::config::{file, key_lines, password_hash};
use crate::util::error::{Error, Result};

/// Users and groups of every Debian system, which would become somebody who logs in. Source:
/// base-passwd's `passwd.master` and `group.master`, and what packages of every image add.
const SYSTEM_NAMES: [&str; 48] = [
    "_apt",
    "adm",
    "audio",
    "backup",
    "bin",
    "cdrom",
    "crontab",
    "daemon",
    "dhcpcd",
    "dialout",
    "dip",
    "disk",
    "fax",
    "floppy",
    "games",
    "input",
    "irc",
    "kmem",
    "kvm",
    "list",
    "lp",
    "mail",
    "man",
    "messagebus",
    "netdev",
    "news",
    "nobody",
    "nogroup",
    "operator",
    "plugdev",
    "polkitd",
    "proxy",
    "render",
    "sasl",
    "sgx",
    "shadow",
    "src",
    "sshd",
    "staff",
    "sudo",
    "sync",
    "sys",
    "tape",
    "tty",
    "users",
    "utmp",
    "uucp",
    "www-data",
];

const USER_NAME_HINT: &str =
    "a login name is a letter and then letters, digits, `-` or `_`, all in lower case";

pub(super) fn read(table: Table<'_>) -> Option<Access> {
    let reader = table.reader;
    let user = table.require("user", "user = \"admin\"").and_then(|value| value.string());
    if let Some(name) = &user {
        reader.accept(&name.span, check_user_name(name.value));
    }
    let (mut keys, mut sources) = (Vec::new(), Vec::new());
    for key in table.strings("ssh_authorized_keys") {
        let (found, source) = reader.accept(&key.span, read_keys(reader, &key)).unwrap_or_default();
        keys.extend(found);
        sources.extend(source);
    }
    // The same key from a file and from a line, say.
    let mut unique: Vec<String> = Vec::new();
    for key in keys {
        if !unique.contains(&key) {
            unique.push(key);
        }
    }
    if let Some(password) = table.get("password") {
        let message = "a plain `password` is readable by everyone who can read this file";
        let hint = "hash it with `mkpasswd --method=yescrypt` and write `password_hash = \"$y$…\"`";
        reader.wrong_secret(&password.span(), message, hint);
    }
    let password_hash = read_password_hash(&table, &mut sources);
    let passwordless_sudo =
        table.get("passwordless_sudo").and_then(|value| value.boolean()).unwrap_or_default();
    let login = table.get("login").map(|value| (value.boolean().unwrap_or(true), value.span()));
    if let Some((false, span)) = &login
        && (!unique.is_empty() || password_hash.is_some())
    {
        let message = "`login = false`, and there are keys or a password to log in with";
        reader.wrong_hint(span, message, "leave one of them out");
    }
    table.finish();
    Some(Access {
        login: login.is_none_or(|(login, _)| login),
        user: user?.value.to_owned(),
        ssh_authorized_keys: unique,
        password_hash,
        passwordless_sudo,
        sources,
    })
}

/// What useradd takes, and no shell or sudoers file trips over.
fn is_user_name(name: &str) -> bool {
    name.len() <= 32
        && name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_'))
}

/// `Input` when `name` cannot be a login name.
pub fn check_user_name(name: &str) -> Result<()> {
    if !is_user_name(name) {
        return Err(
            Error::input(format!("`{name}` is not a valid login name")).hint(USER_NAME_HINT)
        );
    }
    if SYSTEM_NAMES.contains(&name) || name.starts_with("systemd-") {
        return Err(Error::input(format!(
            "`{name}` is an account or a group of the system itself"
        ))
        .hint("choose another name: who logs in gets a shell, and perhaps sudo"));
    }
    Ok(())
}

/// Keys of a line of `authorized_keys`, or of a file of such lines; `Input` when they are none.
pub fn authorized_keys(text: &str) -> Result<Vec<String>> {
    keys(text, || Ok(text.into())).map(|(keys, _)| keys)
}

/// Lines of `authorized_keys`, and the file that they stand in.
type FoundKeys = (Vec<String>, Option<PathBuf>);

fn read_keys(reader: &Reader, key: &Spanned<&str>) -> Result<FoundKeys> {
    keys(key.value, || reader.resolve(key))
}

fn keys(text: &str, path: impl FnOnce() -> Result<PathBuf>) -> Result<FoundKeys> {
    if key_lines::is_line(text) {
        return Ok((vec![key_lines::check_line(text)?], None));
    }
    if text.contains("PRIVATE KEY") {
        return Err(private_key("this"));
    }
    let path = path()?;
    Ok((read_key_file(&path)?, Some(path)))
}

fn read_key_file(path: &Path) -> Result<Vec<String>> {
    let shown = path.display();
    let text = file::read_text(path, file::MOST_KEY).map_err(|error| {
        let hint = "name a public key file or write a whole line: `ssh-ed25519 AAAA… me@laptop`; \
                    `ssh-keygen -t ed25519` makes a key";
        error.hint(hint)
    })?;
    if text.contains("PRIVATE KEY") {
        return Err(private_key(&format!("`{shown}`")));
    }
    if let Some(hint) = key_lines::conversion(&text, &shown.to_string()) {
        return Err(Error::input(format!("`{shown}` is a key in another format")).hint(hint));
    }
    let lines = text.lines().enumerate();
    let lines = lines.map(|(index, line)| (index + 1, line.trim()));
    let keys: Vec<String> = lines
        .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
        .map(|(number, line)| {
            key_lines::check_line(line)
                .map_err(|error| error.context(format!("`{shown}`, line {number}")))
        })
        .collect::<Result<_>>()?;
    if keys.is_empty() {
        return Err(Error::input(format!("`{shown}` holds no key")));
    }
    Ok(keys)
}

fn private_key(what: &str) -> Error {
    Error::input(format!("{what} is a private key")).hint("name the public one, ending in `.pub`")
}

fn read_password_hash(table: &Table<'_>, sources: &mut Vec<PathBuf>) -> Option<String> {
    let reader = table.reader;
    let hash = table.string("password_hash");
    let path = table.string("password_file");
    match (hash, path) {
        (Some(hash), Some(path)) => {
            let hint = "keep one of them";
            reader.wrong_hint(
                &path.span,
                "`password_hash` and `password_file` exclude each other",
                hint,
            );
            check_hash(reader, &hash)
        }
        (Some(hash), None) => check_hash(reader, &hash),
        (None, Some(path)) => {
            let file = reader.accept(&path.span, reader.resolve(&path))?;
            let text = reader.accept(&path.span, file::read_text(&file, file::MOST_KEY))?;
            sources.push(file);
            check_hash(reader, &Spanned::new(text.trim_end(), path.span))
        }
        (None, None) => None,
    }
}

/// The hash, when it may stand in `/etc/shadow`.
fn check_hash(reader: &Reader, hash: &Spanned<&str>) -> Option<String> {
    if let Some(fault) = password_hash::fault(hash.value) {
        let hint = "`mkpasswd --method=yescrypt` makes one: `$y$j9T$…`";
        reader.wrong_secret(&hash.span, fault, hint);
        return None;
    }
    Some(hash.value.to_owned())
}
