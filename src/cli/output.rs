//! What commands say on stdout, and what they ask. Nothing else of theirs writes there, so that no
//! stranger's text reaches a terminal as it is; a reader that stops early, as `head` does, is not an
//! error.

use std::io::{self, BufRead as _, ErrorKind, IsTerminal as _, Write};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;

use serde::Serialize;

use crate::util::error::{Context, Result};
use crate::util::interrupt;
use crate::util::printable::{printable_json, printable_lines};

/// Prints text, without what a terminal would act upon.
pub(super) fn print(text: &str) -> Result<()> {
    write(printable_lines(text).as_bytes()).map(|_| ())
}

/// Prints text with colours, where stdout shows them. Its writer has made every part of it that came
/// from elsewhere printable.
pub(super) fn print_painted(text: &str) -> Result<()> {
    let mut out = anstream::stdout().lock();
    forgive(out.write_all(text.as_bytes()).and_then(|()| out.flush())).map(|_| ())
}

/// Asks at the terminal; anything but a yes is a no. `None` where there is no terminal.
pub(super) fn ask(question: &str) -> Result<Option<bool>> {
    if !io::stdin().is_terminal() {
        return Ok(None);
    }
    let mut out = io::stderr().lock();
    write!(out, "{} [y/N] ", printable_lines(question))?;
    out.flush()?;
    let answer = read_answer()?;
    Ok(Some(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes")))
}

/// Whether there is somebody to be asked.
pub(super) fn is_interactive() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// Asks for a text at the terminal; an empty line is the usual answer.
pub(super) fn ask_for(question: &str, usual: &str) -> Result<String> {
    let mut out = io::stderr().lock();
    write!(out, "{} [{}] ", printable_lines(question), printable_lines(usual))?;
    out.flush()?;
    let answer = read_answer()?;
    let answer = answer.trim();
    Ok(if answer.is_empty() { usual } else { answer }.to_owned())
}

/// The line that is typed next. Fails once the process is asked to stop: then nobody answers any more.
fn read_answer() -> Result<String> {
    let (sender, receiver) = mpsc::channel();
    // Nothing ends a read of a terminal but its answer.
    thread::spawn(move || {
        let mut answer = String::new();
        let read = io::stdin().lock().read_line(&mut answer);
        drop(sender.send(read.map(|_| answer)));
    });
    loop {
        interrupt::check()?;
        match receiver.recv_timeout(interrupt::POLL) {
            Ok(answer) => return Ok(answer?),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Ok(String::new()),
        }
    }
}

/// Prints a value as indented JSON.
pub(super) fn print_json(value: &impl Serialize) -> Result<()> {
    let text = serde_json::to_string_pretty(value).expect("plain data");
    write(format!("{}\n", printable_json(&text)).as_bytes()).map(|_| ())
}

/// Writes bytes as they are, for who asked for a file's own; `false` when they are not read any more.
pub(super) fn write(bytes: &[u8]) -> Result<bool> {
    let mut out = io::stdout().lock();
    forgive(out.write_all(bytes).and_then(|()| out.flush()))
}

fn forgive(written: io::Result<()>) -> Result<bool> {
    match written {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        written => written.map(|()| true).context(|| "writing to stdout"),
    }
}

/// Columns of the terminal; 80 where there is none.
pub(super) fn width() -> usize {
    let size = rustix::termios::tcgetwinsize(io::stdout()).ok();
    size.map(|size| usize::from(size.ws_col)).filter(|&columns| columns > 0).unwrap_or(80)
}

/// Counts in words: `1 file`, `2 files`.
pub(super) fn counted(count: u64, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}
