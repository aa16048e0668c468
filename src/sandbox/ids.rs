//! A user namespace for root, in which every user is themselves.
//!
//! An ordinary user's namespace gets its ids from `newuidmap`. Root would need an entry in
//! /etc/subuid for that, but may write the map itself: from outside, once the namespace is there.

use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command};
use std::time::{Duration, Instant};
use std::{fs, io};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::Signal;

use crate::util::error::{Context, Error, Result};
use crate::util::interrupt;

const MAPS: [&str; 2] = ["gid_map", "uid_map"];
/// How long a namespace may take to come into being.
const PATIENCE: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(2);

/// Gives the namespace that `child` is about to make all ids of this one, each as itself.
pub(crate) fn give(child: &mut Child) -> Result<()> {
    let folder = format!("/proc/{}", child.id());
    let namespace = |folder: &str| fs::read_link(format!("{folder}/ns/user"));
    let own = namespace("/proc/self")?;
    let deadline = Instant::now() + PATIENCE;
    while namespace(&folder).is_ok_and(|it| it == own) {
        interrupt::check()?;
        if Instant::now() > deadline || child.try_wait()?.is_some() {
            // What it said itself will be told.
            return Ok(());
        }
        std::thread::sleep(PAUSE);
    }
    for name in MAPS {
        let own = fs::read_to_string(format!("/proc/self/{name}"))?;
        let path = format!("{folder}/{name}");
        fs::write(&path, identity(&own)).context(|| format!("writing `{path}`"))?;
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

/// Waits until this process's namespace has its ids, then starts this program over: only who was
/// root when it started has root's capabilities.
pub(crate) fn await_ids() -> Result<()> {
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
            return Err(Error::failure("nobody gave the sandbox its users"));
        }
        std::thread::sleep(PAUSE);
    }
    let error = Command::new(super::program()?).args(std::env::args_os().skip(1)).exec();
    Err(Error::from(error).context("starting the sandbox over"))
}

/// Whether nodeforge, which holds the other end of standard input, is gone.
fn is_cut() -> bool {
    let stdin = io::stdin();
    let mut polled = [PollFd::new(&stdin, PollFlags::empty())];
    let asked = poll(&mut polled, Some(&Timespec::default()));
    asked.is_ok() && polled[0].revents().contains(PollFlags::HUP)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_is_themselves() {
        assert_eq!(identity("         0          0 4294967295\n"), "0 0 4294967295\n");
        let nested = "0 1000 1\n1 100000 65536\n";
        assert_eq!(identity(nested), "0 0 1\n1 1 65536\n");
    }
}
