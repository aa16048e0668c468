//! What must not be written over.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::device::{Device, Purpose, Use};
use super::node::DeviceNode;
use crate::util::error::{Error, Result};

/// What is to be written, as far as a device may be unfit for it.
pub struct FlashRequest<'a> {
    /// The device as the user named it.
    pub name: &'a Path,
    /// The image's size in bytes.
    pub size: u64,
    /// The sectors its partition table counts, in bytes; `None` when it has none.
    pub sector_size: Option<u32>,
    /// Files and folders that are still needed, and what to call them: `the image`.
    pub needed: &'a [(&'a str, &'a Path)],
}

/// Where an image may be written to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Permitted {
    /// A device that is not in use.
    Device(Device),
    /// A regular file, there or not.
    File,
}

/// Mount points that a running system cannot do without.
const SYSTEM: [&str; 8] =
    ["/", "/boot", "/usr", "/var", "/home", "/etc", "/nix/store", "/System/Volumes/Data"];

/// Says whether `node` may be written over; otherwise why not, and what to do.
pub fn check(request: &FlashRequest<'_>, node: DeviceNode, to_file: bool) -> Result<Permitted> {
    let name = request.name.display();
    match node {
        DeviceNode::File | DeviceNode::Missing if to_file => {
            check_file(request)?;
            Ok(Permitted::File)
        }
        DeviceNode::File => Err(Error::input(format!("`{name}` is a regular file, not a device"))
            .hint("`--to-file` replaces it")),
        DeviceNode::Missing => {
            let error = Error::input(format!("there is no device `{name}`")).hint(LIST);
            // Devices are all in one place.
            let is_elsewhere = !request.name.starts_with("/dev");
            Err(if is_elsewhere { error.hint("`--to-file` makes a file of it") } else { error })
        }
        DeviceNode::Other => {
            Err(Error::input(format!("`{name}` is not a block device")).hint(LIST))
        }
        DeviceNode::Partition { disk } => {
            let disk = disk.display();
            Err(Error::input(format!("`{name}` is a partition, not a whole device"))
                .hint(format!("it is on `{disk}`: an image is written to all of it")))
        }
        DeviceNode::Whole(_) if to_file => {
            Err(Error::input(format!("`{name}` is a device, not a file"))
                .hint("leave `--to-file` out if the device is meant"))
        }
        DeviceNode::Whole(device) => {
            check_uses(request, &device)?;
            check_fitness(request, &device)?;
            Ok(Permitted::Device(device))
        }
    }
}

const LIST: &str = "`nodeforge flash --list` shows the devices there are";

fn check_file(request: &FlashRequest<'_>) -> Result<()> {
    let name = request.name.display();
    let same = |path: &Path| match (path.metadata(), request.name.metadata()) {
        (Ok(one), Ok(other)) => (one.dev(), one.ino()) == (other.dev(), other.ino()),
        _ => false,
    };
    match request.needed.iter().find(|(_, path)| same(path)) {
        Some((what, _)) => Err(Error::input(format!("`{name}` is {what}"))),
        None => Ok(()),
    }
}

fn check_uses(request: &FlashRequest<'_>, device: &Device) -> Result<()> {
    let name = device.path.display();
    let mounted = || {
        device.uses.iter().filter_map(|it| match &it.purpose {
            Purpose::Mounted(at) => Some((&it.node, at)),
            Purpose::Swap | Purpose::Held(_) => None,
        })
    };
    if let Some(at) = mounted().map(|(_, at)| at).filter(|at| is_system(at)).min() {
        return Err(
            Error::input(format!("`{name}` holds `{}` of this system", at.display())).hint(LIST)
        );
    }
    if let Some(it) = device.uses.iter().find(|it| it.purpose == Purpose::Swap) {
        let node = it.node.display();
        return Err(Error::input(format!("`{node}` is swap of this system"))
            .hint(format!("`swapoff {node}` gives it free, if that is what you want")));
    }
    for (what, path) in request.needed {
        if is_part(device, path) || mounted().any(|(_, at)| *at == mount_point(path)) {
            return Err(Error::input(format!("`{name}` holds {what}"))
                .hint("move it to another disk first"));
        }
    }
    if let Some((node, at)) = mounted().next() {
        let (node, at) = (node.display(), at.display());
        return Err(Error::input(format!("`{node}` is mounted at `{at}`"))
            .hint(format!("unmount it first: {}", unmount(device, &at.to_string()))));
    }
    if let Some(Use { node, purpose: Purpose::Held(by) }) = device.uses.first() {
        return Err(Error::input(format!("`{}` is in use by `{by}`", node.display()))
            .hint("`lsblk` shows what is made of it; take that apart first"));
    }
    Ok(())
}

fn unmount(device: &Device, at: &str) -> String {
    if cfg!(target_os = "macos") {
        format!("`diskutil unmountDisk {}`", device.path.display())
    } else {
        format!("`umount {at}`")
    }
}

