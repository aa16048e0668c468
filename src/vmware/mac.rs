//! Network addresses that stay the same from build to build.

use std::collections::BTreeSet;

use sha2::{Digest, Sha256};

/// A MAC address for each host, in order, from the cluster's and its own name; all different.
///
/// They lie in the range that VMware leaves to static addresses: 00:50:56:00:00:00 to
/// 00:50:56:3f:ff:ff.
pub(crate) fn mac_addresses<'a>(
    cluster: &str,
    hosts: impl IntoIterator<Item = &'a str>,
) -> Vec<String> {
    let mut taken = BTreeSet::new();
    hosts
        .into_iter()
        .map(|host| {
            let digest = Sha256::digest(format!("nodeforge mac\0{cluster}\0{host}"));
            let mut tail = [digest[0] & 0x3f, digest[1], digest[2]];
            // Of two that meet, the later in the file moves on.
            while !taken.insert(tail) {
                let next = (u32::from_be_bytes([0, tail[0], tail[1], tail[2]]) + 1) & 0x3f_ffff;
                tail.copy_from_slice(&next.to_be_bytes()[1..]);
            }
            format!("00:50:56:{:02x}:{:02x}:{:02x}", tail[0], tail[1], tail[2])
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_stable_static_and_distinct() {
        let names: Vec<String> = (0..5000).map(|n| format!("node{n}")).collect();
        let addresses = mac_addresses("home", names.iter().map(String::as_str));
        assert_eq!(addresses, mac_addresses("home", names.iter().map(String::as_str)));
        assert_eq!(addresses.iter().collect::<BTreeSet<_>>().len(), names.len());
        for address in &addresses {
            let fourth = u8::from_str_radix(&address[9..11], 16).expect("hexadecimal");
            assert!(address.starts_with("00:50:56:") && fourth <= 0x3f, "{address}");
        }
        assert_ne!(addresses[..1], mac_addresses("lab", ["node0"])[..]);
    }
}
