//! Checked types of a cluster: base, access, machines, output and nodes.
//! What holds one of these need not check it again.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::file_types::ExtraFile;
use super::formats::FormatRule;
use super::kubelet::Taint;
use super::words::words;
use crate::util::error::{Error, Result};
use crate::util::sha256::Sha256;

/// Where the base comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Base {
    /// A name in the catalogue.
    Catalogue(String),
    /// An image on this machine.
    Path {
        /// Absolute, or relative to where the program runs.
        path: PathBuf,
        /// The nodes' processors, where somebody said so.
        arch: Option<Arch>,
    },
    /// An image elsewhere.
    Url {
        /// https, or http when a hash is pinned.
        url: String,
        /// Expected SHA-256 of the download.
        sha256: Option<Sha256>,
        /// Expected SHA-512 of the download, 128 hexadecimal digits.
        sha512: Option<String>,
        /// A detached `OpenPGP` signature.
        signature: Option<String>,
        /// The key it must be made by.
        key: Option<String>,
        /// The nodes' processors, where somebody said so.
        arch: Option<Arch>,
    },
    /// Made from Debian's packages.
    Bootstrap(Bootstrap),
}

/// A base made from Debian's packages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bootstrap {
    /// `trixie`.
    pub suite: String,
    /// The nodes' processors.
    pub arch: Arch,
    /// How the disk is partitioned and booted.
    pub layout: Layout,
    /// A Debian mirror; `None` is what mmdebstrap picks by itself.
    pub mirror: Option<String>,
}

/// A processor architecture under Debian's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Arch {
    /// 64-bit PC.
    Amd64,
    /// 64-bit ARM.
    Arm64,
}

words! {
    /// How a bootstrapped disk is partitioned and booted.
    pub enum Layout {
        /// GPT with an EFI system partition, as Debian's cloud images.
        Uefi = "uefi",
        /// The same with GRUB for a PC's BIOS besides: one image for either firmware.
        BiosUefi = "bios-uefi",
        /// MBR with a firmware partition, as Raspberry Pi OS.
        RaspberryPi = "raspberry-pi",
    }
}

words! {
    /// What a node with static addresses asks DHCP for besides.
    pub enum Dhcp {
        /// Nothing.
        No = "no",
        /// An IPv4 address.
        Ipv4 = "ipv4",
        /// An IPv6 address.
        Ipv6 = "ipv6",
    }
}

impl Layout {
    /// Whether it has a GPT with an EFI system partition.
    pub fn has_esp(self) -> bool {
        match self {
            Self::Uefi | Self::BiosUefi => true,
            Self::RaspberryPi => false,
        }
    }
}

/// Who logs in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    /// Login name.
    pub user: String,
    /// Lines for `authorized_keys`, read and checked.
    pub ssh_authorized_keys: Vec<String>,
    /// crypt(3) hash.
    pub password_hash: Option<String>,
    /// Whether sudo asks for no password.
    pub passwordless_sudo: bool,
    /// Whether somebody is meant to log in.
    pub login: bool,
    /// The files that keys and hash were read from.
    pub sources: Vec<PathBuf>,
}

impl Access {
    /// Whether no user can log in, and somebody is meant to.
    pub fn is_closed(&self) -> bool {
        self.login && self.ssh_authorized_keys.is_empty() && self.password_hash.is_none()
    }

    /// `Input` where nobody could log in to what is to be built.
    pub fn require_login(&self) -> Result<()> {
        if !self.is_closed() {
            return Ok(());
        }
        Err(Error::input("nobody could log in: [access] has neither SSH keys nor a password")
            .hint("name your key: `ssh_authorized_keys = [\"~/.ssh/id_ed25519.pub\"]`")
            .hint("nodes that nobody is to log in to have `login = false` there"))
    }
}

/// Where SSH host keys are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostKeys {
    /// By the build, so that `known_hosts` can be written.
    Build,
    /// By the node.
    FirstBoot,
}

/// A keyboard, as XKB names it: `us(intl)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keyboard {
    /// `us`
    pub layout: String,
    /// `intl`
    pub variant: Option<String>,
}

/// Time zone, keyboard and language; `None` keeps the base's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Locale {
    /// `Europe/Berlin`.
    pub timezone: Option<String>,
    /// XKB layout: `de`.
    pub keyboard: Option<Keyboard>,
    /// `C.UTF-8`.
    pub locale: Option<String>,
}

