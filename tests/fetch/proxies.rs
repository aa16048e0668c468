//! The way through a proxy, as the environment says.

use super::Stand;
use crate::support::{Proxy, checksum};

#[test]
fn downloads_go_through_the_proxy_of_the_environment() {
    for (mut stand, variable) in [
        (Stand::new(), "http_proxy"),
        (Stand::encrypted(), "HTTPS_PROXY"),
        (Stand::encrypted(), "ALL_PROXY"),
    ] {
        let raw = stand.pinned_disk();
        let proxy = Proxy::new();
        let said = stand.run(["fetch", "--json", "it"]).env(variable, proxy.url()).succeeds();
        let said: serde_json::Value = serde_json::from_str(&said.stdout_text()).expect("JSON");
        assert_eq!(said["sha256"], checksum("sha256sum", &raw));
        assert!(!proxy.asked().is_empty(), "{variable} was not heeded");
        assert_eq!(proxy.asked().len(), stand.server.requests("/image").len());
    }
}

#[test]
fn no_proxy_lists_the_hosts_reached_directly() {
    let mut stand = Stand::new();
    stand.pinned_disk();
    let proxy = Proxy::new();
    let run = stand.run(["fetch", "it"]).env("http_proxy", proxy.url());
    run.env("no_proxy", "example.org,127.0.0.1").succeeds();
    assert_eq!(proxy.asked(), [""; 0]);
}

#[test]
fn an_invalid_proxy_is_reported() {
    let mut stand = Stand::new();
    stand.pinned_disk();
    let run = stand.run(["fetch", "it"]).env("http_proxy", "http://");
    let said = run.exits(2).stderr_text();
    assert!(
        said.contains("`http_proxy` in the environment does not name a proxy\nhint: "),
        "{said}"
    );
    assert_eq!(stand.kept(), [""; 0]);
}
