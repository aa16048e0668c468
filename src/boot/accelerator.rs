//! What runs a guest's instructions, and whether it does so here.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt as _;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use crate::config::Arch;
use crate::sandbox::qemu::{KVM, check_version, command, is_native};
use crate::util::error::{Context, Error, Result};
use crate::util::interrupt;
use crate::util::process::Drain;

/// What runs the guest's instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accelerator {
    /// Emulation: slow, and works on every host
    Tcg,
    /// Linux's own, for a guest of the host's architecture
    Kvm,
    /// The Mac's own, for a guest of the host's architecture
    Hvf,
}

/// The system's own accelerator.
const OWN: Accelerator =
    if cfg!(target_os = "macos") { Accelerator::Hvf } else { Accelerator::Kvm };

/// How long a guest of a few instructions may take. QEMU stands still where KVM fails.
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);

/// What the guest for x86 hands to QEMU's exit device, which makes it `value * 2 + 1`.
const EXIT_VALUE: u8 = 42;

impl Accelerator {
    /// As `-accel` has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tcg => "tcg",
            Self::Kvm => "kvm",
            Self::Hvf => "hvf",
        }
    }

    /// Fails where it is not there for guests like this, or not for this user.
    pub(super) fn require(self, guest: Arch) -> Result<()> {
        if self == Self::Tcg {
            return Ok(());
        }
        let name = self.name();
        let emulated = "`--accel tcg` emulates it: slow, and anywhere";
        if self != OWN {
            let message = format!("`{name}` is not an accelerator of this system");
            return Err(Error::input(message).hint(emulated));
        }
        if !is_native(guest) {
            let message = format!("`{name}` runs no {} guests on this processor", guest.name());
            return Err(Error::input(message).hint(emulated));
        }
        if self == Self::Kvm {
            return open_kvm().map_err(|error| error.hint(emulated));
        }
        Ok(())
    }

    /// The fastest that works for guests like this. Where that is emulation although the guest's
    /// processor is this one's, with the reason.
    ///
    /// Fails where QEMU is missing or too old. A device that can be opened may still run nothing, so a guest
    /// of a few instructions is run.
    pub fn best(guest: Arch) -> Result<(Self, Option<Error>)> {
        check_version(guest)?;
        if !is_native(guest) {
            return Ok((Self::Tcg, None));
        }
        let tried = if OWN == Self::Kvm { open_kvm() } else { Ok(()) };
        match tried.and_then(|()| OWN.probe(guest)) {
            Ok(()) => Ok((OWN, None)),
            Err(error) => {
                interrupt::check()?;
                Ok((Self::Tcg, Some(error)))
            }
        }
    }

    /// Has it run a guest that does nothing but end the machine.
    fn probe(self, guest: Arch) -> Result<()> {
        let folder = super::temporary_folder()?;
        let file = folder.path().join("guest");
        fs::write(&file, guest_of(guest)).context(|| format!("writing `{}`", file.display()))?;
        let mut command = command(guest);
        command
            .args(["-nodefaults", "-display", "none", "-m", "32", "-accel", self.name()])
            .arg("-bios")
            .arg(&file);
        let wanted = match guest {
            Arch::Amd64 => {
                command.args(["-machine", "q35", "-cpu", "max"]);
                command.args(["-device", "isa-debug-exit,iobase=0x501,iosize=1"]);
                i32::from(EXIT_VALUE) * 2 + 1
            }
            Arch::Arm64 => {
                let cpu = if self == Self::Tcg { "max" } else { "host" };
                command.args(["-machine", "virt", "-cpu", cpu]);
                0
            }
        };
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = child.spawn().context(|| "starting QEMU")?;
        let said = Drain::start(child.stderr.take());
        let code = wait(&mut child)?;
        if code == Some(wanted) {
            return Ok(());
        }
        let said = said.text();
        let cause = match (said.lines().next(), code) {
            (Some(line), _) => line.to_owned(),
            (None, None) => format!("it did not end in {} seconds", PROBE_TIMEOUT.as_secs()),
            (None, Some(code)) => format!("QEMU ended with {code}"),
        };
        Err(Error::failure(cause).context(format!("`{}` ran no guest", self.name())))
    }
}

