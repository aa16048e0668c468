//! What templates see.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use ipnet::{IpNet, Ipv4Subnets, Ipv6Subnets};
use minijinja::value::{Enumerator, Object};
use minijinja::{Error, ErrorKind, State, Value};

use crate::config::{Base, Cluster, Node, Setting, Taint};

pub(super) const NODE_KEYS: [&str; 10] = [
    "hostname",
    "role",
    "is_first",
    "addresses",
    "gateway",
    "dns",
    "dhcp",
    "interface",
    "labels",
    "taints",
];
pub(super) const CLUSTER_KEYS: [&str; 5] = ["name", "domain", "profile", "user", "first"];
pub(super) const BASE_KEYS: [&str; 3] = ["kind", "name", "arch"];
pub(super) const UNKNOWN_ARCH: &str = "`base.arch` is not known before the image was read";

/// Names of the secrets that a template asked for while it was rendered.
#[derive(Clone, Debug, Default)]
pub(super) struct Used {
    asked: Arc<Mutex<BTreeSet<String>>>,
    /// Whether templates get names in place of values, as [`crate::secrets::Secrets::as_names`] says.
    are_names: bool,
}

impl Used {
    pub(super) fn new(are_names: bool) -> Self {
        Self { asked: Arc::default(), are_names }
    }

    pub(super) fn are_names(&self) -> bool {
        self.are_names
    }

    /// What a template gets for a secret: its value, or `<secret NAME>`.
    pub(super) fn value(&self, name: &str, value: impl FnOnce() -> Value) -> Value {
        if self.are_names { Value::from(format!("<secret {name}>")) } else { value() }
    }

    pub(super) fn clear(&self) {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    pub(super) fn names(&self) -> Vec<String> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    pub(super) fn add(&self, name: &str) {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned());
    }
}

pub(super) fn cluster(cluster: &Cluster) -> Value {
    let first = cluster.nodes.iter().find(|node| node.is_first);
    let values = [
        Value::from(&cluster.name),
        Value::from(cluster.domain.as_ref()),
        Value::from(&cluster.profile.name),
        Value::from(&cluster.access.user),
        Value::from(first.map(node)),
    ];
    map(CLUSTER_KEYS, values)
}

pub(super) fn node(node: &Node) -> Value {
    let values = [
        Value::from(&node.hostname),
        Value::from(&node.role),
        Value::from(node.is_first),
        node.addresses.iter().map(|address| Value::from_object(Cidr(*address))).collect(),
        node.gateway.iter().map(ToString::to_string).collect(),
        node.dns.iter().map(ToString::to_string).collect(),
        Value::from(node.dhcp.name()),
        Value::from(node.interface.as_ref()),
        // As kubelet and k3s take them.
        node.labels.iter().map(|(key, value)| format!("{key}={value}")).collect(),
        node.taints.iter().map(taint).collect(),
    ];
    map(NODE_KEYS, values)
}

/// A taint by its parts, and as a whole: `text`.
fn taint(taint: &Taint) -> Value {
    let parts = [&taint.key, &taint.value, taint.effect, &taint.to_string()].map(Value::from);
    map(["key", "value", "effect", "text"], parts)
}

/// The base. Templates that ask for an architecture that is not known do not render.
pub(super) fn base(base: &Base, used: &Used) -> Value {
    let arch = base.arch().map(|arch| Value::from(arch.name()));
    let arch = arch.ok_or_else(|| format!("{UNKNOWN_ARCH}; {}", arch_hint(base)));
    let values = [Ok(Value::from(base_kind(base))), Ok(Value::from(base.name())), arch];
    let values = BASE_KEYS.into_iter().zip(values);
    let values = values.map(|(key, value)| (key.to_owned(), Guarded { value, is_secret: false }));
    Value::from_object(Watched { values: values.collect(), used: used.clone() })
}

/// Who says what an image is for.
pub(super) fn arch_hint(base: &Base) -> &'static str {
    match base {
        Base::Catalogue(_) => "give the image a name that contains it, like `ours-arm64`",
        Base::Path { .. } | Base::Url { .. } | Base::Bootstrap(_) => {
            "add `arch = \"arm64\"` or `arch = \"amd64\"` under [base]"
        }
    }
}

