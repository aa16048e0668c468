//! POSIX ACLs: ext4 stores them shorter than programs see them.
//!
//! On disk (kernel, `fs/ext4/acl.h`): version 1, then entries of 4 bytes, or 8 when they name
//! somebody. As getxattr(2) gives them (`include/uapi/linux/posix_acl_xattr.h`): version 2, then
//! entries of 8 bytes each, the id of those that name nobody being all ones.

use std::ffi::OsStr;

const DISK_VERSION: u32 = 1;
const PROGRAM_VERSION: u32 = 2;
const NOBODY: u32 = u32::MAX;
const USER: u16 = 0x02;
const GROUP: u16 = 0x08;

/// Whether the attribute is an ACL.
pub(super) fn is_acl(name: &OsStr) -> bool {
    name == "system.posix_acl_access" || name == "system.posix_acl_default"
}

/// An ACL as programs see it, from what is on disk; `None` when that is no ACL.
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

/// An ACL as ext4 stores it, from what programs see; `None` when that is no ACL.
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
