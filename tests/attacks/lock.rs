//! A lock file that somebody else wrote: it only adds to what the cluster file and the catalogue say.

use std::fs;
use std::path::{Path, PathBuf};

use crate::fetch::Stand;
use crate::support::{Gpg, checksum, compress, disk};

const UPDATE: &str = "hint: find out who changed it; `nodeforge lock --update` pins anew\n";

/// A compressed disk that nobody asked for.
fn evil(stand: &Stand) -> PathBuf {
    let raw = disk(stand.folder.path(), 666);
    compress("xz", &["-1", "-f"], &raw)
}

/// Replaces the first of these words in the lock file.
fn forge(stand: &Stand, changes: &[(&str, &str)]) {
    let path = stand.path("nodeforge.lock");
    let mut text = fs::read_to_string(&path).expect("a lock");
    for (old, new) in changes {
        assert!(text.contains(old), "{old} is not in\n{text}");
        text = text.replace(old, new);
    }
    fs::write(&path, text).expect("written");
}

/// The lock file before somebody changed it, with all that it says of an image's bytes.
fn about(file: &Path, raw: &Path) -> [String; 3] {
    let size = fs::metadata(file).expect("there").len();
    [checksum("sha256sum", file), checksum("sha256sum", raw), size.to_string()]
}

#[test]
fn an_address_and_a_hash_of_the_cluster_file_stay() {
    let stand = Stand::new();
    let raw = disk(stand.folder.path(), 1);
    let file = compress("xz", &["--keep", "-1"], &raw);
    let [sha256, raw_sha256, _] = about(&file, &raw);
    stand.server.put_file("/image", &file);
    stand.cluster(&format!("url = \"SERVER/image\"\nsha256 = \"{sha256}\""));
    let _ = stand.run(["fetch"]).succeeds();
    let (lock, base) =
        (fs::read(stand.path("nodeforge.lock")).expect("a lock"), stand.lock()["base"].clone());
    let evil = evil(&stand);
    let evil_sha256 = checksum("sha256sum", &evil);
    let evil_raw = checksum("sha256sum", &disk(stand.folder.path(), 666));
    stand.server.put_file("/evil", &evil);
    let (url, evil_url) = (stand.server.url("/image"), stand.server.url("/evil"));
    // What was asked for stays as it is: a request is no pin.
    let (address, evil_address) = (format!("\nurl = \"{url}\""), format!("\nurl = \"{evil_url}\""));
    let (hash, evil_hash) =
        (format!("\nsha256 = \"{sha256}"), format!("\nsha256 = \"{evil_sha256}"));
    let elsewhere = format!("it names `{evil_url}`, and the cluster file `{url}`");
    let other = format!("it pins the SHA-256 {evil_sha256}, and the cluster file {sha256}");
    for (changes, why) in [
        (
            vec![(&address, &evil_address), (&hash, &evil_hash), (&raw_sha256, &evil_raw)],
            &elsewhere,
        ),
        (vec![(&address, &evil_address)], &elsewhere),
        (vec![(&hash, &evil_hash), (&raw_sha256, &evil_raw)], &other),
    ] {
        fs::write(stand.path("nodeforge.lock"), &lock).expect("written");
        let changes: Vec<_> =
            changes.iter().map(|(old, new)| (old.as_str(), new.as_str())).collect();
        forge(&stand, &changes);
        let forged = fs::read(stand.path("nodeforge.lock")).expect("a lock");
        for is_warm in [true, false] {
            if !is_warm {
                fs::remove_dir_all(stand.path("cache")).expect("removed");
            }
            for arguments in [
                &["fetch"][..],
                &["fetch", "--locked"],
                &["fetch", "--offline"],
                &["check"],
                &["check", "--locked"],
                &["lock"],
            ] {
                let said = stand.run(arguments).exits(2).stderr_text();
                let path = stand.path("nodeforge.lock").display().to_string();
                let said = said.replace(&path, "nodeforge.lock");
                let wanted = format!("error: `nodeforge.lock` cannot be used: {why}\n{UPDATE}");
                assert_eq!(said, wanted, "{arguments:?}");
                assert_eq!(fs::read(stand.path("nodeforge.lock")).expect("a lock"), forged);
            }
        }
        // The hint helps.
        let said = stand.run(["lock", "--update"]).succeeds().stdout_text();
        assert!(said.contains("SHA-256 pinned in the cluster file\n"), "{said}");
        assert_eq!(stand.lock()["base"], base);
        let _ = stand.run(["fetch", "--locked"]).succeeds();
        let _ = stand.run(["check", "--locked"]).succeeds();
    }
    assert_eq!(stand.server.requests("/evil").len(), 0);
}