/// The virtual machines of the formats `vmwarevm` and `ova`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vm {
    /// Memory in MiB, a multiple of 4 as VMware asks.
    pub memory: u32,
    /// Virtual processors.
    pub cpus: u32,
    /// What its network card is plugged into.
    pub network: VmNetwork,
    /// VMware's virtual hardware version: 20 is Fusion 13.
    pub hardware_version: u32,
}

impl Default for Vm {
    fn default() -> Self {
        Self { memory: 2048, cpus: 2, network: VmNetwork::Nat, hardware_version: 20 }
    }
}

/// What a virtual machine's network card is plugged into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VmNetwork {
    /// The machines share the Mac's address.
    Nat,
    /// The machines are in the Mac's own network.
    Bridged,
    /// The machines see each other and the Mac only.
    HostOnly,
    /// A network of the user's own, by its number: 2 is `vmnet2`.
    Custom(u8),
}

/// `nat`, `bridged`, `hostonly` or `vmnet2`, as in the cluster file.
impl fmt::Display for VmNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nat => f.write_str("nat"),
            Self::Bridged => f.write_str("bridged"),
            Self::HostOnly => f.write_str("hostonly"),
            Self::Custom(number) => write!(f, "vmnet{number}"),
        }
    }
}

/// What is left in the output folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// The folder, absolute or from the cluster file's.
    pub directory: PathBuf,
    /// The folder of the file that names it, which no link may lead out of. `None` where the command
    /// line or the environment names it.
    pub kept_in: Option<PathBuf>,
    /// Names of formats, in the order of the file, none twice.
    pub formats: Vec<&'static str>,
    /// The variant of each format that has a choice and was given one, by the format's name.
    pub variants: BTreeMap<&'static str, &'static str>,
    /// The formats there are.
    pub known: &'static [FormatRule],
}

impl Base {
    /// What it is called, or where it is.
    pub fn name(&self) -> String {
        match self {
            Self::Catalogue(name) => name.clone(),
            Self::Path { path, .. } => path.display().to_string(),
            Self::Url { url, .. } => url.clone(),
            Self::Bootstrap(bootstrap) => bootstrap.suite.clone(),
        }
    }

    /// The processors it runs on, as far as its description tells.
    pub fn arch(&self) -> Option<Arch> {
        match self {
            Self::Bootstrap(bootstrap) => Some(bootstrap.arch),
            // Names of the catalogue have it as one of their parts, a release may follow.
            Self::Catalogue(name) => [Arch::Amd64, Arch::Arm64]
                .into_iter()
                .find(|arch| name.split(['-', '@']).any(|part| part == arch.name())),
            Self::Path { arch, .. } | Self::Url { arch, .. } => *arch,
        }
    }
}

impl Arch {
    /// This program's own.
    pub const HOST: Self = if cfg!(target_arch = "aarch64") { Self::Arm64 } else { Self::Amd64 };

    /// Debian's name for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
        }
    }
}

/// One machine of the cluster.
#[derive(Clone, Debug)]
pub struct Node {
    /// A DNS label.
    pub hostname: String,
    /// The role's name.
    pub role: String,
    /// Whether the cluster file gave the role, rather than the host name.
    pub role_is_explicit: bool,
    /// Whether it forms the cluster that others join.
    pub is_first: bool,
    /// Static addresses with their prefix; none means DHCP and router advertisements.
    pub addresses: Vec<IpNet>,
    /// Default routers.
    pub gateway: Vec<IpAddr>,
    /// What it asks DHCP for, where it has static addresses.
    pub dhcp: Dhcp,
    /// Name servers.
    pub dns: Vec<IpAddr>,
    /// The wired card that has the addresses, by its name or its MAC address; every wired card without.
    pub interface: Option<String>,
    /// Labels with which its kubelet registers it.
    pub labels: BTreeMap<String, String>,
    /// Taints with which its kubelet registers it.
    pub taints: Vec<Taint>,
    /// Words of the kernel's command line.
    pub cmdline: Vec<String>,
    /// Lines of the Raspberry Pi's config.txt.
    pub config_txt: Vec<String>,
    /// Packages that its disk has beside the profile's: `lvm2`, `lvm2=2.03.31-2`. Sorted, none twice.
    pub packages: Vec<String>,
    /// Extra files of this node alone.
    pub files: Vec<ExtraFile>,
}
