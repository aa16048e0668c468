//! Block devices in sysfs (the kernel's Documentation/ABI/stable/sysfs-block).

use std::path::{Path, PathBuf};
use std::{fs, io};

use super::device::Transport;
use super::mounts::parse_number;

/// A block device, whole or a partition.
pub(super) struct Block {
    /// The kernel's name: `sda1`.
    pub(super) name: String,
    /// Major and minor number.
    pub(super) number: (u32, u32),
    /// The disk that a partition is on.
    pub(super) parent: Option<String>,
    /// Names of the devices made of it.
    pub(super) holders: Vec<String>,
    /// What users call it: a device-mapper device has a name of its own.
    pub(super) title: String,
    /// The file or device behind a loop device.
    pub(super) backing: Option<PathBuf>,
    /// The kind of a mounted file system with several devices, of which this is one.
    pub(super) member_of: Option<String>,
    folder: PathBuf,
}

/// What a whole device says of itself.
pub(super) struct Facts {
    pub(super) vendor: Option<String>,
    pub(super) model: Option<String>,
    pub(super) serial: Option<String>,
    pub(super) size: u64,
    pub(super) sector_size: u32,
    pub(super) removable: bool,
    pub(super) transport: Transport,
    pub(super) read_only: bool,
}

/// The node of a kernel name; `!` stands for the slash that no file name can have.
pub(super) fn node(name: &str) -> PathBuf {
    Path::new("/dev").join(name.replace('!', "/"))
}

/// All block devices below `sys`, by name.
pub(super) fn blocks(sys: &Path) -> io::Result<Vec<Block>> {
    let members = btrfs_members(sys);
    let mut blocks = Vec::new();
    for name in names(&sys.join("block"))? {
        let folder = sys.join("block").join(&name);
        for part in names(&folder)? {
            let folder = folder.join(&part);
            if folder.join("partition").exists() {
                blocks.extend(block(part, folder, Some(name.clone()), &members));
            }
        }
        blocks.extend(block(name, folder, None, &members));
    }
    blocks.sort_by(|a, b| a.name.len().cmp(&b.name.len()).then_with(|| a.name.cmp(&b.name)));
    Ok(blocks)
}

/// `None` for one that goes away while we look.
fn block(
    name: String,
    folder: PathBuf,
    parent: Option<String>,
    btrfs_members: &[String],
) -> Option<Block> {
    let number = parse_number(&text(&folder.join("dev"))?)?;
    let holders = names(&folder.join("holders")).unwrap_or_default();
    let title = text(&folder.join("dm/name")).unwrap_or_else(|| name.clone());
    let backing = text(&folder.join("loop/backing_file")).map(PathBuf::from);
    let member_of = btrfs_members.contains(&name).then(|| "btrfs".to_owned());
    Some(Block { name, number, parent, holders, title, backing, member_of, folder })
}

/// Mounts show one device of a Btrfs only.
fn btrfs_members(sys: &Path) -> Vec<String> {
    let folder = sys.join("fs/btrfs");
    let file_systems = names(&folder).unwrap_or_default();
    let devices = |id: &String| names(&folder.join(id).join("devices")).unwrap_or_default();
    file_systems.iter().flat_map(devices).collect()
}

fn names(folder: &Path) -> io::Result<Vec<String>> {
    fs::read_dir(folder)?
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect()
}

/// A file's text without blanks around it; `None` when it has none.
fn text(path: &Path) -> Option<String> {
    let bytes = fs::read(path).ok()?;
    let text = String::from_utf8_lossy(&bytes).trim_matches(['\0', ' ', '\n']).to_owned();
    (!text.is_empty()).then_some(text)
}

impl Block {
    /// Where its node is.
    pub(super) fn node(&self) -> PathBuf {
        node(&self.name)
    }

    /// Whether an image could be meant for it: a disk with a medium in it, no memory, no drive that
    /// only reads, nothing made of other devices.
    pub(super) fn is_candidate(&self) -> bool {
        const NEVER: [&str; 8] = ["ram", "zram", "dm-", "md", "sr", "fd", "mtd", "nbd"];
        let flag = |name: &str| text(&self.folder.join(name)).is_some_and(|it| it == "1");
        let boot_area = self.name.starts_with("mmcblk") && self.name.contains("boot");
        // A loop device is asked for by who makes it; those that only read are packages.
        let package = self.name.starts_with("loop") && flag("ro");
        self.parent.is_none()
            && !NEVER.iter().any(|prefix| self.name.starts_with(prefix))
            && !flag("hidden")
            && !boot_area
            && !package
            && self.size() > 0
    }

    /// Bytes; sysfs always counts 512 of them as one.
    fn size(&self) -> u64 {
        let sectors = text(&self.folder.join("size")).and_then(|it| it.parse::<u64>().ok());
        sectors.unwrap_or(0).saturating_mul(512)
    }

