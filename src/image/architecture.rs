//! What an image's programs are compiled for.

use std::fmt;
use std::path::Path;

use super::Image;
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
