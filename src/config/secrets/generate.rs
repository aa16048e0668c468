//! Making secrets from the system's randomness.

use std::time::{SystemTime, UNIX_EPOCH};

use ssh_key::private::{Ed25519Keypair, PrivateKey};

use super::SshHostKey;
use crate::error::{Error, Result};

/// Random bytes.
pub(super) fn random<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes)
        .map_err(|error| Error::failure(format!("the system gives no randomness: {error}")))?;
    Ok(bytes)
}

/// A secret as it is made and stored.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Made {
    /// The secret itself, or the private half.
    pub(super) value: String,
    /// The half that anybody may see.
    pub(super) public: Option<String>,
}

impl Made {
    pub(super) fn text(value: String) -> Self {
        Self { value, public: None }
    }
}

/// `[a-z0-9]{6}.[a-z0-9]{16}`
pub(super) fn kubeadm_token() -> Result<String> {
    const LOWER: &[u8] = b"abcdefghijklmnopqrstuvwxyz0123456789";
    Ok(format!("{}.{}", letters(LOWER, 6)?, letters(LOWER, 16)?))
}

/// 32 letters and digits.
pub(super) fn password() -> Result<String> {
    letters(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789", 32)
}

/// 32 bytes as 64 hexadecimal digits.
pub(super) fn seed() -> Result<String> {
    random::<32>().map(|bytes| hex(&bytes))
}

/// A new ed25519 key.
pub(super) fn ssh_host_key(hostname: &str) -> Result<SshHostKey> {
    let keypair = Ed25519Keypair::from_seed(&random()?);
    let encoded = PrivateKey::new(keypair.into(), hostname).and_then(|key| {
        let private = key.to_openssh(ssh_key::LineEnding::LF)?.as_str().to_owned();
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

/// Hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from_digit(nibble.into(), 16).expect("below 16");
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

/// Bytes of exactly `N` pairs of hexadecimal digits.
pub(super) fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
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

/// Today in UTC.
pub(crate) fn today() -> String {
    date(days_since_1970())
}

/// Today's number in UTC: 1970-01-01 is 0.
pub(super) fn days_since_1970() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs() / 86_400
}

/// `2026-11-21` of a day's number.
pub(crate) fn date(days: u64) -> String {
    let (year, month, day) = civil(days);
    format!("{year:04}-{month:02}-{day:02}")
}

/// How many days ago a date was; `None` when it is none, or to come.
pub(super) fn days_since(text: &str) -> Option<u64> {
    let today = days_since_1970();
    // A century is more than any store's age.
    (0..36_525).find(|ago| today.checked_sub(*ago).is_some_and(|day| date(day) == text))
}

/// Year, month and day so many days after 1970-01-01: Howard Hinnant's `civil_from_days`.
/// Source: <https://howardhinnant.github.io/date_algorithms.html>.
pub(super) fn civil(days: u64) -> (i32, u8, u8) {
    let days = days + 719_468;
    let era = days / 146_097;
    let day_of_era = days % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let small = |number: u64| u8::try_from(number).expect("months and days are small");
    (i32::try_from(year).expect("not that far away"), small(month), small(day))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_become_dates() {
        assert_eq!(date(0), "1970-01-01");
        assert_eq!(date(11_016), "2000-02-29");
        assert_eq!(date(20_778), "2026-11-21");
    }

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
