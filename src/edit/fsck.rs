//! The file systems' own checkers, asked before an edit happens.
//!
//! They want a file that holds one file system. It is made sparse, of metadata alone where that can be
//! had: nobody waits for a copy of their image.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;

use clap::ValueEnum;

use crate::disk::{CLUSTER, Disk, Raw, Scratch, Shadow, Slice};
use crate::error::{Context, Error, Result};
use crate::fs::Kind;
use crate::image::Part;
use crate::interrupt;

/// Whether changed file systems are checked by e2fsck and fsck.fat.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Fsck {
    /// Fail when a checker is not installed
    Always,
    /// Check where the checker is installed
    #[default]
    Auto,
    /// Trust nodeforge
    Never,
}

/// A checker and how it is told to look and not to touch.
struct Checker {
    program: &'static str,
    package: &'static str,
    arguments: &'static [&'static str],
}

const E2FSCK: Checker = Checker { program: "e2fsck", package: "e2fsprogs", arguments: &["-f", "-n"] };
const FSCK_FAT: Checker = Checker { program: "fsck.fat", package: "dosfstools", arguments: &["-n"] };

/// Where Debian keeps them, out of an ordinary user's way.
const FOLDERS: [&str; 2] = ["/usr/sbin", "/sbin"];

/// Has every file system checked that lies in the clusters `changed`.
pub(super) fn check(
    policy: Fsck,
    image: &Path,
    shadow: &Arc<Shadow>,
    changed: &[u64],
    parts: &[Part],
) -> Result<()> {
    if policy == Fsck::Never {
        return Ok(());
    }
    for part in parts {
        let checker = match part.kind {
            Kind::Ext4 => &E2FSCK,
            Kind::Fat => &FSCK_FAT,
            _ => continue,
        };
        let clusters = part.range.start / CLUSTER..part.range.end.div_ceil(CLUSTER);
        if !changed.iter().any(|index| clusters.contains(index)) {
            continue;
        }
        let Some(program) = find(checker.program) else {
            if policy == Fsck::Auto {
                continue;
            }
            return Err(Error::failure(format!("`{}` is not installed", checker.program)).hint(
                format!("install the package {}, or give `--fsck auto`", checker.package),
            ));
        };
        check_part(checker, &program, image, shadow, changed, part)?;
    }
    Ok(())
}

fn check_part(
    checker: &Checker,
    program: &Path,
    image: &Path,
    shadow: &Arc<Shadow>,
    changed: &[u64],
    part: &Part,
) -> Result<()> {
    let context = || format!("preparing the check by `{}`", checker.program);
    let folder = tempfile::tempdir_in(Scratch::default().folder).context(context)?;
    let copy = folder.path().join("part");
    let has_metadata = part.kind == Kind::Ext4 && extract_metadata(image, part, &copy)?;
    if has_metadata {
        carry_into(&copy, shadow, changed, part).context(context)?;
    } else {
        copy_part(&copy, shadow, part).context(context)?;
    }
    let mut command = Command::new(program);
    command.args(checker.arguments).arg(&copy);
    let output = run(&mut command)?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let said: Vec<&str> = said.lines().filter(|line| is_finding(line)).take(5).collect();
    let which = part.number().map_or_else(String::new, |number| format!(" of partition {number}"));
    Err(Error::failure(said.join("; "))
        .context(format!("{} is not content with the file system{which}", checker.program))
        .hint("nothing was changed; if it had been damaged before, repair it first, or give `--fsck never`"))
}

/// Not what the checkers say of every file system.
fn is_finding(line: &str) -> bool {
    !line.is_empty() && !line.starts_with("Pass ") && !line.starts_with("fsck.fat ")
}

fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(FOLDERS.map(PathBuf::from))
        .map(|folder| folder.join(program))
        .find(|path| path.is_file())
}

/// Has e2image write the metadata of the file system as it was; the changed clusters bring what is
/// new. `false` when e2image cannot.
fn extract_metadata(image: &Path, part: &Part, copy: &Path) -> Result<bool> {
    let Some(program) = find("e2image") else { return Ok(false) };
    let mut command = Command::new(program);
    command.arg("-r").arg("-o").arg(part.range.start.to_string()).arg(image).arg(copy);
    Ok(run(&mut command)?.status.success())
}

/// Runs a program to its end without a terminal.
fn run(command: &mut Command) -> Result<Output> {
    let context = format!("running `{}`", command.get_program().display());
    let output = command.env("LC_ALL", "C").stdin(Stdio::null()).output().context(|| context)?;
    interrupt::check()?;
    Ok(output)
}

/// Writes what changed of a partition into a copy of it.
fn carry_into(copy: &Path, shadow: &Shadow, changed: &[u64], part: &Part) -> io::Result<()> {
    let copy = File::options().write(true).open(copy)?;
    copy.set_len(part.range.end - part.range.start)?;
    let mut buffer = Vec::new();
    for index in changed {
        let start = (index * CLUSTER).max(part.range.start);
        let end = ((index + 1) * CLUSTER).min(part.range.end);
        if start < end {
            buffer.resize(usize::try_from(end - start).expect("at most a cluster"), 0);
            shadow.read_at(&mut buffer, start)?;
            copy.write_all_at(&buffer, start - part.range.start)?;
        }
    }
    Ok(())
}

/// Copies all data of a partition.
fn copy_part(copy: &Path, shadow: &Arc<Shadow>, part: &Part) -> Result<()> {
    const CHUNK: u64 = 1 << 20;
    let slice = Slice::new(Arc::clone(shadow) as Arc<dyn Disk>, part.range.clone())?;
    let copy = Raw::create(copy, slice.size())?;
    let mut buffer = Vec::new();
    let mut at = 0;
    while let Some(run) = slice.next_data(at)? {
        at = run.start;
        while at < run.end {
            let length = (run.end - at).min(CHUNK);
            buffer.resize(usize::try_from(length).expect("at most a MiB"), 0);
            slice.read_at(&mut buffer, at)?;
            copy.write_at(&buffer, at)?;
            at += length;
        }
        interrupt::check()?;
    }
    Ok(())
}
