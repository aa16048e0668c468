//! Fingerprints of OpenPGP keys, as people write them.

use crate::util::error::{Error, Result};

/// A fingerprint as gpg prints it, in its canonical form: 40 (or 64) upper-case digits.
pub(crate) fn fingerprint(text: &str) -> Result<String> {
    let digits: String = text.chars().filter(|c| *c != ' ' && *c != ':').collect();
    let digits = digits.strip_prefix("0x").unwrap_or(&digits).to_ascii_uppercase();
    let is_whole = digits.len() == 40 || digits.len() == 64;
    if !is_whole || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(Error::input(format!("`{text}` is not a key's fingerprint"))
            .hint("`gpg --show-keys --with-fingerprint FILE` prints it: 40 hexadecimal digits"));
    }
    Ok(digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprints_as_people_write_them() {
        let canonical = "F4AADD86C4687D69AE04543E796C114AD12B2292";
        let spaced = "f4aa dd86 c468 7d69 ae04  543e 796c 114a d12b 2292";
        assert_eq!(fingerprint(spaced).unwrap(), canonical);
        assert_eq!(fingerprint(&format!("0x{canonical}")).unwrap(), canonical);
        assert!(fingerprint("796C114AD12B2292").is_err());
    }
}
