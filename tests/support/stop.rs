use std::ffi::OsStr;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};

/// A signal sent to nodeforge by one of its own system calls: at the same place in every run, however
/// busy the machine is.
pub(crate) struct Stop<'a> {
    /// Its name, as in `KILL`.
    pub(crate) signal: &'a str,
    /// The system calls that count, with commas between them.
    pub(crate) calls: &'a str,
    /// Which of them sends the signal, counted from 1 in each thread.
    pub(crate) step: u32,
}

impl Stop<'_> {
    /// Runs nodeforge quietly in a folder, with its cache in `cache` there.
    #[track_caller]
    pub(crate) fn during<S: AsRef<OsStr>>(
        &self,
        folder: &Path,
        arguments: impl IntoIterator<Item = S>,
    ) -> ExitStatus {
        let Self { signal, calls, step } = self;
        let status = Command::new("strace")
            .args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("trace={calls}"), "-e"])
            .arg(format!("inject={calls}:signal={signal}:when={step}"))
            .args([env!("CARGO_BIN_EXE_nodeforge"), "-q"])
            .args(arguments)
            .current_dir(folder)
            .env("XDG_CACHE_HOME", folder.join("cache"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .expect("strace starts");
        // strace ends as what it traces does.
        let is_expected = match status.signal() {
            Some(signal) => signal == 9 && self.signal == "KILL",
            None => status.success() || self.signal != "KILL",
        };
        assert!(is_expected, "{status}");
        status
    }
}
