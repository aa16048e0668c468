//! What macOS's `diskutil` says of disks, as JSON: `plutil` makes it of the property lists.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::contents::{Contents, PartContent};
use super::device::{Device, Purpose, Transport, Use};

/// `diskutil list -plist`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct DiskList {
    all_disks_and_partitions: Vec<DiskEntry>,
}

/// A disk, a partition, or a volume of an APFS container.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DiskEntry {
    device_identifier: String,
    #[serde(default)]
    size: u64,
    #[serde(default)]
    content: String,
    #[serde(default)]
    volume_name: String,
    mount_point: Option<PathBuf>,
    #[serde(default)]
    partitions: Vec<DiskEntry>,
    /// Only containers have them: the disk is made up, these are what it is on.
    #[serde(default, rename = "APFSPhysicalStores")]
    physical_stores: Vec<PhysicalStore>,
    #[serde(default, rename = "APFSVolumes")]
    volumes: Vec<DiskEntry>,
    #[serde(default)]
    mounted_snapshots: Vec<Snapshot>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct PhysicalStore {
    device_identifier: String,
}

/// The system itself runs from one of these.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Snapshot {
    snapshot_mount_point: Option<PathBuf>,
}

/// `diskutil info -plist diskN`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Info {
    media_name: Option<String>,
    bus_protocol: Option<String>,
    device_block_size: Option<u32>,
    removable_media: Option<bool>,
    writable_media: Option<bool>,
}

impl DiskList {
    /// The identifiers of disks that are not made of others: `disk4`.
    pub(super) fn whole_disks(&self) -> impl Iterator<Item = &str> {
        let disks = self.all_disks_and_partitions.iter();
        disks.filter(|it| it.physical_stores.is_empty()).map(|it| it.device_identifier.as_str())
    }

    /// The disk with an identifier, or on which the partition with it is.
    pub(super) fn disk_of(&self, identifier: &str) -> Option<&str> {
        let holds = |disk: &&DiskEntry| {
            let parts = disk.partitions.iter().chain(&disk.volumes);
            disk.device_identifier == identifier
                || parts.into_iter().any(|it| it.device_identifier == identifier)
        };
        let disk = self.all_disks_and_partitions.iter().find(holds)?;
        Some(&disk.device_identifier)
    }

    /// A whole disk, with what `info` says of it.
    pub(super) fn device(&self, identifier: &str, info: Info) -> Option<Device> {
        let disk = self.entry(identifier)?;
        let filled = |it: Option<String>| it.filter(|it| !it.trim().is_empty());
        Some(Device {
            path: node(identifier),
            vendor: None,
            model: filled(info.media_name),
            serial: None,
            size: disk.size,
            sector_size: info.device_block_size.unwrap_or(512),
            removable: info.removable_media.unwrap_or(false),
            transport: transport(info.bus_protocol.as_deref().unwrap_or_default()),
            read_only: info.writable_media == Some(false),
            uses: self.uses(disk),
        })
    }

    /// What is mounted from a disk, and from containers on it.
    fn uses(&self, disk: &DiskEntry) -> Vec<Use> {
        let mut uses = Vec::new();
        for part in std::iter::once(disk).chain(&disk.partitions) {
            let is_on = |store: &PhysicalStore| store.device_identifier == part.device_identifier;
            let containers = self
                .all_disks_and_partitions
                .iter()
                .filter(|it| it.physical_stores.iter().any(is_on));
            let volumes = containers.flat_map(|it| &it.volumes);
            for volume in std::iter::once(part).chain(volumes) {
                let snapshots = volume
                    .mounted_snapshots
                    .iter()
                    .filter_map(|it| it.snapshot_mount_point.as_ref());
                uses.extend(volume.mount_point.iter().chain(snapshots).map(|at| Use {
                    node: node(&part.device_identifier),
                    purpose: Purpose::Mounted(at.clone()),
                }));
            }
        }
        uses
    }

    /// What a whole disk holds.
    pub(super) fn contents(&self, identifier: &str) -> Contents {
        let Some(disk) = self.entry(identifier) else { return Contents::unreadable() };
        let kind = match disk.content.as_str() {
            "" => "unknown data",
            "GUID_partition_scheme" => "GPT",
            "FDisk_partition_scheme" => "MBR",
            other => other,
        };
        let named = |it: &str| (!it.is_empty()).then(|| it.to_owned());
        let partitions = disk.partitions.iter().zip(1..).map(|(part, number)| PartContent {
            number,
            size: part.size,
            kind: named(&part.content).unwrap_or_else(|| "unknown data".to_owned()),
            label: named(&part.volume_name),
        });
        Contents {
            kind: kind.to_owned(),
            label: named(&disk.volume_name),
            partitions: partitions.collect(),
        }
    }

    fn entry(&self, identifier: &str) -> Option<&DiskEntry> {
        self.all_disks_and_partitions.iter().find(|it| it.device_identifier == identifier)
    }
}

/// The node of an identifier.
pub(super) fn node(identifier: &str) -> PathBuf {
    Path::new("/dev").join(identifier)
}

