//! `nodeforge cache`.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;

use super::Stand;

#[test]
fn damage_is_reported_and_fetched_again() {
    let mut stand = Stand::new();
    let raw = stand.pinned_disk();
    let said = stand.fetch_is("it", &raw);
    let path = said["path"].as_str().expect("a path").to_owned();
    let damage = |keep_time: bool| {
        let file = File::options().write(true).open(&path).expect("writable");
        let then = file.metadata().and_then(|it| it.modified()).expect("a time");
        file.write_all_at(b"bit rot", 5000).expect("written");
        if keep_time {
            file.set_modified(then).expect("set");
        }
    };

    // Whoever writes to it is found out at once.
    damage(false);
    let said = stand.run(["fetch", "it"]).succeeds().stderr_text();
    assert!(said.contains("is damaged: it is made anew"), "{said}");
    stand.fetch_is("it", &raw);
    assert_eq!(stand.server.requests("/image").len(), 2);

    // What only a look at all bytes tells.
    let said = stand.run(["cache", "verify"]).succeeds().stdout_text();
    assert!(said.ends_with(" sound\n"), "{said}");
    damage(true);
    let finished = stand.run(["cache", "verify"]).exits(1);
    assert!(finished.stdout_text().ends_with(" damaged: removed\n"));
    assert!(finished.stderr_text().contains("error: 1 image was damaged"));
    assert_eq!(stand.kept(), [""; 0]);
    stand.fetch_is("it", &raw);
}

#[test]
fn the_cache_is_listed_and_pruned() {
    let mut stand = Stand::new();
    let raw = stand.pinned_disk();
    let url = stand.server.url("/image");
    stand.fetch_is("it", &raw);
    let listed = stand.run(["cache", "list"]).succeeds().stdout_text();
    assert!(listed.lines().nth(1).is_some_and(|line| line.ends_with(&url)), "{listed}");
    let json = stand.run(["cache", "list", "--json"]).succeeds().stdout_text();
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(json[0]["origin"], url.as_str());
    assert_eq!(json[0]["size"], 8 << 20);

    let said = stand.run(["cache", "prune"]).succeeds().stderr_text();
    assert!(said.contains("removed 0 images"), "{said}");
    let _ = stand.run(["cache", "prune", "--max-size", "1G"]).succeeds();
    assert_eq!(stand.kept().len(), 2);
    fs::create_dir_all(stand.cache().join("downloads")).expect("a folder");
    fs::write(stand.cache().join("downloads/half.part"), "half").expect("written");
    let said = stand.run(["cache", "prune", "--all"]).succeeds().stderr_text();
    assert!(said.contains("removed 1 image and 1 unfinished download"), "{said}");
    assert_eq!(stand.kept(), [""; 0]);
}

#[test]
fn a_limit_in_the_environment_is_kept() {
    let mut stand = Stand::new();
    stand.pinned_disk();
    let first = stand.path("disk.raw.xz");
    let other = crate::support::disk(stand.folder.path(), 4);
    assert!(first.exists());
    stand.server.put_file("/other", &other);
    let hash = crate::support::checksum("sha256sum", &other);
    stand.image("other", &format!("url = \"SERVER/other\"\nsha256 = \"{hash}\""));
    let _ = stand.run(["fetch", "it"]).succeeds();
    let _ = stand.run(["fetch", "other"]).env("NODEFORGE_CACHE_SIZE", "3M").succeeds();
    let said = stand.run(["fetch", "other", "--offline"]).succeeds().stdout_text();
    assert!(said.contains("/other"), "{said}");
    let said = stand.run(["fetch", "it", "--offline"]).exits(1).stderr_text();
    assert!(said.contains("the cache does not have `it`"), "{said}");
}
