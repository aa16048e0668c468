//! Trying again, later and later, and not for ever.

use std::time::{Duration, Instant};

use crate::util::error::{Error, Result};
use crate::util::interrupt;
use crate::util::progress::Progress;

/// How often something is tried that makes no progress.
const ATTEMPTS: u32 = 5;
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// The longest a server may ask us to wait.
const LONGEST_PAUSE: Duration = Duration::from_secs(120);

/// Why a request failed, and whether it may succeed when tried again.
pub(crate) enum Fault {
    /// The server has no such file.
    Absent(Error),
    /// It will not.
    Permanent(Error),
    /// It may, though not before this much time when the server says so.
    Passing(Error, Option<Duration>),
}

impl Fault {
    pub(crate) fn passing(error: Error) -> Self {
        Self::Passing(error, None)
    }

    /// What is wrong, where it is not tried again.
    pub(crate) fn error(self) -> Error {
        match self {
            Self::Absent(error) | Self::Permanent(error) | Self::Passing(error, _) => error,
        }
    }
}

/// Counts failures in a row.
pub(crate) struct Retry {
    failures: u32,
    /// The most that was ever achieved.
    furthest: u64,
}

impl Retry {
    pub(crate) fn new() -> Self {
        Self { failures: 0, furthest: 0 }
    }

    /// So many bytes are there: more than ever means that failing so far was worth it.
    pub(crate) fn reached(&mut self, bytes: u64) {
        if bytes > self.furthest {
            (self.furthest, self.failures) = (bytes, 0);
        }
    }

    /// Waits until it makes sense to try again; returns the fault's error when it does not.
    pub(crate) fn wait(&mut self, fault: Fault, progress: &dyn Progress) -> Result<()> {
        let (error, asked) = match fault {
            Fault::Absent(error) | Fault::Permanent(error) => return Err(error),
            Fault::Passing(error, asked) => (error, asked),
        };
        self.failures += 1;
        if self.failures >= ATTEMPTS {
            return Err(error.hint(format!("it was tried {ATTEMPTS} times; try again later")));
        }
        if let Some(asked) = asked.filter(|asked| *asked > LONGEST_PAUSE) {
            let minutes = asked.as_secs().div_ceil(60);
            return Err(error.hint(format!("the server asks to come back in {minutes} minutes")));
        }
        let pause = self.backoff()?.max(asked.unwrap_or_default());
        progress.warn(&format!("{error}; trying again in {:.1} s", pause.as_secs_f64()));
        sleep(pause)
    }

    /// Doubles with every failure; up to half is left to chance, so that many clients that a
    /// server threw out together do not come back together.
    fn backoff(&self) -> Result<Duration> {
        let mut byte = [0];
        getrandom::fill(&mut byte).map_err(|error| Error::failure(error.to_string()))?;
        let full = FIRST_PAUSE * 2u32.pow(self.failures - 1);
        Ok(full / 2 + full / 2 * u32::from(byte[0]) / 255)
    }
}

fn sleep(pause: Duration) -> Result<()> {
    let until = Instant::now() + pause;
    while let Some(left) = until.checked_duration_since(Instant::now()) {
        interrupt::check()?;
        std::thread::sleep(left.min(interrupt::POLL));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::util::progress::Silent;

    #[test]
    fn pauses_double_and_end() {
        let mut retry = Retry::new();
        for failures in 1..ATTEMPTS {
            retry.failures = failures;
            let full = FIRST_PAUSE * 2u32.pow(failures - 1);
            let pause = retry.backoff().unwrap();
            assert!(pause >= full / 2 && pause <= full, "{pause:?} of {full:?}");
        }
        let error = retry.wait(Fault::passing(Error::failure("no luck")), &Silent).unwrap_err();
        assert_eq!(error.problems()[0].message, "no luck");
    }

    #[test]
    fn a_server_that_wants_hours_is_not_waited_for() {
        let fault = Fault::Passing(Error::failure("busy"), Some(Duration::from_secs(7200)));
        let error = Retry::new().wait(fault, &Silent).unwrap_err();
        assert_eq!(error.problems()[0].hints, ["the server asks to come back in 120 minutes"]);
    }
}
