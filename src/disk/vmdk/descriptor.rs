//! The descriptor: the text in a VMDK that says what the disk is and who its parent is.

use std::fmt::Write;
use std::io;

use super::write::Image;
use super::{DESCRIPTOR, NO_PARENT, SECTOR};

/// What a disk's content is known by: `ddb.longContentID`, whose last 32 bits are the `CID`
/// by which a child recognises its parent. Take it from a hash of the content, so that the same
/// content always has the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContentId([u8; 16]);

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

/// The descriptor of `image`, padded to its sectors.
pub(super) fn render(image: &Image<'_>) -> io::Result<Vec<u8>> {
    let sectors = image.size / SECTOR;
    let cid = image.content_id.short();
    let parent_cid = image.parent.map_or(NO_PARENT, |parent| parent.cid);
    let hint = match image.parent {
        Some(parent) => format!("parentFileNameHint=\"{}\"\n", quotable(parent.hint)?),
        None => String::new(),
    };
    let name = quotable(image.file_name)?;
    let cylinders = (sectors / (255 * 63)).min(65535);

    let mut text = String::new();
    write!(
        text,
        r#"# Disk DescriptorFile
version=1
encoding="UTF-8"
CID={cid:08x}
parentCID={parent_cid:08x}
createType="monolithicSparse"
{hint}
# Extent description
RW {sectors} SPARSE "{name}"

# The Disk Data Base
#DDB

ddb.longContentID = "{content_id:032x}"
ddb.adapterType = "lsilogic"
ddb.geometry.cylinders = "{cylinders}"
ddb.geometry.heads = "255"
ddb.geometry.sectors = "63"
ddb.virtualHWVersion = "{hardware_version}"
ddb.toolsInstallType = "4"
ddb.toolsVersion = "2147483647"
"#,
        content_id = u128::from_be_bytes(image.content_id.0),
        hardware_version = image.hardware_version,
    )
    .expect("a string takes all that is written");

    let room = usize::try_from((DESCRIPTOR.end - DESCRIPTOR.start) * SECTOR).expect("20 sectors");
    // The last byte stays zero: readers look for the end of a C string.
    if text.len() >= room {
        return Err(invalid(format!("the path to the parent is longer than {room} bytes")));
    }
    let mut bytes = text.into_bytes();
    bytes.resize(room, 0);
    Ok(bytes)
}

/// The format knows no escapes: what would end the quotes cannot be written.
fn quotable(name: &str) -> io::Result<&str> {
    if name.chars().any(|character| character == '"' || character.is_control()) {
        return Err(invalid(format!("`{}` cannot stand in a VMDK", name.escape_debug())));
    }
    Ok(name)
}

fn invalid(message: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, message)
}
