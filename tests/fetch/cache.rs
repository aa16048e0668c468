//! `nodeforge cache`.

use std::fs::{self, File, FileTimes};
use std::os::unix::fs::FileExt as _;
use std::time::{Duration, SystemTime};

use super::Stand;
use crate::support::{Gpg, Repository, Style, checksum, noise};

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

    // A change to it is found at once.
    damage(false);
    let said = stand.run(["fetch", "it"]).succeeds().stderr_text();
    assert!(said.contains("is damaged and is made again"), "{said}");
    stand.fetch_is("it", &raw);
    assert_eq!(stand.server.requests("/image").len(), 2);

    // What only a look at all bytes tells.
    let said = stand.run(["cache", "verify"]).succeeds().stdout_text();
    assert!(said.ends_with(" sound\n"), "{said}");
    damage(true);
    let finished = stand.run(["cache", "verify"]).exits(1);
    assert!(finished.stdout_text().ends_with(" damaged: removed\n"));
    assert!(finished.stderr_text().contains("error: 1 entry was damaged"));
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
    assert!(said.contains("removed 0 images, 0 files"), "{said}");
    let _ = stand.run(["cache", "prune", "--max-size", "1G"]).succeeds();
    assert_eq!(stand.kept().len(), 2);
    fs::create_dir_all(stand.cache().join("downloads")).expect("a folder");
    fs::write(stand.cache().join("downloads/half.part"), "half").expect("written");
    let said = stand.run(["cache", "prune", "--all"]).succeeds().stderr_text();
    assert!(said.contains("removed 1 image, 0 files and 1 unfinished download"), "{said}");
    assert_eq!(stand.kept(), [""; 0]);
}

/// Files, keys and packages that preparing left.
#[test]
fn single_files_are_kept_like_images() {
    let stand = Stand::new();
    let gpg = Gpg::new();
    let key = gpg.key("ed25519");
    let own = stand.path("own");
    let write = |kind: &str, name: &str, content: &[u8]| {
        let folder = stand.cache().join(kind);
        fs::create_dir_all(&folder).expect("a folder");
        let path = folder.join(name);
        fs::write(&path, content).expect("written");
        path
    };
    fs::write(&own, "a file").expect("written");
    let hash = checksum("sha256sum", &own);
    let repository = Repository::new(Style::Flat);
    repository.add("probe", "1.0");
    let package = fs::read(repository.package("probe_1.0_all.deb")).expect("a package");
    let file = write("files", &hash, b"a file");
    let public = write("keys", &format!("{}.asc", key.fingerprint), &gpg.public(&key));
    let deb = write("debs", "probe_1.0_all.deb", &package);

    let json = stand.run(["cache", "list", "--json"]).succeeds().stdout_text();
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    let mut kinds: Vec<_> =
        json.as_array().expect("a list").iter().map(|it| it["kind"].clone()).collect();
    kinds.sort_by_key(ToString::to_string);
    assert_eq!(kinds, ["debs", "files", "keys"]);
    let listed = stand.run(["cache", "list"]).succeeds().stdout_text();
    assert_eq!(listed.lines().filter(|line| line.ends_with("  1 file")).count(), 3, "{listed}");
    let said = stand.run(["cache", "verify"]).succeeds().stdout_text();
    assert_eq!(said.matches(" sound\n").count(), 3, "{said}");

    // Damage of each kind.
    fs::write(&file, "A file").expect("written");
    fs::write(&public, gpg.public(&gpg.key("ed25519"))).expect("written");
    fs::write(&deb, &package[..package.len() - 100]).expect("written");
    let finished = stand.run(["cache", "verify"]).exits(1);
    assert!(finished.stderr_text().contains("error: 3 entries were damaged"));
    assert_eq!(stand.kept(), [""; 0]);

    // What was used longest ago goes first, a package by when it was read.
    let ages = [
        (write("files", &hash, b"a file"), 3000),
        (write("keys", "0.asc", b"a key"), 2000),
        (write("debs", "probe.deb", &noise(1, 1 << 20)), 1000),
        (write("debs", "other.deb", &noise(2, 1 << 20)), 4000),
    ];
    for (path, age) in &ages {
        let then = SystemTime::now() - Duration::from_secs(*age);
        let mut times = FileTimes::new().set_modified(then);
        if path.extension().is_some_and(|it| it == "deb") {
            times = FileTimes::new().set_accessed(then);
        }
        File::open(path).and_then(|it| it.set_times(times)).expect("dated");
    }
    let said = stand.run(["cache", "prune", "--max-size", "1500K"]).succeeds();
    assert_eq!(said.stdout_text(), "debs other.deb\n");
    assert!(said.stderr_text().contains("removed 0 images, 1 file and 0 unfinished downloads"));
    // In use: another nodeforge is reading it.
    let reader = File::open(&ages[0].0).expect("there");
    rustix::fs::flock(&reader, rustix::fs::FlockOperation::LockShared).expect("locked");
    write("files", ".half.new", b"half");
    let said = stand.run(["cache", "prune", "--all"]).succeeds().stdout_text();
    assert_eq!(said, "keys 0.asc\ndebs probe.deb\n");
    assert_eq!(stand.kept(), [format!("files/{hash}")]);
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

#[test]
fn an_invalid_size_limit_is_refused_before_any_download() {
    let mut stand = Stand::new();
    stand.pinned_disk();
    let run = stand.run(["fetch", "it"]).env("NODEFORGE_CACHE_SIZE", "abc");
    let said = run.exits(2).stderr_text();
    assert!(said.contains("reading NODEFORGE_CACHE_SIZE"), "{said}");
    assert_eq!(stand.server.requests("/image").len(), 0);
}

#[test]
fn what_was_verified_and_pruned_is_told_as_json() {
    let mut stand = Stand::new();
    let raw = stand.pinned_disk();
    let said = stand.fetch_is("it", &raw);
    let path = said["path"].as_str().expect("a path").to_owned();
    let json = |arguments: &[&str], code| {
        let text = stand.run(arguments).exits(code).stdout_text();
        serde_json::from_str::<serde_json::Value>(&text).expect("JSON")
    };
    let said = json(&["cache", "verify", "--json"], 0);
    assert_eq!((&said[0]["kind"], &said[0]["sound"]), (&"bases".into(), &true.into()));
    let said = json(&["cache", "prune", "--all", "--json"], 0);
    assert_eq!(said["removed"][0]["origin"], stand.server.url("/image"));
    assert_eq!(
        (said["removed"][0]["kind"].as_str(), &said["unfinished"]),
        (Some("bases"), &0.into())
    );
    assert!(said["freed"].as_u64().is_some_and(|it| it > 1 << 20), "{said}");
    stand.fetch_is("it", &raw);
    File::options()
        .write(true)
        .open(&path)
        .expect("there")
        .write_all_at(b"rot", 9)
        .expect("written");
    assert_eq!(json(&["cache", "verify", "--json"], 1)[0]["sound"], false);
}
