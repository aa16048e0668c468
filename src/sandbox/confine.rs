//! A process shuts itself into an image's root, and becomes one of the image's programs.
//!
//! It is process 1 of a pid namespace, with mounts of its own. In this order: descriptors that are not its
//! own are closed; the root gets what programs expect; the host's root is taken away (`pivot_root(2)`) and
//! not only hidden; a new session has no terminal; capabilities and system calls that packages do not
//! need are given up for ever.

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::{env, io};

use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags};
use rustix::thread::CapabilitySet;

use super::chroot::Chroot;
use super::guest::{Bind, GuestSpec};
use super::job::json_error;
use super::mounts::{self, BindMount};
use super::{capabilities, loopback, syscalls};
use crate::util::error::{Context as _, Error, Result};

/// The exit code of what could not be started, as shells have it.
const NOT_STARTED: u8 = 126;

/// Becomes the program. `arguments`: a [`GuestSpec`] as JSON, the program, and its arguments.
pub(super) fn main(mut arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let done = arguments
        .next()
        .zip(arguments.next())
        .ok_or_else(|| Error::failure("the sandbox is nodeforge's own and not a command"))
        .and_then(|(spec, program)| run(&spec.to_string_lossy(), &program, arguments));
    // What goes to standard error is in the log of packages, where the program's own words would be.
    eprintln!("nodeforge: {}", done.map_or_else(|error| error.to_string(), |never| match never {}));
    ExitCode::from(NOT_STARTED)
}

/// What a process that has become another returns.
enum Never {}

fn run(spec: &str, program: &OsString, arguments: impl Iterator<Item = OsString>) -> Result<Never> {
    // Such as a folder of the host's that whoever started nodeforge had open.
    close_fds::set_fds_cloexec(3, &[]);
    let spec: GuestSpec = serde_json::from_str(spec).map_err(|error| json_error(&error))?;
    let lost = shut_in(&spec)?;
    // A group leader is the leader of its session already.
    let _ = rustix::process::setsid();
    if spec.has_terminal {
        rustix::process::ioctl_tiocsctty(io::stdin())
            .map_err(io::Error::from)
            .context(|| "cannot take the terminal")?;
    }
    if spec.is_offline {
        // Scripts that talk to themselves are rare: those that do will say what they miss.
        drop(loopback::bring_up());
    }
    capabilities::drop_all_but_needed(lost)?;
    syscalls::refuse_dangerous()?;
    let error = Command::new(program).args(arguments).exec();
    Err(Error::from(error).context(format!("cannot start `{}`", program.to_string_lossy())))
}

/// Makes the root this process's own, with nothing else in sight. Returns the capabilities with which
/// that could be undone.
fn shut_in(spec: &GuestSpec) -> Result<CapabilitySet> {
    let root = &*spec.root;
    mounts::bind_onto_itself(root)?;
    mounts::restrict(root, MountFlags::NOSUID | MountFlags::NODEV)?;
    let folders: Result<Vec<_>> = spec.binds.iter().map(hold).collect();
    let devices = mounts::devices()?;
    let chroot = Chroot::enter_with(root, &folders?)?;
    mounts::mount_systems(&devices).context(|| format!("cannot enter `{}`", root.display()))?;
    chroot.keep_mounts();
    env::set_current_dir(root)?;
    let lost = leave_host().context(|| "cannot take the host's root away")?;
    env::set_current_dir("/")?;
    Ok(lost)
}

fn hold(bind: &Bind) -> Result<BindMount> {
    if bind.is_read_only {
        BindMount::read_only(&bind.from, &bind.to)
    } else {
        BindMount::new(&bind.from, &bind.to)
    }
}

/// The current folder becomes the root, and the host's is unmounted.
fn leave_host() -> io::Result<CapabilitySet> {
    match rustix::process::pivot_root(".", ".") {
        // The old root lies on the new one now: source: pivot_root(2), "pivot_root(".", ".")".
        Ok(()) => {
            rustix::mount::unmount(".", UnmountFlags::DETACH)?;
            Ok(CapabilitySet::empty())
        }
        // nodeforge itself is in a chroot, whose root is no mount. Who cannot chroot cannot leave one.
        Err(Errno::INVAL) => {
            std::os::unix::fs::chroot(Path::new("."))?;
            Ok(CapabilitySet::SYS_CHROOT)
        }
        Err(error) => Err(error.into()),
    }
}
