//! How the sandbox's namespaces are made: by util-linux's `unshare`.

use std::process::Command;

use crate::util::error::{Context as _, Error, Result};
use crate::util::process;

/// Processes die with their first one, and see and reach nothing of the host's but files and network.
const ISOLATION: [&str; 8] =
    ["--mount", "--propagation=private", "--pid", "--fork", "--kill-child", "--ipc", "--uts", "--"];

/// Whether this process is root, and needs no user namespace to be it.
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// `unshare` up to the program that is to run in new namespaces.
///
/// An ordinary user becomes root of a user namespace, and their subordinate ids its users. With
/// `own_users` root gets one as well, whose ids are still to be given.
pub(crate) fn command(own_users: bool) -> Result<Command> {
    process::require("unshare", "util-linux")?;
    let mut command = Command::new("unshare");
    if !is_root() {
        process::require("newuidmap", "uidmap")?;
        require_subordinate_ids()?;
        command.args(["--map-root-user", "--map-auto"]);
    } else if own_users {
        command.arg("--user");
    }
    command.args(ISOLATION);
    Ok(command)
}

/// Fails where nobody but root can have users of their own.
pub(crate) fn try_user_namespace() -> Result<()> {
    if is_root() {
        return Ok(());
    }
    let output = command(false)?.arg("true").output().context(|| "running `unshare`")?;
    if output.status.success() {
        Ok(())
    } else {
        Err(explain(&String::from_utf8_lossy(&output.stderr)))
    }
}

/// `unshare` for a further mount namespace of a process that is in the sandbox already.
pub(crate) fn mounts_only() -> Command {
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation=private", "--"]);
    command
}

fn require_subordinate_ids() -> Result<()> {
    let uid = rustix::process::getuid().as_raw().to_string();
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let name = login_name(&passwd, &uid).unwrap_or(&uid);
    for file in ["/etc/subuid", "/etc/subgid"] {
        let ranges = std::fs::read_to_string(file).unwrap_or_default();
        if !has_range(&ranges, name, &uid) {
            return Err(Error::failure(format!("the user `{name}` has no ids in {file}")).hint(
                format!("as root: usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {name}"),
            ));
        }
    }
    Ok(())
}

fn login_name<'a>(passwd: &'a str, uid: &str) -> Option<&'a str> {
    passwd.lines().find(|line| line.split(':').nth(2) == Some(uid))?.split(':').next()
}

/// Whether a line gives the user, by name or number, enough ids for all of Debian's users.
fn has_range(ranges: &str, name: &str, uid: &str) -> bool {
    ranges.lines().any(|line| {
        let mut fields = line.trim().split(':');
        let owner = fields.next();
        let count = fields.nth(1).and_then(|count| count.parse::<u64>().ok());
        (owner == Some(name) || owner == Some(uid)) && count.is_some_and(|count| count >= 65_535)
    })
}

/// What the host may be lacking when `unshare` itself failed.
pub(crate) fn explain(stderr: &str) -> Error {
    let last = stderr.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("it gave no reason");
    let error = Error::failure(last.trim()).context("cannot make a sandbox");
    if is_root() {
        return error.hint("in a container, it needs the right to make mount and pid namespaces");
    }
    let restricted =
        std::fs::read_to_string("/proc/sys/kernel/apparmor_restrict_unprivileged_userns");
    if restricted.is_ok_and(|text| text.trim() == "1") {
        return error.hint(
            "AppArmor forbids user namespaces here: \
             sysctl kernel.apparmor_restrict_unprivileged_userns=0, or run as root",
        );
    }
    error.hint("this needs user namespaces (sysctl user.max_user_namespaces), or root")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_found_by_name_or_number() {
        let ranges =
            "root:100000:65536\nforger:165536:65536\n1003:300000:65536\nfew:1:10\nbroken\n";
        assert!(has_range(ranges, "forger", "1001"));
        assert!(has_range(ranges, "nobody-of-that-name", "1003"));
        assert!(!has_range(ranges, "few", "1004"));
        assert!(!has_range(ranges, "broken", "1005"));
    }

    #[test]
    fn a_login_name_is_looked_up_by_its_number() {
        let passwd = "root:x:0:0::/root:/bin/sh\nforger:x:1001:1001::/home/forger:/bin/sh\n";
        assert_eq!(login_name(passwd, "1001"), Some("forger"));
        assert_eq!(login_name(passwd, "7"), None);
    }
}
