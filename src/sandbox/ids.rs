//! The users of a user namespace.
//!
//! They are given from outside, once the namespace is there: an ordinary user's by `newuidmap`, which
//! looks into /etc/subuid; root's are written by root, and in them every user is themselves.

use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command};
use std::time::{Duration, Instant};
use std::{fs, io};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::Signal;

use super::{namespaces, start};
use crate::util::error::{Context, Error, Result};
use crate::util::interrupt;
use crate::util::process::Tool;

const MAPS: [&str; 2] = ["gid_map", "uid_map"];
const SUBUID: &str = "/etc/subuid";
const SUBGID: &str = "/etc/subgid";
/// How long a namespace may take to come into being.
const PATIENCE: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(2);

/// Gives the namespace that `child` is about to make its users: all of this one's, each as itself, when
/// this process is root; else this process's user as root, and the subordinate ids as all others.
///
/// util-linux's `--map-auto` does the latter in a process beside `unshare`, which stays for ever where
/// namespaces are refused.
pub(super) fn give(child: &mut Child) -> Result<()> {
    let pid = child.id();
    let namespace = |folder: &str| fs::read_link(format!("{folder}/ns/user"));
    let own = namespace("/proc/self")?;
    let folder = format!("/proc/{pid}");
    let deadline = Instant::now() + PATIENCE;
    while namespace(&folder).ok().is_none_or(|it| it == own) {
        interrupt::check()?;
        if Instant::now() > deadline || child.try_wait()?.is_some() {
            // What it said itself will be told.
            return Ok(());
        }
        std::thread::sleep(PAUSE);
    }
    if namespaces::is_root() {
        for name in MAPS {
            let own = fs::read_to_string(format!("/proc/self/{name}"))?;
            let path = format!("{folder}/{name}");
            fs::write(&path, identity(&own)).context(|| format!("cannot write `{path}`"))?;
        }
        return Ok(());
    }
    let own = [rustix::process::getgid().as_raw(), rustix::process::getuid().as_raw()];
    for ((tool, file), own) in [("newgidmap", SUBGID), ("newuidmap", SUBUID)].into_iter().zip(own) {
        let (start, count) = subordinate(file)?;
        let numbers = [pid, 0, own, 1, 1, start, count].map(|number| number.to_string());
        Tool::new(tool, "uidmap").args(numbers).run().context(|| "cannot make a sandbox")?;
    }
    Ok(())
}

/// Each id that a map knows, as itself.
fn identity(map: &str) -> String {
    let mut text = String::new();
    for line in map.lines() {
        let mut fields = line.split_whitespace();
        if let (Some(inside), Some(count)) = (fields.next(), fields.nth(1)) {
            text += &format!("{inside} {inside} {count}\n");
        }
    }
    text
}

/// Waits until this process's namespace has its ids, then starts this program over: only a
/// process that was root when it started has root's capabilities.
pub(super) fn await_ids() -> Result<()> {
    let is_known = || fs::read_to_string("/proc/self/uid_map").is_ok_and(|map| !map.is_empty());
    if is_known() {
        // Having gained capabilities means having lost this.
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
            .map_err(io::Error::from)?;
        return Ok(());
    }
    let deadline = Instant::now() + PATIENCE;
    while !is_known() {
        if Instant::now() > deadline || is_cut() {
            return Err(Error::failure("the sandbox got no users from nodeforge in time"));
        }
        std::thread::sleep(PAUSE);
    }
    let error = Command::new(start::program()?).args(std::env::args_os().skip(1)).exec();
    Err(Error::from(error).context("cannot start the sandbox over"))
}

/// Whether nodeforge, which holds the other end of standard input, is gone.
fn is_cut() -> bool {
    let stdin = io::stdin();
    let mut polled = [PollFd::new(&stdin, PollFlags::empty())];
    let asked = poll(&mut polled, Some(&Timespec::default()));
    asked.is_ok() && polled[0].revents().contains(PollFlags::HUP)
}

/// Fails where an ordinary user has no ids to give to a namespace's users.
pub(super) fn require_subordinate() -> Result<()> {
    [SUBUID, SUBGID].into_iter().try_for_each(|file| subordinate(file).map(drop))
}

/// How many ids this user may give to others in a namespace; `None` for root, who needs none of them.
pub(crate) fn subordinate_ids() -> Result<Option<u32>> {
    if namespaces::is_root() {
        return Ok(None);
    }
    let counts = [SUBUID, SUBGID].into_iter().map(|file| subordinate(file).map(|it| it.1));
    Ok(counts.collect::<Result<Vec<_>>>()?.into_iter().min())
}

/// The first of an ordinary user's subordinate ids, and how many there are.
fn subordinate(file: &str) -> Result<(u32, u32)> {
    let uid = rustix::process::getuid().as_raw().to_string();
    let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let name = login_name(&passwd, &uid).unwrap_or(&uid);
    let ranges = fs::read_to_string(file).unwrap_or_default();
    range(&ranges, name, &uid).ok_or_else(|| {
        Error::failure(format!("the user `{name}` has no ids in {file}")).hint(format!(
            "as root: usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {name}"
        ))
    })
}

fn login_name<'a>(passwd: &'a str, uid: &str) -> Option<&'a str> {
    passwd.lines().find(|line| line.split(':').nth(2) == Some(uid))?.split(':').next()
}

/// The first range that a user has, by name or number, of as many ids as all of Debian's users need.
fn range(ranges: &str, name: &str, uid: &str) -> Option<(u32, u32)> {
    ranges.lines().find_map(|line| {
        let mut fields = line.trim().split(':');
        let owner = fields.next()?;
        let (start, count) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
        ((owner == name || owner == uid) && count >= 65_535).then_some((start, count))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_id_is_mapped_to_itself() {
        assert_eq!(identity("         0          0 4294967295\n"), "0 0 4294967295\n");
        let nested = "0 1000 1\n1 100000 65536\n";
        assert_eq!(identity(nested), "0 0 1\n1 1 65536\n");
    }

    #[test]
    fn ranges_are_found_by_name_or_number() {
        let ranges =
            "root:100000:65536\nforger:165536:65536\n1003:300000:65536\nfew:1:10\nbroken\n";
        assert_eq!(range(ranges, "forger", "1001"), Some((165_536, 65_536)));
        assert_eq!(range(ranges, "no-such-name", "1003"), Some((300_000, 65_536)));
        assert_eq!(range(ranges, "few", "1004"), None);
        assert_eq!(range(ranges, "broken", "1005"), None);
    }

    #[test]
    fn a_login_name_is_looked_up_by_its_number() {
        let passwd = "root:x:0:0::/root:/bin/sh\nforger:x:1001:1001::/home/forger:/bin/sh\n";
        assert_eq!(login_name(passwd, "1001"), Some("forger"));
        assert_eq!(login_name(passwd, "7"), None);
    }
}