fn map<const N: usize>(keys: [&'static str; N], values: [Value; N]) -> Value {
    Value::from(keys.into_iter().zip(values).collect::<BTreeMap<_, _>>())
}

pub(super) fn settings(settings: &BTreeMap<String, Setting>, used: &Used) -> Value {
    let values = settings.iter().map(|(name, setting)| {
        let is_secret = matches!(setting, Setting::Secret(_));
        (name.clone(), Guarded { value: Ok(self::setting(setting)), is_secret })
    });
    Value::from_object(Watched { values: values.collect(), used: used.clone() })
}

fn setting(setting: &Setting) -> Value {
    match setting {
        Setting::String(text) | Setting::Host(text) | Setting::Enum(text) => Value::from(text),
        Setting::Bool(switch) => Value::from(*switch),
        Setting::Int(number) => Value::from(*number),
        Setting::Cidr(net) => Value::from_object(Cidr(*net)),
        Setting::Ip(address) => Value::from(address.to_string()),
        Setting::IpPool(first, last) => Value::from_object(Pool(*first, *last)),
        Setting::Path(path) => Value::from(path.display().to_string()),
        Setting::List(elements) => elements.iter().map(self::setting).collect(),
        Setting::Secret(text) => Value::from(text.text.as_str()),
        Setting::Absent => Value::from(()),
    }
}

/// A value that may be a secret.
#[derive(Debug)]
pub(super) struct Guarded {
    /// Or why it may not be had.
    pub(super) value: Result<Value, String>,
    /// Whether a file with it in it is secret.
    pub(super) is_secret: bool,
}

/// A map that takes note of the secrets asked for.
#[derive(Debug)]
pub(super) struct Watched {
    pub(super) values: BTreeMap<String, Guarded>,
    pub(super) used: Used,
}

impl Object for Watched {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let key = key.as_str()?;
        let guarded = self.values.get(key)?;
        if guarded.is_secret {
            self.used.add(key);
        }
        Some(match &guarded.value {
            Ok(value) if guarded.is_secret => self.used.value(key, || value.clone()),
            Ok(value) => value.clone(),
            Err(why) => Value::from(Error::new(ErrorKind::InvalidOperation, why.clone())),
        })
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Values(self.values.keys().map(Value::from).collect())
    }
}

/// A network, or an address with its network's prefix.
#[derive(Debug)]
struct Cidr(IpNet);

