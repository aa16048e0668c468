//! UEFI firmware as distributions install it.

use std::path::Path;

use crate::config::Arch;
use crate::util::error::{Error, Result};

/// Firmware code, mapped read-only, and the template of its variables.
pub(super) struct Firmware {
    pub(super) code: &'static str,
    pub(super) variables: &'static str,
}

/// Debian and Ubuntu, Fedora, Arch, then Homebrew on either kind of Mac.
const AMD64: [Firmware; 5] = [
    Firmware {
        code: "/usr/share/OVMF/OVMF_CODE_4M.fd",
        variables: "/usr/share/OVMF/OVMF_VARS_4M.fd",
    },
    Firmware {
        code: "/usr/share/edk2/ovmf/OVMF_CODE.fd",
        variables: "/usr/share/edk2/ovmf/OVMF_VARS.fd",
    },
    Firmware {
        code: "/usr/share/edk2/x64/OVMF_CODE.4m.fd",
        variables: "/usr/share/edk2/x64/OVMF_VARS.4m.fd",
    },
    Firmware {
        code: "/opt/homebrew/share/qemu/edk2-x86_64-code.fd",
        variables: "/opt/homebrew/share/qemu/edk2-i386-vars.fd",
    },
    Firmware {
        code: "/usr/local/share/qemu/edk2-x86_64-code.fd",
        variables: "/usr/local/share/qemu/edk2-i386-vars.fd",
    },
];
const ARM64: [Firmware; 5] = [
    Firmware {
        code: "/usr/share/AAVMF/AAVMF_CODE.no-secboot.fd",
        variables: "/usr/share/AAVMF/AAVMF_VARS.fd",
    },
    Firmware {
        code: "/usr/share/AAVMF/AAVMF_CODE.fd",
        variables: "/usr/share/AAVMF/AAVMF_VARS.fd",
    },
    Firmware {
        code: "/usr/share/edk2/aarch64/QEMU_EFI-pflash.raw",
        variables: "/usr/share/edk2/aarch64/vars-template-pflash.raw",
    },
    Firmware {
        code: "/opt/homebrew/share/qemu/edk2-aarch64-code.fd",
        variables: "/opt/homebrew/share/qemu/edk2-arm-vars.fd",
    },
    Firmware {
        code: "/usr/local/share/qemu/edk2-aarch64-code.fd",
        variables: "/usr/local/share/qemu/edk2-arm-vars.fd",
    },
];

/// Fails where no firmware for such machines is installed.
pub fn require_firmware(arch: Arch) -> Result<()> {
    find(arch).map(drop)
}

/// The first that is installed.
pub(super) fn find(arch: Arch) -> Result<&'static Firmware> {
    let (known, package): (&[Firmware], _) = match arch {
        Arch::Amd64 => (&AMD64, "ovmf"),
        Arch::Arm64 => (&ARM64, "qemu-efi-aarch64"),
    };
    let is_there = |it: &&Firmware| Path::new(it.code).exists() && Path::new(it.variables).exists();
    known.iter().find(is_there).ok_or_else(|| {
        Error::failure("no UEFI firmware for QEMU is installed")
            .hint(format!("`apt install {package}` on Debian, `brew install qemu` on macOS"))
    })
}
