//! The one list that is printed, applied and asserted on.

use std::fmt;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use uuid::Uuid;
use zeroize::Zeroize as _;

use crate::config::Arch;
use crate::util::sha256::Sha256;

/// One change to an image, and who asked for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// What is done.
    pub action: Action,
    /// Who asked for it.
    pub origin: Requester,
    /// Files of this machine that it was made from, as users see them. Where they lie changes nothing
    /// of what is built, so no key and no digest has them.
    #[serde(skip)]
    pub sources: Vec<String>,
}

/// Who asked for a change.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Requester {
    /// nodeforge itself: identity, first boot.
    Nodeforge,
    /// The profile's own tables.
    Profile(String),
    /// A folder of files.
    Overlay(String),
    /// A role of the profile.
    Role(String),
    /// The cluster file.
    ClusterFile,
    /// What was typed.
    CommandLine,
}

/// A file's bytes, and whether they may be shown.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Content {
    /// The bytes.
    pub bytes: Vec<u8>,
    /// The names of the secrets that went into them.
    pub secrets: Vec<String>,
    /// Whether these names stand where the values would be: bytes to be shown, not to be written.
    #[serde(skip)]
    pub are_names: bool,
}

/// What a download must hash to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Checksum {
    /// Its SHA-256.
    Sha256(Sha256),
    /// Where a file of SHA-256 checksums is.
    Sha256Url(String),
    /// What came over https when it was first fetched, which the lock file pins.
    FirstUse,
}

/// Container images that are put into one file, and where they are named.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageArchive {
    /// Where the file goes.
    pub path: String,
    /// A registry that has the images of all others, under `REGISTRY/NAME`; https.
    pub mirror: Option<String>,
    /// Images that manifests name.
    pub images: Vec<NamedImage>,
    /// Charts that deploy more.
    pub charts: Vec<ChartValues>,
    /// Addresses of manifests, pinned when they are first read, whose images are wanted too.
    pub lists: Vec<String>,
    /// Images whose tags stand in texts elsewhere, pinned likewise.
    pub tags: Vec<PublishedTag>,
}

/// A container image whose tag its publisher writes somewhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublishedTag {
    /// `registry.k8s.io/etcd`.
    pub image: String,
    /// Of the text; https.
    pub url: String,
    /// A regular expression, whose first group is the tag.
    pub pattern: String,
}

/// A container image, as a manifest names it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct NamedImage {
    /// `quay.io/metallb/controller:v0.16.1`.
    pub image: String,
    /// The manifest's path on the node.
    pub by: String,
}

/// A Helm chart that is installed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChartValues {
    /// Where the image has it.
    pub path: String,
    /// Where in its values its images are named: `controller.image`.
    pub values: Vec<String>,
    /// The values it is installed with, as YAML.
    pub further: String,
}

/// Owner and group by name, or by number as digits; looked up in the image's own `/etc/passwd`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// `root`, `systemd-network`, `1000`.
    pub user: String,
    /// Likewise.
    pub group: String,
}

/// What becomes of a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum UnitState {
    /// Linked as its `[Install]` section says.
    Enabled,
    /// Those links removed.
    Disabled,
    /// Linked to `/dev/null`.
    Masked,
}

/// What becomes of a package.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PackageState {
    /// Installed, with what it depends on.
    Installed,
    /// Removed, with its configuration.
    Removed,
    /// Kept at the version it has.
    Held,
    /// Every package there is, under the name `*`, brought to its newest version; what nothing needs
    /// any more is removed.
    Upgraded,
}

/// A login user. Made when missing, changed to this when there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// Login name.
    pub name: String,
    /// Lines of `authorized_keys`.
    pub ssh_authorized_keys: Vec<String>,
    /// crypt(3) hash; `None` locks the password.
    pub password_hash: Option<String>,
    /// Whether sudo asks for no password.
    pub passwordless_sudo: bool,
}

impl Change {
    /// A change that no file of this machine went into.
    pub fn new(action: Action, origin: Requester) -> Self {
        Self { action, origin, sources: Vec::new() }
    }

    /// The package that it is about, with what becomes of it.
    #[cfg_attr(
        not(target_os = "linux"),
        expect(dead_code, reason = "packages are installed on Linux")
    )]
    pub(crate) fn package(&self) -> Option<(String, PackageState)> {
        if let Action::Package { name, state } = &self.action {
            Some((name.clone(), *state))
        } else {
            None
        }
    }

    /// Whether it takes packages from repositories.
    pub fn installs(&self) -> bool {
        matches!(
            &self.action,
            Action::Package { state: PackageState::Installed | PackageState::Upgraded, .. }
        )
    }
}

