//! What a profile says of a secret.

use std::path::PathBuf;

use super::words::words;

/// A secret that is made once for each cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretSpec {
    /// Its name in templates.
    pub name: String,
    /// What it is, and what making it takes.
    pub recipe: SecretRecipe,
    /// Roles whose nodes may hold its private part; empty for all.
    pub roles: Vec<String>,
    /// What to do about nodes that run with the old one; a template.
    pub after_rotation: Option<String>,
    /// How the user comes by a file that is not there; a template.
    pub missing: Option<String>,
}

words! {
    /// A kind of secret, as a profile names it.
    pub enum SecretKind {
        /// `[a-z0-9]{6}.[a-z0-9]{16}`
        KubeadmToken = "kubeadm-token",
        /// 32 random bytes as 64 hexadecimal digits.
        Hex = "hex",
        /// 32 bytes for each node, as 64 hexadecimal digits.
        NodeKey = "node-key",
        /// 32 random letters and digits: 190 bits.
        Password = "password",
        /// A certificate authority of its own: ECDSA P-256, for ten years.
        Ca = "ca",
        /// A key and a certificate for it that a certificate authority of the profile signs: who has them
        /// is that client to the authority's servers.
        ClientCertificate = "client-certificate",
        /// An ECDSA P-256 key.
        KeyPair = "keypair",
        /// A `WireGuard` key for each node and peer, and a preshared key for each two of them.
        WireGuard = "wireguard",
        /// An ed25519 key in OpenSSH's own format.
        SshHostKey = "ssh-host-key",
        /// An ed25519 key in OpenSSH's own format, and its public half.
        SshKey = "ssh-key",
        /// A file that the user keeps; nodeforge neither makes nor stores it.
        File = "file",
    }
}

/// A kind of secret with what making one takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretRecipe {
    /// See [`SecretKind::KubeadmToken`].
    KubeadmToken,
    /// See [`SecretKind::Hex`].
    Hex,
    /// See [`SecretKind::NodeKey`].
    NodeKey,
    /// See [`SecretKind::Password`].
    Password,
    /// See [`SecretKind::Ca`].
    Ca {
        /// The `CN` of subject and issuer.
        common_name: String,
    },
    /// See [`SecretKind::ClientCertificate`].
    ClientCertificate(ClientRecipe),
    /// See [`SecretKind::KeyPair`].
    KeyPair,
    /// See [`SecretKind::WireGuard`].
    WireGuard,
    /// See [`SecretKind::SshHostKey`].
    SshHostKey,
    /// See [`SecretKind::SshKey`].
    SshKey,
    /// See [`SecretKind::File`].
    File {
        /// From the cluster file's folder.
        path: PathBuf,
    },
}

/// What a client's certificate says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientRecipe {
    /// The name of the authority among the profile's secrets.
    pub ca: String,
    /// The `CN` of its subject: the user, to Kubernetes.
    pub common_name: String,
    /// The `O` of its subject: the user's group, to Kubernetes.
    pub organization: String,
    /// How many days it is good for.
    pub days: u16,
}

impl SecretSpec {
    /// Whether nodeforge makes and keeps it.
    pub fn is_made(&self) -> bool {
        self.recipe.kind() != SecretKind::File
    }
}

impl SecretRecipe {
    /// What is made of it.
    pub fn kind(&self) -> SecretKind {
        match self {
            Self::KubeadmToken => SecretKind::KubeadmToken,
            Self::Hex => SecretKind::Hex,
            Self::NodeKey => SecretKind::NodeKey,
            Self::Password => SecretKind::Password,
            Self::Ca { .. } => SecretKind::Ca,
            Self::ClientCertificate(_) => SecretKind::ClientCertificate,
            Self::KeyPair => SecretKind::KeyPair,
            Self::WireGuard => SecretKind::WireGuard,
            Self::SshHostKey => SecretKind::SshHostKey,
            Self::SshKey => SecretKind::SshKey,
            Self::File { .. } => SecretKind::File,
        }
    }
}
