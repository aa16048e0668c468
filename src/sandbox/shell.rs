//! A look round where packages could not be installed.

use std::fs::File;
use std::process::Command;

use crate::util::progress::Progress;

/// Runs a shell of the image on the terminal, until its user leaves it.
pub(crate) fn open(progress: &dyn Progress) {
    let run = || {
        let terminal = File::options().read(true).write(true).open("/dev/tty")?;
        progress.warn("a shell in the sandbox; `exit` gives up, and nothing of the image stays");
        progress.finish();
        Command::new("/bin/sh")
            .arg("-i")
            .env("PS1", "sandbox:$PWD# ")
            .stdin(terminal.try_clone()?)
            .stdout(terminal.try_clone()?)
            .stderr(terminal)
            .status()
            .map(drop)
    };
    if let Err(error) = run() {
        progress.warn(&format!("no shell: {error}"));
    }
}
