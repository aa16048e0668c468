//! `/etc/fstab`: which file system goes where (fstab(5)).

use std::path::PathBuf;

/// One line of an fstab, as far as it matters here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FstabLine {
    /// What is mounted: `PARTUUID=…`, `/dev/sda1`.
    pub(crate) source: String,
    /// Where; absolute.
    pub(crate) point: PathBuf,
}

/// The lines that mount something on a directory other than the root, parents first.
pub(crate) fn parse(text: &str) -> Vec<FstabLine> {
    let mut lines: Vec<FstabLine> = text.lines().filter_map(parse_line).collect();
    // The sort is stable: of two for one directory the later covers the former, as mount(8) does it.
    lines.sort_by_key(|line| line.point.components().count());
    lines
}

fn parse_line(line: &str) -> Option<FstabLine> {
    let line = line.trim();
    if line.starts_with('#') {
        return None;
    }
    let mut fields = line.split_ascii_whitespace();
    let (source, point) = (fields.next()?, fields.next()?);
    let source = unescape(source);
    let source = match source.split_once('=') {
        Some((key, value)) => format!("{key}={}", unquoted(value)),
        None => source,
    };
    let point = PathBuf::from(unescape(point));
    (point.is_absolute() && point.parent().is_some()).then_some(FstabLine { source, point })
}

/// The value of a tag without the quotes of either kind that may be around it (libblkid,
/// `blkid_parse_tag_string`).
fn unquoted(value: &str) -> &str {
    let inner = |quote: char| value.strip_prefix(quote)?.strip_suffix(quote);
    inner('"').or_else(|| inner('\'')).unwrap_or(value)
}

/// Blanks in a field are written as `\040` (fstab(5)).
fn unescape(field: &str) -> String {
    let replaced = field.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n");
    replaced.replace("\\134", "\\")
}

/// A regular expression for the names of partitions on the disk with this MBR id, in an fstab or
/// wherever else partitions are named: what stands before the id, and the number behind it.
pub(crate) fn names_by_disk_id(id: u32) -> String {
    format!(r#"(?i)(\bPARTUUID=["']?|by-partuuid/){id:08x}-([0-9a-f]{{2}})\b"#)
}

/// What identifies a part of a disk to an fstab.
#[derive(Clone, Debug, Default)]
pub(crate) struct Identity {
    pub(crate) number: Option<u32>,
    pub(crate) partition_id: Option<String>,
    pub(crate) partition_name: Option<String>,
    pub(crate) uuid: Option<String>,
    pub(crate) label: Option<String>,
}

impl Identity {
    /// Whether an fstab's `source` means this part.
    pub(crate) fn is_meant_by(&self, source: &str) -> bool {
        let same = |mine: &Option<String>, theirs: &str| mine.as_deref() == Some(theirs);
        let same_id = |mine: &Option<String>, theirs: &str| {
            mine.as_deref().is_some_and(|mine| mine.eq_ignore_ascii_case(theirs))
        };
        let by = |tag: &str, directory: &str| {
            let value = source.strip_prefix(tag);
            value.or_else(|| source.strip_prefix("/dev/disk/")?.strip_prefix(directory))
        };
        if let Some(id) = by("PARTUUID=", "by-partuuid/") {
            same_id(&self.partition_id, id)
        } else if let Some(id) = by("UUID=", "by-uuid/") {
            same_id(&self.uuid, id)
        } else if let Some(label) = by("LABEL=", "by-label/") {
            same(&self.label, label)
        } else if let Some(name) = by("PARTLABEL=", "by-partlabel/") {
            same(&self.partition_name, name)
        } else {
            self.number.is_some() && device_number(source) == self.number
        }
    }
}

/// The partition's number in a device's name: `/dev/sda1`, `/dev/vda15`, `/dev/mmcblk0p2`,
/// `/dev/nvme0n1p1`. It is taken to be on the image's own disk.
fn device_number(source: &str) -> Option<u32> {
    let name = source.strip_prefix("/dev/")?;
    let digits_at = name.rfind(|c: char| !c.is_ascii_digit())? + 1;
    let (disk, number) = name.split_at(digits_at);
    let is_plain = ["sd", "vd", "hd", "xvd"].iter().any(|prefix| disk.starts_with(prefix));
    let is_numbered = ["mmcblk", "nvme", "loop"].iter().any(|prefix| disk.starts_with(prefix));
    let ends_in_p =
        disk.strip_suffix('p').is_some_and(|disk| disk.ends_with(|c: char| c.is_ascii_digit()));
    (is_plain || (is_numbered && ends_in_p)).then(|| number.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_mount_files_are_found_parents_first() {
        let lines = parse(
            "# comment\n\
             proc /proc proc defaults 0 0\n\
             PARTUUID=\"2a-01\" /boot/firmware vfat defaults 0 2\n\
             LABEL=my\\040disk\t/srv ext4\n\
             PARTUUID='2a-03' /data ext4\n\
             UUID=x / ext4\nUUID=y none swap sw\n",
        );
        let found: Vec<_> =
            lines.iter().map(|line| (line.source.as_str(), line.point.to_str())).collect();
        assert_eq!(
            found,
            [
                ("proc", Some("/proc")),
                ("LABEL=my disk", Some("/srv")),
                ("PARTUUID=2a-03", Some("/data")),
                ("PARTUUID=2a-01", Some("/boot/firmware")),
            ]
        );
    }

    #[test]
    fn every_way_of_naming_a_partition() {
        let identity = Identity {
            number: Some(2),
            partition_id: Some("2a9b1c3d-02".into()),
            partition_name: Some("root".into()),
            uuid: Some("1234-ABCD".into()),
            label: Some("rootfs".into()),
        };
        for source in [
            "PARTUUID=2A9B1C3D-02",
            "UUID=1234-abcd",
            "LABEL=rootfs",
            "PARTLABEL=root",
            "/dev/sda2",
            "/dev/mmcblk0p2",
            "/dev/nvme0n1p2",
            "/dev/disk/by-partuuid/2a9b1c3d-02",
            "/dev/disk/by-label/rootfs",
        ] {
            assert!(identity.is_meant_by(source), "{source}");
        }
        for source in [
            "PARTUUID=2a9b1c3d-01",
            "LABEL=ROOTFS",
            "/dev/sda1",
            "/dev/nvme0n2",
            "/dev/sda",
            "tmpfs",
        ] {
            assert!(!identity.is_meant_by(source), "{source}");
        }
        assert!(!Identity::default().is_meant_by("LABEL="));
    }
}
