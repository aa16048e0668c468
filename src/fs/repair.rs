//! The commands that mend a file system, as they are typed.

use std::path::Path;

use crate::disk::Disk;
use crate::util::shell;

/// What a user types to have programs of e2fsprogs work on the file system that fills `disk`, one after
/// the other: `e2fsck -fp`. An offset is part of the name that each is given (e2fsck(8), "device").
pub(crate) fn e2fsprogs(disk: &dyn Disk, commands: &[&str]) -> String {
    let place = disk.location().map(|(path, at)| match at {
        0 => quoted(&path, ""),
        at => quoted(&path, &format!("?offset={at}")),
    });
    let command = |command: &&str| match &place {
        Some(place) => format!("`{command} {place}`"),
        None => format!("`{command}`"),
    };
    let commands: Vec<_> = commands.iter().map(command).collect();
    let commands = commands.join(", then ");
    match place {
        Some(_) => format!("run {commands}"),
        None => format!("make it a raw image, and run {commands} on the partition"),
    }
}

/// The same for fsck.fat, which knows no offsets: a loop device does.
pub(crate) fn fsck_fat(disk: &dyn Disk) -> String {
    match disk.location() {
        Some((path, 0)) => format!("run `fsck.fat -a {}`", quoted(&path, "")),
        Some((path, at)) => format!(
            "run `fsck.fat -a` on what `losetup --find --show --offset {at} --sizelimit {} {}` \
             prints, then `losetup --detach` it",
            disk.size(),
            quoted(&path, "")
        ),
        None => "make it a raw image, and run `fsck.fat -a` on the partition".to_owned(),
    }
}

/// A file's name, with what follows it, as one word of a shell.
fn quoted(path: &Path, suffix: &str) -> String {
    shell::word(&format!("{}{suffix}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::disk::{Raw, Slice};

    #[test]
    fn commands_name_the_file_and_the_place() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("it's.img");
        let disk: Arc<dyn Disk> = Arc::new(Raw::create(&path, 4096).expect("a disk"));
        let part = Slice::new(Arc::clone(&disk), 1024..4096).expect("a part");
        let name = path.display().to_string().replace('\'', r"'\''");
        assert_eq!(
            e2fsprogs(&part, &["e2fsck -fp"]),
            format!("run `e2fsck -fp '{name}?offset=1024'`")
        );
        assert_eq!(fsck_fat(&*disk), format!("run `fsck.fat -a '{name}'`"));
        assert!(fsck_fat(&part).contains("--offset 1024 --sizelimit 3072 "));
        let memory = crate::disk::testing::Memory::new(vec![0; 512]);
        assert_eq!(
            e2fsprogs(&memory, &["tune2fs -O extents", "e2fsck -f"]),
            "make it a raw image, and run `tune2fs -O extents`, then `e2fsck -f` on the partition"
        );
    }
}
