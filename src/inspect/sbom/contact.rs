//! Who a package comes from, as SPDX writes it.

/// `Organization: Debian Perl Group (pkg-perl@example.org)`: the maintainer distributes the package.
/// `None` when the field is not `NAME <ADDRESS>`.
pub(super) fn supplier(maintainer: &str) -> Option<String> {
    let (name, address) = maintainer.split_once('<')?;
    let (name, address) = (name.trim().trim_matches('"'), address.strip_suffix('>')?);
    let is_sound = !name.is_empty() && !name.contains(['(', ')']) && address.contains('@');
    is_sound.then(|| format!("Organization: {name} ({address})"))
}

/// Whether a homepage is an address that SPDX takes.
pub(super) fn is_address(homepage: &str) -> bool {
    let rest = homepage.strip_prefix("https://").or_else(|| homepage.strip_prefix("http://"));
    rest.is_some_and(|rest| rest.contains('.') && rest.bytes().all(is_plain))
}

/// Whether a byte may stand in an address as it is.
fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~/:?#=&%+@".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_spdx_takes_is_passed_on() {
        let niko = supplier("Niko Tyni <ntyni@debian.org>");
        assert_eq!(niko.as_deref(), Some("Organization: Niko Tyni (ntyni@debian.org)"));
        assert_eq!(supplier("Somebody (really) <a@b>"), None);
        assert_eq!(supplier(""), None);
        assert!(is_address("http://dev.perl.org/perl5/"));
        assert!(!is_address("ask me"));
    }
}
