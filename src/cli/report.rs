//! Errors on stderr.

use crate::error::Error;

/// Prints an error with where, why and what to do.
pub fn report(error: &Error) {
    for problem in error.problems() {
        anstream::eprintln!("error: {}", problem.message);
        for cause in &problem.causes {
            anstream::eprintln!("  cause: {cause}");
        }
        for hint in &problem.hints {
            anstream::eprintln!("hint: {hint}");
        }
    }
}
