//! Debian packages: whether a file is a whole one, and the files in it.
//!
//! Sources: deb(5); ar(5). What compressed a package's members gave them checksums.

use std::fs::File;
use std::io::{self, BufReader, ErrorKind, Read};
use std::path::Path;

use crate::disk::{self, Format};
use crate::util::error::{Context as _, Result};

const MAGIC: &[u8] = b"!<arch>\n";
/// Bytes of what stands before each member.
const HEADER: usize = 60;
/// How that ends.
const END: &[u8] = b"`\n";

/// Whether everything in a package can be unpacked. What cannot be read is an error.
pub(super) fn is_sound(path: &Path) -> Result<bool> {
    let context = || format!("reading `{}`", path.display());
    let file = File::open(path).context(context)?;
    let mut trouble = None;
    let verdict = is_whole(BufReader::new(Reporting { file, trouble: &mut trouble }));
    match trouble {
        Some(error) => Err(error).context(context),
        None => Ok(verdict.unwrap_or(false)),
    }
}

/// Keeps an error of the file apart from those of whoever reads it.
struct Reporting<'a> {
    file: File,
    trouble: &'a mut Option<io::Error>,
}

impl Read for Reporting<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.file.read(buffer).inspect_err(|error| {
            let same = error.raw_os_error().map(io::Error::from_raw_os_error);
            *self.trouble = Some(same.unwrap_or_else(|| error.kind().into()));
        })
    }
}

/// The same of a package's bytes; an error where they cannot be understood.
pub(crate) fn is_whole(mut file: impl Read + Send) -> Result<bool> {
    let mut magic = Vec::new();
    file.by_ref().take(MAGIC.len() as u64).read_to_end(&mut magic)?;
    if magic != MAGIC {
        return Ok(false);
    }
    let mut has_data = false;
    while let Some((name, size)) = header(&mut file)? {
        let mut member = BufReader::new(file.by_ref().take(size));
        match compression(&name) {
            Some(format) => {
                io::copy(&mut disk::decoder(&mut member, format)?, &mut io::sink())?;
            }
            None => {
                io::copy(&mut member, &mut io::sink())?;
            }
        }
        if member.get_ref().limit() > 0 {
            return Ok(false);
        }
        // The next one begins at an even byte.
        io::copy(&mut file.by_ref().take(size % 2), &mut io::sink())?;
        has_data |= name.starts_with("data.tar");
    }
    Ok(has_data)
}

/// The tar archive of a package's files, unpacked.
pub(crate) fn package_files<'a>(
    mut file: impl io::BufRead + Send + 'a,
) -> Result<Box<dyn Read + Send + 'a>> {
    let mut magic = [0; MAGIC.len()];
    file.read_exact(&mut magic)?;
    if magic != MAGIC {
        return Err(crate::util::error::Error::failure("it is not a Debian package"));
    }
    while let Some((name, size)) = header(&mut file)? {
        if name.starts_with("data.tar") {
            let member = file.take(size);
            return match compression(&name) {
                Some(format) => disk::decoder(member, format),
                None => Ok(Box::new(member)),
            };
        }
        io::copy(&mut file.by_ref().take(size + size % 2), &mut io::sink())?;
    }
    Err(crate::util::error::Error::failure("the package has no files"))
}

fn compression(name: &str) -> Option<Format> {
    match name.rsplit('.').next() {
        Some("xz") => Some(Format::Xz),
        Some("zst") => Some(Format::Zstd),
        Some("gz") => Some(Format::Gzip),
        _ => None,
    }
}

/// Name and bytes of the next member; `None` at the end of the file.
fn header(file: &mut impl Read) -> io::Result<Option<(String, u64)>> {
    let mut header = Vec::new();
    file.take(HEADER as u64).read_to_end(&mut header)?;
    if header.is_empty() {
        return Ok(None);
    }
    let text = |part: Option<&[u8]>| {
        part.and_then(|it| std::str::from_utf8(it).ok()).map(|it| it.trim_end().to_owned())
    };
    let size = text(header.get(48..58)).and_then(|it| it.parse().ok());
    let member = text(header.get(..16)).zip(size).filter(|_| header.get(58..) == Some(END));
    match member {
        Some((name, size)) => Ok(Some((name.trim_end_matches('/').to_owned(), size))),
        None => Err(ErrorKind::InvalidData.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::util::process::Tool;

    /// dpkg-deb makes them; every byte of what is compressed counts.
    #[test]
    fn damage_is_told_whatever_compressed_the_package() {
        let folder = tempfile::tempdir().unwrap();
        let tree = folder.path().join("tree");
        fs::create_dir_all(tree.join("DEBIAN")).unwrap();
        let control = "Package: it\nVersion: 1\nArchitecture: all\nMaintainer: a <a@b>\n\
                       Description: it\n";
        fs::write(tree.join("DEBIAN/control"), control).unwrap();
        fs::write(tree.join("file"), "content\n".repeat(1000)).unwrap();
        for compression in ["xz", "gzip", "zstd", "none"] {
            let path = folder.path().join(format!("{compression}.deb"));
            let option = format!("-Z{compression}");
            Tool::new("dpkg-deb", "dpkg")
                .args(["--root-owner-group", &option, "--build"])
                .arg(&tree)
                .arg(&path)
                .run()
                .unwrap();
            let whole = fs::read(&path).unwrap();
            assert!(is_sound(&path).unwrap(), "{compression}");
            for length in [0, 7, 8, 67, whole.len() / 2, whole.len() - 2] {
                fs::write(&path, &whole[..length]).unwrap();
                assert!(!is_sound(&path).unwrap(), "{compression} cut after {length}");
            }
            if compression != "none" {
                let mut damaged = whole.clone();
                let at = whole.len() - 40;
                damaged[at] ^= 1;
                fs::write(&path, &damaged).unwrap();
                assert!(!is_sound(&path).unwrap(), "{compression} with a bit of rot");
            }
        }
    }
}
