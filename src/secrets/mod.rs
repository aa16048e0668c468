//! The secrets of a cluster, in `nodeforge.secrets` beside its cluster file: made once, kept.

mod client;
mod cluster;
mod generate;
mod keys;
#[cfg(test)]
mod kinds_tests;
mod made;
mod node_keys;
mod sealed;
mod secret;
mod store;
mod stored;
#[cfg(test)]
mod tests;
mod wireguard;

pub use client::ClientCertificate;
pub use cluster::Secrets;
pub(crate) use generate::ssh_host_key;
pub use keys::{Ca, KeyPair};
pub use made::SshHostKey;
pub use node_keys::NodeKeys;
pub use secret::Secret;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use store::read_any;
pub use stored::{SecretRecord, StoredKind};
pub use wireguard::WireGuard;
