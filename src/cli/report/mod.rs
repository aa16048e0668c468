//! Errors on stderr: what, where with the line itself, why, and what to do.

mod excerpt;
mod style;

use std::fmt::Write as _;

use anstyle::Style;

use style::{BOLD, ERROR, HINT, printable};

use crate::util::error::{Error, Problem};

/// The most problems that are shown: with more, these have to be mended first anyway.
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

#[cfg(test)]
mod messages;
#[cfg(test)]
mod mutations;
#[cfg(test)]
mod tests;
