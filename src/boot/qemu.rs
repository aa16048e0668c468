//! QEMU's command line.

use std::ffi::OsString;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use clap::ValueEnum;
use tempfile::TempDir;

use super::firmware::Firmware;
use super::kernel::Kernel;
use crate::boot::firmware;
use crate::config::Arch;
use crate::disk::{self, Format};
use crate::image::Image;
use crate::util::error::{Context, Error, Result};
use crate::util::sha256::Sha256;

/// The first major version whose emulation runs Debian 13: 7.2 panics guests at random.
const OLDEST: u32 = 10;

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

/// A machine to be booted.
pub struct Machine {
    /// A raw image, a qcow2, a VMDK or a `.vmwarevm` bundle.
    pub image: PathBuf,
    /// The guest's processor.
    pub arch: Arch,
    /// Megabytes.
    pub memory_mib: u32,
    /// Processors.
    pub cpus: u32,
    /// What runs its instructions.
    pub accelerator: Accelerator,
    /// The network it shares with other machines on this host; `None` is QEMU's way to the internet.
    pub network: Option<String>,
}

/// A command ready to run, and what must outlive the machine.
pub struct ReadyMachine {
    /// QEMU with its arguments.
    pub command: Command,
    _folder: TempDir,
}

impl Machine {
    /// QEMU with everything but where its console goes.
    pub fn prepare(&self) -> Result<ReadyMachine> {
        let program = match self.arch {
            Arch::Amd64 => "qemu-system-x86_64",
            Arch::Arm64 => "qemu-system-aarch64",
        };
        check_version(program)?;
        let folder = tempfile::tempdir().context(|| "making a temporary folder")?;
        let (disk, format) = self.disk()?;
        let mut command = dying_with_us(program);
        match (self.arch, self.accelerator) {
            (Arch::Amd64, _) => command.args(["-machine", "q35", "-cpu", "max"]),
            (Arch::Arm64, Accelerator::Tcg) => {
                command.args(["-machine", "virt", "-cpu", "cortex-a72"])
            }
            (Arch::Arm64, _) => command.args(["-machine", "virt", "-cpu", "host"]),
        };
        command.args(match self.accelerator {
            Accelerator::Tcg => ["-accel", "tcg,thread=multi"],
            Accelerator::Kvm => ["-accel", "kvm"],
            Accelerator::Hvf => ["-accel", "hvf"],
        });
        command
            .args(["-smp", &self.cpus.to_string(), "-m", &self.memory_mib.to_string()])
            .arg("-drive")
            // Writes go to a temporary file that QEMU removes.
            .arg(drive(&format!("if=none,id=disk,snapshot=on,format={format}"), &disk))
            .args(["-device", "virtio-blk-pci,drive=disk"])
            .args(["-device", "virtio-rng-pci"])
            .args(["-nic", &self.nic()])
            .arg("-no-reboot");
        match Kernel::take(&Image::open(disk::open(&disk)?, 0)?, folder.path())? {
            Some(own) => {
                command.arg("-kernel").arg(own.file).arg("-initrd").arg(own.initrd);
                command.arg("-append").arg(own.command_line);
            }
            None => add_firmware(&mut command, firmware::find(self.arch)?),
        }
        Ok(ReadyMachine { command, _folder: folder })
    }

    /// Machines on one network reach each other by multicast that does not leave this host: any
    /// number of them, in any order, without privileges.
    fn nic(&self) -> String {
        let Some(name) = &self.network else { return "user,model=virtio-net-pci".into() };
        let hash = *Sha256::of(name).bytes();
        let group = Ipv4Addr::new(239, hash[0], hash[1], hash[2]);
        let port = 0x4000 | u16::from_be_bytes([hash[3] & 0x3f, hash[4]]);
        // QEMU gives every machine the same address of its own.
        let machine = format!("{} {}", self.image.display(), std::process::id());
        let own = *Sha256::of(machine).bytes();
        format!(
            "socket,mcast={group}:{port},localaddr=127.0.0.1,\
             model=virtio-net-pci,mac=52:54:00:{:02x}:{:02x}:{:02x}",
            own[0], own[1], own[2]
        )
    }

