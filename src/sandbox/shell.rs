//! A look round where packages could not be installed.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::process::Child;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr, tcsetwinsize};

use super::guest::{Guest, Network};
use crate::util::error::Result;
use crate::util::interrupt;
use crate::util::progress::Progress;

/// Runs a shell of the image on the terminal, until its user leaves it.
///
/// The shell has a terminal of its own: whoever has the user's could type into it.
pub(crate) fn open(guest: &Guest, progress: &dyn Progress) {
    let run = || -> Result<()> {
        let terminal = File::options().read(true).write(true).open("/dev/tty")?;
        progress.warn("a shell in the sandbox; `exit` gives up, and nothing of the image stays");
        progress.finish();
        let pty = File::from(open_pty()?);
        let name = ptsname(&pty, Vec::new()).map_err(io::Error::from)?;
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let own = rustix::fs::open(name, flags, Mode::empty()).map_err(io::Error::from)?;
        let mut child = guest
            .command_on_terminal("/bin/sh", Network::Host)?
            .arg("-i")
            .env("PS1", "sandbox:$PWD# ")
            .stdin(own.try_clone()?)
            .stdout(own.try_clone()?)
            .stderr(own)
            .spawn()?;
        let raw = RawMode::enter(&terminal)?;
        let relayed = relay(&terminal, &pty, &mut child);
        drop(raw);
        drop(pty);
        child.wait()?;
        Ok(relayed?)
    };
    if let Err(error) = run() {
        progress.warn(&format!("no shell: {error}"));
    }
}

fn open_pty() -> io::Result<std::os::fd::OwnedFd> {
    let pty = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
    grantpt(&pty)?;
    unlockpt(&pty)?;
    Ok(pty)
}

/// A terminal that passes on every key, until this is dropped.
struct RawMode<'a> {
    terminal: &'a File,
    before: Termios,
}

impl<'a> RawMode<'a> {
    fn enter(terminal: &'a File) -> io::Result<Self> {
        let before = tcgetattr(terminal)?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(terminal, OptionalActions::Drain, &raw)?;
        Ok(Self { terminal, before })
    }
}

impl Drop for RawMode<'_> {
    fn drop(&mut self) {
        // What a program had the terminal answer is not for the user's own shell.
        let _ = tcsetattr(self.terminal, OptionalActions::Flush, &self.before);
    }
}

/// Passes on what is typed and what is said, until the shell has ended.
fn relay(mut terminal: &File, mut pty: &File, child: &mut Child) -> io::Result<()> {
    let nanoseconds = i64::try_from(interrupt::POLL.as_nanos()).unwrap_or(i64::MAX);
    let pause = Timespec { tv_sec: 0, tv_nsec: nanoseconds };
    let mut buffer = [0; 4096];
    loop {
        // A window that changes its size says so to the foreground's processes, which are not ours.
        tcsetwinsize(pty, tcgetwinsize(terminal)?)?;
        let mut polled = [PollFd::new(terminal, PollFlags::IN), PollFd::new(pty, PollFlags::IN)];
        poll(&mut polled, Some(&pause))?;
        let is_ready = polled.map(|it| it.revents().contains(PollFlags::IN));
        let [typed, said] = is_ready;
        if typed {
            let length = terminal.read(&mut buffer)?;
            if length == 0 {
                return Ok(());
            }
            pty.write_all(&buffer[..length])?;
        }
        if said {
            let length = pty.read(&mut buffer)?;
            terminal.write_all(&buffer[..length])?;
        } else if child.try_wait()?.is_some() {
            return Ok(());
        }
    }
}
