//! A secret as templates use it.

use std::collections::HashSet;
use std::sync::Arc;

use zeroize::Zeroizing;

use super::client::{ClientCertificate, make_client};
use super::keys::{Ca, KeyPair};
use super::made::MadeSecret;
use super::node_keys::NodeKeys;
use super::wireguard::WireGuard;
use crate::config::{SecretKind, SecretRecipe};
use crate::secrets::{generate, keys};
use crate::util::error::{Error, Result};

/// A secret of the profile. It has no `Debug`: nothing of it is ever printed.
#[derive(Clone, PartialEq, Eq)]
pub enum Secret {
    /// A token, a password, a key: secret as a whole.
    Text(Zeroizing<String>),
    /// A file that the user has not written, and what to say to who asks for it.
    Missing(String),
    /// A certificate authority.
    Ca(Ca),
    /// A client's certificate and key.
    Client(ClientCertificate),
    /// A private key and its public half.
    KeyPair(KeyPair),
    /// A key for each node.
    NodeKeys(NodeKeys),
    /// The `WireGuard` keys of all nodes and peers.
    WireGuard(WireGuard),
}

impl Secret {
    /// What was made of this kind, in the form that templates use.
    pub(crate) fn from_made(
        kind: SecretKind,
        made: &MadeSecret,
        hostnames: &Arc<HashSet<String>>,
    ) -> Result<Self> {
        let public = || made.public.clone().ok_or_else(|| Error::input("its `public` is missing"));
        let seed = || {
            generate::unhex(&made.value)
                .map(Zeroizing::new)
                .ok_or_else(|| Error::input("its value is not 64 hexadecimal digits"))
        };
        Ok(match kind {
            SecretKind::Ca => Self::Ca(Ca::new(made.value.clone(), public()?)?),
            SecretKind::ClientCertificate => {
                Self::Client(ClientCertificate { cert: public()?, key: made.value.clone() })
            }
            SecretKind::KeyPair | SecretKind::SshKey => {
                Self::KeyPair(KeyPair { private: made.value.clone(), public: public()? })
            }
            SecretKind::NodeKey => Self::NodeKeys(NodeKeys::new(seed()?, Arc::clone(hostnames))),
            SecretKind::WireGuard => {
                Self::WireGuard(WireGuard::new(seed()?, Arc::clone(hostnames)))
            }
            SecretKind::KubeadmToken
            | SecretKind::Hex
            | SecretKind::Password
            | SecretKind::SshHostKey
            | SecretKind::File => Self::Text(made.value.clone()),
        })
    }

    /// Makes a new one; `authority` signs it, where that is needed.
    pub(crate) fn make(
        recipe: &SecretRecipe,
        authority: Option<&MadeSecret>,
    ) -> Result<MadeSecret> {
        match recipe {
            SecretRecipe::ClientCertificate(client) => {
                let missing = || Error::failure(format!("there is no authority `{}`", client.ca));
                make_client(client, authority.ok_or_else(missing)?)
            }
            SecretRecipe::Ca { common_name } => keys::make_ca(common_name),
            SecretRecipe::KeyPair => keys::make_key_pair(),
            SecretRecipe::KubeadmToken => generate::kubeadm_token().map(MadeSecret::text),
            // Of the last two, the seed of all keys.
            SecretRecipe::Hex | SecretRecipe::NodeKey | SecretRecipe::WireGuard => {
                generate::seed().map(MadeSecret::text)
            }
            SecretRecipe::Password => generate::password().map(MadeSecret::text),
            SecretRecipe::SshHostKey | SecretRecipe::SshKey => {
                let key = generate::ssh_host_key("")?;
                Ok(MadeSecret {
                    value: key.private.clone(),
                    public: Some(key.public.trim_end().to_owned()),
                })
            }
            SecretRecipe::File { path } => {
                Err(Error::input(format!("`{}` is yours to write", path.display())))
            }
        }
    }
}
