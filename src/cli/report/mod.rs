//! Errors on stderr: what, where with the line itself, why, and what to do.

mod excerpt;

use std::fmt::Write as _;

use anstyle::{AnsiColor, Style};

use crate::util::error::{Error, Problem};

const ERROR: Style = AnsiColor::Red.on_default().bold();
const FRAME: Style = AnsiColor::Blue.on_default().bold();
const HINT: Style = AnsiColor::Cyan.on_default().bold();
const BOLD: Style = Style::new().bold();

/// The most problems that are shown; whoever has more mends these first.
const MOST: usize = 100;

/// Prints an error to stderr, in the colours asked for.
pub fn report(error: &Error) {
    anstream::eprint!("{}", render(error));
}

/// An error as text with ANSI styles.
fn render(error: &Error) -> String {
    let problems = error.problems();
    let mut text = String::new();
    for (index, problem) in problems.iter().take(MOST).enumerate() {
        if index > 0 {
            text.push('\n');
        }
        render_problem(&mut text, problem);
    }
    if problems.len() > MOST {
        let more = problems.len() - MOST;
        let plural = if more == 1 { "" } else { "s" };
        labelled(&mut text, "\n", ERROR, "error", &format!("and {more} problem{plural} more"));
    }
    text
}

fn render_problem(text: &mut String, problem: &Problem) {
    let message = printable(&problem.message);
    writeln!(text, "{ERROR}error{ERROR:#}{BOLD}: {message}{BOLD:#}").expect("writing to a string");
    for cause in &problem.causes {
        labelled(text, "  ", BOLD, "cause", cause);
    }
    excerpt::render(text, &problem.places);
    for hint in &problem.hints {
        labelled(text, "", HINT, "hint", hint);
    }
}

fn labelled(text: &mut String, indent: &str, style: Style, label: &str, message: &str) {
    let message = printable(message);
    writeln!(text, "{indent}{style}{label}{style:#}: {message}").expect("writing to a string");
}

/// Text without what would move the cursor or forge further lines: messages quote input.
/// Lines after the first, such as another program's words, are set apart by indentation.
fn printable(message: &str) -> String {
    let mut text = String::with_capacity(message.len());
    for c in message.trim_end().chars() {
        match c {
            '\n' => text.push_str("\n    "),
            '\t' => text.push(' '),
            c if is_invisible(c) => text.extend(c.escape_default()),
            c => text.push(c),
        }
    }
    text
}

/// Control characters, and those that turn the direction of writing around.
fn is_invisible(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod messages;
#[cfg(test)]
mod mutations;
#[cfg(test)]
mod tests;
