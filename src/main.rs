//! Parse, dispatch, exit code.

use std::process::ExitCode;

use nodeforge::cli::{self, Cli};
use nodeforge::util::{interrupt, process};

#[cfg(target_os = "linux")]
use nodeforge::{sandbox, worker};

fn main() -> ExitCode {
    process::forbid_core_dumps();
    #[cfg(target_os = "linux")]
    if let Some(role) = sandbox::requested() {
        return sandbox::main(&role, worker::JOBS);
    }
    let cli = Cli::read();
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