    /// What it says of itself.
    pub(super) fn facts(&self) -> Facts {
        let read = |name: &str| text(&self.folder.join(name));
        let number = |name: &str| read(name).and_then(|it| it.parse::<u32>().ok());
        let transport = self.transport();
        // The kernel calls no slot of its own removable.
        let is_card = read("device/type").is_some_and(|it| it == "SD");
        Facts {
            // An ATA disk's vendor is "ATA", a virtual one's the number of a bus.
            vendor: read("device/vendor").filter(|it| it != "ATA" && !it.starts_with("0x")),
            model: read("device/model").or_else(|| read("device/name")),
            serial: self.serial(),
            size: self.size(),
            sector_size: number("queue/logical_block_size").unwrap_or(512),
            removable: number("removable") == Some(1) || is_card,
            transport,
            read_only: number("ro") == Some(1),
        }
    }

    fn serial(&self) -> Option<String> {
        let scsi = || {
            // Page 80h of the vital product data: four bytes of header, then text.
            let page = fs::read(self.folder.join("device/vpd_pg80")).ok()?;
            let text = String::from_utf8_lossy(page.get(4..)?).trim().to_owned();
            (!text.is_empty()).then_some(text)
        };
        text(&self.folder.join("device/serial"))
            .or_else(|| text(&self.folder.join("serial")))
            .or_else(|| self.usb_serial())
            .or_else(scsi)
    }

    /// The number on a stick or reader: its USB device is some folders up.
    fn usb_serial(&self) -> Option<String> {
        let path = fs::canonicalize(&self.folder).ok()?;
        let device = path.ancestors().find(|it| it.join("idVendor").exists())?;
        text(&device.join("serial"))
    }

    fn transport(&self) -> Transport {
        let path = fs::canonicalize(&self.folder).unwrap_or_default();
        let passes = |bus: &str| {
            path.components().any(|it| {
                let rest = it.as_os_str().to_str().and_then(|it| it.strip_prefix(bus));
                rest.is_some_and(|it| it.starts_with(|c: char| c.is_ascii_digit()))
            })
        };
        match () {
            () if self.name.starts_with("loop") => Transport::Loop,
            () if self.name.starts_with("nvme") => Transport::Nvme,
            () if self.name.starts_with("mmcblk") => Transport::Mmc,
            () if passes("usb") => Transport::Usb,
            () if passes("ata") => Transport::Sata,
            () if passes("virtio") => Transport::Virtio,
            () => Transport::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// A card reader on USB, as sysfs shows it.
    fn stick(sys: &Path) {
        let usb = "devices/pci0000:00/0000:00:14.0/usb2/2-1";
        let block = format!("{usb}/2-1:1.0/host0/target0:0:0/0:0:0:0/block/sdb");
        let put = |path: &str, text: &str| {
            let path = sys.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        put(&format!("{usb}/idVendor"), "0781\n");
        put(&format!("{usb}/serial"), "4C530001230101117182\n");
        put(&format!("{block}/dev"), "8:16\n");
        put(&format!("{block}/size"), "62333952\n");
        put(&format!("{block}/ro"), "0\n");
        put(&format!("{block}/removable"), "1\n");
        put(&format!("{block}/queue/logical_block_size"), "512\n");
        put(&format!("{block}/device/vendor"), "SanDisk \n");
        put(&format!("{block}/device/model"), "Ultra           \n");
        fs::create_dir(sys.join("block")).unwrap();
        symlink(sys.join(block), sys.join("block/sdb")).unwrap();
    }

    #[test]
    fn a_stick_is_described_as_its_label_does() {
        let sys = tempfile::tempdir().unwrap();
        stick(sys.path());
        let blocks = blocks(sys.path()).unwrap();
        assert_eq!(blocks.len(), 1);
        assert!(blocks[0].is_candidate());
        assert_eq!(blocks[0].node(), Path::new("/dev/sdb"));
        let facts = blocks[0].facts();
        assert_eq!(facts.vendor.as_deref(), Some("SanDisk"));
        assert_eq!(facts.model.as_deref(), Some("Ultra"));
        assert_eq!(facts.serial.as_deref(), Some("4C530001230101117182"));
        assert_eq!(facts.size, 31_914_983_424);
        assert_eq!(facts.transport, Transport::Usb);
        assert!(facts.removable && !facts.read_only);
    }

    #[test]
    fn memory_and_empty_readers_are_no_candidates() {
        let sys = tempfile::tempdir().unwrap();
        for (name, size, ro) in [
            ("zram0", "100", "0"),
            ("dm-0", "100", "0"),
            ("sr0", "100", "0"),
            ("sdc", "0", "0"),
            ("loop7", "100", "1"),
            ("mmcblk0boot0", "100", "0"),
            ("mmcblk0", "100", "1"),
            ("loop8", "100", "0"),
            ("cciss!c0d0", "100", "0"),
        ] {
            let folder = sys.path().join("block").join(name);
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join("dev"), "1:1").unwrap();
            fs::write(folder.join("size"), size).unwrap();
            fs::write(folder.join("ro"), ro).unwrap();
        }
        let blocks = blocks(sys.path()).unwrap();
        let candidates = blocks.iter().filter(|it| it.is_candidate());
        let nodes: Vec<_> = candidates.map(|it| it.node().display().to_string()).collect();
        assert_eq!(nodes, ["/dev/loop8", "/dev/mmcblk0", "/dev/cciss/c0d0"]);
    }
}
