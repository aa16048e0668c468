//! QEMU's command line.

use std::fs::File;
use std::net::Ipv4Addr;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use clap::ValueEnum;
use tempfile::TempDir;

use super::block::Drives;
use super::kernel::Kernel;
use crate::boot::firmware;
use crate::config::Arch;
use crate::disk::{self, Disk as _};
use crate::image::Image;
use crate::sandbox::qemu::{KVM, check_version, command, is_native};
use crate::util::error::{Context, Error, Result};
use crate::util::sha256::Sha256;

/// What runs the guest's instructions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Accelerator {
    /// Emulation: slow, and works on every host
    #[default]
    Tcg,
    /// Linux's own, for a guest of the host's architecture
    Kvm,
    /// The Mac's own, for a guest of the host's architecture
    Hvf,
}

impl Accelerator {
    /// Fails where it is not there for guests like this, or not for this user.
    fn require(self, guest: Arch) -> Result<()> {
        let name = match self {
            Self::Tcg => return Ok(()),
            Self::Kvm => "kvm",
            Self::Hvf => "hvf",
        };
        let is_here = match self {
            Self::Tcg => true,
            Self::Kvm => cfg!(target_os = "linux"),
            Self::Hvf => cfg!(target_os = "macos"),
        };
        let emulated = "`--accel tcg` emulates it: slow, and anywhere";
        if !is_here {
            let message = format!("`{name}` is not an accelerator of this system");
            return Err(Error::input(message).hint(emulated));
        }
        if !is_native(guest) {
            let message = format!("`{name}` runs no {} guests on this processor", guest.name());
            return Err(Error::input(message).hint(emulated));
        }
        if self == Self::Kvm {
            let opened = File::options().read(true).write(true).open(KVM);
            return opened.map(drop).map_err(|error| no_kvm(error).hint(emulated));
        }
        Ok(())
    }
}

/// Why KVM cannot be used, and what helps.
fn no_kvm(error: std::io::Error) -> Error {
    let kind = error.kind();
    let error = Error::from(error).context(format!("opening `{KVM}`"));
    #[expect(clippy::wildcard_enum_match_arm, reason = "other errors need no remedy of ours")]
    match kind {
        std::io::ErrorKind::PermissionDenied => {
            let group = std::fs::metadata(KVM).map_or(0, |it| it.gid());
            error.hint(if group == 0 {
                "it is for root alone here".to_owned()
            } else {
                format!(
                    "it is for its group: `sudo gpasswd -a \"$USER\" $(stat -c %G {KVM})`, then log in again"
                )
            })
        }
        std::io::ErrorKind::NotFound => error.hint(
            "the processor's virtualisation is off in the firmware, or this is a machine that offers none",
        ),
        _ => error,
    }
}

/// A machine to be booted.
pub struct Machine {
    /// The file or device of its disk: a raw image, a qcow2 or a VMDK.
    pub disk: PathBuf,
    /// As in [`disk::open_over`].
    pub backing: Vec<PathBuf>,
    /// The guest's processor.
    pub arch: Arch,
    /// Megabytes.
    pub memory_mib: u32,
    /// Processors.
    pub cpus: u32,
    /// What starts it.
    pub firmware: FirmwareKind,
    /// What runs its instructions.
    pub accelerator: Accelerator,
    /// What its network card leads to.
    pub network: NetworkCard,
}

/// What starts a machine whose image has a boot loader.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum FirmwareKind {
    /// UEFI
    #[default]
    Uefi,
    /// The BIOS of a PC, as many rented machines have it; amd64 only
    Bios,
}

/// What a machine's network card leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NetworkCard {
    /// To nothing but QEMU's own DHCP server.
    Nothing,
    /// To whatever this host reaches, and so to the internet.
    Internet,
    /// To other machines on this host whose network has the same name.
    Shared(String),
}

/// A command ready to run, and what must outlive the machine.
pub struct ReadyMachine {
    /// QEMU with its arguments.
    pub command: Command,
    _drives: Drives,
    _folder: TempDir,
}

impl Machine {
    /// QEMU with everything but where its console goes.
    pub fn prepare(&self) -> Result<ReadyMachine> {
        if self.firmware == FirmwareKind::Bios && self.arch != Arch::Amd64 {
            let message = format!("a machine of {} has no BIOS", self.arch.name());
            return Err(Error::input(message).hint("without `--firmware` it boots by UEFI"));
        }
        check_version(self.arch)?;
        self.accelerator.require(self.arch)?;
        let folder = tempfile::tempdir().context(|| "making a temporary folder")?;
        let links = disk::links(&self.disk, &self.backing)?;
        let opened = disk::open_over(&self.disk, &self.backing)?;
        let mut drives = Drives::default();
        drives.add_disk(&links, opened.size(), folder.path())?;
        let kernel = Kernel::take(&Image::open(Arc::clone(&opened), 0)?, folder.path())?;
        let mut command = command(self.arch);
        let machine = match self.arch {
            Arch::Amd64 => "q35",
            Arch::Arm64 => "virt",
        };
        // QEMU's own, where it is given none, is SeaBIOS.
        let firmware = if kernel.is_some() || self.firmware == FirmwareKind::Bios {
            ""
        } else {
            drives.add_firmware(firmware::find(self.arch)?)?;
            ",pflash0=firmware,pflash1=variables"
        };
        drives.add_to(&mut command);
        command.args(["-machine", &format!("{machine}{firmware}")]);
        command.args(match (self.arch, self.accelerator) {
            (Arch::Amd64, _) => ["-cpu", "max"],
            (Arch::Arm64, Accelerator::Tcg) => ["-cpu", "cortex-a72"],
            (Arch::Arm64, Accelerator::Kvm | Accelerator::Hvf) => ["-cpu", "host"],
        });
        command.args(match self.accelerator {
            Accelerator::Tcg => ["-accel", "tcg,thread=multi"],
            Accelerator::Kvm => ["-accel", "kvm"],
            Accelerator::Hvf => ["-accel", "hvf"],
        });
        command
            .args(["-smp", &self.cpus.to_string(), "-m", &self.memory_mib.to_string()])
            .args(["-device", "virtio-blk-pci,drive=disk"])
            .args(["-device", "virtio-rng-pci"])
            .args(["-nic", &self.nic()])
            .arg("-no-reboot");
        if let Some(own) = kernel {
            command.arg("-kernel").arg(own.file).arg("-initrd").arg(own.initrd);
            command.arg("-append").arg(own.command_line);
        }
        Ok(ReadyMachine { command, _drives: drives, _folder: folder })
    }

    /// Machines on one network reach each other by multicast that does not leave this host: any
    /// number of them, in any order, without privileges.
    fn nic(&self) -> String {
        let name = match &self.network {
            NetworkCard::Nothing => return "user,restrict=on,model=virtio-net-pci".into(),
            NetworkCard::Internet => return "user,model=virtio-net-pci".into(),
            NetworkCard::Shared(name) => name,
        };
        let hash = *Sha256::of(name).bytes();
        let group = Ipv4Addr::new(239, hash[0], hash[1], hash[2]);
        let port = 0x4000 | u16::from_be_bytes([hash[3] & 0x3f, hash[4]]);
        // QEMU gives every machine the same address of its own.
        let machine = format!("{} {}", self.disk.display(), std::process::id());
        let own = *Sha256::of(machine).bytes();
        format!(
            "socket,mcast={group}:{port},localaddr=127.0.0.1,\
             model=virtio-net-pci,mac=52:54:00:{:02x}:{:02x}:{:02x}",
            own[0], own[1], own[2]
        )
    }
}
