//! Work whose memory is watched.
//!
//! The template engine counts instructions, not bytes. So a template is rendered on a thread of its own while
//! this one looks at what the process takes. Work that takes too much is left behind: it ends with the
//! process, which has nothing more to do than to say so.

use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::Duration;

use crate::util::error::{Error, Result};
use crate::util::interrupt;

/// The most that rendering one template may take, in bytes: many times what the largest output does.
const MOST_MEMORY: u64 = 256 << 20;
/// How often it is looked at: at the speed of memory, little is taken meanwhile.
const LOOK: Duration = Duration::from_millis(5);

/// What `work` comes to; `name` is what messages call it.
pub(super) fn run<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T> {
    let (sender, receiver) = sync_channel(1);
    std::thread::spawn(move || drop(sender.send(work())));
    let mut before = None;
    loop {
        match receiver.recv_timeout(LOOK) {
            Ok(value) => return Ok(value),
            Err(RecvTimeoutError::Disconnected) => {
                return Err(Error::failure("a thread of nodeforge ended unexpectedly"));
            }
            Err(RecvTimeoutError::Timeout) => interrupt::check()?,
        }
        // Most are done before the first look.
        let now = resident();
        let before = *before.get_or_insert(now);
        if now.saturating_sub(before) > MOST_MEMORY {
            let message = format!("{name} takes more than {} MiB of memory", MOST_MEMORY >> 20);
            return Err(Error::input(message));
        }
    }
}

/// Bytes of memory that this process has (proc(5), status).
#[cfg(target_os = "linux")]
fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kib.unwrap_or_default() << 10
}

/// Not known without help: there the number of instructions has to do.
#[cfg(not(target_os = "linux"))]
fn resident() -> u64 {
    0
}
