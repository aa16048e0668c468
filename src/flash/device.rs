//! A device as a user recognises it, and who uses it.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::Serialize;

/// A whole block device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Device {
    /// Its node: `/dev/sda`.
    pub path: PathBuf,
    /// Who made it, where it says so.
    pub vendor: Option<String>,
    /// What it is called by its maker.
    pub model: Option<String>,
    /// Its serial number.
    pub serial: Option<String>,
    /// Its size in bytes.
    pub size: u64,
    /// The unit in which its partition table counts, in bytes.
    pub sector_size: u32,
    /// Whether the medium can be taken out.
    pub removable: bool,
    /// How it is attached.
    pub transport: Transport,
    /// Whether it refuses to be written.
    pub read_only: bool,
    /// Everything that is made of it at the moment.
    pub uses: Vec<Use>,
}

/// How a device is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// A stick, or a card in a reader.
    Usb,
    /// `NVMe`.
    Nvme,
    /// A card in a slot of its own, or soldered on.
    Mmc,
    /// SATA or PATA.
    Sata,
    /// A virtual machine's.
    Virtio,
    /// A file that looks like a device.
    Loop,
    /// Anything else.
    Other,
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Usb => "usb",
            Self::Nvme => "nvme",
            Self::Mmc => "mmc",
            Self::Sata => "sata",
            Self::Virtio => "virtio",
            Self::Loop => "loop",
            Self::Other => "other",
        })
    }
}

/// Something that a device, or a partition of it, is used for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Use {
    /// The node that is used: the device's own, or a partition's.
    pub node: PathBuf,
    /// What for.
    pub purpose: Purpose,
}

/// What a device is used for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Purpose {
    /// A file system of it is mounted here.
    Mounted(#[serde(serialize_with = "lossy")] PathBuf),
    /// The kernel swaps to it.
    Swap,
    /// Another device is made of it: LVM, encryption, RAID, a loop device. Its name.
    Held(String),
}

/// JSON holds Unicode only; a mount point may be any bytes.
fn lossy<S: serde::Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&path.display())
}

impl fmt::Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mounted(at) => write!(f, "{}", at.display()),
            Self::Swap => f.write_str("swap"),
            Self::Held(by) => f.write_str(by),
        }
    }
}

impl Device {
    /// Whether both are the same, as far as can be told.
    pub fn is(&self, other: &Self) -> bool {
        let identity = |it: &Self| (it.name(), it.serial.clone(), it.size, it.sector_size);
        identity(self) == identity(other)
    }

    /// Maker and model in one: `SanDisk Ultra`. Empty when it tells neither.
    pub fn name(&self) -> String {
        let words = [self.vendor.as_deref(), self.model.as_deref()];
        words.into_iter().flatten().collect::<Vec<_>>().join(" ")
    }
}
