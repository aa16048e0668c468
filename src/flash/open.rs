//! Real targets: a block device, held for exclusive use, or a regular file.

use std::fs::{File, OpenOptions};
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use tempfile::TempPath;

use super::device::Device;
use super::node::DeviceNode;
use super::target::Target;
use crate::util::error::{Context, Error, Result};
use crate::util::new_files;
use crate::util::process::Tool;

/// A device or file that is open for flashing.
pub struct OpenTarget {
    file: File,
    path: PathBuf,
    size: u64,
    sector_size: u32,
    /// Where a file is until it is whole; none for a device.
    temporary: Option<TempPath>,
}

impl OpenTarget {
    /// Takes a device for itself: the kernel refuses while anything is mounted from it, and lets
    /// nothing be mounted from it before this is dropped. Nothing of it passes through the page cache:
    /// a failed write is known by its offset, and what is read back comes from the medium.
    pub fn device(device: &Device) -> Result<Self> {
        let path = raw_node(&device.path);
        let mut options = OpenOptions::new();
        options.read(true).write(true);
        #[cfg(target_os = "linux")]
        {
            use std::os::unix::fs::OpenOptionsExt as _;

            use rustix::fs::OFlags;

            let flags = OFlags::EXCL | OFlags::DIRECT;
            options.custom_flags(flags.bits().cast_signed());
        }
        let file = options.open(&path).map_err(|error| cannot_open(&path, error))?;
        // Cards are changed while people think about a question.
        if !matches!(super::find(&device.path)?, DeviceNode::Whole(now) if now.is(device)) {
            let message = format!("`{}` is another device by now", device.path.display());
            return Err(Error::failure(message).hint("nothing was written; try again"));
        }
        let (size, sector_size) = (device.size, device.sector_size);
        Ok(Self { file, path: device.path.clone(), size, sector_size, temporary: None })
    }

    /// Fails where this process has no right to write to a device. It is not opened for writing: udev would look
    /// at its partitions again, and desktops would mount them.
    pub fn require_rights(device: &Device) -> Result<()> {
        use rustix::fs::{Access, AtFlags, CWD, accessat};

        let path = raw_node(&device.path);
        accessat(CWD, &path, Access::READ_OK | Access::WRITE_OK, AtFlags::EACCESS)
            .map_err(io::Error::from)
            // A container may forbid what the modes allow.
            .and_then(|()| File::open(&path).map(drop))
            .map_err(|error| cannot_open(&path, error))
    }

    /// Makes a file of `size` bytes, which [`Self::finish`] puts in place of what is at `path`. It is
    /// readable by its owner alone: a node's image holds its keys.
    pub fn file(path: &Path, size: u64) -> Result<Self> {
        let make = || {
            // A link goes on pointing where it does.
            let path = path
                .canonicalize()
                .or_else(|_| path.read_link().map(|target| folder(path).join(target)))
                .unwrap_or_else(|_| path.to_owned());
            let (file, temporary) = tempfile::Builder::new()
                .prefix(&format!(".{}.", path.file_name().unwrap_or_default().display()))
                .suffix(".part")
                .tempfile_in(folder(&path))?
                .into_parts();
            new_files::give_in_place_of(&file, &path);
            file.set_len(size)?;
            io::Result::Ok(Self { file, path, size, sector_size: 1, temporary: Some(temporary) })
        };
        make().context(|| format!("opening `{}` for writing", path.display()))
    }

    fn is_device(&self) -> bool {
        self.temporary.is_none()
    }

    /// Puts a file into its place, if it `is_whole`; else it is gone. Closes a device and asks the
    /// kernel to look at its new partition table. That it cannot, or has no program to be asked by, is
    /// no failure: the table is read when it is next plugged in.
    pub fn finish(self, is_whole: bool) -> io::Result<()> {
        let Self { file, path, temporary, .. } = self;
        drop(file);
        if let Some(temporary) = temporary {
            if is_whole {
                temporary.persist(&path)?;
                File::open(folder(&path))?.sync_all()?;
            }
        } else if cfg!(target_os = "linux") {
            let asked = Tool::new("blockdev", "util-linux").arg("--rereadpt").arg(&path).run();
            if asked.is_err() {
                Tool::new("partprobe", "parted").arg(&path).run().ok();
            }
        }
        Ok(())
    }
}

