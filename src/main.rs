//! Parse, dispatch, exit code.

use std::process::ExitCode;

use clap::Parser as _;
use nodeforge::cli::{self, Cli};
use nodeforge::{interrupt, prepare};

fn main() -> ExitCode {
    if let Some(job) = prepare::sandbox::requested() {
        return prepare::sandbox::main(&job);
    }
    let cli = Cli::parse();
    cli.apply_color();
    let result = interrupt::install().and_then(|()| cli.run());
    match result {
        Ok(code) => code,
        Err(error) => {
            cli::report(&error);
            ExitCode::from(error.exit_code())
        }
    }
}
