//! Making secrets from the system's randomness.

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use ssh_key::private::{Ed25519Keypair, PrivateKey};

use super::made::SshHostKey;
use crate::util::error::{Error, Result};
use crate::util::hex::hex;

/// Random bytes.
pub(crate) fn random<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| {
        Error::failure(format!("cannot get random bytes from the system: {error}"))
    })?;
    Ok(bytes)
}

/// 32 bytes that follow from a seed and some words. They give nothing away of the seed, nor of what
/// follows from other words, as long as none has a zero byte in it.
pub(crate) fn derive(seed: &[u8; 32], words: &[&str]) -> [u8; 32] {
    let mut mac = <Hmac<Sha256>>::new_from_slice(seed).expect("HMAC takes any key");
    mac.update(words.join("\0").as_bytes());
    mac.finalize().into_bytes().into()
}

/// `[a-z0-9]{6}.[a-z0-9]{16}`
pub(crate) fn kubeadm_token() -> Result<String> {
    const LOWER: &[u8] = b"abcdefghijklmnopqrstuvwxyz0123456789";
    Ok(format!("{}.{}", letters(LOWER, 6)?, letters(LOWER, 16)?))
}

/// 32 letters and digits.
pub(crate) fn password() -> Result<String> {
    letters(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789", 32)
}

/// 32 bytes as 64 hexadecimal digits.
pub(crate) fn seed() -> Result<String> {
    random::<32>().map(|bytes| hex(&bytes))
}

/// A new ed25519 key.
pub(crate) fn ssh_host_key(hostname: &str) -> Result<SshHostKey> {
    let keypair = Ed25519Keypair::from_seed(&random()?);
    let encoded = PrivateKey::new(keypair.into(), hostname).and_then(|key| {
        let private = key.to_openssh(ssh_key::LineEnding::LF)?.as_str().to_owned().into();
        Ok(SshHostKey { private, public: key.public_key().to_openssh()? })
    });
    encoded.map_err(|error| Error::failure(format!("cannot encode an SSH key: {error}")))
}

/// Letters of an alphabet, each as likely as the other.
fn letters(alphabet: &[u8], count: usize) -> Result<String> {
    // Bytes past the last whole multiple would favour the alphabet's beginning.
    let fair = 256 - 256 % alphabet.len();
    let mut text = String::with_capacity(count);
    while text.len() < count {
        let usable = random::<64>()?.into_iter().map(usize::from).filter(|byte| *byte < fair);
        let missing = count - text.len();
        text.extend(usable.take(missing).map(|byte| char::from(alphabet[byte % alphabet.len()])));
    }
    Ok(text)
}

/// Bytes of exactly `N` pairs of hexadecimal digits.
pub(crate) fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits: Vec<u32> = text.chars().map(|c| c.to_digit(16)).collect::<Option<_>>()?;
    if digits.len() != 2 * N {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = u8::try_from(pair[0] << 4 | pair[1]).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_have_their_form() -> Result<()> {
        let token = kubeadm_token()?;
        let form = regex::Regex::new("^[a-z0-9]{6}\\.[a-z0-9]{16}$").expect("a regex");
        assert!(form.is_match(&token), "{token}");
        assert_eq!(password()?.len(), 32);
        let hexadecimal = seed()?;
        assert_eq!(unhex::<32>(&hexadecimal).map(|bytes| hex(&bytes)), Some(hexadecimal));
        assert_eq!(unhex::<2>("00zz"), None);
        Ok(())
    }
}
