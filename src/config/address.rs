//! Addresses and networks.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::util::error::{Error, Result};

/// A node's own address with its prefix: `192.168.1.10/24`.
pub(super) fn node_address(text: &str) -> Result<IpNet> {
    if let Ok(bare) = text.parse::<IpAddr>() {
        let prefix = if bare.is_ipv4() { 24 } else { 64 };
        return Err(Error::input(format!("`{text}` has no prefix"))
            .hint(format!("write how long its subnet's prefix is: `{text}/{prefix}`")));
    }
    let net: IpNet = text.parse().map_err(|_| no_network(text, "192.168.1.10/24"))?;
    let fault = |what: &str| Err(Error::input(format!("`{text}` {what}")));
    let single = net.prefix_len() == net.max_prefix_len();
    if net.prefix_len() == 0 {
        return fault("has the prefix 0, which is the whole internet");
    }
    if let Some(what) = special(net.addr()) {
        return fault(what);
    }
    // A point-to-point /31 has neither (RFC 3021).
    if net.addr().is_ipv4() && !single && net.prefix_len() != 31 {
        if net.addr() == net.network() {
            return fault("is the subnet itself, not an address in it");
        }
        if net.addr() == net.broadcast() {
            return fault("is the subnet's broadcast address");
        }
    }
    Ok(net)
}

/// A machine's address of either family, as examples show it.
pub(super) const A_HOST: &str = "192.168.1.1` or `fd00::1";
/// A network, likewise.
pub(super) const A_NETWORK: &str = "10.244.0.0/16";
/// A range of addresses, likewise.
pub(super) const A_POOL: &str = "192.168.1.240-192.168.1.250` or `192.168.1.240/28";

/// A router's or a server's address; `example` is one that may stand there.
pub(super) fn host_address(text: &str, example: &str) -> Result<IpAddr> {
    let address: IpAddr = text.parse().map_err(|_| {
        let error = Error::input(format!("`{text}` is not an IP address"));
        match text.split_once('/') {
            Some((bare, _)) if bare.parse::<IpAddr>().is_ok() => {
                error.hint(format!("without the prefix: `{bare}`"))
            }
            _ => error.hint(format!("for example `{example}`")),
        }
    })?;
    match special(address) {
        Some(what) if !address.is_loopback() => Err(Error::input(format!("`{text}` {what}"))),
        _ => Ok(address),
    }
}

/// A network: no bits set behind its prefix; `example` is one that may stand there.
pub(super) fn network(text: &str, example: &str) -> Result<IpNet> {
    let net: IpNet = text.parse().map_err(|_| no_network(text, example))?;
    if net.trunc() != net {
        return Err(Error::input(format!("`{text}` has bits set after its prefix"))
            .hint(format!("the network is `{}`", net.trunc())));
    }
    Ok(net)
}

/// First and last address of `10.0.0.1-10.0.0.9`, or of a network; `example` is one that may stand
/// there.
pub(super) fn pool(text: &str, example: &str) -> Result<(IpAddr, IpAddr)> {
    if text.contains('/') {
        let net = network(text, A_NETWORK)?;
        return Ok((net.network(), net.broadcast()));
    }
    let fault = || {
        Error::input(format!("`{text}` is not a range of addresses"))
            .hint(format!("for example `{example}`"))
    };
    let (first, last) = text.split_once('-').ok_or_else(fault)?;
    let parse = |text: &str| text.trim().parse::<IpAddr>().map_err(|_| fault());
    let (first, last) = (parse(first)?, parse(last)?);
    if first.is_ipv4() != last.is_ipv4() {
        return Err(Error::input(format!("`{text}` mixes IPv4 and IPv6")));
    }
    if first > last {
        return Err(Error::input(format!("`{text}` runs backwards"))
            .hint(format!("write `{last}-{first}`")));
    }
    Ok((first, last))
}

/// Whether two networks share an address.
pub(super) fn overlap(one: &IpNet, other: &IpNet) -> bool {
    one.contains(&other.network()) || other.contains(&one.network())
}

fn no_network(text: &str, example: &str) -> Error {
    let error = Error::input(format!("`{text}` is not an address with a prefix"));
    match text.split_once('/') {
        Some((address, prefix)) if address.parse::<IpAddr>().is_ok() => {
            let most = if address.contains(':') { 128 } else { 32 };
            error.hint(format!("`{prefix}` must be a number from 0 to {most}"))
        }
        _ => error.hint(format!("for example `{example}`")),
    }
}

/// Why no single machine can be reached at this address.
fn special(address: IpAddr) -> Option<&'static str> {
    if address.is_unspecified() {
        Some("is the unspecified address")
    } else if address.is_multicast() {
        Some("is a multicast address")
    } else if address.is_loopback() {
        Some("is a loopback address")
    } else {
        matches!(address, IpAddr::V4(v4) if v4.is_broadcast()).then_some("is the broadcast address")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_address_is_one_machines() {
        for good in ["192.168.1.10/24", "fd77::10/64", "10.0.0.0/31", "10.0.0.1/32", "fe80::1/64"] {
            assert!(node_address(good).is_ok(), "{good}");
        }
        for bad in [
            "192.168.1.0/24",
            "192.168.1.255/24",
            "192.168.1.10",
            "10.0.0.1/0",
            "10.0.0.1/33",
            "ff02::1/64",
            "127.0.0.1/8",
            "::/64",
            "x",
            "",
        ] {
            assert!(node_address(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn networks_and_pools() {
        assert!(network("10.244.64.0/18", A_NETWORK).is_ok());
        assert!(network("10.244.64.1/18", A_NETWORK).is_err());
        assert!(pool("10.0.0.1-10.0.0.9", A_POOL).is_ok());
        assert!(pool("10.0.0.9-10.0.0.1", A_POOL).is_err());
        assert!(pool("10.0.0.9-::1", A_POOL).is_err());
        assert!(pool("fd00::/112", A_POOL).is_ok());
        let net = |text: &str| network(text, A_NETWORK).unwrap_or_default();
        assert!(overlap(&net("10.0.0.0/8"), &net("10.9.0.0/16")));
        assert!(!overlap(&net("10.0.0.0/16"), &net("10.1.0.0/16")));
        assert!(!overlap(&net("10.0.0.0/8"), &net("fd00::/8")));
    }
}