/// One thing done to an image. Paths are absolute inside it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Action {
    /// The disk, its last partition and the root file system grow to this many bytes.
    Grow {
        /// Virtual size of the disk in bytes.
        size: u64,
    },
    /// An apt source with its key.
    AptSource {
        /// File name without ending in `/etc/apt/sources.list.d`.
        name: String,
        /// deb822 text; its `Signed-By` is `/etc/apt/keyrings/NAME.asc`.
        text: String,
        /// Where its key is.
        key_url: String,
        /// The key's fingerprint, 40 hexadecimal digits; `None` trusts the first one that comes.
        fingerprint: Option<String>,
    },
    /// A package's state.
    Package {
        /// Its name.
        name: String,
        /// What becomes of it.
        state: PackageState,
    },
    /// A file from elsewhere, root's.
    Download {
        /// https, or http when its hash is given.
        url: String,
        /// What it must hash to.
        checksum: Checksum,
        /// For images of this architecture only.
        arch: Option<Arch>,
        /// Where it goes.
        path: String,
        /// Permission bits.
        mode: u32,
    },
    /// Container images in one archive, root's.
    Images(ImageArchive),
    /// A regular file.
    File {
        /// Where.
        path: String,
        /// What is in it.
        content: Content,
        /// Permission bits.
        mode: u32,
        /// Whose it is.
        owner: Owner,
    },
    /// A directory.
    Directory {
        /// Where.
        path: String,
        /// Permission bits.
        mode: u32,
        /// Whose it is.
        owner: Owner,
    },
    /// A symlink.
    Symlink {
        /// Where.
        path: String,
        /// What it points at.
        target: String,
    },
    /// A file or folder that goes, with all in it.
    Remove {
        /// Where.
        path: String,
    },
    /// A unit's state.
    Unit {
        /// With its ending: `ssh.service`.
        name: String,
        /// What becomes of it.
        state: UnitState,
    },
    /// A login user.
    User(User),
    /// A word on the kernel's command line, added where it is missing.
    KernelArgument {
        /// `cgroup_enable=memory`.
        argument: String,
    },
    /// A word taken off the Raspberry Pi's cmdline.txt.
    KernelArgumentRemoved {
        /// `init=/usr/lib/raspberrypi-sys-mods/firstboot`.
        argument: String,
    },
    /// A line of the Raspberry Pi's config.txt, added where it is missing.
    ConfigTxt {
        /// `dtparam=pciex1`.
        line: String,
    },
    /// The host name, in `/etc/hostname` and `/etc/hosts`.
    Hostname {
        /// A DNS label.
        name: String,
        /// The cluster's domain, for the long name.
        domain: Option<String>,
        /// Further names and addresses that must resolve without DNS: labels of the cluster's
        /// domain, or long names.
        hosts: Vec<(IpNet, String)>,
    },
    /// `/etc/machine-id`.
    MachineId {
        /// 32 hexadecimal digits, or `uninitialized`: the first boot makes one.
        id: String,
    },
    /// The disk's own id, from which the names of an MBR's partitions are made.
    DiskId {
        /// GPT's GUID; the id on an MBR is its first 8 digits.
        id: Uuid,
    },
    /// `/etc/locale.conf`.
    Locale {
        /// `de_DE.UTF-8`
        name: String,
    },
    /// `/etc/default/keyboard`.
    Keyboard {
        /// XKB's name of a layout: `us`.
        layout: String,
        /// XKB's name of a variant of it: `intl`.
        variant: Option<String>,
    },
    /// `/etc/localtime` and `/etc/timezone`.
    Timezone {
        /// `Europe/Berlin`.
        name: String,
    },
}

impl Owner {
    /// root:root.
    pub fn root() -> Self {
        Self { user: "root".into(), group: "root".into() }
    }
}

/// Bytes made from a secret are wiped.
impl Drop for Content {
    fn drop(&mut self) {
        if !self.secrets.is_empty() {
            self.bytes.zeroize();
        }
    }
}

impl Content {
    /// Bytes that anybody may see.
    pub fn public(bytes: impl Into<Vec<u8>>) -> Self {
        Self { bytes: bytes.into(), secrets: Vec::new(), are_names: false }
    }

    /// Bytes made from the named secret.
    pub fn secret(name: impl Into<String>, bytes: impl Into<Vec<u8>>) -> Self {
        Self { bytes: bytes.into(), secrets: vec![name.into()], are_names: false }
    }

    /// The same with the secret's name in place of its value.
    pub fn secret_name(name: &str) -> Self {
        let bytes = format!("<secret {name}>\n").into_bytes();
        Self { bytes, secrets: vec![name.to_owned()], are_names: true }
    }

    /// The bytes, if anybody may see them.
    pub fn shown(&self) -> Option<&[u8]> {
        (self.secrets.is_empty() || self.are_names).then_some(self.bytes.as_slice())
    }
}

/// Never the bytes: a secret must not reach a log through a `{:?}`.
impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Content({} bytes, secrets: {:?})", self.bytes.len(), self.secrets)
    }
}

impl fmt::Display for Requester {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nodeforge => f.write_str("nodeforge"),
            Self::Profile(name) => write!(f, "profile {name}"),
            Self::Overlay(name) => write!(f, "overlay {name}"),
            Self::Role(name) => write!(f, "role {name}"),
            Self::ClusterFile => f.write_str("cluster file"),
            Self::CommandLine => f.write_str("command line"),
        }
    }
}
