//! How large a compressed file says its data is, read from what surrounds the data.
//!
//! `None` is always a right answer: then it has to be decompressed to be known. What is said here
//! is a claim of the file, which the decompressor must check.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::unix::fs::FileExt as _;

use super::format::Format;

/// Blocks and padding are walked through only so far: a hostile file may have one every 3 bytes.
const STEPS: u32 = 1 << 22;

/// The size of what the file holds, in bytes.
pub(super) fn size(file: &File, format: Format) -> io::Result<Option<u64>> {
    let length = file.metadata()?.len();
    let found = match format {
        Format::Xz => xz(file, length),
        Format::Zstd => zstd(file, length),
        Format::Raw | Format::Device | Format::Qcow2 | Format::Vmdk | Format::Gzip => {
            return Ok(None);
        }
    };
    match found {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        found => found,
    }
}

/// Walks an xz file's streams from its end (The .xz File Format 1.2, sections 2 and 4): the
/// footer tells where the index is, the index how long the blocks are.
fn xz(file: &File, length: u64) -> io::Result<Option<u64>> {
    const HEADER: u64 = 12;
    let mut end = length;
    let mut total: u64 = 0;
    for _ in 0..STEPS {
        if end == 0 {
            return Ok(Some(total));
        }
        let Some(footer_at) = end.checked_sub(HEADER) else { return Ok(None) };
        let mut footer = [0; 12];
        file.read_exact_at(&mut footer, footer_at)?;
        if footer[8..] == [0; 4] {
            end -= 4; // padding between streams
            continue;
        }
        let index_size = (u64::from(u32_at(&footer, 4)) + 1) * 4;
        let Some(index_at) = footer_at.checked_sub(index_size) else { return Ok(None) };
        if footer[10..] != *b"YZ" {
            return Ok(None);
        }
        let Some((blocks, unpacked)) = xz_index(file, index_at, index_size)? else {
            return Ok(None);
        };
        let stream = blocks.checked_add(HEADER).filter(|it| *it <= index_at);
        let sum = total.checked_add(unpacked);
        let (Some(stream), Some(sum)) = (stream, sum) else { return Ok(None) };
        (end, total) = (index_at - stream, sum);
    }
    Ok(None)
}

/// Bytes of all blocks in the file, and of their data.
fn xz_index(file: &File, at: u64, size: u64) -> io::Result<Option<(u64, u64)>> {
    let mut index = BufReader::new(At { file, at }.take(size));
    let mut indicator = [0];
    index.read_exact(&mut indicator)?;
    if indicator != [0] {
        return Ok(None);
    }
    let Some(count) = xz_number(&mut index)? else { return Ok(None) };
    let (mut blocks, mut unpacked) = (0_u64, 0_u64);
    for _ in 0..count {
        let (Some(block), Some(data)) = (xz_number(&mut index)?, xz_number(&mut index)?) else {
            return Ok(None);
        };
        let sums = blocks.checked_add(block.next_multiple_of(4)).zip(unpacked.checked_add(data));
        let Some(sums) = sums else { return Ok(None) };
        (blocks, unpacked) = sums;
    }
    Ok(Some((blocks, unpacked)))
}

/// Seven bits a byte, the least first, at most 63 in all.
fn xz_number(input: &mut impl Read) -> io::Result<Option<u64>> {
    let mut value = 0;
    for shift in (0..63).step_by(7) {
        let mut byte = [0];
        input.read_exact(&mut byte)?;
        value |= u64::from(byte[0] & 0x7f) << shift;
        if byte[0] & 0x80 == 0 {
            return Ok(Some(value));
        }
    }
    Ok(None)
}

/// Walks a zstd file's frames from its start, block by block (RFC 8878, section 3.1.1).
fn zstd(file: &File, length: u64) -> io::Result<Option<u64>> {
    let mut total: u64 = 0;
    let mut at = 0;
    let mut steps = 0;
    while at < length {
        let mut start = [0; 8];
        file.read_exact_at(&mut start, at)?;
        let magic = u32_at(&start, 0);
        if magic & 0xffff_fff0 == 0x184d_2a50 {
            at += 8 + u64::from(u32_at(&start, 4)); // a frame of other data
        } else if magic == 0xfd2f_b528 {
            let Some((header, unpacked)) = zstd_header(file, at)? else { return Ok(None) };
            at += header;
            loop {
                let mut block = [0; 3];
                file.read_exact_at(&mut block, at)?;
                let block = u32::from_le_bytes([block[0], block[1], block[2], 0]);
                // A block of type 1 is one byte that is repeated.
                at += 3 + if block >> 1 & 3 == 1 { 1 } else { u64::from(block >> 3) };
                steps += 1;
                if block & 1 == 1 {
                    break;
                }
                if steps > STEPS {
                    return Ok(None);
                }
            }
            at += if start[4] & 4 == 0 { 0 } else { 4 }; // a checksum
            let Some(sum) = total.checked_add(unpacked) else { return Ok(None) };
            total = sum;
        } else {
            return Ok(None);
        }
        steps += 1;
        if steps > STEPS {
            return Ok(None);
        }
    }
    Ok((at == length).then_some(total))
}

