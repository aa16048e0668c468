//! A download that is not whole yet: `KEY.part`, and beside it `KEY.json` about whence it comes.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use ureq::http::header;

use super::http::Response;
use crate::util::error::{Context, Result};
use crate::util::new_files;

/// What tells whether the server still has the same file (RFC 9110, section 13.1.5).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Validator {
    pub(crate) etag: Option<String>,
    pub(crate) last_modified: Option<String>,
}

impl Validator {
    pub(crate) fn of(response: &Response) -> Self {
        // A weak one only promises the same meaning, not the same bytes.
        let etag = response.header(header::ETAG).filter(|text| !text.starts_with("W/"));
        let last_modified = response.header(header::LAST_MODIFIED);
        Self { etag: etag.map(str::to_owned), last_modified: last_modified.map(str::to_owned) }
    }

    /// For `If-Range`; none means that nothing can be resumed safely.
    pub(crate) fn if_range(&self) -> Option<&str> {
        self.etag.as_deref().or(self.last_modified.as_deref())
    }
}

/// What is known of a part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct PartOrigin {
    url: String,
    validator: Validator,
    /// Bytes of the whole file, where the server said.
    total: Option<u64>,
}

/// A part, kept for the next try. Only the holder of the key's lock may open it.
pub(crate) struct PartialFile {
    file: File,
    path: PathBuf,
    about: PartOrigin,
    length: u64,
}

impl PartialFile {
    /// What an earlier run left of this download, or nothing.
    pub(crate) fn open(folder: &Path, key: &str, url: &str) -> Result<Self> {
        let path = folder.join(format!("{key}.part"));
        let open = || {
            let file = new_files::open_or_make(&path)?;
            let length = file.metadata()?.len();
            io::Result::Ok((file, length))
        };
        let (file, length) = open().context(|| format!("opening `{}`", path.display()))?;
        let about = fs::read(about_path(&path))
            .ok()
            .and_then(|text| serde_json::from_slice::<PartOrigin>(&text).ok())
            .filter(|about| about.url == url);
        let nothing = PartOrigin { url: url.into(), validator: Validator::default(), total: None };
        let is_known = about.is_some();
        let mut part = Self { file, path, about: about.unwrap_or(nothing), length };
        // What an orphan, or another address's part, is a part of is not known.
        let is_overlong = part.about.total.is_some_and(|total| part.length > total);
        if !is_known || is_overlong {
            part.clear()?;
        }
        Ok(part)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    pub(crate) fn total(&self) -> Option<u64> {
        self.about.total
    }

    pub(crate) fn validator(&self) -> &Validator {
        &self.about.validator
    }

    /// Whether all of it is here.
    pub(crate) fn is_whole(&self) -> bool {
        self.about.total == Some(self.length)
    }

    /// Forgets what is there and begins a file like this.
    pub(crate) fn begin(&mut self, validator: Validator, total: Option<u64>) -> Result<()> {
        self.clear()?;
        self.about.validator = validator;
        self.about.total = total;
        let save = || {
            let text = serde_json::to_vec(&self.about)?;
            new_files::make_anew(&about_path(&self.path))?.write_all(&text)
        };
        save().context(|| format!("writing beside `{}`", self.path.display()))
    }

    /// A server's word on its length, when it comes late.
    pub(crate) fn set_total(&mut self, total: u64) {
        self.about.total = Some(total);
    }

    pub(crate) fn append(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write_all(bytes).context(|| format!("writing `{}`", self.path.display()))?;
        self.length += bytes.len() as u64;
        Ok(())
    }

    /// The file, to be read from its beginning. Reading moves what is appended next: only
    /// [`PartialFile::append`] after all of it was read.
    pub(crate) fn reader(&mut self) -> Result<&File> {
        io::Seek::rewind(&mut self.file)?;
        Ok(&self.file)
    }

    /// Forgets what is there.
    pub(crate) fn clear(&mut self) -> Result<()> {
        let mut clear = || {
            self.file.set_len(0)?;
            io::Seek::rewind(&mut self.file)
        };
        clear().context(|| format!("emptying `{}`", self.path.display()))?;
        self.length = 0;
        self.about.total = None;
        self.about.validator = Validator::default();
        Ok(())
    }

    /// Removes it: it is whole and used, or worth nothing.
    pub(crate) fn remove(self) -> Result<()> {
        for path in [&self.path, &about_path(&self.path)] {
            match fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(error).context(|| format!("removing `{}`", path.display()));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

fn about_path(part: &Path) -> PathBuf {
    part.with_extension("json")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn validator(etag: &str) -> Validator {
        Validator { etag: Some(etag.into()), last_modified: None }
    }

    #[test]
    fn a_part_is_found_again_with_what_tells_it_apart() {
        let folder = tempfile::tempdir().unwrap();
        let mut part = PartialFile::open(folder.path(), "k", "https://one").unwrap();
        part.begin(validator("\"a\""), Some(10)).unwrap();
        part.append(b"hello").unwrap();
        drop(part);

        let part = PartialFile::open(folder.path(), "k", "https://one").unwrap();
        assert_eq!((part.length(), part.total()), (5, Some(10)));
        assert_eq!(part.validator().if_range(), Some("\"a\""));
        drop(part);

        let part = PartialFile::open(folder.path(), "k", "https://two").unwrap();
        assert_eq!((part.length(), part.total()), (0, None));
        part.remove().unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_nobody_can_tell_apart_is_not_resumed() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("k.part"), "orphan").unwrap();
        let mut part = PartialFile::open(folder.path(), "k", "https://one").unwrap();
        assert_eq!(part.length(), 0);
        part.begin(validator("\"a\""), Some(3)).unwrap();
        part.append(b"more than three").unwrap();
        drop(part);
        assert_eq!(PartialFile::open(folder.path(), "k", "https://one").unwrap().length(), 0);
    }
}