    /// The disk's file and QEMU's name for its format, which its bytes tell and not its name.
    fn disk(&self) -> Result<(PathBuf, &'static str)> {
        let is_bundle = self.image.is_dir();
        let file = if is_bundle { self.image.join("disk.vmdk") } else { self.image.clone() };
        let format = match disk::probe(&file)? {
            Format::Raw | Format::Device => "raw",
            Format::Qcow2 => "qcow2",
            Format::Vmdk => "vmdk",
            Format::Xz | Format::Zstd | Format::Gzip => {
                return Err(Error::input(format!(
                    "`{}` is compressed; QEMU cannot boot it",
                    self.image.display()
                ))
                .hint("boot the raw or qcow2 artifact of the same node"));
            }
        };
        Ok((file, format))
    }
}

/// UEFI. What the machine writes among its variables goes to a temporary file that QEMU removes.
fn add_firmware(command: &mut Command, firmware: &Firmware) {
    command
        .arg("-drive")
        .arg(drive("if=pflash,unit=0,format=raw,readonly=on", Path::new(firmware.code)))
        .arg("-drive")
        .arg(drive("if=pflash,unit=1,format=raw,snapshot=on", Path::new(firmware.variables)));
}

/// `-drive`'s value; a comma in a file name is doubled.
fn drive(options: &str, file: &Path) -> OsString {
    let file = file.to_string_lossy().replace(',', ",,");
    format!("{options},file={file}").into()
}

/// On Linux the kernel ends the program when we end, however we do.
fn dying_with_us(program: &str) -> Command {
    if cfg!(target_os = "linux") {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--", program]);
        command
    } else {
        Command::new(program)
    }
}

/// Refuses a QEMU whose emulation is known to break guests.
fn check_version(program: &str) -> Result<()> {
    let package = if program.ends_with("x86_64") { "qemu-system-x86" } else { "qemu-system-arm" };
    let output = Command::new(program).arg("--version").stdin(Stdio::null()).output();
    let output = match output {
        Ok(output) => output,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(Error::failure(format!("`{program}` is not installed")).hint(format!(
                "`apt install {package}` on Debian 13, `apt install -t bookworm-backports {package}` on \
                 Debian 12, `brew install qemu` on macOS"
            )));
        }
        Err(error) => return Err(error).context(|| format!("running `{program} --version`")),
    };
    let text = String::from_utf8_lossy(&output.stdout);
    let Some(version) = version(&text) else {
        return Err(Error::failure(format!("`{program} --version` does not tell its version")));
    };
    if version.0 < OLDEST {
        return Err(Error::failure(format!(
            "QEMU {}.{} is too old: its emulation panics Debian 13 guests at random",
            version.0, version.1
        ))
        .hint(format!(
            "install QEMU {OLDEST} or newer; on Debian 12: `apt install -t bookworm-backports {package}`"
        )));
    }
    Ok(())
}

/// Major and minor of `QEMU emulator version 10.0.2 (Debian …)`.
fn version(text: &str) -> Option<(u32, u32)> {
    let (_, rest) = text.split_once("version ")?;
    let mut numbers = rest.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read() {
        let text = "QEMU emulator version 10.0.2 (Debian 1:10.0.2+ds-2)\nCopyright";
        assert_eq!(version(text), Some((10, 0)));
        assert_eq!(version("QEMU emulator version 7.2.19"), Some((7, 2)));
        assert_eq!(version("qemu"), None);
    }

    #[test]
    fn commas_in_file_names_are_doubled() {
        assert_eq!(drive("format=raw", Path::new("/a,b")), "format=raw,file=/a,,b");
    }
}
