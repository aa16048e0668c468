//! What the kernel says is mounted and swapped to.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;

/// A line of `/proc/self/mountinfo` (`proc_pid_mountinfo(5)`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct MountEntry {
    /// Major and minor number of the device; major 0 where the file system made one up.
    pub(super) number: (u32, u32),
    /// Where it is mounted.
    pub(super) at: PathBuf,
    /// What is mounted: a device's node, or any word.
    pub(super) source: PathBuf,
}

/// All mounts, in the order they were made.
pub(super) fn mounts(mountinfo: &[u8]) -> Vec<MountEntry> {
    mountinfo.split(|byte| *byte == b'\n').filter_map(mount).collect()
}

fn mount(line: &[u8]) -> Option<MountEntry> {
    let mut fields = line.split(|byte| *byte == b' ');
    let number = str::from_utf8(fields.nth(2)?).ok()?;
    let at = unescape(fields.nth(1)?);
    // Any number of optional fields, a dash, the type.
    fields.find(|field| *field == b"-")?;
    let source = unescape(fields.nth(1)?);
    Some(MountEntry { number: parse_number(number)?, at, source })
}

/// `8:1`.
pub(super) fn parse_number(text: &str) -> Option<(u32, u32)> {
    let (major, minor) = text.trim().split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// What `/proc/swaps` lists.
pub(super) fn swaps(text: &[u8]) -> Vec<PathBuf> {
    let lines = text.split(|byte| *byte == b'\n').skip(1);
    let first = |line: &[u8]| line.split(u8::is_ascii_whitespace).next().map(<[u8]>::to_vec);
    lines.filter_map(first).filter(|it| !it.is_empty()).map(|it| unescape(&it)).collect()
}

/// Blanks, tabs, line feeds and backslashes stand there as a backslash and three octal digits.
fn unescape(field: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let [first, after @ ..] = rest {
        let octal = |digits: &[u8]| u8::from_str_radix(str::from_utf8(digits).ok()?, 8).ok();
        match after.first_chunk::<3>().and_then(|digits| octal(digits)) {
            Some(byte) if *first == b'\\' => {
                bytes.push(byte);
                rest = &after[3..];
            }
            _ => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    PathBuf::from(OsString::from_vec(bytes))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    const MOUNTINFO: &[u8] = b"\
22 27 0:21 / /proc rw,relatime - proc proc rw
27 0 8:2 / / rw,relatime shared:1 master:2 - ext4 /dev/sda2 rw
30 27 0:40 /@home /home rw shared:3 - btrfs /dev/sda3 rw,space_cache
31 27 8:17 / /media/my\\040card\\134 rw - vfat /dev/sdb1 rw
broken
";

    #[test]
    fn mountinfo_is_read() {
        let found = mounts(MOUNTINFO);
        assert_eq!(found.len(), 4);
        assert_eq!(found[2].number, (0, 40));
        assert_eq!(found[2].source, Path::new("/dev/sda3"));
        assert_eq!(found[3].at, Path::new("/media/my card\\"));
    }

    #[test]
    fn swaps_are_read() {
        let text = b"Filename\t\tType\t\tSize\n/dev/sda3   partition\t8\t0\t-2\n/swap\\040file file 1 0 -3\n";
        assert_eq!(swaps(text), [Path::new("/dev/sda3"), Path::new("/swap file")]);
        assert!(swaps(b"").is_empty());
    }
}
