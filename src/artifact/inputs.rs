//! Whether an artifact is stale: a digest of everything that it is made from.
//!
//! Plans hold secrets, some of them short. A plain hash of one could be guessed by trying, and the
//! manifest may be read by others: so the digest is keyed (HMAC-SHA256, RFC 2104) with what only the
//! owner of the cluster's secrets has. Without the key it tells nothing, not even whether two
//! clusters have the same password.

use std::io;

use hmac::{Hmac, KeyInit as _, Mac as _};

use crate::change::Change;
use crate::util::error::{Error, Result};
use crate::util::hex;
use crate::util::sha256::Sha256;

/// What a digest is told apart by from those of other layouts: it changes with the order or the
/// form of what goes in.
const LAYOUT: &str = "nodeforge artifact inputs 1";

/// What one disk is made from: the prepared base, its plan, the clock and nodeforge itself.
#[derive(Clone)]
pub struct DiskInputs {
    key: [u8; 32],
    digest: [u8; 32],
}

impl DiskInputs {
    /// Of a disk that differs by `changes` from a prepared base that is made from `prepared`: a hash of
    /// all that it is made from.
    ///
    /// `key` follows from the seed in the cluster's secrets. `clock` is the time that the image's
    /// files get, in seconds since 1970.
    pub fn new(key: [u8; 32], prepared: Sha256, changes: &[Change], clock: i64) -> Result<Self> {
        let mut mac = Keyed::new(&key);
        mac.part(LAYOUT.as_bytes());
        mac.part(concat!("nodeforge ", env!("CARGO_PKG_VERSION")).as_bytes());
        mac.part(prepared.bytes());
        mac.part(&clock.to_be_bytes());
        serde_json::to_writer(&mut mac, changes)
            .map_err(|error| Error::failure(format!("cannot hash a plan: {error}")))?;
        Ok(Self { key, digest: mac.finish() })
    }

    /// The digest of what one artifact is made from, 64 hexadecimal digits: this disk, and what else
    /// distinguishes the artifact.
    pub(super) fn with(&self, parts: &[&str]) -> String {
        let mut mac = Keyed::new(&self.key);
        mac.part(&self.digest);
        for part in parts {
            mac.part(part.as_bytes());
        }
        hex::hex(&mac.finish())
    }
}

struct Keyed(Hmac<sha2::Sha256>);

impl Keyed {
    fn new(key: &[u8; 32]) -> Self {
        Self(Hmac::new_from_slice(key).expect("HMAC takes any key"))
    }

    /// With its length before it, so that no two lists of parts look alike.
    fn part(&mut self, bytes: &[u8]) {
        self.0.update(&(bytes.len() as u64).to_be_bytes());
        self.0.update(bytes);
    }

    fn finish(self) -> [u8; 32] {
        self.0.finalize().into_bytes().into()
    }
}

impl io::Write for Keyed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::change::{Action, Content, Owner, Requester};

    fn file(text: &str) -> Change {
        let content = Content::secret("password", text);
        let (path, mode, owner) = ("/etc/x".to_owned(), 0o600, Owner::root());
        let action = Action::File { path, content, mode, owner };
        Change::new(action, Requester::Nodeforge)
    }

    #[test]
    fn everything_that_goes_in_counts() {
        let digest = |key: u8, prepared: &str, text: &str, clock: i64, parts: &[&str]| {
            let inputs = DiskInputs::new([key; 32], Sha256::of(prepared), &[file(text)], clock);
            inputs.expect("a plan can be hashed").with(parts)
        };
        let one = digest(1, "base", "secret", 0, &["raw", "server1"]);
        assert_eq!(one.len(), 64);
        assert_eq!(one, digest(1, "base", "secret", 0, &["raw", "server1"]));
        for other in [
            digest(2, "base", "secret", 0, &["raw", "server1"]),
            digest(1, "other", "secret", 0, &["raw", "server1"]),
            digest(1, "base", "rotated", 0, &["raw", "server1"]),
            digest(1, "base", "secret", 1, &["raw", "server1"]),
            digest(1, "base", "secret", 0, &["qcow2", "server1"]),
            digest(1, "base", "secret", 0, &["raws", "erver1"]),
        ] {
            assert_ne!(one, other);
        }
    }
}
