//! e2fsck as the judge of what was written.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::{env, io};

use super::Image;
use super::read_only::ReadOnly;
use crate::disk::Disk;
use crate::fs::{Ext4, Kind};
use crate::util::error::{Context, Error, Result};

/// Whether e2fsck has the last word on an image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum FsckPolicy {
    /// It must, and be installed
    Always,
    /// Where it is installed
    #[default]
    Auto,
    /// It is not asked
    Never,
}

/// What became of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// e2fsck found nothing wrong.
    Clean,
    /// It was not asked: the policy says so, it is not installed, or nothing here is ext4.
    NotAsked,
}

/// Where distributions, and Homebrew on a Mac, put e2fsck: not always in `PATH`.
const FOLDERS: &[&str] = &[
    "/sbin",
    "/usr/sbin",
    "/usr/local/sbin",
    "/opt/homebrew/opt/e2fsprogs/sbin",
    "/usr/local/opt/e2fsprogs/sbin",
];

/// Finds e2fsck in `PATH`, or where it usually is.
pub fn find_e2fsck() -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = env::split_paths(&path).chain(FOLDERS.iter().map(PathBuf::from));
    folders.map(|folder| folder.join("e2fsck")).find(|program| program.is_file())
}

/// Checks the ext4 file system that fills `disk` with `e2fsck -fn`. Anything it would like to
/// mend is an error.
///
/// The disk need not be a file: what e2fsck reads of it, which is all but the files' content, is
/// copied to a sparse temporary one.
pub fn check_ext4(disk: Arc<dyn Disk>, e2fsck: &Path) -> Result<()> {
    let view = Arc::new(ReadOnly(disk));
    let content = Ext4::open(Arc::clone(&view) as _, 0)?.file_content()?;
    let wanted = data_without(&*view, content).context(|| "finding what e2fsck reads")?;
    let length = wanted.iter().map(|run| run.end - run.start).sum();
    let scratch = FsckCopy::new(length).context(|| "making a temporary file")?;
    copy(&*view, &wanted, scratch.file()).context(|| "copying what e2fsck reads")?;
    let output = Command::new(e2fsck)
        .args(["-f", "-n"])
        .arg(scratch.path())
        .env("LC_ALL", "C")
        .output()
        .context(|| format!("running `{}`", e2fsck.display()))?;
    if output.status.success() {
        return Ok(());
    }
    if output.status.code().is_none() {
        return Err(Error::failure(format!("e2fsck was ended by a {}", output.status)));
    }
    let report = String::from_utf8_lossy(&output.stdout);
    let passes = ["Pass ", "e2fsck ", "Fix? no", "Clear? no"];
    let complaints: Vec<&str> = report
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !passes.iter().any(|pass| line.starts_with(pass)))
        .take(5)
        .collect();
    let complaints = complaints.join("; ");
    Err(Error::failure(format!("e2fsck finds the file system damaged: {complaints}"))
        .hint("if the image was sound before, this is a bug in nodeforge: please report it"))
}

/// The runs of a disk that may hold anything but zeros, without the bytes `skipped`.
fn data_without(disk: &dyn Disk, mut skipped: Vec<Range<u64>>) -> io::Result<Vec<Range<u64>>> {
    skipped.sort_by_key(|range| range.start);
    let mut skipped = skipped.into_iter().peekable();
    let mut wanted = Vec::new();
    let mut at = 0;
    while let Some(run) = disk.next_data(at)? {
        at = run.start;
        while at < run.end {
            while skipped.next_if(|range| range.end <= at).is_some() {}
            let next = skipped.peek().map_or(run.end, |range| range.start.min(run.end));
            if at < next {
                wanted.push(at..next);
            }
            at = match skipped.peek() {
                Some(range) if next < run.end => range.end,
                _ => next,
            };
        }
    }
    Ok(wanted)
}