/// The end of QEMU, or its exit code as `None` where it had to be ended.
fn wait(child: &mut Child) -> Result<Option<i32>> {
    let deadline = Instant::now() + PROBE_TIMEOUT;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status.code());
        }
        if Instant::now() >= deadline || interrupt::is_raised() {
            // It may have ended by itself in between.
            drop(child.kill());
            child.wait()?;
            return Ok(None);
        }
        std::thread::sleep(interrupt::POLL);
    }
}

/// Firmware that ends the machine with its first instructions.
fn guest_of(arch: Arch) -> Vec<u8> {
    match arch {
        Arch::Amd64 => amd64_guest(),
        // PSCI's SYSTEM_OFF, 0x84000008:
        // movz w0, #8; movk w0, #0x8400, lsl #16; hvc #0; b to itself
        Arch::Arm64 => [0x5280_0100_u32, 0x72b0_8000, 0xd400_0002, 0x1400_0000]
            .into_iter()
            .flat_map(u32::to_le_bytes)
            .collect(),
    }
}

/// As UEFI begins: through protected mode, to instructions of the coprocessor. Where KVM has to emulate
/// those, because the processor does not run guests really, it fails at them.
fn amd64_guest() -> Vec<u8> {
    const SIZE: usize = 1 << 16;
    let mut bytes = vec![0; SIZE];
    let mut put = |at: usize, code: &[u8]| bytes[at..][..code.len()].copy_from_slice(code);
    // The reset vector, 16 bytes before the end of memory, in real mode: jmp to 0xff00
    put(0xfff0, &[0xe9, 0x0d, 0xff]);
    // lgdt cs:[0xffa0]; mov eax, cr0; or al, 1; mov cr0, eax; jmp far 8:0xffffff40
    put(0xff00, &[0x2e, 0x66, 0x0f, 0x01, 0x16, 0xa0, 0xff, 0x0f, 0x20, 0xc0, 0x0c, 0x01]);
    put(0xff0c, &[0x0f, 0x22, 0xc0, 0x66, 0xea, 0x40, 0xff, 0xff, 0xff, 0x08, 0x00]);
    // mov ax, 16; mov ds, ax; mov es, ax; mov ss, ax; fninit; fwait
    put(0xff40, &[0x66, 0xb8, 0x10, 0x00, 0x8e, 0xd8, 0x8e, 0xc0, 0x8e, 0xd0, 0xdb, 0xe3, 0x9b]);
    // mov dx, 0x501; mov al, the value; out dx, al; hlt; jmp to hlt
    put(0xff4d, &[0x66, 0xba, 0x01, 0x05, 0xb0, EXIT_VALUE, 0xee, 0xf4, 0xeb, 0xfd]);
    // The segments: none, code and data of all memory; then where and how long that table is.
    put(0xff88, &0x00cf_9b00_0000_ffff_u64.to_le_bytes());
    put(0xff90, &0x00cf_9300_0000_ffff_u64.to_le_bytes());
    put(0xffa0, &[0x17, 0x00, 0x80, 0xff, 0xff, 0xff]);
    bytes
}

fn open_kvm() -> Result<()> {
    File::options().read(true).write(true).open(KVM).map(drop).map_err(no_kvm)
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

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    /// Emulation, which always works, runs them: the guests are right.
    #[test]
    fn guests_of_a_few_instructions_end_the_machine() -> Result<()> {
        Accelerator::Tcg.probe(Arch::Amd64)?;
        Accelerator::Tcg.probe(Arch::Arm64)
    }

    #[test]
    fn what_cannot_run_says_why() {
        let error = Accelerator::Hvf.probe(Arch::Amd64).unwrap_err().to_string();
        assert!(error.starts_with("`hvf` ran no guest: "), "{error}");
    }
}
