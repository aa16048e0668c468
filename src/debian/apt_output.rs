//! What apt and dpkg say while they work, in the C locale: how far they are, why they failed.

use super::log::Log;
use crate::util::error::Error;
use crate::util::progress::Progress;

/// Turns apt's lines into progress. Every package counts twice: unpacked, and set up.
pub(crate) struct Watcher<'a> {
    progress: &'a dyn Progress,
    done: u64,
    total: u64,
}

impl<'a> Watcher<'a> {
    /// Nothing done yet.
    pub(crate) fn new(progress: &'a dyn Progress) -> Self {
        Self { progress, done: 0, total: 0 }
    }

    /// Takes one line of output.
    pub(crate) fn line(&mut self, line: &str) {
        if let Some(packages) = announced(line) {
            self.total += 2 * packages;
        } else if let Some(name) = subject(line, "Get:").or_else(|| subject(line, "Hit:")) {
            self.progress.message(&format!("fetching {name}"));
        } else if let Some(name) = subject(line, "Unpacking ") {
            self.step(&format!("unpacking {name}"));
        } else if let Some(name) = subject(line, "Setting up ") {
            self.step(&format!("setting up {name}"));
        } else if let Some(name) = subject(line, "Processing triggers for ") {
            self.progress.message(&format!("running triggers of {name}"));
        }
    }

    fn step(&mut self, text: &str) {
        self.done += 1;
        self.progress.message(text);
        self.progress.position(self.done, self.total.max(self.done));
    }
}

/// `2 upgraded, 59 newly installed, 0 to remove and 0 not upgraded.` → 61
fn announced(line: &str) -> Option<u64> {
    let (upgraded, rest) = line.split_once(" upgraded, ")?;
    let (installed, _) = rest.split_once(" newly installed, ")?;
    Some(upgraded.parse::<u64>().ok()? + installed.parse::<u64>().ok()?)
}

/// What a line is about: of `Get:7 http://… trixie/main amd64 tar amd64 1.35 [815 kB]` the package
/// or file, of the others the package.
fn subject<'a>(line: &'a str, verb: &str) -> Option<&'a str> {
    let rest = line.strip_prefix(verb)?;
    let word = if verb.ends_with(':') {
        let mut words = rest.split_whitespace().skip(2);
        let suite = words.next()?;
        words.nth(1).filter(|word| !word.contains(['[', ']'])).unwrap_or(suite)
    } else {
        rest.split_whitespace().next()?
    };
    Some(word.split(':').next().unwrap_or(word))
}

/// The error that says why apt, or what called it, failed, from its own words in the log.
pub(crate) fn failure(log: &Log, what: &str) -> Error {
    let lines: Vec<&str> = log.last_lines().collect();
    let error = diagnose(&lines).unwrap_or_else(|| {
        let reason = lines.iter().rev().find_map(|line| line.strip_prefix("E: "));
        Error::failure(reason.unwrap_or("it gave no reason")).context(what)
    });
    log.blame(error)
}

/// Why apt failed; `None` when it is nothing that is known here.
pub(crate) fn diagnose(lines: &[&str]) -> Option<Error> {
    for line in lines {
        if let Some(name) = line.strip_prefix("E: Unable to locate package ") {
            return Some(
                Error::input(format!("the base's repositories have no package `{name}`"))
                    .hint("is the name right, and does it need a further [[apt_source]]?"),
            );
        }
        if let Some(rest) = line.strip_prefix("E: Package '")
            && let Some((name, _)) = rest.split_once("' has no installation candidate")
        {
            return Some(
                Error::input(format!("no repository offers the package `{name}`"))
                    .hint("is it in another component or suite, for another [[apt_source]]?"),
            );
        }
    }
    let any = |needles: &[&str]| {
        lines.iter().find(|line| needles.iter().any(|needle| line.contains(needle)))
    };
    if let Some(line) = any(&["No space left on device", "You don't have enough free space"]) {
        return Some(
            Error::failure(line.trim_start_matches("E: "))
                .context("the disk is full")
                .hint("raise `size` in [disk]"),
        );
    }
    if let Some(line) = any(&["NO_PUBKEY", "is not signed", "signatures were invalid", "OpenPGP"]) {
        return Some(
            Error::failure(line.trim_start_matches(['E', 'W', ':', ' ']))
                .context("a repository's signature was not accepted"),
        );
    }
    if let Some(line) = any(&[
        "Could not resolve",
        "Temporary failure resolving",
        "Could not connect",
        "Unable to connect",
        "Connection failed",
        "Connection timed out",
        "Failed to fetch",
        "does not have a Release file",
    ]) {
        return Some(
            Error::failure(line.trim_start_matches(['E', 'W', ':', ' ']))
                .context("the package mirror is unreachable")
                .hint("check the network, the proxy variables and the mirror's address"),
        );
    }
    None
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[derive(Default)]
    struct Recorder(Mutex<Vec<String>>);

    impl Progress for Recorder {
        fn stage(&self, _name: &str) {}
        fn message(&self, text: &str) {
            self.0.lock().unwrap().push(text.to_owned());
        }
        fn position(&self, done: u64, total: u64) {
            self.0.lock().unwrap().push(format!("{done}/{total}"));
        }
        fn finish(&self) {}
    }

    #[test]
    fn progress_is_read_from_what_apt_says() {
        let recorder = Recorder::default();
        let mut watcher = Watcher::new(&recorder);
        for line in [
            "0 upgraded, 1 newly installed, 0 to remove and 0 not upgraded.",
            "Get:1 http://deb.debian.org/debian trixie/main amd64 tar amd64 1.35+dfsg-3.1 [815 kB]",
            "Get:3 http://127.0.0.1:80/flat  InRelease [1390 B]",
            "Get:2 http://deb.debian.org/debian trixie InRelease [140 kB]",
            "Unpacking libmd0:amd64 (1.1.0-2+b1) ...",
            "Setting up libmd0:amd64 (1.1.0-2+b1) ...",
            "Processing triggers for libc-bin (2.41-12) ...",
        ] {
            watcher.line(line);
        }
        assert_eq!(
            *recorder.0.lock().unwrap(),
            [
                "fetching tar",
                "fetching InRelease",
                "fetching trixie",
                "unpacking libmd0",
                "1/2",
                "setting up libmd0",
                "2/2",
                "running triggers of libc-bin"
            ]
        );
    }

    #[test]
    fn known_failures_are_named() {
        let said = |line: &'static str| diagnose(&[line]).unwrap();
        let error = said("E: Unable to locate package kubelte");
        assert_eq!(error.to_string(), "the base's repositories have no package `kubelte`");
        assert_eq!(error.exit_code(), 2);
        let error =
            said("E: Failed to fetch http://mirror.invalid/x  Could not resolve 'mirror.invalid'");
        assert!(error.to_string().starts_with("the package mirror is unreachable: "));
        let error = said("dpkg: error: unable to write: No space left on device");
        assert!(error.to_string().starts_with("the disk is full: "));
        assert!(diagnose(&["all is well"]).is_none());
    }
}
