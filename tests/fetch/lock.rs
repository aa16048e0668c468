//! `nodeforge.lock`, in cargo's way.

use std::fs;

use super::Stand;
use crate::support::{checksum, compress, disk};

/// An image with releases, of which the newest is taken.
fn stand() -> Stand {
    let mut stand = Stand::encrypted();
    stand.image(
        "it",
        "url = \"SERVER/{date}/it-{date}.img.xz\"\nchecksums = \"SERVER/{date}/SHA256SUMS\"\n\
         [[image.releases]]\nurl = \"SERVER/list\"\npattern = 'href=\"(?<date>\\d{4}-\\d\\d-\\d\\d)/\"'",
    );
    stand.cluster("image = \"it\"");
    stand
}

fn publish(stand: &Stand, dates: &[&str]) {
    let mut listing = String::new();
    for date in dates {
        let seed = date.bytes().map(u64::from).sum();
        let raw = disk(stand.folder.path(), seed);
        let file = compress("xz", &["-1", "-f"], &raw);
        let sum = format!("{}  it-{date}.img.xz\n", checksum("sha256sum", &file));
        stand.server.put_file(&format!("/{date}/it-{date}.img.xz"), &file);
        stand.server.put(&format!("/{date}/SHA256SUMS"), sum);
        listing.push_str(&format!("<a href=\"{date}/\">"));
    }
    stand.server.put("/list", listing);
}

fn date(stand: &Stand) -> String {
    stand.lock()["base"]["date"].as_str().expect("a date").to_owned()
}

#[test]
fn a_lock_is_made_kept_and_moved_on() {
    let stand = stand();
    publish(&stand, &["2026-01-01"]);
    let said = stand.run(["fetch", "--locked"]).exits(2).stderr_text();
    assert!(said.contains("nodeforge.lock` would change: it does not pin the base"), "{said}");
    let _ = stand.run(["fetch"]).succeeds();
    assert_eq!(date(&stand), "2026-01-01");
    let first = fs::read(stand.path("nodeforge.lock")).expect("there");

    publish(&stand, &["2026-01-01", "2026-02-02"]);
    stand.server.forget_requests();
    for arguments in [&["fetch"][..], &["fetch", "--locked"], &["lock"], &["lock", "--locked"]] {
        let _ = stand.run(arguments).succeeds();
        assert_eq!(fs::read(stand.path("nodeforge.lock")).expect("there"), first);
    }
    assert_eq!(stand.server.requests("/list").len(), 0, "what is pinned is not asked for");

    // Even from an empty cache it is the pinned one, verified by nothing but the lock.
    fs::remove_dir_all(stand.path("cache")).expect("removed");
    let said = stand.run(["fetch", "--locked"]).succeeds().stdout_text();
    assert!(said.contains("SHA-256 pinned in nodeforge.lock"), "{said}");
    assert_eq!(stand.server.requests("/list").len(), 0);
    assert_eq!(fs::read(stand.path("nodeforge.lock")).expect("there"), first);

    // Without a lock the publisher is asked, and how far it is trusted is printed.
    stand.cluster("image = \"it@2026-01-01\"");
    fs::remove_file(stand.path("nodeforge.lock")).expect("removed");
    let said = stand.run(["fetch", "cluster.toml"]).succeeds().stdout_text();
    assert!(said.contains("trusted over https at first use"), "{said}");
    let verified = stand.lock()["base"]["verified"].to_string();
    assert!(verified.contains("trusted over https at first use"), "{verified}");
    stand.cluster("image = \"it\"");

    let said = stand.run(["lock", "--update", "--json"]).succeeds().stdout_text();
    let said: serde_json::Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!((&said["written"], &said["locked"]["date"]), (&true.into(), &"2026-02-02".into()));
    let said = stand.run(["lock", "--json"]).succeeds().stdout_text();
    let said: serde_json::Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!(said["written"], false);
    assert!(said["path"].as_str().is_some_and(|it| it.ends_with("nodeforge.lock")), "{said}");
    assert_eq!(date(&stand), "2026-02-02");

    // Another base in the cluster file, and the lock follows.
    stand.cluster("image = \"it@2026-01-01\"");
    let said = stand.run(["fetch", "--locked"]).exits(2).stderr_text();
    assert!(said.contains("would change"), "{said}");
    let _ = stand.run(["fetch"]).succeeds();
    assert_eq!(date(&stand), "2026-01-01");
}