/// Why a device cannot be opened, and what helps.
fn cannot_open(path: &Path, error: io::Error) -> Error {
    let kind = error.kind();
    let error = Error::from(error).context(format!("opening `{}`", path.display()));
    #[expect(clippy::wildcard_enum_match_arm, reason = "other errors need no remedy of ours")]
    match kind {
        io::ErrorKind::PermissionDenied if rustix::process::geteuid().is_root() => {
            error.hint("a container needs to be given the device, to read and to write")
        }
        io::ErrorKind::PermissionDenied => {
            error.hint("writing to a device takes root: try again with `sudo`")
        }
        io::ErrorKind::ResourceBusy => {
            error.hint("something still uses it: `lsblk` and `fuser -v` say what")
        }
        _ => error,
    }
}

/// The folder that a file is in.
fn folder(path: &Path) -> &Path {
    path.parent().filter(|it| !it.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// On macOS the device that does not go through the buffer cache: `/dev/disk4` is `/dev/rdisk4`.
fn raw_node(path: &Path) -> PathBuf {
    match path.strip_prefix("/dev").ok().and_then(Path::to_str) {
        Some(name) if cfg!(target_os = "macos") && name.starts_with("disk") => {
            PathBuf::from(format!("/dev/r{name}"))
        }
        _ => path.to_owned(),
    }
}

impl Target for OpenTarget {
    fn size(&self) -> u64 {
        self.size
    }

    fn sector_size(&self) -> u32 {
        self.sector_size
    }

    fn write_at(&mut self, data: &[u8], offset: u64) -> io::Result<usize> {
        self.file.write_at(data, offset)
    }

    fn read_at(&mut self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(buffer, offset)
    }

    /// Punching a hole into a block device makes it read as zeros or is refused; unlike a discard
    /// it never leaves old data (`blkdev_fallocate`, which wants `BLKDEV_ZERO_NOFALLBACK`).
    #[cfg(target_os = "linux")]
    fn clear(&mut self, range: Range<u64>) -> io::Result<bool> {
        use rustix::fs::{FallocateFlags, fallocate};
        use rustix::io::Errno;

        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        match fallocate(&self.file, flags, range.start, range.end - range.start) {
            Ok(()) => Ok(true),
            // Every other failure shows again, with its offset, when zeros are written instead.
            Err(Errno::NODEV) => Err(Errno::NODEV.into()),
            Err(_) => Ok(false),
        }
    }

    /// A new file is all holes; macOS has no such call for devices.
    #[cfg(not(target_os = "linux"))]
    fn clear(&mut self, _range: Range<u64>) -> io::Result<bool> {
        Ok(!self.is_device())
    }

    /// Through `blkdiscard`, where it is installed: the kernel offers it as an ioctl only.
    fn discard(&mut self, range: Range<u64>) {
        if self.is_device() && cfg!(target_os = "linux") && !range.is_empty() {
            let offset = range.start.to_string();
            let length = (range.end - range.start).to_string();
            // `--force`: it would otherwise want the device for itself, which is ours.
            let arguments = ["--force", "--offset", &offset, "--length", &length];
            Tool::new("blkdiscard", "util-linux").args(arguments).arg(&self.path).run().ok();
        }
    }

    fn sync(&mut self) -> io::Result<()> {
        match self.file.sync_all() {
            // macOS's raw devices know no cache.
            Err(error) if cfg!(target_os = "macos") && self.is_device() => {
                let harmless =
                    [rustix::io::Errno::NOTTY, rustix::io::Errno::NOTSUP, rustix::io::Errno::INVAL];
                let code = error.raw_os_error();
                if harmless.iter().any(|it| Some(it.raw_os_error()) == code) {
                    Ok(())
                } else {
                    Err(error)
                }
            }
            result => result,
        }
    }

    fn forget(&mut self) -> io::Result<()> {
        #[cfg(target_os = "linux")]
        if !self.is_device() {
            rustix::fs::fadvise(&self.file, 0, None, rustix::fs::Advice::DontNeed)?;
        }
        Ok(())
    }
}
