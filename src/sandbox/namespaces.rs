//! Namespaces, made by util-linux's `unshare`: what the sandboxes of one kernel have in common.

use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process_group};

use super::backend::Init;
use super::start;
use crate::util::error::{Context as _, Error, Result};
use crate::util::interrupt;
use crate::util::process::{self, Drain};

/// Processes die with their first one, and see and reach nothing of the host's but files and network.
const ISOLATION: [&str; 7] =
    ["--mount", "--propagation=private", "--pid", "--fork", "--kill-child", "--ipc", "--uts"];

/// Whether this process is root, and needs no user namespace to be it.
pub(super) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// `unshare` with what all sandboxes of namespaces have; options for users may follow.
pub(super) fn unshare() -> Result<Command> {
    let mut command = Command::new(process::require("unshare", "util-linux")?);
    command.args(ISOLATION);
    Ok(command)
}

/// Starts the sandbox's first process in new namespaces.
pub(super) fn spawn(mut unshare: Command, init: Init<'_>) -> Result<Child> {
    unshare
        .arg("--")
        .arg(start::program()?)
        .args([start::COMMAND, start::INIT])
        .env_clear()
        .envs(init.variables.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    if !init.has_terminal {
        // The terminal's Ctrl-C is for us; the sandbox learns of it through the lifeline.
        quiet(&mut unshare);
    }
    unshare.spawn().context(|| "cannot start `unshare`")
}

/// Makes namespaces for a moment; `begun` gets the process that has them. What `unshare` complains of, where
/// they are refused.
pub(super) fn probe(
    mut unshare: Command,
    begun: impl FnOnce(&mut Child) -> Result<()>,
) -> Result<std::result::Result<(), String>> {
    // It ends when its standard input does.
    let mut child = quiet(unshare.args(["--", "cat"]))
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context(|| "cannot run `unshare`")?;
    let begun = begun(&mut child);
    let (status, complaints) = wait(child)?;
    begun?;
    Ok(if status.success() { Ok(()) } else { Err(complaints) })
}

/// Gives a command a process group of its own, which [`wait`] ends.
pub(super) fn quiet(command: &mut Command) -> &mut Command {
    command.process_group(0)
}

/// Closes its standard input, and waits for its end. Returns what it wrote on standard error. Nothing
/// that it left behind in its process group stays.
pub(super) fn wait(mut child: Child) -> Result<(ExitStatus, String)> {
    drop(child.stdin.take());
    let complaints = Drain::start(child.stderr.take());
    let status = interrupt::wait(&mut child);
    end_group(&child);
    Ok((status?, complaints.text()))
}

/// Kills what is left of the process group that a child led.
pub(super) fn end_group(child: &Child) {
    let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    // None left is fine.
    let _ = group.map(|group| kill_process_group(group, Signal::KILL));
}

/// `unshare` for a further mount namespace of a process that is in the sandbox already.
pub(super) fn mounts_only() -> Command {
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation=private", "--"]);
    command
}

/// Whether a setting of the kernel has a value.
fn is(path: &str, value: &str) -> bool {
    let text = std::fs::read_to_string(Path::new("/proc/sys").join(path));
    text.is_ok_and(|text| text.trim() == value)
}

/// Whether nobody may make a user namespace here, not even root.
pub(super) fn has_no_users() -> bool {
    is("user/max_user_namespaces", "0")
}

/// What the host may be lacking when `unshare` itself failed.
pub(super) fn explain(stderr: &str) -> Error {
    let last = stderr.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("it gave no reason");
    let error = Error::failure(last.trim()).context("cannot make a sandbox");
    if is_root() {
        return error.hint("in a container, it needs the right to make mount and pid namespaces");
    }
    error.hint(if has_no_users() {
        "user namespaces are switched off here: sysctl user.max_user_namespaces=15000, or run as root"
    } else if is("kernel/unprivileged_userns_clone", "0") {
        "user namespaces are for root alone here: sysctl kernel.unprivileged_userns_clone=1, or run as root"
    } else if is("kernel/apparmor_restrict_unprivileged_userns", "1") {
        "AppArmor forbids user namespaces here: \
         sysctl kernel.apparmor_restrict_unprivileged_userns=0, or run as root"
    } else {
        "this needs user namespaces, which a chroot and many containers refuse; or root"
    })
}