/// The identifier of a node, the raw one's too.
pub(super) fn identifier(node: &Path) -> Option<&str> {
    let name = node.strip_prefix("/dev").ok()?.to_str()?;
    let name = name.strip_prefix('r').unwrap_or(name);
    name.starts_with("disk").then_some(name)
}

fn transport(bus: &str) -> Transport {
    match bus {
        "USB" => Transport::Usb,
        "PCI-Express" | "Apple Fabric" => Transport::Nvme,
        "Secure Digital" => Transport::Mmc,
        "SATA" | "ATA" => Transport::Sata,
        "Virtual Interface" => Transport::Virtio,
        "Disk Image" => Transport::Loop,
        _ => Transport::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An Apple-silicon Mac with a card in its slot, as `diskutil list -plist` shows it, with the
    /// keys that are read.
    const LIST: &str = r#"{
        "AllDisks": ["disk0", "disk0s1", "disk0s2", "disk3", "disk3s1", "disk3s5", "disk4", "disk4s1"],
        "AllDisksAndPartitions": [
            {
                "Content": "GUID_partition_scheme", "DeviceIdentifier": "disk0",
                "OSInternal": false, "Size": 500277792768,
                "Partitions": [
                    {"Content": "Apple_APFS_ISC", "DeviceIdentifier": "disk0s1", "Size": 524288000},
                    {"Content": "Apple_APFS", "DeviceIdentifier": "disk0s2", "Size": 494384795648}
                ]
            },
            {
                "APFSPhysicalStores": [{"DeviceIdentifier": "disk0s2"}],
                "APFSVolumes": [
                    {
                        "DeviceIdentifier": "disk3s1", "VolumeName": "Macintosh HD",
                        "MountedSnapshots": [{"Sealed": "Yes", "SnapshotMountPoint": "/"}]
                    },
                    {"DeviceIdentifier": "disk3s5", "MountPoint": "/System/Volumes/Data", "VolumeName": "Data"}
                ],
                "Content": "EF57347C-0000-11AA-AA11-00306543ECAC", "DeviceIdentifier": "disk3",
                "OSInternal": false, "Partitions": [], "Size": 494384795648
            },
            {
                "Content": "FDisk_partition_scheme", "DeviceIdentifier": "disk4",
                "OSInternal": false, "Size": 31914983424,
                "Partitions": [
                    {"Content": "Windows_FAT_32", "DeviceIdentifier": "disk4s1", "Size": 536870912,
                     "MountPoint": "/Volumes/bootfs", "VolumeName": "bootfs"},
                    {"Content": "Linux", "DeviceIdentifier": "disk4s2", "Size": 31373918208}
                ]
            }
        ],
        "VolumesFromDisks": ["Macintosh HD", "bootfs"],
        "WholeDisks": ["disk0", "disk3", "disk4"]
    }"#;

    const INFO: &str = r#"{
        "BusProtocol": "Secure Digital", "DeviceBlockSize": 512, "DeviceIdentifier": "disk4",
        "Internal": true, "MediaName": "Built In SDXC Reader", "Removable": true,
        "RemovableMedia": true, "Size": 31914983424, "WholeDisk": true, "WritableMedia": true
    }"#;

    fn list() -> DiskList {
        serde_json::from_str(LIST).unwrap()
    }

    fn info() -> Info {
        serde_json::from_str(INFO).unwrap()
    }

    #[test]
    fn a_card_is_described() {
        let device = list().device("disk4", info()).unwrap();
        assert_eq!(device.path, Path::new("/dev/disk4"));
        assert_eq!(device.model.as_deref(), Some("Built In SDXC Reader"));
        assert_eq!((device.size, device.sector_size), (31_914_983_424, 512));
        assert_eq!(device.transport, Transport::Mmc);
        assert!(device.removable && !device.read_only);
        let uses: Vec<_> = device.uses.iter().map(|it| it.purpose.to_string()).collect();
        assert_eq!(uses, ["/Volumes/bootfs"]);
        let contents = list().contents("disk4");
        assert_eq!(contents.to_string(), "MBR: bootfs (Windows_FAT_32), Linux");
    }

    #[test]
    fn the_system_is_found_through_its_container() {
        let device = list().device("disk0", info()).unwrap();
        let uses: Vec<_> =
            device.uses.iter().map(|it| format!("{} {}", it.node.display(), it.purpose)).collect();
        assert_eq!(uses, ["/dev/disk0s2 /", "/dev/disk0s2 /System/Volumes/Data"]);
    }

    #[test]
    fn containers_are_no_disks_of_their_own() {
        let list = list();
        assert_eq!(list.whole_disks().collect::<Vec<_>>(), ["disk0", "disk4"]);
        assert_eq!(list.disk_of("disk4"), Some("disk4"));
        assert_eq!(list.disk_of("disk4s2"), Some("disk4"));
        assert_eq!(list.disk_of("disk3s5"), Some("disk3"));
        assert_eq!(list.disk_of("disk9"), None);
    }

    #[test]
    fn nodes_have_identifiers() {
        assert_eq!(identifier(Path::new("/dev/rdisk4")), Some("disk4"));
        assert_eq!(identifier(Path::new("/dev/disk4s1")), Some("disk4s1"));
        assert_eq!(identifier(Path::new("/dev/random")), None);
    }
}
