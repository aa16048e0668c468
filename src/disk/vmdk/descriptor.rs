//! The descriptor: the text in a VMDK that says what the disk is and who its parent is.

use std::fmt::Write;
use std::io;

use super::image::VmdkSpec;
use super::{DESCRIPTOR, NO_PARENT, SECTOR};
use crate::disk::clusters::is_zero;
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
    pub(super) extents: Vec<Extent>,
}

/// A line of the extent description: a part of the disk, in its order.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Extent {
    pub(super) sectors: u64,
    pub(super) kind: ExtentKind,
    /// Empty when the kind needs none.
    pub(super) file_name: String,
    /// Where a flat extent starts in its file, in sectors.
    pub(super) offset: u64,
}

/// What an extent is, of what VMware's hosted products write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ExtentKind {
    Sparse,
    Flat,
    Zero,
}

impl Descriptor {
    /// Reads a descriptor file. What is not understood is passed over, as VMware and QEMU do; what they
    /// would understand in different ways is an error.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self> {
        let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
        if !is_zero(&bytes[end..]) {
            return Err(Error::input("its descriptor is followed by something else"));
        }
        // Names in other encodings lead nowhere; all else is ASCII.
        let text = String::from_utf8_lossy(&bytes[..end]);
        let (mut descriptor, mut cid, mut parent) = (Self::default(), None, None);
        for line in text.lines().map(str::trim) {
            if let Some(extent) = Extent::parse(line)? {
                descriptor.extents.push(extent);
                continue;
            }
            let Some((key, value)) = line.split_once('=') else { continue };
            let value = value.trim();
            let key = key.trim().to_ascii_lowercase();
            let is_first = match key.as_str() {
                "cid" => cid.replace(parse_cid(value)?).is_none(),
                "parentcid" => parent.replace(parse_cid(value)?).is_none(),
                "parentfilenamehint" => {
                    descriptor.hint.replace(unquoted(value).to_owned()).is_none()
                }
                _ => true,
            };
            if !is_first {
                return Err(Error::input(format!("its descriptor has two lines `{key}`")));
            }
        }
        descriptor.cid = cid.ok_or_else(|| Error::input("its descriptor has no `CID`"))?;
        descriptor.parent = parent.filter(|it| *it != NO_PARENT);
        Ok(descriptor)
    }

    /// Reads the descriptor inside a sparse extent, which is about that extent alone.
    pub(super) fn parse_embedded(bytes: &[u8]) -> Result<Self> {
        let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
        let descriptor = Self::parse(&bytes[..end])?;
        let is_alone = match descriptor.extents.as_slice() {
            [] => true,
            [extent] => extent.kind == ExtentKind::Sparse,
            [..] => false,
        };
        if !is_alone {
            return Err(Error::input("its descriptor lists other files than itself"));
        }
        Ok(descriptor)
    }
}

impl Extent {
    /// `RW 4192256 SPARSE "disk-s001.vmdk"`, `RW 4096 FLAT "disk-flat.vmdk" 0`, with any blanks;
    /// `None` for a line of another kind.
    fn parse(line: &str) -> Result<Option<Self>> {
        let letters = line.find(|it: char| !it.is_ascii_alphabetic()).unwrap_or(line.len());
        let (access, rest) = line.split_at(letters);
        let known = ["RW", "RDONLY", "NOACCESS"];
        if rest.trim_start().starts_with('=')
            || !known.iter().any(|it| it.eq_ignore_ascii_case(access))
        {
            return Ok(None);
        }
        let damaged =
            || Error::input(format!("its descriptor has the extent `{}`", line.escape_debug()));
        if access == "NOACCESS" || !known.contains(&access) {
            return Err(damaged());
        }
        let (sectors, rest) = word(rest).ok_or_else(damaged)?;
        let sectors = number(sectors).filter(|it| *it > 0).ok_or_else(damaged)?;
        let (kind, rest) = word(rest).ok_or_else(damaged)?;
        let kind = match kind {
            "SPARSE" => ExtentKind::Sparse,
            "FLAT" => ExtentKind::Flat,
            "ZERO" => ExtentKind::Zero,
            kind => {
                return Err(Error::input(format!("extents of kind `{kind}` are not known"))
                    .hint("convert it: `qemu-img convert -O vmdk OLD NEW`"));
            }
        };
        let rest = rest.trim_matches(BLANKS);
        let (file_name, rest) = match rest.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').ok_or_else(damaged)?,
            None => ("", rest),
        };
        let offset = word(rest).map(|(offset, rest)| (number(offset), rest));
        let offset = match (kind, offset) {
            (ExtentKind::Flat, Some((Some(offset), ""))) => offset,
            (ExtentKind::Sparse | ExtentKind::Zero, None) => 0,
            (ExtentKind::Sparse | ExtentKind::Flat | ExtentKind::Zero, _) => return Err(damaged()),
        };
        Ok(Some(Self { sectors, kind, file_name: file_name.to_owned(), offset }))
    }
}

/// What stands between the words of a line.
const BLANKS: [char; 2] = [' ', '\t'];

/// The first word of a line, after blanks, and what follows it.
fn word(line: &str) -> Option<(&str, &str)> {
    let line = line.trim_start_matches(BLANKS);
    let (word, rest) = line.split_at(line.find(BLANKS).unwrap_or(line.len()));
    (!word.is_empty()).then_some((word, rest))
}

/// A decimal number without a sign.
fn number(word: &str) -> Option<u64> {
    word.bytes().all(|it| it.is_ascii_digit()).then(|| word.parse().ok()).flatten()
}

fn parse_cid(value: &str) -> Result<u32> {
    u32::from_str_radix(value, 16)
        .map_err(|_| Error::input(format!("its descriptor has the content id `{value}`")))
}

fn unquoted(value: &str) -> &str {
    value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value)
}
