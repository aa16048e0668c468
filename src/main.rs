//! Parse, dispatch, exit code.

use std::process::ExitCode;

use clap::Parser as _;
use nodeforge::cli::{self, Cli};
use nodeforge::util::interrupt;

#[cfg(target_os = "linux")]
use nodeforge::{sandbox, worker};

fn main() -> ExitCode {
    #[cfg(target_os = "linux")]
    if let Some(role) = sandbox::requested() {
        return sandbox::main(&role, worker::JOBS);
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
