//! For whom the store of secrets is encrypted.

use age::x25519::{Identity, Recipient};

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

/// The public halves of the secret keys in a file as `age-keygen` writes it.
pub fn recipients_of(keys: &str) -> Result<Vec<String>> {
    let lines = keys.lines().map(str::trim).filter(|line| line.starts_with("AGE-SECRET-KEY-"));
    let public = lines.map(|line| {
        let identity: Identity = line.parse().map_err(|why| {
            Error::input(format!("a line of it is not a secret key of age: {why}"))
        })?;
        Ok(identity.to_public().to_string())
    });
    public.collect()
}
