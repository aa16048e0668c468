//! How fast a server sends, measured while it is waited for.

use std::time::Duration;

use crate::util::error::Error;

/// How long a server may be slow before another connection is tried. Only waiting for it counts: what this
/// machine does with what came may take its time.
const WINDOW: Duration = Duration::from_secs(20);
/// The least that must come on average over a window, in bytes a second: a tenth of what a telephone line of
/// 56 kbit/s carries.
const LEAST: u64 = 700;

/// What came since the window began.
#[derive(Debug, Default)]
pub(super) struct Pace {
    waited: Duration,
    bytes: u64,
}

impl Pace {
    /// So many bytes came after so long a wait; the error says at what rate when that is too slow.
    pub(super) fn add(&mut self, bytes: usize, waited: Duration, url: &str) -> Result<(), Error> {
        self.bytes += bytes as u64;
        self.waited += waited;
        if self.waited < WINDOW {
            return Ok(());
        }
        let rate = self.bytes as f64 / self.waited.as_secs_f64();
        let is_slow = rate < LEAST as f64;
        *self = Self::default();
        if is_slow {
            return Err(Error::failure(format!(
                "`{url}` comes too slowly: {rate:.1} bytes a second over {} seconds",
                WINDOW.as_secs()
            )));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_every_five_seconds_is_too_slow() {
        let mut pace = Pace::default();
        let results: Vec<_> =
            (0..4).map(|_| pace.add(1, Duration::from_secs(5), "https://h/x")).collect();
        assert!(results[..3].iter().all(Result::is_ok));
        assert_eq!(
            results[3].as_ref().unwrap_err().to_string(),
            "`https://h/x` comes too slowly: 0.2 bytes a second over 20 seconds"
        );
        // A new connection has a new window, and so has one that was fast enough.
        assert!(pace.add(1, Duration::from_secs(19), "u").is_ok());
        assert!(pace.add(20_000, Duration::from_secs(1), "u").is_ok());
        assert!(pace.add(1, Duration::from_secs(19), "u").is_ok());
    }

    #[test]
    fn a_slow_line_is_fast_enough() {
        let mut pace = Pace::default();
        for _ in 0..1000 {
            pace.add(1000, Duration::from_secs(1), "u").unwrap();
        }
        // What is not waited for costs no time.
        for _ in 0..1000 {
            pace.add(1, Duration::from_millis(1), "u").unwrap();
        }
    }
}
