//! The checkers of e2fsprogs and dosfstools as judges of what was written.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::{env, io};

use super::Image;
use super::part::Part;
use super::read_only::ReadOnly;
use crate::disk::{Disk, Scratch};
use crate::fs::{self, Ext4, Kind};
use crate::util::error::{Context, Error, Result};
use crate::util::room::{self, FolderUse};

/// Whether e2fsck and fsck.fat have the last word on an image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum FsckPolicy {
    /// They must, and be installed
    Always,
    /// Where they are installed
    #[default]
    Auto,
    /// They are not asked
    Never,
}

/// What became of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The checkers found nothing wrong.
    Clean,
    /// None was asked: the policy says so, or none is installed.
    NotAsked,
}

/// Where distributions, and Homebrew on a Mac, put the checkers: not always in `PATH`.
const FOLDERS: &[&str] = &[
    "/sbin",
    "/usr/sbin",
    "/usr/local/sbin",
    "/opt/homebrew/sbin",
    "/opt/homebrew/opt/e2fsprogs/sbin",
    "/usr/local/opt/e2fsprogs/sbin",
];

/// A program that checks a file system and changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Checker {
    E2fsck,
    FsckFat,
}

impl Checker {
    /// The one for what fills a part, if that is edited here.
    fn of(kind: Kind) -> Option<Self> {
        let checkers = [(Kind::Ext4, Self::E2fsck), (Kind::Fat, Self::FsckFat)];
        checkers.into_iter().find(|it| it.0 == kind).map(|it| it.1)
    }

    fn name(self) -> &'static str {
        match self {
            Self::E2fsck => "e2fsck",
            Self::FsckFat => "fsck.fat",
        }
    }

    fn package(self) -> &'static str {
        match self {
            Self::E2fsck => "e2fsprogs",
            Self::FsckFat => "dosfstools",
        }
    }

    /// Finds it in `PATH`, or where it usually is.
    pub(super) fn find(self) -> Option<PathBuf> {
        let path = env::var_os("PATH").unwrap_or_default();
        let folders = env::split_paths(&path).chain(FOLDERS.iter().map(PathBuf::from));
        folders.map(|folder| folder.join(self.name())).find(|program| program.is_file())
    }

    /// The same, as a policy has it.
    fn installed(self, policy: FsckPolicy) -> Result<Option<PathBuf>> {
        match (self.find(), policy) {
            (Some(program), _) => Ok(Some(program)),
            (None, FsckPolicy::Always) => {
                Err(Error::input(format!("{} is not installed", self.name()))
                    .hint(format!("install {}, or do not ask for `--fsck always`", self.package())))
            }
            (None, FsckPolicy::Auto | FsckPolicy::Never) => Ok(None),
        }
    }

    /// What it would like to mend of the file system that fills `disk`; `None` when that is nothing.
    ///
    /// The disk need not be a file: what is read of it is copied to a sparse temporary one. Of ext4
    /// that is all but the files' content.
    pub(super) fn complaints(self, disk: Arc<dyn Disk>, program: &Path) -> Result<Option<String>> {
        let name = self.name();
        let view = Arc::new(ReadOnly(disk));
        let content = match self {
            Self::E2fsck => Ext4::open(Arc::clone(&view) as _, 0)?.file_content()?,
            Self::FsckFat => Vec::new(),
        };
        let wanted =
            data_without(&*view, content).context(|| format!("finding what {name} reads"))?;
        let length = wanted.iter().map(|run| run.end - run.start).sum();
        let scratch = FsckCopy::new(length)?;
        copy(&*view, &wanted, scratch.file())
            .context(|| format!("copying what {name} reads"))
            .map_err(|error| scratch.explain(error, length))?;
        let mut command = Command::new(program);
        if self == Self::E2fsck {
            command.arg("-f");
        }
        let output = command
            .arg("-n")
            .arg(scratch.path())
            .env("LC_ALL", "C")
            .output()
            .context(|| format!("running `{}`", program.display()))?;
        if output.status.success() {
            return Ok(None);
        }
        if output.status.code().is_none() {
            return Err(Error::failure(format!("{name} was ended by a {}", output.status)));
        }
        let said = [output.stdout, output.stderr].concat();
        let report = String::from_utf8_lossy(&said);
        let path = scratch.path().display().to_string();
        let is_chatter = |line: &str| CHATTER.iter().any(|words| line.starts_with(words));
        let complaints: Vec<&str> = report
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty() && !is_chatter(line) && !line.starts_with(&path))
            .take(5)
            .collect();
        Ok(Some(complaints.join("; ")))
    }
}

