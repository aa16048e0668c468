//! The user space of a machine that bootstraps: mmdebstrap, apt and all that they call, out of Debian's
//! packages, as one archive that the machine unpacks.
//!
//! Nothing is configured: these programs run as they are unpacked, with the few files that packages'
//! scripts would have made and that they cannot do without.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::Path;

use super::machine;
use super::repository::DebianList;
use crate::cache::{Cache, package_files};
use crate::config::Arch;
use crate::download::Client;
use crate::util::error::{Context as _, Result};
use crate::util::interrupt;
use crate::util::progress::Progress;

/// What the job calls, and what each Debian is taken to have; packages that these need come along. The
/// first one has the links from `/bin` into `/usr`.
const PACKAGES: [&str; 22] = [
    "base-files",
    "apt",
    "base-passwd",
    "bash",
    "ca-certificates",
    "coreutils",
    "dash",
    "debian-archive-keyring",
    "diffutils",
    "dpkg",
    "e2fsprogs",
    "findutils",
    "grep",
    "gzip",
    "hostname",
    "libc-bin",
    "mawk",
    "mmdebstrap",
    "mount",
    "sed",
    "tar",
    "util-linux",
];

/// Folders of files that no program reads.
const UNREAD: [&str; 5] = [
    "usr/share/doc/",
    "usr/share/info/",
    "usr/share/locale/",
    "usr/share/man/",
    "usr/share/lintian/",
];

/// Files that a script of a package would copy: from where, and to where.
const COPIES: [(&str, &str); 2] = [
    ("usr/share/base-passwd/passwd.master", "etc/passwd"),
    ("usr/share/base-passwd/group.master", "etc/group"),
];
/// Certificates that are trusted, each a file, and the one file that programs read.
const CERTIFICATES: &str = "usr/share/ca-certificates/mozilla/";
const TRUSTED: &str = "etc/ssl/certs/ca-certificates.crt";

/// Writes the archive to `to`, of packages for `arch` that Debian has today; they stay in the cache.
pub(crate) fn write(arch: Arch, cache: &Cache, to: &Path, progress: &dyn Progress) -> Result<()> {
    progress.stage("looking for Debian's bootstrap programs");
    let list = DebianList::fetch(&Client::new()?, arch, machine::seen(arch, cache)?, progress)?;
    progress.stage("getting Debian's bootstrap programs");
    let file = File::create_new(to).context(|| format!("creating `{}`", to.display()))?;
    let mut archive =
        RootArchive { tar: tar::Builder::new(BufWriter::new(file)), trusted: Vec::new() };
    for offer in list.with_needs(&PACKAGES)? {
        interrupt::check()?;
        let (package, _in_use) =
            machine::package(&offer.url, offer.sha256, cache, false, progress)?;
        archive.add(&package).context(|| format!("cannot unpack `{}`", offer.url))?;
    }
    archive.finish().context(|| format!("writing `{}`", to.display()))
}

/// The archive while it grows.
struct RootArchive<W: Write> {
    tar: tar::Builder<W>,
    trusted: Vec<u8>,
}

impl<W: Write> RootArchive<W> {
    /// Adds a package's files.
    fn add(&mut self, package: &Path) -> Result<()> {
        let mut files = tar::Archive::new(package_files(BufReader::new(File::open(package)?))?);
        for entry in files.entries()? {
            let mut entry = entry?;
            let path = entry.path()?.into_owned();
            let name = path.to_string_lossy();
            let name = name.strip_prefix("./").unwrap_or(&name).to_owned();
            if name.is_empty() || UNREAD.iter().any(|it| name.starts_with(it)) {
                continue;
            }
            let mut header = entry.header().clone();
            if let Some(target) = entry.link_name()? {
                let target = target.strip_prefix("./").unwrap_or(&target).to_owned();
                self.tar.append_link(&mut header, &name, target)?;
                continue;
            }
            let copy = COPIES.iter().find(|it| it.0 == name);
            if copy.is_none() && !name.starts_with(CERTIFICATES) {
                self.tar.append_data(&mut header, &name, &mut entry)?;
                continue;
            }
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes)?;
            if let Some((_, to)) = copy {
                self.file(to, &bytes)?;
            } else if header.entry_type().is_file() {
                self.trusted.extend(&bytes);
            }
        }
        Ok(())
    }

    fn file(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        header.set_size(bytes.len() as u64);
        self.tar.append_data(&mut header, name, bytes)
    }

    fn finish(mut self) -> io::Result<()> {
        let trusted = std::mem::take(&mut self.trusted);
        self.file(TRUSTED, &trusted)?;
        self.file("var/lib/dpkg/status", b"")?;
        let mut link = tar::Header::new_gnu();
        link.set_entry_type(tar::EntryType::Symlink);
        link.set_size(0);
        self.tar.append_link(&mut link, "etc/mtab", "../proc/self/mounts")?;
        self.tar.into_inner()?.flush()
    }
}
