//! Secrets as they are made and stored. Whatever is secret is wiped from memory when it is dropped.

use zeroize::Zeroizing;

/// A secret as it is made and stored.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct MadeSecret {
    /// The secret itself, or the private half.
    pub(crate) value: Zeroizing<String>,
    /// The half that anybody may see.
    pub(crate) public: Option<String>,
}

impl MadeSecret {
    pub(crate) fn text(value: String) -> Self {
        Self { value: value.into(), public: None }
    }
}

/// A host's SSH key.
#[derive(Clone, PartialEq, Eq)]
pub struct SshHostKey {
    /// OpenSSH's own format, for `/etc/ssh/ssh_host_ed25519_key`.
    pub private: Zeroizing<String>,
    /// `ssh-ed25519 AAAA… HOSTNAME`, without a line end.
    pub public: String,
}
