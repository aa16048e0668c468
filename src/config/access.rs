//! `[access]`: who logs in, and how.

use std::path::{Path, PathBuf};

use super::reader::{Reader, Spanned, Table};
use super::types::Access;
use crate::config::file;
use crate::util::error::{Error, Result};

/// What a line of `authorized_keys` begins with when it has no options.
const KEY_TYPES: [&str; 4] = ["ssh-", "ecdsa-", "sk-ssh-", "sk-ecdsa-"];
/// Prefixes of crypt(3) hashes that are still safe: yescrypt, gost-yescrypt, scrypt, bcrypt,
/// SHA-512 and SHA-256. Source: crypt(5).
const SAFE_HASHES: [&str; 8] = ["$y$", "$gy$", "$7$", "$2a$", "$2b$", "$2y$", "$6$", "$5$"];

const USER_NAME_HINT: &str =
    "a login name is a letter and then letters, digits, `-` or `_`, all in lower case";

pub(super) fn read(table: Table<'_>) -> Option<Access> {
    let reader = table.reader;
    let user = table.require("user", "user = \"admin\"").and_then(|value| value.string());
    for name in user.iter().filter(|name| !is_user_name(name.value)) {
        let message = format!("`{}` is not a valid login name", name.value);
        reader.wrong_hint(&name.span, message, USER_NAME_HINT);
    }
    let mut keys = Vec::new();
    for key in table.strings("ssh_authorized_keys") {
        keys.extend(reader.accept(&key.span, read_keys(reader, &key)).unwrap_or_default());
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
    let password_hash = read_password_hash(&table);
    let passwordless_sudo =
        table.get("passwordless_sudo").and_then(|value| value.boolean()).unwrap_or_default();
    table.finish();
    Some(Access {
        user: user?.value.to_owned(),
        ssh_authorized_keys: unique,
        password_hash,
        passwordless_sudo,
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
    if is_user_name(name) {
        return Ok(());
    }
    Err(Error::input(format!("`{name}` is not a valid login name")).hint(USER_NAME_HINT))
}

/// Keys of a line of `authorized_keys`, or of a file of such lines; `Input` when they are none.
pub fn authorized_keys(text: &str) -> Result<Vec<String>> {
    keys(text, || text.into())
}

fn read_keys(reader: &Reader, key: &Spanned<&str>) -> Result<Vec<String>> {
    keys(key.value, || reader.resolve(key))
}

fn keys(text: &str, path: impl FnOnce() -> PathBuf) -> Result<Vec<String>> {
    if KEY_TYPES.iter().any(|kind| text.starts_with(kind)) && text.contains(' ') {
        return parse_key(text.trim()).map(|key| vec![key]);
    }
    if text.contains("PRIVATE KEY") {
        return Err(private_key("this"));
    }
    read_key_file(&path())
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
    let lines = text.lines().enumerate();
    let lines = lines.map(|(index, line)| (index + 1, line.trim()));
    let keys: Vec<String> = lines
        .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
        .map(|(number, line)| {
            parse_key(line).map_err(|error| error.context(format!("`{shown}`, line {number}")))
        })
        .collect::<Result<_>>()?;
    if keys.is_empty() {
        return Err(Error::input(format!("`{shown}` holds no key")));
    }
    Ok(keys)
}

/// The line as it goes to `authorized_keys`, options and comment kept.
fn parse_key(line: &str) -> Result<String> {
    let mut parsed = ssh_key::AuthorizedKeys::new(line);
    match parsed.next() {
        // A second line in one string would be a second key that was not checked.
        Some(Ok(_)) if !line.contains(['\n', '\r', '\0']) => Ok(line.to_owned()),
        Some(Err(error)) => {
            Err(Error::input(format!("`{}` is not an SSH public key: {error}", shortened(line)))
                .hint("is it cut short? a `.pub` file holds the whole line"))
        }
        _ => Err(Error::input(format!("`{}` is not one SSH public key", shortened(line)))),
    }
}

fn private_key(what: &str) -> Error {
    Error::input(format!("{what} is a private key")).hint("name the public one, ending in `.pub`")
}

fn shortened(line: &str) -> String {
    const MOST: usize = 40;
    let line = line.escape_debug().to_string();
    if line.chars().count() <= MOST {
        return line;
    }
    let start: String = line.chars().take(MOST).collect();
    format!("{start}…")
}

fn read_password_hash(table: &Table<'_>) -> Option<String> {
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
            let text = file::read_text(&reader.resolve(&path), file::MOST_KEY);
            let text = reader.accept(&path.span, text)?;
            check_hash(reader, &Spanned::new(text.trim_end(), path.span))
        }
        (None, None) => None,
    }
}

/// The hash, when it may stand in `/etc/shadow`.
fn check_hash(reader: &Reader, hash: &Spanned<&str>) -> Option<String> {
    let text = hash.value;
    let hint = "`mkpasswd --method=yescrypt` makes one: `$y$j9T$…`";
    let clean = text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b':' && byte != b'\\');
    if text.starts_with("$1$") {
        reader.wrong_secret(&hash.span, "MD5 hashes of passwords can be cracked in minutes", hint);
    } else if !clean || !SAFE_HASHES.iter().any(|prefix| text.starts_with(prefix)) {
        reader.wrong_secret(&hash.span, "this is not a crypt(3) hash of a password", hint);
    } else {
        return Some(text.to_owned());
    }
    None
}
