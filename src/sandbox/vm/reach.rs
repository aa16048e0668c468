//! From where addresses of the internet protocol can be reached.

use std::net::IpAddr;

/// From where an address can be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AddressReach {
    Here,
    Link,
    /// Also what no single machine has.
    Private,
    Internet,
}

impl AddressReach {
    /// Source: IANA's registries of special-purpose addresses (RFC 6890).
    pub(super) fn of(ip: IpAddr) -> Self {
        match ip.to_canonical() {
            ip if ip.is_loopback() || ip.is_unspecified() => Self::Here,
            IpAddr::V4(v4) => match v4.octets() {
                [0, ..] => Self::Here,
                [169, 254, ..] => Self::Link,
                [10 | 224..=255, ..]
                | [100, 64..=127, ..]
                | [172, 16..=31, ..]
                | [192, 0, 0, _]
                | [192, 168, ..]
                | [198, 18..=19, ..] => Self::Private,
                _ => Self::Internet,
            },
            IpAddr::V6(v6) => match v6.segments() {
                // An IPv4 address behind a translator (RFC 6052).
                [0x64, 0xff9b, 0, 0, 0, 0, ..] => {
                    let [.., a, b, c, d] = v6.octets();
                    Self::of(IpAddr::from([a, b, c, d]))
                }
                [0xfe80..=0xfebf, ..] => Self::Link,
                [0xfc00..=0xfdff | 0xfec0..=0xfeff | 0xff00..=0xffff, ..]
                | [0x64, 0xff9b, 1, ..]
                | [0, 0, 0, 0, 0, 0, ..] => Self::Private,
                _ => Self::Internet,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_told_apart() {
        let all = [
            (
                AddressReach::Here,
                "127.0.0.53 ::1 0.0.0.0 0.1.2.3 :: ::ffff:127.0.0.2 ::ffff:0.0.0.0",
            ),
            (AddressReach::Here, "64:ff9b::127.0.0.1"),
            (AddressReach::Link, "169.254.169.254 fe80::1 febf::1 ::ffff:169.254.169.254"),
            (AddressReach::Link, "64:ff9b::169.254.169.254"),
            (
                AddressReach::Private,
                "10.0.0.1 172.16.0.1 172.31.255.255 192.168.1.1 100.100.100.200",
            ),
            (AddressReach::Private, "fd00:ec2::254 fec0::1 ff02::1 224.0.0.1 255.255.255.255"),
            (AddressReach::Private, "::ffff:10.0.0.1 64:ff9b:1::1 ::2"),
            (
                AddressReach::Internet,
                "151.101.2.132 172.32.0.1 100.128.0.1 2a04:4e42::644 ::ffff:8.8.8.8",
            ),
        ];
        for (reach, texts) in all {
            for text in texts.split(' ') {
                assert_eq!(AddressReach::of(text.parse().unwrap()), reach, "{text}");
            }
        }
    }
}
