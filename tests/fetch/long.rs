//! What only time tells.

use std::time::Duration;

use super::Stand;
use crate::support::Fault;

#[test]
#[ignore = "long: a minute and a half of waiting"]
fn a_server_that_sends_a_byte_every_five_seconds_is_dropped() {
    let mut stand = Stand::new();
    let raw = stand.pinned_disk();
    stand.server.once("/image", [Fault::Drip(Duration::from_secs(5))]);
    let said = stand.run(["fetch", "it"]).succeeds().stderr_text();
    let url = stand.server.url("/image");
    let words = format!(
        "warning: `{url}` comes too slowly: 0.2 bytes a second over 20 seconds; trying again"
    );
    assert!(said.contains(&words), "{said}");
    stand.fetch_is("it", &raw);

    // What little comes each time is no progress.
    std::fs::remove_dir_all(stand.path("cache")).expect("removed");
    stand.server.always("/image", Fault::Drip(Duration::from_secs(5)));
    let said = stand.fails("it");
    assert_eq!(said.matches("comes too slowly").count(), 5, "{said}");
    assert!(said.contains("hint: it was tried 5 times; try again later"), "{said}");
}
