//! The machine: what runs the programs of a base, and what boots an image.

use super::check::{Check, CheckVerdict};
use crate::boot::{self, Accelerator};
use crate::build::{Preparation, Project};
use crate::config::{Arch, Base, Cluster};
use crate::plan::SharedBases;
use crate::prepare::CacheStatus;
#[cfg(target_os = "linux")]
use crate::sandbox;
use crate::sandbox::{Choice, Sandbox, qemu};
use crate::util::error::Result;
use crate::util::process;

/// What needs a program.
#[derive(Clone, Copy)]
enum Need {
    /// Every base that is made from packages.
    Bootstrap,
    /// Those that are made here, and not in a machine.
    BootstrapHere,
    /// The sandboxes `loop` and `userns`.
    Sandbox,
    /// The sandbox `loop`.
    Loop,
    /// Checks of file systems, which a build leaves out where there is no program for them.
    Checks,
}

/// Programs that a build runs, and the packages that Debian has them in.
const TOOLS: [(&str, &str, Need); 11] = [
    ("unshare", "util-linux", Need::Sandbox),
    ("mke2fs", "e2fsprogs", Need::Sandbox),
    ("mount", "mount", Need::Loop),
    ("findmnt", "util-linux", Need::Loop),
    ("fstrim", "util-linux", Need::Loop),
    ("resize2fs", "e2fsprogs", Need::Loop),
    ("tune2fs", "e2fsprogs", Need::Loop),
    ("mmdebstrap", "mmdebstrap", Need::BootstrapHere),
    ("mkfs.vfat", "dosfstools", Need::Bootstrap),
    ("e2fsck", "e2fsprogs", Need::Checks),
    ("fsck.fat", "dosfstools", Need::Checks),
];

pub(super) fn examine(cluster: Option<&Cluster>) -> Vec<Check> {
    // As a build decides, which takes a base that it has not seen for one of this machine's processor.
    let arch = cluster.and_then(|it| it.base.arch()).unwrap_or(Arch::HOST);
    let is_vouched_for =
        cluster.is_none_or(|it| Project::look(it).is_ok_and(|project| project.is_vouched_for()));
    let choice = Sandbox::choose(arch, is_vouched_for);
    let chosen = choice.sandbox;
    let mut checks = vec![sandbox(arch, choice)];
    #[cfg(target_os = "linux")]
    checks.push(user_ids());
    checks.extend(tools(cluster, chosen));
    if cluster.is_some_and(is_prepared) {
        for check in &mut checks {
            check.verdict = check.verdict.min(CheckVerdict::Limited);
        }
        checks.insert(0, Check::right("base", "prepared already, and in the cache"));
    }
    checks.push(foreign(if arch == Arch::Amd64 { Arch::Arm64 } else { Arch::Amd64 }));
    checks.push(boots(Arch::HOST));
    checks.push(accelerator(Arch::HOST));
    checks
}

/// Whether the cache has every prepared base of the cluster: such a build needs no sandbox.
fn is_prepared(cluster: &Cluster) -> bool {
    let nodes: Vec<_> = cluster.nodes.iter().collect();
    let look = || -> Result<bool> {
        let project = Project::look(cluster)?;
        let bases = SharedBases::of(cluster)?.of_nodes(&nodes)?;
        let is_cached = |base| {
            let status = project.status(Preparation::default(), base);
            matches!(status, Ok(CacheStatus::Cached(_)))
        };
        Ok(!bases.is_empty() && bases.iter().all(|(base, _)| is_cached(base)))
    };
    look().unwrap_or(false)
}

/// The sandbox that a build would choose for nodes of that processor.
fn sandbox(arch: Arch, choice: Choice) -> Check {
    const SUBJECT: &str = "sandbox";
    if let Some(error) = choice.refusal {
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
            let lacking = Sandbox::Vm.require(arch).err();
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
fn foreign(other: Arch) -> Check {
    const SUBJECT: &str = "processors";
    let name = other.name();
    let choice = Sandbox::choose(other, false);
    match choice.refusal {
        Some(error) => Check::of(SUBJECT, CheckVerdict::Limited, &error),
        None if choice.sandbox == Sandbox::None => {
            Check::limited(SUBJECT, format!("{name} nodes get packages on their first boot"))
        }
        None => Check::right(SUBJECT, format!("{name} nodes can be prepared too")),
    }
}

fn tools(cluster: Option<&Cluster>, chosen: Sandbox) -> Vec<Check> {
    const SUBJECT: &str = "tools";
    let bootstraps = cluster.is_none_or(|it| matches!(it.base, Base::Bootstrap(_)));
    let (is_loop, is_userns) = (chosen == Sandbox::Loop, chosen == Sandbox::Userns);
    let is_needed = |need: Need| match need {
        Need::Bootstrap => bootstraps,
        Need::BootstrapHere => bootstraps && (is_loop || is_userns),
        Need::Sandbox => is_loop || is_userns,
        Need::Loop => is_loop,
        Need::Checks => false,
    };
    let apt = if cfg!(target_os = "macos") { "brew" } else { "apt" };
    let mut checks = Vec::new();
    let mut there = Vec::new();
    for (program, package, need) in TOOLS {
        if process::exists(program) {
            there.push(program);
        } else if is_needed(need) {
            let check = Check::wrong(SUBJECT, format!("no `{program}`"));
            checks.push(check.remedy(format!("`{apt} install {package}`")));
        } else if matches!(need, Need::Checks) {
            let check =
                Check::limited(SUBJECT, format!("no `{program}`, which a build does without"));
            checks.push(check.remedy(format!("`{apt} install {package}`")));
        }
    }
    if checks.is_empty() {
        checks.push(Check::right(SUBJECT, there.join(", ")));
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
