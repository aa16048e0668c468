//! The SSH keys of who runs nodeforge.

use std::fs;

use super::access::authorized_keys;
use crate::util::new_files;

/// What ssh-keygen(1) calls public keys, the best first.
const KEYS: [&str; 5] =
    ["id_ed25519.pub", "id_ed25519_sk.pub", "id_ecdsa.pub", "id_ecdsa_sk.pub", "id_rsa.pub"];

/// The public keys in `~/.ssh` that can be logged in with, as a cluster file names them.
pub fn own_keys() -> Vec<String> {
    let Some(folder) = new_files::home().map(|home| home.join(".ssh")) else { return Vec::new() };
    let is_key = |name: &&str| {
        let text = fs::read_to_string(folder.join(name));
        text.is_ok_and(|text| authorized_keys(&text).is_ok())
    };
    KEYS.into_iter().filter(is_key).map(|name| format!("~/.ssh/{name}")).collect()
}
