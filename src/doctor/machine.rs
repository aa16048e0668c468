//! The machine: what runs the programs of a base, and what boots an image.

use super::check::{Check, CheckVerdict};
use crate::boot::{self, Accelerator};
use crate::config::{Arch, Base, Cluster};
#[cfg(target_os = "linux")]
use crate::sandbox;
use crate::sandbox::{Choice, Sandbox, qemu};
use crate::util::process;

/// Programs that a build runs, the packages that Debian has them in, and whether only bases that are made
/// from packages need them.
#[cfg(target_os = "linux")]
const TOOLS: [(&str, &str, bool); 7] = [
    ("unshare", "util-linux", false),
    ("mke2fs", "e2fsprogs", false),
    ("e2fsck", "e2fsprogs", false),
    ("resize2fs", "e2fsprogs", false),
    ("mmdebstrap", "mmdebstrap", true),
    ("mkfs.vfat", "dosfstools", true),
    ("fsck.fat", "dosfstools", true),
];

/// Elsewhere a machine in QEMU has them all.
#[cfg(not(target_os = "linux"))]
const TOOLS: [(&str, &str, bool); 0] = [];

pub(super) fn examine(cluster: Option<&Cluster>) -> Vec<Check> {
    let own = if cfg!(target_arch = "aarch64") { Arch::Arm64 } else { Arch::Amd64 };
    let other = if own == Arch::Amd64 { Arch::Arm64 } else { Arch::Amd64 };
    let choice = Sandbox::choose(own, true);
    let in_machine = choice.sandbox == Sandbox::Vm;
    let mut checks = vec![sandbox(own, choice)];
    #[cfg(target_os = "linux")]
    checks.push(user_ids());
    checks.push(foreign(other, cluster));
    checks.extend(tools(cluster, in_machine));
    checks.push(boots(own));
    checks.push(accelerator(own));
    checks
}

/// The sandbox that a build would choose for nodes of this machine's own processor.
fn sandbox(own: Arch, choice: Choice) -> Check {
    const SUBJECT: &str = "sandbox";
    if let Err(error) = choice.sandbox.require(own) {
        return Check::of(SUBJECT, CheckVerdict::Wrong, &error);
    }
    let found = choice.sandbox.describe();
    match (choice.sandbox, choice.instead_of_userns) {
        (Sandbox::Vm, Some(error)) => {
            let mut check = Check::of(SUBJECT, CheckVerdict::Limited, &error);
            check.found = format!("{found}, which is slower; not in `userns`: {}", check.found);
            check
        }
        (Sandbox::None, _) => {
            let lacking = Sandbox::Vm.require(own).err();
            let mut check = Check::limited(SUBJECT, found);
            check.remedies.extend(lacking.map(|it| it.advice()));
            check
        }
        (Sandbox::Loop | Sandbox::Userns | Sandbox::Vm, _) => Check::right(SUBJECT, found),
    }
}

/// Ids that the sandbox for ordinary users gives to those of a base. Whether a build needs them, the sandbox says.
#[cfg(target_os = "linux")]
fn user_ids() -> Check {
    const SUBJECT: &str = "user ids";
    match sandbox::subordinate_ids() {
        Ok(None) => Check::right(SUBJECT, "root needs no subordinate ids"),
        Ok(Some(count)) => Check::right(SUBJECT, format!("{count} subordinate ids")),
        Err(error) => Check::of(SUBJECT, CheckVerdict::Limited, &error),
    }
}

/// Whether nodes of the other processor can be prepared.
fn foreign(other: Arch, cluster: Option<&Cluster>) -> Check {
    const SUBJECT: &str = "processors";
    let name = other.name();
    let sandbox = Sandbox::choose(other, false).sandbox;
    match sandbox.require(other) {
        Ok(()) if sandbox != Sandbox::None => {
            Check::right(SUBJECT, format!("{name} nodes can be prepared too, by emulation"))
        }
        Ok(()) => Check::limited(SUBJECT, format!("{name} nodes get packages on their first boot")),
        Err(error) => {
            let is_needed = cluster.and_then(|it| it.base.arch()) == Some(other);
            let verdict = if is_needed { CheckVerdict::Wrong } else { CheckVerdict::Limited };
            Check::of(SUBJECT, verdict, &error)
        }
    }
}

/// What a machine that prepares bases has itself need not be here.
fn tools(cluster: Option<&Cluster>, in_machine: bool) -> Vec<Check> {
    const SUBJECT: &str = "tools";
    let bootstraps = cluster.is_none_or(|it| matches!(it.base, Base::Bootstrap(_)));
    let is_needed = |is_for_bootstraps: bool| !in_machine && (bootstraps || !is_for_bootstraps);
    let mut checks = Vec::new();
    for (program, package, is_for_bootstraps) in TOOLS {
        if process::exists(program) {
            continue;
        }
        let check = if is_needed(is_for_bootstraps) {
            Check::wrong(SUBJECT, format!("no `{program}`"))
        } else {
            Check::limited(SUBJECT, format!("no `{program}`, which this build can do without"))
        };
        checks.push(check.remedy(format!("`apt install {package}`")));
    }
    let names: Vec<&str> = TOOLS.iter().map(|it| it.0).collect();
    if checks.is_empty() && !names.is_empty() {
        checks.push(Check::right(SUBJECT, names.join(", ")));
    }
    checks
}

/// QEMU and its firmware: `boot` and the sandbox `vm` need them, and no build that has another sandbox.
fn boots(own: Arch) -> Check {
    const SUBJECT: &str = "QEMU";
    let version = match qemu::check_version(own) {
        Ok(version) => version,
        Err(error) => return Check::of(SUBJECT, CheckVerdict::Limited, &error),
    };
    let (major, minor) = version;
    match boot::require_firmware(own) {
        Ok(()) => Check::right(SUBJECT, format!("{major}.{minor}, with UEFI firmware")),
        Err(error) => Check::of(SUBJECT, CheckVerdict::Limited, &error),
    }
}

fn accelerator(own: Arch) -> Check {
    const SUBJECT: &str = "accelerator";
    if qemu::check_version(own).is_err() {
        return Check::limited(SUBJECT, "not looked for without QEMU");
    }
    match Accelerator::best(own) {
        Ok((accelerator, None)) => {
            Check::right(SUBJECT, format!("`{}` runs a guest", accelerator.name()))
        }
        Ok((_, Some(error))) => {
            let mut check = Check::of(SUBJECT, CheckVerdict::Limited, &error);
            check.found = format!("machines are emulated, and slow: {}", check.found);
            check
        }
        Err(error) => Check::of(SUBJECT, CheckVerdict::Limited, &error),
    }
}
