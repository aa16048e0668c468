//! `WireGuard` keys of any number of machines, all derived from one seed.
//!
//! A key for each machine and one for each two of them would be 50 million for 10,000 nodes. So
//! they are made when asked for, with HMAC-SHA-256, which gives nothing away of the seed nor of one
//! key to who has another.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::Zeroizing;

use crate::secrets::generate;

/// The `WireGuard` keys of a cluster's nodes and their peers.
#[derive(Clone)]
pub struct WireGuard {
    seed: Zeroizing<[u8; 32]>,
    hostnames: Arc<HashSet<String>>,
    /// Each node's template asks for those of all others.
    public: Arc<Mutex<HashMap<String, String>>>,
}

impl PartialEq for WireGuard {
    fn eq(&self, other: &Self) -> bool {
        self.seed == other.seed
    }
}

impl Eq for WireGuard {}

impl WireGuard {
    pub(crate) fn new(seed: Zeroizing<[u8; 32]>, hostnames: Arc<HashSet<String>>) -> Self {
        Self { seed, hostnames, public: Arc::default() }
    }

    /// Whether a machine is one of the cluster's nodes, rather than a peer of theirs.
    pub fn is_node(&self, name: &str) -> bool {
        self.hostnames.contains(name)
    }

    /// A machine's private key in base64, as `wg genkey` writes it.
    pub fn private(&self, name: &str) -> String {
        STANDARD.encode(self.private_bytes(name))
    }

    /// A machine's public key in base64, as `wg pubkey` writes it.
    pub fn public(&self, name: &str) -> String {
        let mut known = self.public.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(key) = known.get(name) {
            return key.clone();
        }
        let secret = StaticSecret::from(self.private_bytes(name));
        let key = STANDARD.encode(PublicKey::from(&secret).as_bytes());
        known.insert(name.to_owned(), key.clone());
        key
    }

    /// The key that two machines share, in base64 as `wg genpsk` writes it. Their order does not
    /// matter.
    pub fn preshared(&self, one: &str, other: &str) -> String {
        let (first, second) = if one < other { (one, other) } else { (other, one) };
        STANDARD.encode(generate::derive(&self.seed, &["wireguard", "preshared", first, second]))
    }

    fn private_bytes(&self, name: &str) -> [u8; 32] {
        let mut bytes = generate::derive(&self.seed, &["wireguard", "private", name]);
        // As RFC 7748, section 5, has every X25519 key.
        bytes[0] &= 0xf8;
        bytes[31] = bytes[31] & 0x7f | 0x40;
        bytes
    }
}
