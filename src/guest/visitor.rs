//! A visitor for one boot: somebody whose key a system knows, who comes through a network card of their own.

use std::path::Path;

use super::accounts::{PEOPLE, accounts};
use super::files::{self, root};
use super::units;
use crate::change::UnitState;
use crate::config::check_user_name;
use crate::fs::{Attributes, Tree};
use crate::secrets::SshHostKey;
use crate::util::error::{Error, Result};

/// The network card through which the visitor comes, and the machine's address there: of a network
/// that is for documentation (RFC 5737), so that no cluster has it.
pub(crate) const CARD: &str = "02:6e:66:00:00:16";
/// That network.
pub(crate) const NETWORK: &str = "192.0.2.0/24";
/// The machine's address in it.
pub(crate) const ADDRESS: &str = "192.0.2.15";

const HOST_KEY: &str = "/etc/ssh/ssh_host_ed25519_key";

/// Sorts before every other unit: of those that match a card, the first alone counts.
const UNIT: &str = "/etc/systemd/network/00-nodeforge-visitor.network";

/// Where the visitor is let in.
pub(crate) struct Welcome {
    /// Who the visitor becomes.
    pub(crate) user: String,
    /// The key that the system's SSH server shows: its kind, and the key.
    pub(crate) host_key: String,
}

/// Lets the owner of the public key `visitor` in as the system's first person who may log in, else as root. A
/// system that would make its host key on its first boot gets `host_key`.
///
/// The system must not be kept afterwards. `Input` when it has no SSH server.
pub(crate) fn let_in(tree: &mut dyn Tree, visitor: &str, host_key: &SshHostKey) -> Result<Welcome> {
    const SERVER: &str = "ssh.service";
    if !units::exists(tree, SERVER)? {
        return Err(Error::input("the image has no SSH server")
            .hint("`openssh-server` in `[packages] install` brings it"));
    }
    units::set(tree, SERVER, UnitState::Enabled)?;
    let user = add_key(tree, visitor)?;
    let public = format!("{HOST_KEY}.pub");
    // A publisher's own unit would make other keys at this boot.
    const VENDOR: &str = "regenerate_ssh_host_keys.service";
    if units::exists(tree, VENDOR)? {
        units::set(tree, VENDOR, UnitState::Masked)?;
    }
    let is_whole = tree.metadata(Path::new(HOST_KEY))?.is_some();
    let own = files::read_text(tree, &public)?.filter(|_| is_whole);
    let host_key = if let Some(text) = own {
        public_key(&text)
            .ok_or_else(|| Error::input(format!("`{public}` in the image is not a public key")))?
    } else {
        files::write(tree, Path::new(HOST_KEY), host_key.private.as_bytes(), root(0o600))?;
        let line = format!("{}\n", host_key.public);
        files::write(tree, Path::new(&public), line.as_bytes(), root(0o644))?;
        public_key(&host_key.public).expect("it was made as one")
    };
    // The card leads nowhere else: no route, no names, nothing that waits for it.
    let unit = format!(
        "[Match]\nMACAddress={CARD}\n\n[Link]\nRequiredForOnline=no\n\n[Network]\nDHCP=no\n\
         IPv6AcceptRA=no\nLinkLocalAddressing=no\nAddress={ADDRESS}/24\n"
    );
    files::write(tree, Path::new(UNIT), unit.as_bytes(), root(0o644))?;
    Ok(Welcome { user, host_key })
}

/// Kind and key of the first line, without a comment.
fn public_key(text: &str) -> Option<String> {
    let mut words = text.lines().next()?.split_whitespace();
    let (kind, key) = (words.next()?, words.next()?);
    let is_plain =
        |word: &str| word.chars().all(|it| it.is_ascii_alphanumeric() || "-+/=".contains(it));
    (kind == "ssh-ed25519" && is_plain(key)).then(|| format!("{kind} {key}"))
}

/// Adds a line to what a user's keys are; gives the user's name.
fn add_key(tree: &mut dyn Tree, line: &str) -> Result<String> {
    let mut people: Vec<_> = accounts(tree)?
        .into_iter()
        .filter(|(name, _)| name == "root" || check_user_name(name).is_ok())
        .filter(|(_, it)| it.uid == 0 || PEOPLE.contains(&it.uid))
        .filter(|(_, it)| !(it.shell.ends_with("/nologin") || it.shell.ends_with("/false")))
        .collect();
    // Number 0 comes last.
    people.sort_by_key(|(_, it)| it.uid.wrapping_sub(1));
    let (name, account) = people
        .into_iter()
        .next()
        .ok_or_else(|| Error::input("the image has nobody who may log in"))?;
    let own = |mode| Attributes { mode, uid: account.uid, gid: account.gid };
    let folder = Path::new(&account.home).join(".ssh");
    let file = folder.join("authorized_keys");
    let shown = file.display().to_string();
    let before = files::read_text(tree, &shown)?;
    if before.is_none() {
        files::create_dir(tree, &folder, own(0o700))?;
    }
    let mut text = before.unwrap_or_default();
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    text.push_str(line);
    text.push('\n');
    tree.write(&file, text.as_bytes(), Some(own(0o600)))?;
    Ok(name)
}
