//! The store on disk: TOML, for its owner's eyes only, replaced whole.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use serde::Deserialize;

use super::generate::Made;
use super::{Named, Secrets, SshHostKey, Stored, generate};
use crate::config::file;
use crate::error::{Context as _, Error, Kind, Result};

/// The store's layout; other numbers are of other nodeforges.
const VERSION: u32 = 1;
/// The most a store may hold: 10,000 host keys are about 6 MiB.
const MOST: u64 = 64 << 20;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    version: u32,
    cluster: String,
    seed: Seed,
    #[serde(default)]
    secrets: BTreeMap<String, NamedText>,
    #[serde(default)]
    ssh_host_keys: BTreeMap<String, HostKey>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Seed {
    value: String,
    created: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NamedText {
    kind: String,
    value: String,
    public: Option<String>,
    created: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HostKey {
    private: String,
    public: String,
    created: String,
}

/// Holds other nodeforges off the folder's store until dropped.
///
/// The folder itself is locked, so that no lock file stays behind, and the store can be replaced
/// by renaming. File systems that cannot lock folders (NFS) go without: a new store still never
/// replaces another.
pub(super) fn lock(folder: &Path) -> Result<Option<File>> {
    let shown = folder.display();
    let file = File::open(folder).context(|| format!("cannot open `{shown}`"))?;
    match flock(&file, FlockOperation::LockExclusive) {
        Ok(()) => Ok(Some(file)),
        Err(Errno::BADF | Errno::NOLCK | Errno::OPNOTSUPP) => Ok(None),
        Err(error) => Err(Error::from(std::io::Error::from(error)))
            .context(|| format!("cannot lock `{shown}`")),
    }
}

/// The store; `None` when there is none.
pub(super) fn read(path: &Path) -> Result<Option<Secrets>> {
    let shown = path.display();
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).context(|| format!("cannot look at `{shown}`")),
    };
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(Error::input(format!(
            "others may read the secrets in `{shown}` (mode {mode:04o})"
        ))
        .hint(format!("`chmod 600 {shown}`; and if others did, rotate them")));
    }
    let text = file::read_text(path, MOST)?;
    parse(&text).map(Some).map_err(|error| {
        // Never made anew: the nodes that run have what it held.
        error
            .context(format!("`{shown}` is damaged"))
            .hint("bring it back from a backup; nodeforge never makes secrets anew by itself")
    })
}

fn parse(text: &str) -> Result<Secrets> {
    // toml's own display shows the line, and with it the secret.
    let text: Text = toml::from_str(text).map_err(|error| Error::input(error.message()))?;
    if text.version != VERSION {
        return Err(Error::input(format!("it has version {}, not {VERSION}", text.version)));
    }
    let seed = generate::unhex(&text.seed.value)
        .ok_or_else(|| Error::input("its seed is not 64 hexadecimal digits"))?;
    let named = text.secrets.into_iter();
    let named = named.map(|(name, it)| {
        let made = Made { value: it.value, public: it.public };
        (name, Stored { value: Named { kind: it.kind, made }, created: it.created })
    });
    let host_keys = text.ssh_host_keys.into_iter().map(|(host, it)| {
        let value = SshHostKey { private: it.private, public: it.public };
        (host, Stored { value, created: it.created })
    });
    Ok(Secrets {
        cluster: text.cluster,
        seed,
        seed_created: text.seed.created,
        named: named.collect(),
        host_keys: host_keys.collect(),
        ready: BTreeMap::new(),
        example: None,
        is_stored: true,
    })
}

/// Replaces the store whole: power loss leaves the old or the new one. A new one never replaces
/// one that somebody else made meanwhile.
pub(super) fn write(path: &Path, secrets: &Secrets, is_new: bool) -> Result<()> {
    let shown = path.display();
    // A link into a vault stays one.
    let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let folder = path.parent().unwrap_or(Path::new("/"));
    let write = || -> std::io::Result<()> {
        // tempfile makes it 0600.
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        file.write_all(text(secrets).as_bytes())?;
        file.as_file().sync_all()?;
        let persisted = if is_new { file.persist_noclobber(&path) } else { file.persist(&path) };
        persisted?;
        File::open(folder)?.sync_all()
    };
    write().map_err(Error::from).map_err(|error| {
        debug_assert_eq!(error.kind(), Kind::Failure);
        error.context(format!("cannot write `{shown}`"))
    })
}

fn text(secrets: &Secrets) -> String {
    let mut text = String::from(
        "# Made by nodeforge; whoever has this file can pose as any node of the cluster. Nodes\n\
         # that run depend on it: keep a backup.\n",
    );
    let quoted = |value: &str| toml::Value::from(value).to_string();
    let mut line = |line: std::fmt::Arguments<'_>| {
        text.write_fmt(line).expect("writing to a string");
        text.push('\n');
    };
    line(format_args!("version = {VERSION}"));
    line(format_args!("cluster = {}", quoted(&secrets.cluster)));
    line(format_args!("\n[seed]"));
    line(format_args!("value = {}", quoted(&generate::hex(&secrets.seed))));
    line(format_args!("created = {}", quoted(&secrets.seed_created)));
    for (name, stored) in &secrets.named {
        line(format_args!("\n[secrets.{}]", quoted(name)));
        line(format_args!("kind = {}", quoted(&stored.value.kind)));
        line(format_args!("value = {}", quoted(&stored.value.made.value)));
        if let Some(public) = &stored.value.made.public {
            line(format_args!("public = {}", quoted(public)));
        }
        line(format_args!("created = {}", quoted(&stored.created)));
    }
    for (hostname, stored) in &secrets.host_keys {
        line(format_args!("\n[ssh_host_keys.{}]", quoted(hostname)));
        line(format_args!("private = {}", quoted(&stored.value.private)));
        line(format_args!("public = {}", quoted(&stored.value.public)));
        line(format_args!("created = {}", quoted(&stored.created)));
    }
    text
}
