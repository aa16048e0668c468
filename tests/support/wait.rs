use std::time::{Duration, Instant};

/// Waits for something to happen, and fails the test when it has not happened within two minutes.
#[track_caller]
pub(crate) fn wait_until(mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(120);
    while !condition() {
        assert!(Instant::now() < deadline, "it did not happen within two minutes");
        std::thread::sleep(Duration::from_millis(5));
    }
}
