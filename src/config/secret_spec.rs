//! What a profile says of a secret.

use std::path::PathBuf;

/// A secret that is made once for each cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretSpec {
    /// Its name in templates.
    pub name: String,
    /// What it is.
    pub kind: SecretKind,
    /// Roles whose nodes may hold its private part; empty for all.
    pub roles: Vec<String>,
}

/// What a secret is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretKind {
    /// `[a-z0-9]{6}.[a-z0-9]{16}`
    KubeadmToken,
    /// 32 random bytes as 64 hexadecimal digits.
    Hex,
    /// 32 bytes for each node, as 64 hexadecimal digits.
    NodeKey,
    /// 32 random letters and digits: 190 bits.
    Password,
    /// A certificate authority of its own: ECDSA P-256, for ten years.
    Ca {
        /// The `CN` of subject and issuer.
        common_name: String,
    },
    /// An ECDSA P-256 key.
    KeyPair,
    /// A `WireGuard` key for each node and peer, and a preshared key for each two of them.
    WireGuard,
    /// An ed25519 key in OpenSSH's own format.
    SshHostKey,
    /// A file that the user keeps; nodeforge neither makes nor stores it.
    File {
        /// From the cluster file's folder.
        path: PathBuf,
    },
}

impl SecretSpec {
    /// Whether nodeforge makes and keeps it.
    pub fn is_made(&self) -> bool {
        !matches!(self.kind, SecretKind::File { .. })
    }
}

impl SecretKind {
    /// What `kind` in a profile may say, in the order of the documentation.
    pub const NAMES: [&str; 9] = [
        "kubeadm-token",
        "hex",
        "node-key",
        "password",
        "ca",
        "keypair",
        "wireguard",
        "ssh-host-key",
        "file",
    ];

    /// What a profile calls it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::KubeadmToken => "kubeadm-token",
            Self::Hex => "hex",
            Self::NodeKey => "node-key",
            Self::Password => "password",
            Self::Ca { .. } => "ca",
            Self::KeyPair => "keypair",
            Self::WireGuard => "wireguard",
            Self::SshHostKey => "ssh-host-key",
            Self::File { .. } => "file",
        }
    }
}
