//! POSIX ACLs: ext4 stores them shorter than programs see them, and a file's mode is part of them.
//!
//! On disk (kernel, `fs/ext4/acl.h`): version 1, then entries of 4 bytes, or 8 when they name
//! somebody. As getxattr(2) gives them (`include/uapi/linux/posix_acl_xattr.h`): version 2, then
//! entries of 8 bytes each, the id of those that name no user being all ones.

use std::ffi::OsStr;

const DISK_VERSION: u32 = 1;
const PROGRAM_VERSION: u32 = 2;
const NOBODY: u32 = u32::MAX;
const USER_OBJ: u16 = 0x01;
const USER: u16 = 0x02;
const GROUP_OBJ: u16 = 0x04;
const GROUP: u16 = 0x08;
const MASK: u16 = 0x10;
const OTHER: u16 = 0x20;

/// The attribute of the ACL that a file's mode is part of.
pub(super) const ACCESS: &str = "system.posix_acl_access";

/// Whether the attribute is an ACL.
pub(super) fn is_acl(name: &OsStr) -> bool {
    name == ACCESS || name == "system.posix_acl_default"
}

/// An ACL as programs see it, from what is on disk; `None` when that is not an ACL.
pub(super) fn from_disk(disk: &[u8]) -> Option<Vec<u8>> {
    let mut rest = disk.strip_prefix(&DISK_VERSION.to_le_bytes())?;
    let mut program = PROGRAM_VERSION.to_le_bytes().to_vec();
    while !rest.is_empty() {
        let tag = u16::from_le_bytes(*rest.first_chunk()?);
        let (entry, after) = rest.split_at_checked(if names_somebody(tag) { 8 } else { 4 })?;
        program.extend_from_slice(entry);
        if !names_somebody(tag) {
            program.extend_from_slice(&NOBODY.to_le_bytes());
        }
        rest = after;
    }
    Some(program)
}

/// An ACL as ext4 stores it, from what programs see; `None` when that is not an ACL.
pub(super) fn to_disk(program: &[u8]) -> Option<Vec<u8>> {
    let rest = program.strip_prefix(&PROGRAM_VERSION.to_le_bytes())?;
    let (entries, []) = rest.as_chunks::<8>() else { return None };
    let mut disk = DISK_VERSION.to_le_bytes().to_vec();
    for entry in entries {
        let tag = u16::from_le_bytes([entry[0], entry[1]]);
        disk.extend_from_slice(if names_somebody(tag) { entry } else { &entry[..4] });
    }
    Some(disk)
}

/// The ACL, as programs see it, after chmod(2) to `mode`: its owner's, its group's and everybody
/// else's entries are the mode's, but what the mode says of the group goes to the mask where there
/// is one (kernel, `__posix_acl_chmod_masq`). `None` when it is not an ACL.
pub(super) fn with_mode(program: &[u8], mode: u32) -> Option<Vec<u8>> {
    let rest = program.strip_prefix(&PROGRAM_VERSION.to_le_bytes())?;
    let (entries, []) = rest.as_chunks::<8>() else { return None };
    let tag = |entry: &[u8; 8]| u16::from_le_bytes([entry[0], entry[1]]);
    let has_mask = entries.iter().any(|entry| tag(entry) == MASK);
    let mut changed = PROGRAM_VERSION.to_le_bytes().to_vec();
    for entry in entries {
        let shift = match tag(entry) {
            USER_OBJ => Some(6),
            MASK => Some(3),
            GROUP_OBJ if !has_mask => Some(3),
            OTHER => Some(0),
            _ => None,
        };
        let mut entry = *entry;
        if let Some(shift) = shift {
            entry[2] = u8::try_from((mode >> shift) & 7).expect("three bits");
        }
        changed.extend_from_slice(&entry);
    }
    Some(changed)
}

fn names_somebody(tag: u16) -> bool {
    tag == USER || tag == GROUP
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `setfacl -m u:1000:rw` on a file of mode 0644.
    const PROGRAM: &[u8] = &[
        2, 0, 0, 0, // version
        1, 0, 6, 0, 255, 255, 255, 255, // user::rw-
        2, 0, 6, 0, 0xe8, 3, 0, 0, // user:1000:rw-
        4, 0, 4, 0, 255, 255, 255, 255, // group::r--
        16, 0, 6, 0, 255, 255, 255, 255, // mask::rw-
        32, 0, 4, 0, 255, 255, 255, 255, // other::r--
    ];

    /// What the kernel makes of it, on a file of this machine.
    #[test]
    fn chmod_changes_it_as_the_kernel_does() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("file"), "").expect("a file");
        let value = "getfattr -e hex -n system.posix_acl_access file | sed -n 's/.*=0x//p'";
        let script =
            format!("setfacl -m u:1000:rw,g:7:r file && {value} && chmod 715 file && {value}");
        let text = crate::disk::testing::tool(folder.path(), "sh", &["-c", &script]);
        let bytes = |text: &str| -> Vec<u8> {
            let digits = text.trim().as_bytes().chunks(2);
            let byte = |pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
            digits.map(|pair| byte(pair).expect("a byte")).collect()
        };
        let (before, after) = text.split_once('\n').expect("two lines");
        assert_eq!(with_mode(&bytes(before), 0o715), Some(bytes(after)));
        assert_eq!(with_mode(&[1, 2], 0), None);
    }

    #[test]
    fn there_and_back() {
        let disk = to_disk(PROGRAM).expect("an ACL");
        assert_eq!(disk.len(), 4 + 4 * 4 + 8);
        assert_eq!(from_disk(&disk).as_deref(), Some(PROGRAM));
    }

    #[test]
    fn anything_else_is_refused() {
        assert_eq!(from_disk(PROGRAM), None);
        assert_eq!(to_disk(&PROGRAM[..11]), None);
        assert_eq!(from_disk(&[1, 0, 0, 0, 2, 0, 6, 0, 1]), None);
        assert_eq!(from_disk(&[]), None);
    }
}
