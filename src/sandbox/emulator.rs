//! Programs of another processor: qemu-user, called by the kernel for the sandbox alone.
//!
//! Since Linux 6.7 every user namespace may have a `binfmt_misc` of its own. Its table is gone with
//! the sandbox, and the host's is never written. Source: Documentation/admin-guide/binfmt-misc.rst.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::mount::{MountFlags, mount};
use serde::{Deserialize, Serialize};

use crate::config::Arch;
use crate::util::error::{Context, Error, Result};
use crate::util::process;

const HOST_TABLE: &str = "/proc/sys/fs/binfmt_misc";
/// The first Linux whose user namespaces have tables of their own.
const FIRST: (u32, u32) = (6, 7);

/// A program that runs those of another processor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Emulator {
    arch: Arch,
    program: PathBuf,
}

impl Emulator {
    /// What the sandbox needs to run programs of `arch`; `None` when the kernel can do it already.
    pub(super) fn find(arch: Arch) -> Result<Option<Self>> {
        if arch == Arch::HOST {
            return Ok(None);
        }
        let program = program(arch);
        if let Some(program) = program.clone().filter(|_| kernel() >= FIRST) {
            return Ok(Some(Self { arch, program }));
        }
        if is_registered(arch) {
            return Ok(None);
        }
        let error = Error::failure(format!("this machine cannot run programs for {}", arch.name()));
        Err(match program {
            None => error.hint(
                "install qemu-user, static: `apt-get install qemu-user-static`; version 10 is by far the fastest",
            ),
            Some(_) => error.hint(
                "it needs Linux 6.7 or newer, or qemu registered with the flag F: \
                 `apt-get install qemu-user-static binfmt-support`",
            ),
        })
    }

    /// Tells the kernel, for this process's user namespace. `folder` is where the table is mounted,
    /// and stays for as long as the mount namespace.
    pub(super) fn register(&self, folder: &Path) -> Result<()> {
        let register = || -> Result<()> {
            fs::create_dir_all(folder)?;
            mount("binfmt_misc", folder, "binfmt_misc", MountFlags::empty(), None)
                .map_err(std::io::Error::from)?;
            let (magic, mask) = pattern(self.arch);
            // F: opened now, so that it is found whatever the root is. P: programs see the name they
            // were called by.
            let line = format!(":nodeforge:M:0:{magic}:{mask}:{}:PF", self.program.display());
            Ok(fs::write(folder.join("register"), line)?)
        };
        register()
            .context(|| format!("cannot register `{}` to run programs", self.program.display()))
    }
}

fn name(arch: Arch) -> &'static str {
    match arch {
        Arch::Amd64 => "qemu-x86_64",
        Arch::Arm64 => "qemu-aarch64",
    }
}

/// What an ELF program begins with, and which bits of that count: as qemu's own
/// scripts/qemu-binfmt-conf.sh has it.
fn pattern(arch: Arch) -> (&'static str, &'static str) {
    match arch {
        Arch::Amd64 => (
            r"\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x3e\x00",
            r"\xff\xff\xff\xff\xff\xfe\xfe\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff",
        ),
        Arch::Arm64 => (
            r"\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00",
            r"\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff",
        ),
    }
}

fn program(arch: Arch) -> Option<PathBuf> {
    let names = [format!("{}-static", name(arch)), name(arch).to_owned()];
    let path = process::search_path();
    let mut candidates = names.iter().flat_map(|name| {
        path.split(':').map(move |folder| Path::new(folder).join(name)).collect::<Vec<_>>()
    });
    // The root that it will run in does not have its libraries.
    candidates.find(|path| fs::read(path).is_ok_and(|bytes| is_static(&bytes)))
}

/// Whether a 64-bit ELF program names no interpreter (elf(5)).
fn is_static(bytes: &[u8]) -> bool {
    const INTERPRETER: [u8; 4] = 3_u32.to_le_bytes();
    let number = |at: usize, length: usize| -> Option<usize> {
        let bytes = bytes.get(at..at + length)?;
        Some(bytes.iter().rev().fold(0, |all, &byte| all << 8 | usize::from(byte)))
    };
    let headers = || Some((number(32, 8)?, number(54, 2)?, number(56, 2)?));
    let Some((start, size, count)) = headers() else { return false };
    bytes.starts_with(b"\x7fELF\x02\x01")
        && (0..count).all(|index| {
            bytes.get(start + index * size..).is_some_and(|it| !it.starts_with(&INTERPRETER))
        })
}

/// Whether the host's own table has an emulator that works in any root.
fn is_registered(arch: Arch) -> bool {
    let entry = fs::read_to_string(Path::new(HOST_TABLE).join(name(arch))).unwrap_or_default();
    let flags = entry.lines().find_map(|line| line.strip_prefix("flags: ")).unwrap_or_default();
    entry.starts_with("enabled") && flags.contains('F')
}

/// The running kernel's version, as far as two numbers go.
fn kernel() -> (u32, u32) {
    let name = rustix::system::uname();
    let release = name.release().to_string_lossy();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    let mut next = || numbers.next().and_then(std::result::Result::ok).unwrap_or(0);
    (next(), next())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_that_bring_their_own_are_told_from_those_that_do_not() {
        let me = fs::read("/proc/self/exe").unwrap();
        assert!(!is_static(&me), "the tests are linked dynamically");
        assert!(!is_static(b"#!/bin/sh\n"));
        // An ELF header that has no program headers, and so no interpreter.
        let mut bare = vec![0; 64];
        bare[..6].copy_from_slice(b"\x7fELF\x02\x01");
        assert!(is_static(&bare));
    }
}