#[test]
fn a_signature_that_the_cluster_file_wants_is_verified_whatever_the_lock_says() {
    let gpg = Gpg::new();
    let (key, other) = (gpg.key("ed25519"), gpg.key("ed25519"));
    let stand = Stand::encrypted();
    let raw = disk(stand.folder.path(), 1);
    let file = compress("xz", &["--keep", "-1"], &raw);
    let [sha256, raw_sha256, _] = about(&file, &raw);
    stand.server.put_file("/image", &file);
    stand.server.put("/image.asc", gpg.sign(&key, &file, true));
    fs::write(stand.path("key.asc"), gpg.public(&key)).expect("written");
    stand.cluster("url = \"SERVER/image\"\nsignature = \"SERVER/image.asc\"\nkey = \"key.asc\"");
    let said = stand.fetch_is("cluster.toml", &raw);
    assert_eq!(said["verified"], format!("OpenPGP signature by {}", key.fingerprint));
    // From an empty cache the lock is not enough.
    fs::remove_dir_all(stand.path("cache")).expect("removed");
    let said = stand.fetch_is("cluster.toml", &raw);
    let words =
        format!("OpenPGP signature by {} and SHA-256 pinned in nodeforge.lock", key.fingerprint);
    assert_eq!(said["verified"], words);

    // Somebody who can write to the server and to the lock.
    let evil = evil(&stand);
    stand.server.put_file("/image", &evil);
    fs::remove_dir_all(stand.path("cache")).expect("removed");
    let evil_raw = checksum("sha256sum", &disk(stand.folder.path(), 666));
    let lock = fs::read(stand.path("nodeforge.lock")).expect("a lock");
    forge(&stand, &[(&sha256, &checksum("sha256sum", &evil)), (&raw_sha256, &evil_raw)]);
    for arguments in [&["fetch"][..], &["fetch", "--locked"]] {
        let said = stand.run(arguments).exits(1).stderr_text();
        assert!(said.contains("/image` is not genuine\n  cause: the signature by"), "{said}");
        assert_eq!(stand.kept(), [""; 0]);
    }
    // The bytes are in the cache, but only because another cluster pinned them.
    let hash = checksum("sha256sum", &evil);
    let own = fs::read(stand.path("nodeforge.lock")).expect("a lock");
    stand.cluster(&format!("url = \"SERVER/image\"\nsha256 = \"{hash}\""));
    let _ = stand.run(["fetch"]).succeeds();
    stand.cluster("url = \"SERVER/image\"\nsignature = \"SERVER/image.asc\"\nkey = \"key.asc\"");
    fs::write(stand.path("nodeforge.lock"), own).expect("written");
    let said = stand.run(["fetch", "--locked"]).exits(1).stderr_text();
    assert!(said.contains("/image` is not genuine\n  cause: the signature by"), "{said}");

    // A lock that names another signer.
    fs::write(stand.path("nodeforge.lock"), lock).expect("written");
    forge(&stand, &[(&key.fingerprint, &other.fingerprint)]);
    let said = stand.run(["check"]).exits(2).stderr_text();
    let words = format!(
        "cannot be used: it says that {} signed it, and the cluster file {}\n",
        other.fingerprint, key.fingerprint
    );
    assert!(said.contains(&words), "{said}");
}

