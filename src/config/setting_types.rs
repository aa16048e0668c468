//! Checked types of settings.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

use ipnet::IpNet;
use zeroize::Zeroizing;

use super::words::words;

/// A setting's value.
#[derive(Clone, Debug, PartialEq)]
pub enum Setting {
    /// Text.
    String(String),
    /// A switch.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A network.
    Cidr(IpNet),
    /// An address.
    Ip(IpAddr),
    /// A range of addresses, both ends included.
    IpPool(IpAddr, IpAddr),
    /// A DNS name, an address, or `*.` and a DNS name.
    Host(String),
    /// A file or folder on the building machine.
    Path(PathBuf),
    /// One of the profile's choices.
    Enum(String),
    /// Several values of one type.
    List(Vec<Setting>),
    /// A value that no log and no world-readable file may hold.
    Secret(SecretText),
    /// An optional setting that the cluster file does not give: `none` in templates.
    Absent,
}

impl Setting {
    /// The network that it is; `None` for all other types.
    pub fn network(&self) -> Option<&IpNet> {
        match self {
            Self::Cidr(net) => Some(net),
            Self::String(_)
            | Self::Bool(_)
            | Self::Int(_)
            | Self::Ip(_)
            | Self::IpPool(..)
            | Self::Host(_)
            | Self::Path(_)
            | Self::Enum(_)
            | Self::List(_)
            | Self::Secret(_)
            | Self::Absent => None,
        }
    }
}

/// Text that never reaches a log through a `{:?}`.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretText {
    /// The secret itself; wiped when it is dropped.
    pub text: Zeroizing<String>,
    /// The file that it was read from; `None` from the environment.
    pub file: Option<PathBuf>,
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretText(…)")
    }
}

words! {
    /// A type of setting, as a profile names it.
    pub enum SettingKind {
        /// Text.
        String = "string",
        /// A switch.
        Bool = "bool",
        /// A whole number.
        Int = "int",
        /// A network.
        Cidr = "cidr",
        /// An address.
        Ip = "ip",
        /// A range of addresses.
        IpPool = "ip-pool",
        /// A DNS name or an address.
        Host = "host",
        /// A DNS name, or `*.` and one: all names below it.
        HostPattern = "host-pattern",
        /// A file or folder on the building machine.
        Path = "path",
        /// A value that no log and no world-readable file may hold.
        Secret = "secret",
        /// One of the profile's choices.
        Enum = "enum",
        /// Several values of one type.
        List = "list",
    }
}

/// A type of setting, with the choices of an `enum`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SettingType {
    /// `string`
    String,
    /// `bool`
    Bool,
    /// `int`
    Int,
    /// `cidr`
    Cidr,
    /// `ip`
    Ip,
    /// `ip-pool`
    IpPool,
    /// `host`
    Host,
    /// `host-pattern`
    HostPattern,
    /// `path`
    Path,
    /// `secret`
    Secret,
    /// `enum`, with the values it may have
    Enum(Vec<String>),
    /// `list`, with the type of its elements
    List(Box<SettingType>),
}

impl SettingType {
    /// What a profile calls it.
    pub fn kind(&self) -> SettingKind {
        match self {
            Self::String => SettingKind::String,
            Self::Bool => SettingKind::Bool,
            Self::Int => SettingKind::Int,
            Self::Cidr => SettingKind::Cidr,
            Self::Ip => SettingKind::Ip,
            Self::IpPool => SettingKind::IpPool,
            Self::Host => SettingKind::Host,
            Self::HostPattern => SettingKind::HostPattern,
            Self::Path => SettingKind::Path,
            Self::Secret => SettingKind::Secret,
            Self::Enum(_) => SettingKind::Enum,
            Self::List(_) => SettingKind::List,
        }
    }
}

/// `string`, an enum's choices: `bgp|l2`, or `list of host`.
impl fmt::Display for SettingType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Enum(choices) => f.write_str(&choices.join("|")),
            Self::List(element) => write!(f, "list of {element}"),
            Self::String
            | Self::Bool
            | Self::Int
            | Self::Cidr
            | Self::Ip
            | Self::IpPool
            | Self::Host
            | Self::HostPattern
            | Self::Path
            | Self::Secret => f.write_str(self.kind().name()),
        }
    }
}

/// A setting as its profile declares it.
#[derive(Clone, Debug)]
pub struct SettingSpec {
    /// What its values are.
    pub kind: SettingType,
    /// Its value where the cluster file gives none; without one the cluster file must.
    pub default: Option<Setting>,
    /// One line.
    pub description: String,
    /// Whether a network may share addresses with the nodes and other settings' networks.
    pub may_overlap: bool,
    /// The program whose version it is, as the table of versions calls it.
    pub program: Option<String>,
}
