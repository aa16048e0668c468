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
    for list in ["example.org,127.0.0.1", "example.org 127.0.0.0/8", "*"] {
        drop(std::fs::remove_dir_all(stand.path("cache")));
        let run = stand.run(["fetch", "it"]).env("http_proxy", proxy.url());
        run.env("no_proxy", list).succeeds();
        assert_eq!(proxy.asked(), [""; 0], "{list}");
    }
    std::fs::remove_dir_all(stand.path("cache")).expect("removed");
    let run = stand.run(["fetch", "it"]).env("http_proxy", proxy.url());
    run.env("no_proxy", "10.0.0.0/8,*.org").succeeds();
    assert_eq!(proxy.asked().len(), 1);
}

#[test]
fn an_error_names_the_proxy() {
    let mut stand = Stand::new();
    stand.pinned_disk();
    let url = stand.server.url("/image");
    let run = stand.run(["fetch", "it"]).env("http_proxy", "http://me:secret@127.0.0.1:9");
    let said = run.exits(1).stderr_text();
    let words =
        format!("error: cannot read `{url}` through the proxy 127.0.0.1:9 of `http_proxy`\n");
    assert!(said.contains(&words), "{said}");
    assert!(!said.contains("secret"), "{said}");
    // One that is not gone through is not named.
    stand.server.remove("/image");
    let run = stand.run(["fetch", "it"]).env("http_proxy", "http://127.0.0.1:9");
    let said = run.env("no_proxy", "127.0.0.0/8").exits(1).stderr_text();
    assert!(said.contains("/image` is not there: HTTP 404\n"), "{said}");
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