/// What the checkers print besides complaints.
const CHATTER: &[&str] = &[
    "Pass ",
    "e2fsck ",
    "Fix? no",
    "Clear? no",
    "fsck.fat ",
    "Leaving filesystem unchanged",
    "Automatically ",
    "Not automatically ",
];

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
    fn new(length: u64) -> Result<Self> {
        #[cfg(target_os = "linux")]
        if length <= Self::MEMORY {
            let flags = rustix::fs::MemfdFlags::CLOEXEC;
            let file = rustix::fs::memfd_create("nodeforge-fsck", flags)
                .map_err(io::Error::from)
                .context(|| "making a temporary file")?;
            return Ok(Self::Memory(file.into()));
        }
        room::require(&Scratch::default().folder, FolderUse::Scratch, length)?;
        tempfile::NamedTempFile::new().map(Self::Named).context(|| "making a temporary file")
    }

    /// What there is to say of an error of writing so many bytes to it.
    fn explain(&self, error: Error, length: u64) -> Error {
        match self {
            #[cfg(target_os = "linux")]
            Self::Memory(_) => error,
            Self::Named(_) => {
                room::explain(error, &Scratch::default().folder, FolderUse::Scratch, Some(length))
            }
        }
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
    /// Has the checkers look at every file system of this image that is mounted, as `policy` has it.
    /// Anything they would like to mend is an error. `before` is the disk as it was before it was
    /// changed: what is wrong with that already is not blamed on the change.
    pub fn fsck(&mut self, policy: FsckPolicy, before: &Arc<dyn Disk>) -> Result<Verdict> {
        if policy == FsckPolicy::Never {
            return Ok(Verdict::NotAsked);
        }
        fs::Tree::flush(self)?;
        let mut verdict = Verdict::NotAsked;
        for (part, checker) in self.checked_parts() {
            let Some(program) = checker.installed(policy)? else { continue };
            let check = |disk: &Arc<dyn Disk>| checker.complaints(part.disk(disk)?, &program);
            let found = check(&self.disk).context(|| format!("checking {}", part.name()))?;
            if let Some(complaints) = found {
                let was_sound = matches!(check(before), Ok(None));
                return Err(judged(checker, part, before, &complaints, was_sound));
            }
            verdict = Verdict::Clean;
        }
        Ok(verdict)
    }

    /// Refuses to go on when the checkers would like to mend something of the disk as it was before it
    /// was changed: a change can hide damage.
    pub fn fsck_before(&self, policy: FsckPolicy, before: &Arc<dyn Disk>) -> Result<()> {
        if policy == FsckPolicy::Never {
            return Ok(());
        }
        for (part, checker) in self.checked_parts() {
            let Some(program) = checker.installed(policy)? else { continue };
            let found = checker.complaints(part.disk(before)?, &program);
            if let Some(complaints) = found.context(|| format!("checking {}", part.name()))? {
                return Err(judged(checker, part, before, &complaints, false));
            }
        }
        Ok(())
    }

    /// Refuses an image with a FAT file system that cannot be changed safely, or with which fsck.fat,
    /// where it is installed, is not content. Nothing else mends one before it is copied.
    pub fn check_fat(&self) -> Result<()> {
        for (part, checker) in self.checked_parts().filter(|it| it.1 == Checker::FsckFat) {
            let disk = part.disk(&self.disk)?;
            fs::fat::check(&disk).context(|| format!("checking {}", part.name()))?;
            let Some(program) = checker.find() else { continue };
            if let Some(complaints) = checker.complaints(disk, &program)? {
                return Err(judged(checker, part, &self.disk, &complaints, false));
            }
        }
        Ok(())
    }

    /// The parts that are mounted, each with its checker.
    fn checked_parts(&self) -> impl Iterator<Item = (&Part, Checker)> {
        let mounted = self.parts.iter().filter(|part| part.mount_point.is_some());
        mounted.filter_map(|part| Some((part, Checker::of(part.kind)?)))
    }
}

/// A checker's verdict on a part, and what to do.
fn judged(
    checker: Checker,
    part: &Part,
    before: &Arc<dyn Disk>,
    complaints: &str,
    was_sound: bool,
) -> Error {
    let name = checker.name();
    let error = if was_sound {
        Error::failure(format!("{name} finds the file system damaged: {complaints}"))
            .hint("this is a bug in nodeforge: please report it")
    } else {
        let command = part.disk(before).map(|disk| match checker {
            Checker::E2fsck => fs::repair::e2fsprogs(&*disk, &["e2fsck -fy"]),
            Checker::FsckFat => fs::repair::fsck_fat(&*disk),
        });
        let error = Error::failure(format!(
            "{name} finds the file system damaged, before any change: {complaints}"
        ));
        match command {
            Ok(command) => error.hint(format!("{command}, or start from a fresh image")),
            Err(_) => error,
        }
    };
    error.context(format!("checking {}", part.name()))
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
        let error = Checker::E2fsck.complaints(disk, &program).expect_err("no verdict");
        assert_eq!(error.to_string(), "e2fsck was ended by a signal: 9 (SIGKILL)");
    }
}
