//! QEMU's command line.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use tempfile::TempDir;

use super::accelerator::Accelerator;
use super::block::Drives;
use super::door::Door;
use super::kernel::Kernel;
use crate::apply;
use crate::boot::firmware;
use crate::config::Arch;
use crate::disk::{self, Delta, Disk, Overlay};
use crate::fs::Tree as _;
use crate::image::Image;
use crate::sandbox::qemu::{check_version, command};
use crate::util::error::{Error, Result};
use crate::util::sha256::Sha256;

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
    /// Whether this host is let in by SSH, for this boot alone.
    pub ssh: bool,
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
    /// How this host gets in, where that was asked for.
    pub door: Option<Door>,
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
        let folder = super::temporary_folder()?;
        let links = disk::links(&self.disk, &self.backing)?;
        let opened = disk::open_over(&self.disk, &self.backing)?;
        let (delta, door) = if self.ssh {
            let (delta, door) = with_door(Arc::clone(&opened))?;
            (delta, Some(door))
        } else {
            (Delta::new(), None)
        };
        let mut drives = Drives::default();
        drives.add_disk(&links, opened.size(), &delta, folder.path())?;
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
        if let Some(door) = &door {
            command.args(["-nic", &door.nic()]);
        }
        if let Some(own) = kernel {
            command.arg("-kernel").arg(own.file).arg("-initrd").arg(own.initrd);
            command.arg("-append").arg(own.command_line);
        }
        Ok(ReadyMachine { command, door, _drives: drives, _folder: folder })
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

/// What lets this host in, and what it changes on the disk: the image itself stays as it is.
fn with_door(image: Arc<dyn Disk>) -> Result<(Delta, Door)> {
    let overlay = Arc::new(Overlay::new(image));
    let mut tree = Image::open(Arc::clone(&overlay) as Arc<dyn Disk>, apply::clock()?)?;
    let door = Door::make(&mut tree)?;
    tree.flush()?;
    drop(tree);
    let overlay = Arc::into_inner(overlay)
        .ok_or_else(|| Error::failure("the image is still in use after it was closed"))?;
    Ok((overlay.into_delta()?, door))
}
