//! A command run in a machine through its door; then the machine is gone.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use regex::Regex;

use super::console::{Console, Echo, Ending, Expectation, Next};
use super::door::{self, Door};
use super::qemu::ReadyMachine;
use crate::util::error::{Error, Result};
use crate::util::interrupt;

/// What is to be run, and when.
pub struct Visit<'a> {
    /// What the console must have said before; its timeout is that of the visit.
    pub after: Option<&'a Expectation>,
    /// How long to wait until the machine lets this host in, from its start.
    pub timeout: Duration,
    /// The command, as `ssh` takes it.
    pub words: &'a [String],
    /// Where the console goes meanwhile.
    pub echo: Echo,
}

/// How it went.
pub enum VisitEnding {
    /// The command ran, and exited with this code.
    Ran(u8),
    /// The console did not say what was expected: this.
    NotSaid(Ending, Regex),
    /// The machine did not let this host in while there was time. With what `ssh` said last.
    Closed(Option<String>),
    /// The machine went off before it let this host in.
    PoweredOff,
}

impl ReadyMachine {
    /// Boots a machine that has a door, and runs a command in it.
    pub fn visit(self, visit: &Visit<'_>) -> Result<VisitEnding> {
        let mut console = Console::start(self, visit.echo)?;
        if let Some(expectation) = visit.after {
            let ending = console.wait_for(expectation)?;
            if !matches!(ending, Ending::Success(..)) {
                return Ok(VisitEnding::NotSaid(ending, expectation.success.clone()));
            }
        }
        let door = console.machine.door.take();
        let door = door.ok_or_else(|| Error::failure("the machine has no door"))?;
        let deadline = console.deadline(visit.timeout);
        if let Some(ending) = wait_open(&mut console, &door, deadline)? {
            return Ok(ending);
        }
        let mut ssh = door.start(visit.words)?;
        let status = loop {
            if let Some(status) = ssh.try_wait()? {
                break status;
            }
            // What the console says must be taken, or the machine waits for that.
            match console.next(Duration::MAX) {
                Ok(Next::Said(_) | Next::Nothing) => {}
                // Nobody answers any more, which `ssh` finds out when QEMU is gone.
                Ok(Next::Off) => {
                    console.end();
                    break interrupt::wait(&mut ssh)?;
                }
                Err(error) => {
                    drop(ssh.kill());
                    ssh.wait()?;
                    return Err(error);
                }
            }
        };
        Ok(VisitEnding::Ran(door::code_of(status)))
    }
}

/// Waits until the machine lets this host in; otherwise with what came instead.
fn wait_open(console: &mut Console, door: &Door, deadline: Instant) -> Result<Option<VisitEnding>> {
    let (stop, said) = (AtomicBool::new(false), Mutex::new(None));
    std::thread::scope(|scope| {
        let knocking = scope.spawn(|| door.wait(&stop, &said));
        let ending = loop {
            if knocking.is_finished() {
                break Ok(None);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let said = said.lock().expect("no panic while it is set").take();
                break Ok(Some(VisitEnding::Closed(said)));
            }
            match console.next(left) {
                Ok(Next::Said(_) | Next::Nothing) => {}
                Ok(Next::Off) => break Ok(Some(VisitEnding::PoweredOff)),
                Err(error) => break Err(error),
            }
        };
        stop.store(true, Ordering::Relaxed);
        if !matches!(ending, Ok(None)) {
            // Nothing that is still being tried can succeed; none of it waits long.
            console.end();
        }
        let opened = knocking.join().expect("it does not panic");
        ending.and_then(|ending| opened.map(|_| ending))
    })
}