/// Bytes of a frame's header, and of its data; `None` when it does not say.
fn zstd_header(file: &File, at: u64) -> io::Result<Option<(u64, u64)>> {
    let mut header = [0; 18];
    let length = file.read_at(&mut header, at)?;
    Ok(zstd_frame(&header[..length]))
}

/// The same of a frame that begins so.
fn zstd_frame(header: &[u8]) -> Option<(u64, u64)> {
    let descriptor = *header.get(4)?;
    let is_single = descriptor & 0x20 != 0;
    let window = usize::from(!is_single);
    let dictionary = [0, 1, 2, 4][usize::from(descriptor & 3)];
    let width = match descriptor >> 6 {
        0 if is_single => 1,
        0 => return None,
        flag => 1 << flag,
    };
    let end = 5 + window + dictionary + width;
    let mut bytes = [0; 8];
    bytes[..width].copy_from_slice(header.get(end - width..end)?);
    let size = u64::from_le_bytes(bytes).checked_add(if width == 2 { 256 } else { 0 })?;
    Some((end as u64, size))
}

/// How large a stream says that its data is, or the first part of it; told by its first bytes, where those of its
/// format tell that.
pub(crate) fn announced(head: &[u8], format: Format) -> Option<u64> {
    let is_frame = format == Format::Zstd && head.starts_with(&0xfd2f_b528_u32.to_le_bytes());
    is_frame.then(|| zstd_frame(head)).flatten().map(|(_, size)| size)
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// A file from some offset on, without moving its cursor.
struct At<'a> {
    file: &'a File,
    at: u64,
}

impl Read for At<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.file.read_at(buffer, self.at)?;
        self.at += length as u64;
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;
    use crate::disk::testing::tool;

    fn size_of(path: &Path, format: Format) -> Option<u64> {
        size(&File::open(path).unwrap(), format).unwrap()
    }

    /// Three files compressed by their own tools in several ways, one after the other.
    #[test]
    fn it_is_the_size_of_what_comes_out() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let bytes: Vec<u8> =
            (0..3_000_000_u32).flat_map(|it| it.wrapping_mul(it).to_le_bytes()).collect();
        for (name, length) in [("a", 0), ("b", 200), ("c", 70_000), ("d", bytes.len())] {
            fs::write(path(name), &bytes[..length]).unwrap();
        }
        let script = "
            for f in a b c d; do
                xz -k -0 -T2 --block-size=1MiB $f; zstd -q -1 $f; zstd -q -c --no-check $f > $f.nc.zst
            done
            cat c.xz d.xz > cd.xz; head -c 8 /dev/zero >> cd.xz; cat b.xz a.xz >> cd.xz
            cat a.zst c.zst d.nc.zst b.zst > cd.zst
            cat d | zstd -q > piped.zst";
        tool(folder.path(), "sh", &["-ec", script]);
        for (name, length) in [("a", 0), ("b", 200), ("c", 70_000), ("d", 12_000_000)] {
            assert_eq!(size_of(&path(&format!("{name}.xz")), Format::Xz), Some(length), "{name}");
            assert_eq!(size_of(&path(&format!("{name}.zst")), Format::Zstd), Some(length));
            assert_eq!(size_of(&path(&format!("{name}.nc.zst")), Format::Zstd), Some(length));
        }
        assert_eq!(size_of(&path("cd.xz"), Format::Xz), Some(12_070_200));
        assert_eq!(size_of(&path("cd.zst"), Format::Zstd), Some(12_070_200));
        assert_eq!(size_of(&path("piped.zst"), Format::Zstd), None);
    }

    #[test]
    fn what_is_cut_short_or_rubbish_says_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("it");
        fs::write(&path, vec![7; 5000]).unwrap();
        tool(folder.path(), "sh", &["-ec", "xz -k it; zstd -q it"]);
        for (name, format) in [("it.xz", Format::Xz), ("it.zst", Format::Zstd)] {
            let whole = fs::read(folder.path().join(name)).unwrap();
            for end in 1..whole.len() {
                fs::write(&path, &whole[..end]).unwrap();
                assert_eq!(size_of(&path, format), None, "{name} cut at {end}");
            }
            for at in 0..whole.len() {
                for change in [0x01, 0x80, 0xff] {
                    let mut bytes = whole.clone();
                    bytes[at] ^= change;
                    fs::write(&path, &bytes).unwrap();
                    size_of(&path, format); // whatever it is, it comes back
                }
            }
        }
        fs::write(&path, vec![0; 1 << 20]).unwrap();
        assert_eq!(size_of(&path, Format::Xz), None);
    }
}