#[test]
fn a_publisher_that_replaces_a_pinned_image_is_found_out() {
    let stand = stand();
    publish(&stand, &["2026-01-01"]);
    let _ = stand.run(["fetch"]).succeeds();
    fs::remove_dir_all(stand.path("cache")).expect("removed");
    let other = compress("xz", &["-1", "-f"], &disk(stand.folder.path(), 1));
    let sum = format!("{}  it-2026-01-01.img.xz\n", checksum("sha256sum", &other));
    stand.server.put_file("/2026-01-01/it-2026-01-01.img.xz", &other);
    stand.server.put("/2026-01-01/SHA256SUMS", sum);
    let said = stand.run(["fetch"]).exits(1).stderr_text();
    assert!(said.contains("is not what it should be: its SHA-256 is"), "{said}");
    assert_eq!(stand.kept(), [""; 0]);
}

#[test]
fn offline_works_from_the_cache_alone() {
    let stand = stand();
    publish(&stand, &["2026-01-01"]);
    let said = stand.run(["fetch", "--offline"]).exits(1).stderr_text();
    assert!(said.contains("the cache does not have `it`"), "{said}");
    assert!(!stand.path("nodeforge.lock").exists());
    let _ = stand.run(["fetch"]).succeeds();
    stand.server.forget_requests();
    let _ = stand.run(["fetch", "--offline"]).succeeds();
    let _ = stand.run(["fetch", "--offline", "--locked"]).succeeds();
    fs::remove_file(stand.path("nodeforge.lock")).expect("removed");
    let _ = stand.run(["lock", "--offline"]).succeeds();
    assert_eq!(date(&stand), "2026-01-01");
    assert_eq!(stand.server.requests("/list").len(), 0);
}

#[test]
fn an_image_of_ones_own_is_locked_too() {
    let stand = Stand::new();
    let raw = disk(stand.folder.path(), 1);
    stand.cluster("path = \"disk.raw\"");
    stand.fetch_is("cluster.toml", &raw);
    let lock = stand.lock();
    assert_eq!(lock["base"]["request"].as_str(), Some("path disk.raw"));
    assert_eq!(lock["base"]["raw_sha256"].as_str(), Some(checksum("sha256sum", &raw).as_str()));
    disk(stand.folder.path(), 2);
    let said = stand.run(["fetch", "--locked"]).exits(2).stderr_text();
    assert!(said.contains("would change: the base is another one"), "{said}");
    let said = stand.run(["fetch"]).succeeds().stderr_text();
    assert!(said.contains("warning: the base has changed"), "{said}");
    let _ = stand.run(["fetch", "--locked"]).succeeds();
}

#[test]
fn a_lock_that_cannot_be_read() {
    let stand = Stand::new();
    disk(stand.folder.path(), 1);
    stand.cluster("path = \"disk.raw\"");
    fs::write(stand.path("nodeforge.lock"), "<<<<<<< HEAD\n").expect("written");
    let said = stand.run(["fetch"]).exits(2).stderr_text();
    assert!(said.contains("nodeforge.lock` cannot be read"), "{said}");
    assert!(said.contains("line 1"), "{said}");
}

/// The same bytes in two places: each cluster's lock names its own.
#[test]
fn a_lock_names_the_address_that_its_cluster_file_does() {
    let stand = Stand::new();
    let raw = disk(stand.folder.path(), 1);
    let file = compress("xz", &["--keep", "-1"], &raw);
    let hash = checksum("sha256sum", &file);
    for name in ["one", "other"] {
        stand.server.put_file(&format!("/{name}"), &file);
        stand.cluster(&format!("url = \"SERVER/{name}\"\nsha256 = \"{hash}\""));
        stand.fetch_is("cluster.toml", &raw);
        let url = stand.server.url(&format!("/{name}"));
        assert_eq!(stand.lock()["base"]["url"].as_str(), Some(url.as_str()));
        let _ = stand.run(["fetch", "--locked", "--offline"]).succeeds();
    }
    assert_eq!(stand.server.requests("/other").len(), 0);
}
