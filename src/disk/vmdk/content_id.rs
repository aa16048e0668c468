//! Who the content of a VMDK is.

/// What a disk's content is known by: `ddb.longContentID`, whose last 32 bits are the `CID`
/// by which a child recognises its parent. Take it from a hash of the content, so that the same
/// content always has the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContentId(pub(super) [u8; 16]);

impl ContentId {
    /// The first 16 bytes of a hash of the content.
    pub const fn from_hash(hash: [u8; 16]) -> Self {
        let mut id = Self(hash);
        // `ffffffff` means "no parent" and `fffffffe` is reserved.
        if id.short() >= 0xffff_fffe {
            id.0[12] &= 0x7f;
        }
        id
    }

    /// The `CID`.
    pub const fn short(self) -> u32 {
        let [.., a, b, c, d] = self.0;
        u32::from_be_bytes([a, b, c, d])
    }
}
