//! Results on stdout. A reader that stops early, as `head` does, is not an error.

use std::io::{self, ErrorKind, Write};

use serde::Serialize;

use crate::util::error::{Context, Result};

/// Prints text, with its colours where they are wanted.
pub(super) fn print(text: &str) -> Result<()> {
    let mut out = anstream::stdout().lock();
    forgive(out.write_all(text.as_bytes()).and_then(|()| out.flush())).map(|_| ())
}

/// Prints a value as indented JSON.
pub(super) fn print_json(value: &impl Serialize) -> Result<()> {
    let mut text = serde_json::to_string_pretty(value).expect("plain data");
    text.push('\n');
    write(text.as_bytes()).map(|_| ())
}

/// Writes bytes as they are; `false` when they are not read any more.
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
