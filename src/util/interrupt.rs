//! Ctrl-C, and what else asks the process to stop.
//!
//! A signal only raises a flag; long work looks at it, cleans up and returns
//! [`Error::interrupted`]. A second signal ends the process at once.

use std::process::{Child, ExitStatus};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;

use super::error::{Error, Result};

/// How often waiting work looks at the flag.
pub const POLL: Duration = Duration::from_millis(50);

static RAISED: LazyLock<Arc<AtomicBool>> = LazyLock::new(|| Arc::new(AtomicBool::new(false)));

static HURRIED: LazyLock<Arc<AtomicBool>> = LazyLock::new(|| Arc::new(AtomicBool::new(false)));

/// From here on SIGINT, SIGTERM and SIGHUP are asked for with [`check`] instead of killing.
pub fn install() -> Result<()> {
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        // In this order: only the second signal finds the flag raised.
        flag::register_conditional_shutdown(signal, 130, Arc::clone(&RAISED))?;
        flag::register(signal, Arc::clone(&RAISED))?;
    }
    for signal in [SIGTERM, SIGHUP] {
        flag::register(signal, Arc::clone(&HURRIED))?;
    }
    Ok(())
}

/// Whether it was asked by the machine and not by a person: whoever asks so kills soon afterwards.
pub fn is_hurried() -> bool {
    HURRIED.load(Ordering::Relaxed)
}

/// Whether the process was asked to stop.
pub fn is_raised() -> bool {
    RAISED.load(Ordering::Relaxed)
}

/// Fails once the process was asked to stop.
pub fn check() -> Result<()> {
    if is_raised() { Err(Error::interrupted()) } else { Ok(()) }
}

/// Waits for a child's end; kills it when the process is asked to stop.
pub fn wait(child: &mut Child) -> Result<ExitStatus> {
    loop {
        if let Some(status) = child.try_wait()? {
            // A signal from the terminal reaches the child too: its failure is not the news.
            check()?;
            return Ok(status);
        }
        if is_raised() {
            // It may have ended in between; then there is nothing to kill.
            drop(child.kill());
            child.wait()?;
            return Err(Error::interrupted());
        }
        std::thread::sleep(POLL);
    }
}
