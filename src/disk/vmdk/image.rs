//! What a VMDK is made of, besides its content.

use super::content_id::ContentId;

/// A disk to be written.
#[derive(Clone, Copy, Debug)]
pub struct VmdkSpec<'a> {
    /// Virtual size in bytes: whole grains of 64 KiB, less than 2 TiB; a child's is its parent's.
    pub size: u64,
    /// Who the content is.
    pub content_id: ContentId,
    /// Who answers for grains that are not written; without one, they are zeros.
    pub parent: Option<Parent<'a>>,
    /// The name of the file itself, which its own descriptor repeats.
    pub file_name: &'a str,
    /// VMware's virtual hardware version: 20 is Fusion 13.
    pub hardware_version: u32,
}

/// The disk below a child.
#[derive(Clone, Copy, Debug)]
pub struct Parent<'a> {
    /// Its `CID`: [`ContentId::short`]. A child refuses a parent with any other.
    pub cid: u32,
    /// Where it is, from the child's folder: `../template.vmwarevm/disk.vmdk`.
    pub hint: &'a str,
}
