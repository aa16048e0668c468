//! The descriptor: the text in a VMDK that says what the disk is and who its parent is.

use std::fmt::Write;
use std::io;

use super::image::VmdkSpec;
use super::{DESCRIPTOR, NO_PARENT, SECTOR};
use crate::util::error::{Error, Result};

/// The descriptor of `image`, padded to its sectors. `kind` is its `createType`.
pub(super) fn render(image: &VmdkSpec<'_>, kind: &str) -> io::Result<Vec<u8>> {
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
createType="{kind}"
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

/// What a descriptor says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Descriptor {
    pub(super) cid: u32,
    /// The parent's `CID`; `None` for a disk that has no parent.
    pub(super) parent: Option<u32>,
    /// Where the parent is.
    pub(super) hint: Option<String>,
    /// `monolithicSparse` and the like.
    pub(super) create_type: String,
    pub(super) extents: Vec<Extent>,
}

/// A line of the extent description: a part of the disk, in its order.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Extent {
    pub(super) sectors: u64,
    /// `SPARSE`, `FLAT`, `ZERO` and the like.
    pub(super) kind: String,
    /// Empty when the kind needs none.
    pub(super) file_name: String,
    /// Where a flat extent starts in its file, in sectors.
    pub(super) offset: u64,
}

impl Descriptor {
    /// Reads a descriptor; what is not understood is passed over, as VMware does.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self> {
        let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
        // Names in other encodings lead nowhere; all else is ASCII.
        let text = String::from_utf8_lossy(&bytes[..end]);
        let (mut descriptor, mut cid, mut parent) = (Self::default(), None, NO_PARENT);
        for line in text.lines().map(str::trim) {
            if let Some(extent) = Extent::parse(line)? {
                descriptor.extents.push(extent);
                continue;
            }
            let Some((key, value)) = line.split_once('=') else { continue };
            let value = value.trim();
            match key.trim().to_ascii_lowercase().as_str() {
                "cid" => cid = Some(parse_cid(value)?),
                "parentcid" => parent = parse_cid(value)?,
                "createtype" => unquoted(value).clone_into(&mut descriptor.create_type),
                "parentfilenamehint" => descriptor.hint = Some(unquoted(value).to_owned()),
                _ => {}
            }
        }
        descriptor.cid = cid.ok_or_else(|| Error::input("its descriptor has no `CID`"))?;
        descriptor.parent = (parent != NO_PARENT).then_some(parent);
        Ok(descriptor)
    }
}

impl Extent {
    /// `RW 4192256 SPARSE "disk-s001.vmdk"`, `RW 4096 FLAT "disk-flat.vmdk" 0`;
    /// `None` for a line of another kind.
    fn parse(line: &str) -> Result<Option<Self>> {
        let mut words = line.splitn(4, ' ');
        if !matches!(words.next(), Some("RW" | "RDONLY" | "NOACCESS")) {
            return Ok(None);
        }
        let damaged = || Error::input(format!("its descriptor has the extent `{line}`"));
        let sectors = words.next().and_then(|word| word.parse().ok()).ok_or_else(damaged)?;
        let kind = words.next().ok_or_else(damaged)?.to_owned();
        let rest = words.next().unwrap_or("");
        let (file_name, rest) = match rest.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').ok_or_else(damaged)?,
            None => ("", ""),
        };
        let offset = rest
            .split_whitespace()
            .next()
            .map_or(Ok(0), |word| word.parse().map_err(|_| damaged()))?;
        Ok(Some(Self { sectors, kind, file_name: file_name.to_owned(), offset }))
    }
}

fn parse_cid(value: &str) -> Result<u32> {
    u32::from_str_radix(value, 16)
        .map_err(|_| Error::input(format!("its descriptor has the content id `{value}`")))
}

fn unquoted(value: &str) -> &str {
    value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value)
}
