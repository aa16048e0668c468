//! The job of preparing, done in a machine of its own.

use std::collections::BTreeMap;
use std::fs;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::job::PrepareJob;
use crate::cache::{Cache, Package, is_whole_package};
use crate::change::{Action, Change};
use crate::config::Arch;
use crate::debian::machine::{self, MachineParts};
use crate::disk::Disk;
use crate::fs::{FileType, Tree};
use crate::image::Image;
use crate::sandbox::vm::{self, JobMachine, Mirrors};
use crate::util::error::Result;
use crate::util::progress::Progress;

/// Where apt reads what it fetches from.
const SOURCES: [&str; 4] = [
    "/etc/apt/sources.list",
    "/etc/apt/sources.list.d",
    "/etc/apt/mirrors",
    "/etc/apt/mirrorlists",
];
/// The most bytes of such a file.
const LIMIT: u64 = 1 << 20;

/// Does the job on the image that it names, for programs of `arch`. What the machine is made of, and writes
/// to, lies in a folder below `folder`, and is gone afterwards.
pub(super) fn run(
    job: PrepareJob,
    arch: Arch,
    base: &Arc<dyn Disk>,
    cache: &Cache,
    folder: &Path,
    progress: &dyn Progress,
) -> Result<Vec<Package>> {
    let parts = MachineParts::assemble(arch, cache, folder, job.offline, progress)?;

    let mut inputs: Vec<(PathBuf, PathBuf)> = Vec::new();
    let mut files = BTreeMap::new();
    for (number, (sha256, path)) in job.files.iter().enumerate() {
        inputs.push((path.clone(), vm::inside(number)));
        files.insert(*sha256, vm::inside(number));
    }
    for name in job.locked.iter().map(Package::file_name) {
        // The lock file names packages, and is not to name other files.
        let path = job.archives.join(&name);
        let is_file = !name.starts_with('.')
            && !name.contains(['/', '\0'])
            && fs::symlink_metadata(&path).is_ok_and(|it| it.is_file());
        if is_file {
            inputs.push((path, Path::new(vm::ARCHIVES).join(&name)));
        }
    }
    let mirrors = if job.offline { None } else { Some(mirrors(&job.changes, base)?) };
    let (image, log, packages) =
        (job.partition.disk.clone(), job.log.clone(), job.archives.clone());
    let mut job = job;
    job.base = vm::DISK.into();
    job.partition.disk = vm::DISK.into();
    job.files = files;
    job.archives = vm::ARCHIVES.into();
    job.log = vm::LOG.into();
    let machine = JobMachine {
        inputs,
        packages,
        is_package: |file| is_whole_package(BufReader::new(file)).unwrap_or(false),
        mirrors,
        ..parts.machine(&image, &log)
    };
    vm::run(machine, &job, progress)
}

/// What the machine may connect to: what the cluster asks for, and what the image has.
fn mirrors(changes: &[Change], base: &Arc<dyn Disk>) -> Result<Mirrors> {
    let mut asked_for = String::new();
    for change in changes {
        match &change.action {
            Action::AptSource { text, .. } => asked_for.push_str(&without_comments(text)),
            Action::File { path, content, .. } if path.starts_with("/etc/apt/") => {
                asked_for.push_str(&without_comments(&String::from_utf8_lossy(&content.bytes)));
            }
            Action::File { .. }
            | Action::Grow { .. }
            | Action::Package { .. }
            | Action::Download { .. }
            | Action::Images(_)
            | Action::Directory { .. }
            | Action::Symlink { .. }
            | Action::Remove { .. }
            | Action::Unit { .. }
            | Action::User(_)
            | Action::KernelArgument { .. }
            | Action::KernelArgumentRemoved { .. }
            | Action::ConfigTxt { .. }
            | Action::Hostname { .. }
            | Action::MachineId { .. }
            | Action::DiskId { .. }
            | Action::Locale { .. }
            | Action::Keyboard { .. }
            | Action::Timezone { .. } => {}
        }
    }
    let image = Image::open(Arc::clone(base), 0)?;
    let mut of_image = String::new();
    for path in SOURCES {
        read(&image, Path::new(path), &mut of_image)?;
    }
    machine::mirrors(&asked_for, &of_image)
}

/// Adds a file's text, or that of all files of a folder.
fn read(image: &Image, path: &Path, text: &mut String) -> Result<()> {
    match image.metadata(path)?.map(|it| it.file_type) {
        Some(FileType::Directory) => {
            for entry in image.read_dir(path)? {
                if entry.file_type != FileType::Directory {
                    read(image, &path.join(entry.name), text)?;
                }
            }
        }
        Some(_) => {
            let bytes = image.read(path, LIMIT)?.unwrap_or_default();
            text.push_str(&without_comments(&String::from_utf8_lossy(&bytes)));
        }
        None => {}
    }
    Ok(())
}

fn without_comments(text: &str) -> String {
    let lines = text.lines().filter(|line| !line.trim_start().starts_with('#'));
    lines.flat_map(|line| [line, "\n"]).collect()
}