impl Object for Cidr {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        Some(match key.as_str()? {
            "ip" => Value::from(self.0.addr().to_string()),
            "network" => Value::from(self.0.network().to_string()),
            // What is left of the address without its network: `::11`.
            "suffix" => Value::from(suffix(self.0).to_string()),
            "prefix" => Value::from(self.0.prefix_len()),
            "netmask" => Value::from(self.0.netmask().to_string()),
            "version" => Value::from(if self.0.addr().is_ipv4() { 4 } else { 6 }),
            _ => return None,
        })
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Str(&["ip", "network", "suffix", "prefix", "netmask", "version"])
    }

    fn call_method(
        self: &Arc<Self>,
        _state: &mut State<'_, '_>,
        method: &str,
        arguments: &[Value],
    ) -> Result<Value, Error> {
        match (method, arguments) {
            ("host", [number]) => {
                let host = i64::try_from(number.clone()).ok().and_then(|it| nth_host(self.0, it));
                host.map(|address| Value::from(address.to_string())).ok_or_else(|| {
                    let message = format!("{} has no address number {number}", self.0);
                    Error::new(ErrorKind::InvalidOperation, message)
                })
            }
            ("host", _) => Err(Error::new(ErrorKind::MissingArgument, "host(n) takes one number")),
            ("low", [number]) => {
                let length = u8::try_from(number.clone()).ok();
                let low = length.and_then(|length| without_first(self.0, length));
                low.map(|net| Value::from_object(Cidr(net))).ok_or_else(|| {
                    let message = format!("{} has no {number} bits", self.0);
                    Error::new(ErrorKind::InvalidOperation, message)
                })
            }
            ("low", _) => Err(Error::new(ErrorKind::MissingArgument, "low(n) takes one number")),
            _ => Err(Error::from(ErrorKind::UnknownMethod)),
        }
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// `addresses is at(address)`: whether one of these addresses, with or without a prefix, is that one.
pub(super) fn is_at(addresses: &Value, address: &str) -> Result<bool, Error> {
    let Ok(wanted) = address.parse::<IpAddr>() else { return Ok(false) };
    for one in addresses.try_iter()? {
        let own = match one.downcast_object_ref() {
            Some(Cidr(net)) => Some(net.addr()),
            None => one.as_str().and_then(|text| text.parse().ok()),
        };
        if own == Some(wanted) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// `address is on(network)`: whether a host with this address is in that network, or in that pool.
/// An address with a prefix is in its own network and no other. Of several addresses one is enough.
pub(super) fn is_on(address: &Value, network: &Value) -> Result<bool, Error> {
    if let Some(Pool(first, last)) = network.downcast_object_ref() {
        let is_in = |address: IpAddr| {
            address.is_ipv4() == first.is_ipv4() && (*first..=*last).contains(&address)
        };
        return Ok(address.as_str().is_some_and(|text| text.parse().is_ok_and(is_in)));
    }
    let net = match network.downcast_object_ref() {
        Some(Cidr(net)) => Some(*net),
        // Of a profile itself: `on('10.0.0.0/8')`.
        None => network.as_str().and_then(|text| text.parse().ok()),
    };
    let Some(net) = net else {
        return Err(Error::new(ErrorKind::InvalidOperation, "on(…) takes a network or a pool"));
    };
    if let Some(Cidr(own)) = address.downcast_object_ref() {
        return Ok(own.trunc() == net.trunc());
    }
    if let Some(text) = address.as_str() {
        return Ok(text.parse::<IpAddr>().is_ok_and(|address| net.contains(&address)));
    }
    for one in address.try_iter()? {
        if is_on(&one, network)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// `addresses is suffix_on(network)`: whether what is left of an address without its network is in
/// that network. Of several addresses one is enough.
pub(super) fn is_suffix_on(addresses: &Value, network: &Value) -> Result<bool, Error> {
    for address in addresses.try_iter()? {
        let Some(Cidr(net)) = address.downcast_object_ref() else {
            let message = "suffix_on(…) is for addresses with a prefix, like those of a node";
            return Err(Error::new(ErrorKind::InvalidOperation, message));
        };
        if is_on(&Value::from(suffix(*net).to_string()), network)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// `address is within(pool)`: whether it is one of a range of addresses.
pub(super) fn is_within(address: &Value, pool: &Value) -> Result<bool, Error> {
    let Some(Pool(first, last)) = pool.downcast_object_ref() else {
        return Err(Error::new(ErrorKind::InvalidOperation, "within(…) takes a pool of addresses"));
    };
    let address = address.as_str().and_then(|text| text.parse::<IpAddr>().ok());
    Ok(address.is_some_and(|address| (*first..=*last).contains(&address)))
}

/// `network is around(address)`: whether the address is in the network of a node's own.
pub(super) fn is_around(network: &Value, address: &Value) -> Result<bool, Error> {
    let Some(Cidr(net)) = network.downcast_object_ref() else {
        let message = "around(…) is for networks, and for addresses with a prefix";
        return Err(Error::new(ErrorKind::InvalidOperation, message));
    };
    let address = address.as_str().and_then(|text| text.parse::<IpAddr>().ok());
    Ok(address.is_some_and(|address| net.contains(&address)))
}

/// `version is before("v1.34.2")`: compared number by number. What has no number is before nothing.
pub(super) fn is_before(version: &str, other: &str) -> bool {
    let numbers = |text: &str| -> Vec<u64> {
        let parts = text.split(|c: char| !c.is_ascii_digit());
        parts.filter_map(|part| part.parse().ok()).collect()
    };
    let version = numbers(version);
    !version.is_empty() && version < numbers(other)
}

/// A network without its first `length` bits, which are zero then.
fn without_first(net: IpNet, length: u8) -> Option<IpNet> {
    let low = suffix(IpNet::new(net.addr(), length).ok()?);
    IpNet::new(low, net.prefix_len()).ok()
}

/// An address whose network's bits are zero.
fn suffix(net: IpNet) -> IpAddr {
    match (net.addr(), net.hostmask()) {
        (IpAddr::V4(address), IpAddr::V4(mask)) => IpAddr::V4(address & mask),
        (IpAddr::V6(address), IpAddr::V6(mask)) => IpAddr::V6(address & mask),
        _ => unreachable!("an address and its mask are of one family"),
    }
}

/// The n-th address from a network's start, or from its end when negative: -1 is the last.
fn nth_host(net: IpNet, n: i64) -> Option<IpAddr> {
    let number = |address: IpAddr| match address {
        IpAddr::V4(v4) => u128::from(u32::from(v4)),
        IpAddr::V6(v6) => u128::from(v6),
    };
    let (first, last) = (number(net.network()), number(net.broadcast()));
    let magnitude = u128::from(n.unsigned_abs());
    let host =
        if n >= 0 { first.checked_add(magnitude)? } else { last.checked_sub(magnitude - 1)? };
    if !(first..=last).contains(&host) {
        return None;
    }
    Some(match net {
        IpNet::V4(_) => IpAddr::V4(u32::try_from(host).ok()?.into()),
        IpNet::V6(_) => IpAddr::V6(host.into()),
    })
}

/// A range of addresses.
#[derive(Debug)]
struct Pool(IpAddr, IpAddr);

impl Pool {
    /// The fewest networks that have these addresses and no others.
    fn networks(&self) -> Vec<IpNet> {
        match (self.0, self.1) {
            (IpAddr::V4(first), IpAddr::V4(last)) => {
                Ipv4Subnets::new(first, last, 0).map(IpNet::V4).collect()
            }
            (IpAddr::V6(first), IpAddr::V6(last)) => {
                Ipv6Subnets::new(first, last, 0).map(IpNet::V6).collect()
            }
            _ => Vec::new(),
        }
    }
}

impl Object for Pool {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        match key.as_str()? {
            "first" => Some(Value::from(self.0.to_string())),
            "last" => Some(Value::from(self.1.to_string())),
            "networks" => Some(self.networks().iter().map(ToString::to_string).collect()),
            _ => None,
        }
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Str(&["first", "last", "networks"])
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.0, self.1)
    }
}

/// What kind of base it is, in a word.
fn base_kind(base: &Base) -> &'static str {
    match base {
        Base::Catalogue(_) => "image",
        Base::Path { .. } => "path",
        Base::Url { .. } => "url",
        Base::Bootstrap(_) => "bootstrap",
    }
}
