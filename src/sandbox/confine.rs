//! A process shuts itself into an image's root, and becomes one of the image's programs.
//!
//! It is process 1 of a pid namespace, with mounts of its own. In this order: descriptors that are not its
//! own are closed; the root gets what programs expect; the host's root is taken away (`pivot_root(2)`) and
//! not only hidden; a new session has no terminal; capabilities and system calls that packages do not
//! need are given up for ever.

use std::ffi::OsString;
use std::fs::File;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode};
use std::{env, io};

use rustix::fs::{Mode, OFlags};
use rustix::mount::{MountFlags, UnmountFlags};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

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
    shut_in(&spec)?;
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
    capabilities::drop_all_but_needed()?;
    syscalls::refuse_dangerous()?;
    let error = Command::new(program).args(arguments).exec();
    Err(Error::from(error).context(format!("cannot start `{}`", program.to_string_lossy())))
}

/// Makes the root this process's own, with nothing else in sight.
fn shut_in(spec: &GuestSpec) -> Result<()> {
    let root = &*spec.root;
    mounts::bind_onto_itself(root)?;
    mounts::restrict(root, MountFlags::NOSUID | MountFlags::NODEV)?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let held = rustix::fs::open(root, flags, Mode::empty()).map_err(io::Error::from)?;
    let folders: Result<Vec<_>> = spec.binds.iter().map(hold).collect();
    let devices = mounts::devices()?;
    let chroot = Chroot::enter_with(root, &folders?)?;
    mounts::mount_systems(&devices).context(|| format!("cannot enter `{}`", root.display()))?;
    chroot.keep_mounts();
    leave_host(&held).context(|| "cannot take the host's root away")?;
    env::set_current_dir("/")?;
    Ok(())
}

fn hold(bind: &Bind) -> Result<BindMount> {
    if bind.is_read_only {
        BindMount::read_only(&bind.from, &bind.to)
    } else {
        BindMount::new(&bind.from, &bind.to)
    }
}

/// What is held becomes the root, and the host's is unmounted.
fn leave_host(root: &OwnedFd) -> io::Result<()> {
    // nodeforge itself may be in a chroot. Entering the mount namespace that it is in already leads out of
    // that, to the namespace's own root: only what takes its place has nothing of the host's around it.
    let namespace = File::open("/proc/self/ns/mnt")?;
    move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Mount))?;
    rustix::process::fchdir(root)?;
    // The old root lies on the new one then: source: pivot_root(2), "pivot_root(".", ".")".
    rustix::process::pivot_root(".", ".")?;
    rustix::mount::unmount(".", UnmountFlags::DETACH)?;
    Ok(())
}
