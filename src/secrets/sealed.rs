//! The store encrypted with age, so that it can live in version control.
//!
//! Source of where identities are: SOPS' documentation, "Encrypting using age".

use std::io::{BufReader, Read as _, Write as _};
use std::path::PathBuf;

use age::armor::{ArmoredReader, ArmoredWriter, Format};
use age::x25519::Recipient;
use age::{DecryptError, Decryptor, Encryptor, Identity, IdentityFile};

use zeroize::Zeroizing;

use crate::config::file;
use crate::util::error::{Context as _, Error, Result};

/// The file name of an encrypted store.
pub(crate) const FILE: &str = "nodeforge.secrets.age";

/// What a sealed text is opened with.
type Key = Box<dyn Identity + Send + Sync>;

/// A text that only the recipients can read.
pub(crate) fn seal(text: &str, recipients: &[String]) -> Result<String> {
    let parse = |text: &String| {
        let recipient = text.parse::<Recipient>();
        recipient.map_err(|why| Error::input(format!("`{text}` is not a recipient of age: {why}")))
    };
    let recipients = recipients.iter().map(parse).collect::<Result<Vec<_>>>()?;
    let failed = |why: &dyn std::fmt::Display| Error::failure(format!("cannot encrypt: {why}"));
    let each = recipients.iter().map(|recipient| recipient as &dyn age::Recipient);
    let encryptor = Encryptor::with_recipients(each).map_err(|why| failed(&why))?;
    let mut sealed = Vec::new();
    let armor = ArmoredWriter::wrap_output(&mut sealed, Format::AsciiArmor)?;
    let mut writer = encryptor.wrap_output(armor)?;
    writer.write_all(text.as_bytes())?;
    writer.finish()?.finish()?;
    String::from_utf8(sealed).map_err(|why| failed(&why))
}

/// What a sealed text says, given a key that opens it.
pub(crate) fn open(sealed: &str, most: u64) -> Result<Zeroizing<String>> {
    let (identities, places) = identities()?;
    let places = places.join(", ");
    let damaged =
        |why: &dyn std::fmt::Display| Error::input(format!("it cannot be decrypted: {why}"));
    let decryptor =
        Decryptor::new(ArmoredReader::new(sealed.as_bytes())).map_err(|why| damaged(&why))?;
    let each = identities.iter().map(|identity| identity.as_ref() as &dyn Identity);
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the library adds errors; all others mean damage"
    )]
    let reader = decryptor.decrypt(each).map_err(|why| match why {
        DecryptError::NoMatchingKeys if identities.is_empty() => {
            Error::input("no age key to decrypt it with was found")
                .hint(format!("looked in {places}; NODEFORGE_AGE_IDENTITY=FILE names another"))
        }
        DecryptError::NoMatchingKeys => {
            Error::input(format!("it is encrypted for other keys than those in {places}"))
        }
        why => damaged(&why),
    })?;
    let mut text = Zeroizing::new(String::new());
    reader.take(most).read_to_string(&mut text).map_err(|why| damaged(&why))?;
    Ok(text)
}

/// The user's age keys, and where they were looked for.
fn identities() -> Result<(Vec<Key>, Vec<String>)> {
    let mut places = Vec::new();
    let mut identities = Vec::new();
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    if let Some(keys) = variable("SOPS_AGE_KEY") {
        places.push("$SOPS_AGE_KEY".to_owned());
        identities.extend(parse(&keys.to_string_lossy(), "$SOPS_AGE_KEY")?);
    }
    let named = ["NODEFORGE_AGE_IDENTITY", "SOPS_AGE_KEY_FILE"].into_iter().filter_map(variable);
    let named: Vec<PathBuf> = named.map(PathBuf::from).collect();
    let usual = variable("XDG_CONFIG_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::home_dir().map(|home| home.join(".config")))
        .map(|folder| folder.join("sops/age/keys.txt"));
    // A file that was named must be there; the usual one may be.
    let usual = usual.into_iter().map(|path| (path, false));
    for (path, is_named) in named.into_iter().map(|path| (path, true)).chain(usual) {
        places.push(format!("`{}`", path.display()));
        if is_named || path.exists() {
            let text = file::read_text(&path, file::MOST_KEY)?;
            identities.extend(parse(&text, &format!("`{}`", path.display()))?);
        }
    }
    Ok((identities, places))
}

fn parse(text: &str, shown: &str) -> Result<Vec<Key>> {
    // age's own words could quote the key.
    IdentityFile::from_buffer(BufReader::new(text.as_bytes()))
        .ok()
        .and_then(|file| file.into_identities().ok())
        .ok_or_else(|| Error::input(format!("{shown} holds no age keys")))
        .context(|| "the keys to the secrets cannot be read".to_owned())
}