fn is_system(at: &Path) -> bool {
    SYSTEM.iter().any(|it| at == Path::new(it)) || at.starts_with("/boot")
}

/// Whether a path is the device's own node, or that of one of its partitions.
fn is_part(device: &Device, path: &Path) -> bool {
    match super::find(path) {
        Ok(DeviceNode::Whole(other)) => other.path == device.path,
        Ok(DeviceNode::Partition { disk }) => disk == device.path,
        Ok(DeviceNode::File | DeviceNode::Missing | DeviceNode::Other) | Err(_) => false,
    }
}

/// The deepest folder above `path`, or itself, at which another file system begins.
fn mount_point(path: &Path) -> PathBuf {
    // What is not there yet will be where its folder is.
    let there = path.ancestors().find_map(|it| {
        let it = if it.as_os_str().is_empty() { Path::new(".") } else { it };
        it.canonicalize().ok()
    });
    let mut at = there.unwrap_or_else(|| PathBuf::from("/"));
    let device = |path: &Path| path.metadata().map(|it| it.dev()).ok();
    while let Some(parent) = at.parent() {
        if device(parent) != device(&at) {
            break;
        }
        at = parent.to_owned();
    }
    at
}

fn check_fitness(request: &FlashRequest<'_>, device: &Device) -> Result<()> {
    let name = device.path.display();
    if device.read_only {
        return Err(Error::input(format!("`{name}` is read-only"))
            .hint("a card, or the adapter it is in, may have a switch on its side"));
    }
    if device.size < request.size {
        return Err(Error::input(format!(
            "`{name}` is smaller than the image: {} bytes, and it needs {}",
            device.size, request.size
        ))
        .hint("use a larger device, or make the image smaller: `size` under `[disk]`"));
    }
    match request.sector_size {
        Some(image) if image != device.sector_size => Err(Error::input(format!(
            "`{name}` has sectors of {} bytes, and the image's partition table counts {image}",
            device.sector_size
        ))
        .hint("no firmware would find its partitions; some drives can be set to 512 bytes")),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flash::device::Transport;

    fn device(uses: &[(&str, Purpose)]) -> DeviceNode {
        let uses = uses
            .iter()
            .map(|(node, purpose)| Use { node: PathBuf::from(node), purpose: purpose.clone() });
        DeviceNode::Whole(Device {
            path: PathBuf::from("/dev/sdz"),
            vendor: None,
            model: None,
            serial: None,
            size: 1000,
            sector_size: 512,
            removable: true,
            transport: Transport::Usb,
            read_only: false,
            uses: uses.collect(),
        })
    }

    fn refusal(uses: &[(&str, Purpose)]) -> String {
        let request = FlashRequest {
            name: Path::new("/dev/sdz"),
            size: 1000,
            sector_size: None,
            needed: &[],
        };
        let error = check(&request, device(uses), false).expect_err("it is refused");
        assert_eq!(error.exit_code(), 2);
        format!("{error}\n{}", error.problems()[0].hints.join("\n"))
    }

    fn mounted(at: &str) -> Purpose {
        Purpose::Mounted(PathBuf::from(at))
    }

    /// Whatever else a disk is used for, that the system runs from it is what must be said.
    #[test]
    fn the_disk_of_this_system_is_refused_as_that() {
        let held = Purpose::Held("luks".to_owned());
        for (at, told) in [
            ("/", "/"),
            ("/boot/firmware", "/boot/firmware"),
            ("/home", "/home"),
            ("/System/Volumes/Data", "/System/Volumes/Data"),
        ] {
            let uses = [
                ("/dev/sdz1", held.clone()),
                ("/dev/sdz1", mounted("/mnt")),
                ("/dev/sdz2", Purpose::Swap),
                ("/dev/sdz3", mounted(at)),
            ];
            assert_eq!(
                refusal(&uses),
                format!(
                    "`/dev/sdz` holds `{told}` of this system\n\
                     `nodeforge flash --list` shows the devices there are"
                )
            );
        }
    }

    #[test]
    fn what_is_made_of_it_is_named() {
        assert_eq!(
            refusal(&[("/dev/sdz1", Purpose::Held("vg-data".to_owned()))]),
            "`/dev/sdz1` is in use by `vg-data`\n\
             `lsblk` shows what is made of it; take that apart first"
        );
    }

    #[test]
    fn an_unused_device_of_the_right_size_may_be_written() {
        let request = FlashRequest {
            name: Path::new("/dev/sdz"),
            size: 1000,
            sector_size: Some(512),
            needed: &[],
        };
        let permitted = check(&request, device(&[]), false).expect("permitted");
        assert!(matches!(permitted, Permitted::Device(_)));
        let said = check(&request, device(&[]), true).expect_err("not a file").to_string();
        assert_eq!(said, "`/dev/sdz` is a device, not a file");
    }
}
