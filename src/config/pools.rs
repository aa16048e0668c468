//! Pools of addresses: in the networks of the nodes, and used by nothing else.

use super::check::Settings;
use super::node::PlacedNode;
use super::reader::Span;
use super::setting_types::Setting;
use crate::util::error::Problem;

/// Nodes answer for the addresses of a pool, so it is in a network of theirs; and nothing else has
/// them: no node, no router, no other network of the settings.
pub(super) fn check(settings: &Settings<'_>, nodes: &[PlacedNode]) {
    let reader = settings.reader;
    for (name, setting) in settings.apart() {
        let Setting::IpPool(first, last) = setting else { continue };
        let pool = *first..=*last;
        let refuse = |message: &str, other: Option<(&Span, String)>, hint: &str| {
            let mut problem = Problem::new(format!("`{name}` {first}-{last} {message}"));
            if let Some((span, note)) = other {
                problem = problem.also_at(&reader.source, span.clone(), note);
            }
            reader.report(settings.point(problem, name).hint(hint));
        };
        // Addresses of one family stand in order, and apart from those of the other.
        let shared = settings.apart().find_map(|(other, setting)| {
            let net = setting.network()?;
            let is_shared = net.network() <= *last && *first <= net.broadcast();
            is_shared.then(|| format!("overlaps `{other}` {net}"))
        });
        if let Some(message) = shared {
            refuse(&message, None, "services of the LAN need addresses of the LAN");
            continue;
        }
        let other =
            settings.apart().take_while(|(other, _)| *other != name).find_map(|(other, it)| {
                let Setting::IpPool(start, end) = it else { return None };
                (start <= last && first <= end).then(|| format!("overlaps `{other}` {start}-{end}"))
            });
        if let Some(message) = other {
            refuse(&message, None, "what hands out addresses has them for itself alone");
            continue;
        }
        let taken = nodes.iter().find_map(|placed| {
            let node = &placed.node;
            let mut own = node.addresses.iter().zip(&placed.addresses);
            let own = own.find(|(address, _)| pool.contains(&address.addr()));
            let own = own.map(|(address, span)| {
                (span, format!("`{}` is {}", node.hostname, address.addr()))
            });
            let router = || {
                let router = node.gateway.iter().find(|router| pool.contains(*router))?;
                Some((&placed.hostname, format!("{router} is the router of `{}`", node.hostname)))
            };
            own.or_else(router)
        });
        if taken.is_some() {
            let hint =
                "two machines at one address are both out of reach: leave it out of the pool";
            refuse("holds an address that is taken", taken, hint);
            continue;
        }
        // The network of a node whose addresses come from DHCP is not known.
        if nodes.iter().any(|placed| placed.node.addresses.is_empty()) {
            continue;
        }
        let mut networks = nodes.iter().flat_map(|placed| {
            let own = placed.node.addresses.iter().zip(&placed.addresses);
            own.map(move |(address, span)| (placed, address, span))
        });
        let of_family = |address: &ipnet::IpNet| address.addr().is_ipv4() == first.is_ipv4();
        let Some((placed, address, span)) =
            networks.clone().find(|(_, address, _)| of_family(address))
        else {
            continue;
        };
        if !networks.any(|(_, net, _)| net.contains(first) && net.contains(last)) {
            let note = format!("`{}` is in {}", placed.node.hostname, address.trunc());
            let hint = "nodes answer for these addresses where their neighbours ask for them";
            refuse("is in no network of the nodes", Some((span, note)), hint);
        }
    }
}
