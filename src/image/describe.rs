//! What system an image holds.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use super::{Image, OS_RELEASE, read_text};
use crate::fs::Tree;
use crate::util::error::Result;

/// A processor architecture under Debian's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Architecture {
    /// 64-bit PC.
    Amd64,
    /// 32-bit PC.
    I386,
    /// 64-bit ARM.
    Arm64,
    /// 32-bit ARM.
    Armhf,
    /// 64-bit RISC-V.
    Riscv64,
}

impl fmt::Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Amd64 => "amd64",
            Self::I386 => "i386",
            Self::Arm64 => "arm64",
            Self::Armhf => "armhf",
            Self::Riscv64 => "riscv64",
        })
    }
}

impl Image {
    /// The keys of `/etc/os-release`; empty when there is none.
    pub fn os_release(&self) -> Result<BTreeMap<String, String>> {
        Ok(parse_os_release(&read_text(self, OS_RELEASE)?.unwrap_or_default()))
    }

    /// The name in `/etc/hostname`.
    pub fn hostname(&self) -> Result<Option<String>> {
        let text = read_text(self, "/etc/hostname")?.unwrap_or_default();
        let name =
            text.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with('#'));
        Ok(name.map(str::to_owned))
    }

    /// What its programs are compiled for, told by one that every system has.
    pub fn architecture(&self) -> Result<Option<Architecture>> {
        for program in ["/usr/bin/true", "/bin/true", "/bin/sh", "/usr/lib/systemd/systemd"] {
            let Some(path) = self.resolve(Path::new(program))? else { continue };
            let mut header = [0; 20];
            let read = self.read_at(&path, 0, &mut header)?;
            if let Some(architecture) = elf_architecture(&header[..read]) {
                return Ok(Some(architecture));
            }
        }
        Ok(None)
    }
}

/// `KEY=value` lines with a shell's quotes (os-release(5)).
fn parse_os_release(text: &str) -> BTreeMap<String, String> {
    let assignments = text.lines().filter(|line| !line.trim_start().starts_with('#'));
    assignments
        .filter_map(|line| line.split_once('='))
        .map(|(key, value)| (key.trim().to_owned(), unquote(value.trim())))
        .collect()
}

fn unquote(value: &str) -> String {
    for quote in ['"', '\''] {
        if let Some(inner) = value.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote)) {
            return inner.replace("\\\"", "\"").replace("\\$", "$").replace("\\\\", "\\");
        }
    }
    value.to_owned()
}

/// `e_machine` of a little-endian ELF header (elf(5)).
fn elf_architecture(header: &[u8]) -> Option<Architecture> {
    const LITTLE_ENDIAN: u8 = 1;
    if !header.starts_with(b"\x7fELF") || *header.get(5)? != LITTLE_ENDIAN {
        return None;
    }
    match u16::from_le_bytes([*header.get(18)?, *header.get(19)?]) {
        3 => Some(Architecture::I386),
        40 => Some(Architecture::Armhf),
        62 => Some(Architecture::Amd64),
        183 => Some(Architecture::Arm64),
        243 => Some(Architecture::Riscv64),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn os_release_is_unquoted() {
        let keys = parse_os_release(
            "# comment\nNAME=\"Debian GNU/Linux\"\nVERSION_ID='13'\nID=debian\nODD=\"a \\\"b\\\"\"\n",
        );
        assert_eq!(keys["NAME"], "Debian GNU/Linux");
        assert_eq!(keys["VERSION_ID"], "13");
        assert_eq!(keys["ID"], "debian");
        assert_eq!(keys["ODD"], "a \"b\"");
    }

    #[test]
    fn architectures_are_told_by_the_elf_header() {
        let mut header = [0; 20];
        header[..6].copy_from_slice(b"\x7fELF\x02\x01");
        header[18] = 183;
        assert_eq!(elf_architecture(&header), Some(Architecture::Arm64));
        header[5] = 2;
        assert_eq!(elf_architecture(&header), None);
        assert_eq!(elf_architecture(b"\x7fELF"), None);
        assert_eq!(elf_architecture(b"#!/bin/sh\n"), None);
    }
}
