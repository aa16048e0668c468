//! Secrets as they are made and stored.

/// A secret as it is made and stored.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct MadeSecret {
    /// The secret itself, or the private half.
    pub(crate) value: String,
    /// The half that anybody may see.
    pub(crate) public: Option<String>,
}

impl MadeSecret {
    pub(crate) fn text(value: String) -> Self {
        Self { value, public: None }
    }
}

/// A host's SSH key.
#[derive(Clone, PartialEq, Eq)]
pub struct SshHostKey {
    /// OpenSSH's own format, for `/etc/ssh/ssh_host_ed25519_key`.
    pub private: String,
    /// `ssh-ed25519 AAAA… HOSTNAME`, without a line end.
    pub public: String,
}