#[test]
fn what_the_catalogue_says_of_an_image_stays() {
    let gpg = Gpg::new();
    let key = gpg.key("ed25519");
    let mut stand = Stand::new();
    let raw = disk(stand.folder.path(), 1);
    let file = compress("xz", &["--keep", "-1"], &raw);
    let [sha256, raw_sha256, _] = about(&file, &raw);
    stand.server.put_file("/2026-01-01/it.img.xz", &file);
    stand.server.put("/2026-01-01/it.img.xz.sig", gpg.sign(&key, &file, false));
    stand.server.put("/list", "<a href=\"2026-01-01/\">");
    stand.server.put("/key", gpg.public(&key));
    let (fingerprint, place) = (&key.fingerprint, stand.server.url("/key"));
    stand.catalogue = format!("[[key]]\nfingerprint = \"{fingerprint}\"\nurls = [\"{place}\"]\n");
    stand.image(
        "it",
        &format!(
            "url = \"SERVER/{{date}}/it.img.xz\"\nsignature = \"{{url}}.sig\"\nkeys = [\"{fingerprint}\"]\n\
             [[image.releases]]\nurl = \"SERVER/list\"\npattern = 'href=\"(?<date>\\d{{4}}-\\d\\d-\\d\\d)/\"'"
        ),
    );
    stand.cluster("image = \"it\"");
    stand.fetch_is("cluster.toml", &raw);
    let lock = fs::read(stand.path("nodeforge.lock")).expect("a lock");

    let evil = evil(&stand);
    stand.server.put_file("/evil", &evil);
    let (url, evil_url) = (stand.server.url("/2026-01-01/it.img.xz"), stand.server.url("/evil"));
    forge(&stand, &[(&url, &evil_url)]);
    for arguments in [&["fetch"][..], &["check", "--locked"]] {
        let said = stand.run(arguments).exits(2).stderr_text();
        let words = format!("it names `{evil_url}`, and the catalogue has no `it` there\n{UPDATE}");
        assert!(said.ends_with(&words), "{said}");
    }
    fs::write(stand.path("nodeforge.lock"), &lock).expect("written");
    forge(&stand, &[("date = \"2026-01-01\"", "date = \"2027-01-01\"")]);
    let said = stand.run(["check"]).exits(2).stderr_text();
    let words = format!("it says that `{url}` is the release of 2027-01-01\n{UPDATE}");
    assert!(said.ends_with(&words), "{said}");

    // The signature is verified from an empty cache as well.
    fs::write(stand.path("nodeforge.lock"), &lock).expect("written");
    fs::remove_dir_all(stand.path("cache")).expect("removed");
    stand.server.put_file("/2026-01-01/it.img.xz", &evil);
    let evil_raw = checksum("sha256sum", &disk(stand.folder.path(), 666));
    forge(&stand, &[(&sha256, &checksum("sha256sum", &evil)), (&raw_sha256, &evil_raw)]);
    let said = stand.run(["fetch", "--locked"]).exits(1).stderr_text();
    assert!(said.contains("/it.img.xz` is not genuine\n  cause: the signature by"), "{said}");
    assert_eq!(stand.kept(), [""; 0]);
    assert_eq!(stand.server.requests("/evil").len(), 0);
}

#[test]
fn an_update_to_an_older_image_is_told() {
    let mut stand = Stand::encrypted();
    stand.image(
        "it",
        "url = \"SERVER/{date}/it.img.xz\"\nchecksums = \"SERVER/{date}/SHA256SUMS\"\n\
         [[image.releases]]\nurl = \"SERVER/list\"\npattern = 'href=\"(?<date>\\d{4}-\\d\\d-\\d\\d)/\"'",
    );
    stand.cluster("image = \"it\"");
    for (seed, date) in [(1, "2026-01-01"), (2, "2026-02-02")] {
        let file = compress("xz", &["-1", "-f"], &disk(stand.folder.path(), seed));
        let sum = format!("{}  it.img.xz\n", checksum("sha256sum", &file));
        stand.server.put_file(&format!("/{date}/it.img.xz"), &file);
        stand.server.put(&format!("/{date}/SHA256SUMS"), sum);
    }
    stand.server.put("/list", "<a href=\"2026-01-01/\"><a href=\"2026-02-02/\">");
    let said = stand.run(["lock"]).succeeds().stderr_text();
    assert!(!said.contains("older"), "{said}");
    stand.server.put("/list", "<a href=\"2026-01-01/\">");
    // Without being asked to, it does not go back.
    let said = stand.run(["fetch", "--locked"]).succeeds().stderr_text();
    assert!(!said.contains("older"), "{said}");
    let said = stand.run(["lock", "--update"]).succeeds().stderr_text();
    let words = "warning: the publisher's newest image is of 2026-01-01, older than the one before, of \
                 2026-02-02: it was withdrawn, or somebody serves an old one\n";
    assert!(said.contains(words), "{said}");
}

/// What a lock file says of its own worth is not repeated.
#[test]
fn a_lock_does_not_vouch_for_itself() {
    let stand = Stand::new();
    let raw = disk(stand.folder.path(), 1);
    let file = compress("xz", &["--keep", "-1"], &raw);
    stand.server.put_file("/image", &file);
    let sum = checksum("sha512sum", &file);
    stand.cluster(&format!("url = \"SERVER/image\"\nsha512 = \"{sum}\""));
    let _ = stand.run(["fetch"]).succeeds();
    forge(&stand, &[("SHA-512 pinned in the cluster file", "inspected by experts")]);
    for arguments in [&["fetch"][..], &["lock"]] {
        let said = stand.run(arguments).succeeds().stdout_text();
        let words = "SHA-512 pinned in the cluster file and SHA-256 pinned in nodeforge.lock\n";
        assert!(said.contains(words), "{said}");
        assert!(!said.contains("experts"), "{said}");
    }
}
