//! QEMU as a program: where it is, which version, what runs a guest's instructions, how it ends.

use std::fs::File;
use std::process::{Command, Stdio};

use crate::config::Arch;
use crate::util::error::{Context, Error, Result};

/// The first major version whose emulation runs Debian 13: 7.2 panics guests at random.
const OLDEST: u32 = 10;

/// What KVM is asked through.
pub(crate) const KVM: &str = "/dev/kvm";

/// What a guest that breaks out of the machine must not do on this host: start programs, gain rights,
/// take processors from others.
const SANDBOX: &str = "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny";

/// QEMU for guests of that architecture.
pub(crate) fn program(arch: Arch) -> &'static str {
    match arch {
        Arch::Amd64 => "qemu-system-x86_64",
        Arch::Arm64 => "qemu-system-aarch64",
    }
}

/// QEMU, to be ended with this process, with what it must not do and nothing of the host's configuration.
pub(crate) fn command(arch: Arch) -> Command {
    let mut command = dying_with_us(program(arch));
    command.arg("-no-user-config");
    if cfg!(target_os = "linux") {
        command.args(["-sandbox", SANDBOX]);
    }
    command
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

/// Whether a guest's instructions are this processor's own.
pub(crate) fn is_native(guest: Arch) -> bool {
    guest == Arch::HOST
}

/// The values of `-accel` that are worth a try, the best first. Whether one works is only known once a
/// guest has booted with it.
pub(super) fn accelerators(guest: Arch) -> Vec<&'static str> {
    let emulation = "tcg,thread=multi";
    if !is_native(guest) {
        return vec![emulation];
    }
    if cfg!(target_os = "macos") {
        return vec!["hvf", emulation];
    }
    if File::options().read(true).write(true).open(KVM).is_ok() {
        return vec!["kvm", emulation];
    }
    vec![emulation]
}

/// Its major and minor version. Fails where QEMU is missing, or its emulation is known to break guests.
pub(crate) fn check_version(arch: Arch) -> Result<(u32, u32)> {
    let program = program(arch);
    let package = package(arch);
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
    Ok(version)
}

/// Debian's package of it.
fn package(arch: Arch) -> &'static str {
    match arch {
        Arch::Amd64 => "qemu-system-x86",
        Arch::Arm64 => "qemu-system-arm",
    }
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
}
