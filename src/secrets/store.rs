//! The store on disk: TOML, for its owner's eyes only, replaced whole.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use serde::Deserialize;
use zeroize::Zeroizing;

use super::made::{MadeSecret, SshHostKey};
use super::stored::{NamedSecret, Stored, StoredSecrets};
use crate::config::{SecretKind, file};
use crate::secrets::{generate, sealed};
use crate::util::error::{Context as _, Error, ErrorKind, Result};
use crate::util::file_lock::FileLock;
use crate::util::hex;
use crate::util::new_files;

/// The store's layout; other numbers are of other nodeforges.
const VERSION: u32 = 1;
/// The store's file name.
const FILE: &str = "nodeforge.secrets";
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
    kind: SecretKind,
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
pub(crate) fn lock(folder: &Path) -> Result<Option<FileLock>> {
    let shown = folder.display();
    let file = File::open(folder).context(|| format!("cannot open `{shown}`"))?;
    match FileLock::exclusive(file) {
        Ok(lock) => Ok(Some(lock)),
        Err(error)
            if matches!(
                Errno::from_io_error(&error),
                Some(Errno::BADF | Errno::NOLCK | Errno::OPNOTSUPP)
            ) =>
        {
            Ok(None)
        }
        Err(error) => Err(error).context(|| format!("cannot lock `{shown}`")),
    }
}

/// Where a cluster's secrets are, and for whom they are encrypted there.
pub(crate) struct Store<'a> {
    /// The folder.
    pub(crate) folder: &'a Path,
    /// Recipients of age; none keeps the store as it is, readable by its owner only.
    pub(crate) recipients: &'a [String],
}

impl Store<'_> {
    /// The file that is there; else the one that will be.
    pub(crate) fn path(&self) -> PathBuf {
        let (plain, sealed) = (self.folder.join(FILE), self.folder.join(sealed::FILE));
        let is_sealed = if plain.exists() == sealed.exists() {
            !self.recipients.is_empty()
        } else {
            sealed.exists()
        };
        if is_sealed { sealed } else { plain }
    }

    /// Whether what is there is not encrypted, and should be.
    pub(crate) fn is_to_be_sealed(&self) -> bool {
        !self.recipients.is_empty() && self.folder.join(FILE).exists()
    }

    /// What is stored; `None` when nothing is.
    pub(crate) fn read(&self) -> Result<Option<StoredSecrets>> {
        let (plain, sealed) = (self.folder.join(FILE), self.folder.join(sealed::FILE));
        if plain.exists() && sealed.exists() {
            let message = format!(
                "the cluster has two stores of secrets: `{}` and `{}`",
                plain.display(),
                sealed.display()
            );
            return Err(Error::input(message)
                .hint("find out which one the nodes were built with, and move the other away"));
        }
        if !sealed.exists() {
            return read_plain(&plain);
        }
        let shown = sealed.display();
        let sealed = file::read_text(&sealed, MOST)?;
        let text = sealed::open(&sealed, MOST).context(|| format!("cannot decrypt `{shown}`"))?;
        understand(&text, &shown.to_string()).map(Some)
    }

    /// Replaces the store whole: power loss leaves the old or the new one. A new one never
    /// replaces one that somebody else made meanwhile.
    pub(crate) fn write(&self, secrets: &StoredSecrets) -> Result<()> {
        let (plain, sealed) = (self.folder.join(FILE), self.folder.join(sealed::FILE));
        let text = Zeroizing::new(text(secrets));
        if self.recipients.is_empty() {
            if sealed.exists() {
                let message =
                    format!("there are no recipients to encrypt `{}` for", sealed.display());
                return Err(Error::input(message)
                    .hint("in the cluster file: `[secrets]` with `recipients = [\"age1…\"]`"));
            }
            return write(&plain, &text, !plain.exists());
        }
        write(&sealed, &sealed::seal(&text, self.recipients)?, !sealed.exists())?;
        match fs::remove_file(&plain) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).context(|| format!("cannot remove `{}`", plain.display()))
            }
            _ => Ok(()),
        }
    }
}

fn read_plain(path: &Path) -> Result<Option<StoredSecrets>> {
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
    let text = Zeroizing::new(file::read_text(path, MOST)?);
    understand(&text, &shown.to_string()).map(Some)
}

/// Reads whatever store a folder has.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn read_any(folder: &Path) -> Result<()> {
    Store { folder, recipients: &[] }.read().map(drop)
}

fn understand(text: &str, shown: &str) -> Result<StoredSecrets> {
    parse(text).map_err(|error| {
        // Never replaced: the nodes that run have what it held.
        error
            .context(format!("`{shown}` is damaged"))
            .hint("bring it back from a backup; nodeforge never replaces secrets by itself")
    })
}

fn parse(text: &str) -> Result<StoredSecrets> {
    // toml's own display shows the line, and with it the secret.
    let text: Text = toml::from_str(text).map_err(|error| Error::input(error.message()))?;
    if text.version != VERSION {
        return Err(Error::input(format!("it has version {}, not {VERSION}", text.version)));
    }
    let seed = generate::unhex(&text.seed.value)
        .map(Zeroizing::new)
        .ok_or_else(|| Error::input("its seed is not 64 hexadecimal digits"))?;
    let named = text.secrets.into_iter();
    let named = named.map(|(name, it)| {
        let made = MadeSecret { value: it.value.into(), public: it.public };
        (name, Stored { value: NamedSecret { kind: it.kind, made }, created: it.created })
    });
    let host_keys = text.ssh_host_keys.into_iter().map(|(host, it)| {
        let value = SshHostKey { private: it.private.into(), public: it.public };
        (host, Stored { value, created: it.created })
    });
    Ok(StoredSecrets {
        cluster: text.cluster,
        seed,
        seed_created: text.seed.created,
        named: named.collect(),
        host_keys: host_keys.collect(),
    })
}

fn write(path: &Path, text: &str, is_new: bool) -> Result<()> {
    let shown = path.display();
    // A link into a vault stays one.
    let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let folder = path.parent().unwrap_or(Path::new("/"));
    let write = || -> std::io::Result<()> {
        // tempfile makes it 0600.
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        file.write_all(text.as_bytes())?;
        file.as_file().sync_all()?;
        new_files::give_in_place_of(file.as_file(), &path);
        let persisted = if is_new { file.persist_noclobber(&path) } else { file.persist(&path) };
        persisted?;
        File::open(folder)?.sync_all()
    };
    write().map_err(Error::from).map_err(|error| {
        debug_assert_eq!(error.kind(), ErrorKind::Failure);
        error.context(format!("cannot write `{shown}`"))
    })
}

fn text(secrets: &StoredSecrets) -> String {
    let mut text = String::from(
        "# Made by nodeforge; anyone who has this file can pose as any node of the cluster. Nodes\n\
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
    line(format_args!("value = {}", quoted(&hex::hex(&*secrets.seed))));
    line(format_args!("created = {}", quoted(&secrets.seed_created)));
    for (name, stored) in &secrets.named {
        line(format_args!("\n[secrets.{}]", quoted(name)));
        line(format_args!("kind = {}", quoted(stored.value.kind.name())));
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
