//! For whom the store of secrets is encrypted.

use age::x25519::Recipient;

use crate::util::error::{Error, Result};

/// Whether a text is the public key of someone: `age1…`.
pub(super) fn check(text: &str) -> Result<()> {
    if text.starts_with("AGE-SECRET-KEY-") {
        return Err(Error::input("this is a secret key")
            .hint("a recipient is public: `age-keygen -y KEYFILE` prints it"));
    }
    text.parse::<Recipient>().map(|_| ()).map_err(|why| {
        Error::input(format!("`{text}` is not a recipient of age: {why}"))
            .hint("`age-keygen -y KEYFILE` prints it: `age1…`")
    })
}