/// Copies runs of a disk to the same places of a file, which gets the disk's size.
fn copy(disk: &dyn Disk, runs: &[Range<u64>], file: &File) -> io::Result<()> {
    const CHUNK: usize = 1 << 20;
    file.set_len(disk.size())?;
    let mut buffer = vec![0; CHUNK];
    for run in runs {
        let mut at = run.start;
        while at < run.end {
            let length = usize::try_from(run.end - at).unwrap_or(CHUNK).min(CHUNK);
            let part = &mut buffer[..length];
            disk.read_at(part, at)?;
            if part.iter().any(|&byte| byte != 0) {
                file.write_all_at(part, at)?;
            }
            at += length as u64;
        }
    }
    Ok(())
}

/// A sparse file for another program to read, which goes away by itself.
enum FsckCopy {
    /// In memory.
    #[cfg(target_os = "linux")]
    Memory(File),
    /// In the folder for temporary files.
    Named(tempfile::NamedTempFile),
}

impl FsckCopy {
    /// As much as is kept in memory, in bytes: some file systems take seconds to give back the
    /// blocks of a file made of many pieces.
    #[cfg(target_os = "linux")]
    const MEMORY: u64 = 128 << 20;

    /// A file that `length` bytes will be written to.
    #[cfg_attr(not(target_os = "linux"), allow(unused_variables))]
    fn new(length: u64) -> io::Result<Self> {
        #[cfg(target_os = "linux")]
        if length <= Self::MEMORY {
            let flags = rustix::fs::MemfdFlags::CLOEXEC;
            let file = rustix::fs::memfd_create("nodeforge-fsck", flags)?;
            return Ok(Self::Memory(file.into()));
        }
        tempfile::NamedTempFile::new().map(Self::Named)
    }

    fn file(&self) -> &File {
        match self {
            #[cfg(target_os = "linux")]
            Self::Memory(file) => file,
            Self::Named(file) => file.as_file(),
        }
    }

    /// Where another process finds it, as long as this value lives.
    fn path(&self) -> PathBuf {
        match self {
            #[cfg(target_os = "linux")]
            Self::Memory(file) => {
                use std::os::fd::AsRawFd;
                format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd()).into()
            }
            Self::Named(file) => file.path().to_owned(),
        }
    }
}

impl Image {
    /// Checks every ext4 file system of this image that is mounted, as `policy` has it.
    pub fn fsck(&mut self, policy: FsckPolicy) -> Result<Verdict> {
        let e2fsck = match (policy, find_e2fsck()) {
            (FsckPolicy::Never, _) | (FsckPolicy::Auto, None) => return Ok(Verdict::NotAsked),
            (FsckPolicy::Always, None) => {
                return Err(Error::input("e2fsck is not installed")
                    .hint("install e2fsprogs, or do not ask for `--fsck always`"));
            }
            (_, Some(e2fsck)) => e2fsck,
        };
        crate::fs::Tree::flush(self)?;
        let mut verdict = Verdict::NotAsked;
        for part in &self.parts {
            if part.kind == Kind::Ext4 && part.mount_point.is_some() {
                check_ext4(part.disk(&self.disk)?, &e2fsck)
                    .context(|| format!("checking {}", part.name()))?;
                verdict = Verdict::Clean;
            }
        }
        Ok(verdict)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::Raw;

    /// Killed, for example to free memory: that says nothing about the file system.
    #[test]
    fn an_e2fsck_that_was_stopped_found_nothing() {
        use std::os::unix::fs::PermissionsExt;

        let folder = tempfile::tempdir().expect("a folder");
        let (disk, program) = (folder.path().join("disk"), folder.path().join("e2fsck"));
        File::create(&disk).and_then(|it| it.set_len(4 << 20)).expect("a file");
        let made = Command::new("mke2fs").args(["-q", "-t", "ext4"]).arg(&disk).status();
        assert!(made.expect("mke2fs starts").success());
        std::fs::write(&program, "#!/bin/sh\nkill -9 $$\n").expect("written");
        std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).expect("changed");
        let disk = Arc::new(Raw::open(&disk).expect("it opens"));
        let error = check_ext4(disk, &program).expect_err("no verdict");
        assert_eq!(error.to_string(), "e2fsck was ended by a signal: 9 (SIGKILL)");
    }
}
