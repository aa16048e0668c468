//! Colours of messages, and text that is safe for a terminal.

use anstyle::{AnsiColor, Style};

use crate::util::printable::is_active;

pub(super) const ERROR: Style = AnsiColor::Red.on_default().bold();
pub(super) const FRAME: Style = AnsiColor::Blue.on_default().bold();
pub(super) const HINT: Style = AnsiColor::Cyan.on_default().bold();
pub(super) const BOLD: Style = Style::new().bold();

/// Text without what would move the cursor or forge further lines: messages quote input.
/// Lines after the first, such as another program's words, are set apart by indentation.
pub(super) fn printable(message: &str) -> String {
    let mut text = String::with_capacity(message.len());
    for c in message.trim_end().chars() {
        match c {
            '\n' => text.push_str("\n    "),
            '\t' => text.push(' '),
            c if is_active(c) => text.extend(c.escape_default()),
            c => text.push(c),
        }
    }
    text
}
