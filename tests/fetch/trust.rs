//! Who may sign what, checked against gpg.

use std::fs;
use std::path::{Path, PathBuf};

use super::Stand;
use crate::support::{Authority, Fault, Gpg, Key, Server, checksum, compress, disk, tool};

/// A signed image `it`.
struct Signed {
    stand: Stand,
    raw: PathBuf,
    file: PathBuf,
}

impl Signed {
    /// The key's place in the catalogue, and what is served there.
    fn new(gpg: &Gpg, key: &Key, signature: impl Fn(&Path) -> Vec<u8>) -> Self {
        let mut stand = Stand::new();
        let raw = disk(stand.folder.path(), 1);
        let file = compress("xz", &["--keep", "-1"], &raw);
        stand.server.put_file("/image", &file);
        stand.server.put("/image.sig", signature(&file));
        stand.server.put("/key", gpg.public(key));
        let fingerprint = &key.fingerprint;
        let lines = format!(
            "url = \"SERVER/image\"\nsignature = \"{{url}}.sig\"\nkeys = [\"{fingerprint}\"]"
        );
        stand.image("it", &lines);
        let place = stand.server.url("/key");
        stand
            .catalogue
            .push_str(&format!("[[key]]\nfingerprint = \"{fingerprint}\"\nurls = [\"{place}\"]\n"));
        Self { stand, raw, file }
    }

    /// Whether gpg, which knows nothing of pins and dates, accepts the signature.
    fn gpg_accepts(&self, gpg: &Gpg) -> bool {
        let signature = self.stand.path("signature");
        fs::write(&signature, self.stand.server.body("/image.sig")).expect("written");
        gpg.verifies(&signature, &self.file)
    }

    #[track_caller]
    fn is_accepted(&self, gpg: &Gpg, key: &Key) {
        assert!(self.gpg_accepts(gpg));
        let said = self.stand.fetch_is("it", &self.raw);
        assert_eq!(said["verified"], format!("OpenPGP signature by {}", key.fingerprint).as_str());
        assert_eq!(said["locked"]["signer"], key.fingerprint.as_str());
    }

    #[track_caller]
    fn is_refused(&self, words: &str, image_requests: usize) {
        let said = self.stand.fails("it");
        assert!(said.contains(words), "wanted: {words}\n{said}");
        assert_eq!(self.stand.kept(), [""; 0]);
        assert_eq!(self.stand.server.requests("/image").len(), image_requests, "{said}");
    }
}

#[test]
fn signatures_of_all_kinds_are_accepted() {
    let gpg = Gpg::new();
    for algorithm in ["ed25519", "rsa3072", "nistp256"] {
        let key = gpg.key(algorithm);
        for armored in [false, true] {
            Signed::new(&gpg, &key, |file| gpg.sign(&key, file, armored)).is_accepted(&gpg, &key);
        }
        gpg.add_subkey(&key, "ed25519");
        let signed = Signed::new(&gpg, &key, |file| gpg.sign(&key, file, false));
        signed.is_accepted(&gpg, &key);
    }
}

#[test]
fn a_changed_image_is_not_genuine() {
    let gpg = Gpg::new();
    let key = gpg.key("ed25519");
    let mut signed = Signed::new(&gpg, &key, |file| gpg.sign(&key, file, false));
    let other = disk(signed.stand.folder.path(), 5);
    signed.file = compress("xz", &["-1", "-f"], &other);
    signed.stand.server.put_file("/image", &signed.file);
    assert!(!signed.gpg_accepts(&gpg));
    signed.is_refused("/image` is not genuine", 1);
}

#[test]
fn a_signature_that_can_never_hold_costs_no_download() {
    let gpg = Gpg::new();
    let (key, other) = (gpg.key("ed25519"), gpg.key("rsa3072"));

    let signed = Signed::new(&gpg, &key, |file| gpg.sign(&other, file, false));
    let words = format!("the signature is by {}, not by {}", other.fingerprint, key.fingerprint);
    signed.is_refused(&words, 0);

    let signed = Signed::new(&gpg, &key, |_| b"no signature".to_vec());
    signed.is_refused("this is not an OpenPGP signature", 0);

    let signed = Signed::new(&gpg, &key, |file| gpg.sign(&key, file, false));
    signed.stand.server.remove("/image.sig");
    signed.is_refused("/image.sig` is missing", 0);

    let weak = |file: &Path| {
        let options = ["--digest-algo", "SHA1", "--allow-weak-digest-algos"];
        gpg.sign_with(&other, file, false, &options)
    };
    Signed::new(&gpg, &other, weak).is_refused("the signature uses a hash that is broken", 0);

    let old = gpg.old_key("ed25519", "never");
    let options = ["--faked-system-time", "20240101T000000", "--default-sig-expire", "1d"];
    let brief = |file: &Path| gpg.sign_with(&old, file, false, &options);
    Signed::new(&gpg, &old, brief).is_refused("the signature expired", 0);

    let options = ["--faked-system-time", "20190101T000000", "--ignore-time-conflict"];
    let early = |file: &Path| gpg.sign_with(&old, file, false, &options);
    Signed::new(&gpg, &old, early).is_refused("the signature was made before its key", 0);
}

#[test]
fn keys_must_be_the_pinned_ones_and_alive() {
    let gpg = Gpg::new();
    let (key, other) = (gpg.key("ed25519"), gpg.key("ed25519"));
    let signed = Signed::new(&gpg, &key, |file| gpg.sign(&key, file, false));
    signed.stand.server.put("/key", gpg.public(&other));
    let words = format!("it is {}, pinned is {}", other.fingerprint, key.fingerprint);
    signed.is_refused(&words, 0);
    signed.stand.server.put("/key", "<html>");
    signed.is_refused("this is not an OpenPGP key", 0);
    signed.stand.server.always("/key", Fault::Status(404, ""));
    signed.is_refused(&format!("the key {} cannot be had", key.fingerprint), 0);

    let expired = gpg.old_key("ed25519", "1y");
    let then = ["--faked-system-time", "20200601T000000"];
    let signed = Signed::new(&gpg, &expired, |file| gpg.sign_with(&expired, file, false, &then));
    signed.is_refused(&format!("the key {} expired", expired.fingerprint), 0);
    // The hint helps.
    let said = signed.stand.fails("it");
    let words = "`url = \"…\"` and `sha256 = \"…\"` under [base]\n";
    assert!(said.contains(words), "{said}");
    let sum = checksum("sha256sum", &signed.file);
    signed.stand.cluster(&format!("url = \"SERVER/image\"\nsha256 = \"{sum}\""));
    signed.stand.fetch_is("cluster.toml", &signed.raw);

    let signed = Signed::new(&gpg, &key, |file| gpg.sign(&key, file, false));
    gpg.revoke(&key);
    signed.stand.server.put("/key", gpg.public(&key));
    signed.is_refused(&format!("the key {} was revoked", key.fingerprint), 0);
}

#[test]
fn signed_checksums_vouch_for_what_they_list() {
    let gpg = Gpg::new();
    let key = gpg.key("rsa3072");
    let mut stand = Stand::new();
    let raw = disk(stand.folder.path(), 1);
    let file = compress("xz", &["--keep", "-1"], &raw);
    stand.server.put_file("/image", &file);
    let sums = stand.path("SHA256SUMS");
    let sum = checksum("sha256sum", &file);
    fs::write(&sums, format!("{sum} *image\n")).expect("written");
    stand.server.put_file("/SHA256SUMS", &sums);
    stand.server.put("/SHA256SUMS.gpg", gpg.sign(&key, &sums, false));
    stand.server.put("/key", gpg.public(&key));
    let (fingerprint, place) = (&key.fingerprint, stand.server.url("/key"));
    stand.image(
        "it",
        &format!(
            "url = \"SERVER/image\"\nchecksums = \"SERVER/SHA256SUMS\"\n\
             checksums_signature = \"SERVER/SHA256SUMS.gpg\"\nkeys = [\"{fingerprint}\"]"
        ),
    );
    stand
        .catalogue
        .push_str(&format!("[[key]]\nfingerprint = \"{fingerprint}\"\nurls = [\"{place}\"]\n"));
    let said = stand.fetch_is("it", &raw);
    let words = format!("{}, signed by {fingerprint}", stand.server.url("/SHA256SUMS"));
    assert_eq!(said["verified"], words.as_str());

    // A lock does not replace the signature: it is verified again, and that is remembered.
    stand.cluster("image = \"it\"");
    stand.fetch_is("cluster.toml", &raw);
    fs::remove_dir_all(stand.path("cache")).expect("removed");
    let both = format!("{words} and SHA-256 pinned in nodeforge.lock");
    assert_eq!(stand.fetch_is("cluster.toml", &raw)["verified"], both.as_str());
    let downloads = stand.server.requests("/image").len();
    let _ = stand.run(["fetch", "it", "--offline"]).succeeds();
    assert_eq!(stand.fetch_is("it", &raw)["verified"], words.as_str());
    assert_eq!(stand.server.requests("/image").len(), downloads);

    stand.server.put("/SHA256SUMS", format!("{} *image\n", "0".repeat(64)));
    let said = stand.fails("it");
    assert!(said.contains("/SHA256SUMS` is not genuine"), "{said}");
}

#[test]
fn a_cluster_file_pins_by_hash_or_key() {
    let gpg = Gpg::new();
    let key = gpg.key("ed25519");
    let stand = Stand::encrypted();
    let raw = disk(stand.folder.path(), 1);
    let file = compress("zstd", &["--keep", "--quiet"], &raw);
    stand.server.put_file("/image", &file);
    stand.server.put("/image.asc", gpg.sign(&key, &file, true));
    stand.server.put("/key.asc", gpg.public(&key));
    fs::write(stand.path("publisher.asc"), gpg.public(&key)).expect("written");
    let (sha256, sha512) = (checksum("sha256sum", &file), checksum("sha512sum", &file));
    let signature = "url = \"SERVER/image\"\nsignature = \"SERVER/image.asc\"\n";
    let signed = format!("OpenPGP signature by {}", key.fingerprint);
    for (base, verified) in [
        (
            format!("url = \"SERVER/image\"\nsha256 = \"{sha256}\""),
            "SHA-256 pinned in the cluster file",
        ),
        (
            format!("url = \"SERVER/image\"\nsha512 = \"{sha512}\""),
            "SHA-512 pinned in the cluster file",
        ),
        (format!("{signature}key = \"publisher.asc\""), signed.as_str()),
        (format!("{signature}key = \"SERVER/key.asc#{}\"", key.fingerprint), signed.as_str()),
    ] {
        drop(fs::remove_file(stand.path("nodeforge.lock")));
        drop(fs::remove_dir_all(stand.path("cache")));
        stand.cluster(&base);
        let said = stand.fetch_is("cluster.toml", &raw);
        assert_eq!(said["verified"], verified);
        assert_eq!(stand.lock()["base"]["sha256"].as_str(), Some(sha256.as_str()));
    }
    fs::remove_file(stand.path("nodeforge.lock")).expect("removed");
    stand.cluster(&format!("{signature}key = \"SERVER/key.asc\""));
    let said = stand.run(["fetch"]).exits(2).stderr_text();
    assert!(said.contains("nothing pins the key at"), "{said}");
}

/// Another cluster, whose word is enough for itself, fetched the same bytes before.
#[test]
fn a_warm_cache_is_no_signature() {
    let gpg = Gpg::new();
    let (key, other) = (gpg.key("ed25519"), gpg.key("ed25519"));
    let signed = Signed::new(&gpg, &key, |_| Vec::new());
    let (mut stand, raw) = (signed.stand, signed.raw);
    let unsigned = stand.path("unsigned");
    fs::write(&unsigned, "another file").expect("written");
    let sum = checksum("sha256sum", &signed.file);
    stand.server.put("/image.sig", gpg.sign(&key, &unsigned, false));
    stand.server.put("/image.asc", gpg.sign(&key, &signed.file, true));
    stand.server.put("/SHA256SUMS", format!("{sum} *image\n"));
    stand.image(
        "both",
        &format!(
            "url = \"SERVER/image\"\nchecksums = \"SERVER/SHA256SUMS\"\n\
             signature = \"{{url}}.sig\"\nkeys = [\"{}\"]",
            key.fingerprint
        ),
    );
    let pinned = format!("url = \"SERVER/image\"\nsha256 = \"{sum}\"");
    let with_key = format!("{pinned}\nsignature = \"SERVER/image.asc\"\nkey = \"key.asc\"");
    fs::write(stand.path("key.asc"), gpg.public(&other)).expect("written");
    let by_other = format!("the signature is by {}, not by {}", key.fingerprint, other.fingerprint);
    let lock = stand.path("nodeforge.lock");
    for is_warm in [false, true] {
        if is_warm {
            stand.cluster(&pinned);
            stand.fetch_is("cluster.toml", &raw);
            fs::remove_file(&lock).expect("removed");
        }
        for (base, words) in [("image = \"both\"", "is not genuine"), (&*with_key, &*by_other)] {
            stand.cluster(base);
            let said = stand.fails("cluster.toml");
            assert!(said.contains(words), "wanted: {words}\n{said}");
            assert!(!lock.exists());
        }
    }
    // The image stays as good as it was for a cluster that pins it.
    stand.server.forget_requests();
    stand.cluster(&pinned);
    stand.fetch_is("cluster.toml", &raw);
    assert_eq!(stand.server.requests("/image").len(), 0);
    fs::remove_file(&lock).expect("removed");

    // The right key is enough, once it has been seen to be.
    fs::write(stand.path("key.asc"), gpg.public(&key)).expect("written");
    stand.cluster(&with_key);
    for _ in 0..2 {
        let said = stand.fetch_is("cluster.toml", &raw);
        assert_eq!(said["locked"]["signer"], key.fingerprint.as_str());
        assert_eq!(
            said["verified"],
            format!(
                "SHA-256 pinned in the cluster file and OpenPGP signature by {}",
                key.fingerprint
            )
        );
        assert_eq!(stand.server.requests("/image").len(), 1);
        fs::remove_file(&lock).expect("removed");
    }
}

#[test]
fn offline_the_key_counts_and_not_where_it_is() {
    let gpg = Gpg::new();
    let (key, other) = (gpg.key("ed25519"), gpg.key("ed25519"));
    let stand = Stand::encrypted();
    let raw = disk(stand.folder.path(), 1);
    let file = compress("xz", &["--keep", "-1"], &raw);
    stand.server.put_file("/image", &file);
    stand.server.put("/image.asc", gpg.sign(&key, &file, true));
    stand.cluster("url = \"SERVER/image\"\nsignature = \"SERVER/image.asc\"\nkey = \"key.asc\"");
    let trust = |key: &Key| {
        drop(fs::remove_file(stand.path("nodeforge.lock")));
        fs::write(stand.path("key.asc"), gpg.public(key)).expect("written");
    };
    trust(&key);
    stand.fetch_is("cluster.toml", &raw);
    trust(&other);
    let said = stand.run(["fetch", "--offline"]).exits(1).stderr_text();
    assert!(said.contains("the cache does not have"), "{said}");
    assert!(!stand.path("nodeforge.lock").exists());
    trust(&key);
    let _ = stand.run(["fetch", "--offline"]).succeeds();
    assert_eq!(stand.lock()["base"]["signer"].as_str(), Some(key.fingerprint.as_str()));
}

#[test]
fn the_lock_records_who_signed_and_never_proves_it() {
    let gpg = Gpg::new();
    let key = gpg.key("ed25519");
    let Signed { stand, raw, .. } = Signed::new(&gpg, &key, |file| gpg.sign(&key, file, false));
    stand.cluster("image = \"it\"");
    let words = format!("OpenPGP signature by {}", key.fingerprint);
    let lock = stand.path("nodeforge.lock");
    let fetched_signed = || {
        let locked = &stand.fetch_is("cluster.toml", &raw)["locked"];
        assert_eq!(locked["signer"], key.fingerprint.as_str());
        assert_eq!(locked["verified"], words.as_str());
    };
    fetched_signed();
    fs::remove_dir_all(stand.path("cache")).expect("removed");
    fetched_signed();
    // The signature was verified both times: another cluster needs nothing more.
    fs::remove_file(&lock).expect("removed");
    let _ = stand.run(["fetch", "--offline"]).succeeds();
    assert_eq!(stand.lock()["base"]["signer"].as_str(), Some(key.fingerprint.as_str()));
}

/// Keys as people have them who did not export one for others.
#[test]
fn a_key_of_another_form_is_converted_by_what_the_hint_says() {
    let gpg = Gpg::new();
    let key = gpg.key("ed25519");
    let stand = Stand::encrypted();
    let raw = disk(stand.folder.path(), 1);
    let file = compress("xz", &["--keep", "-1"], &raw);
    stand.server.put_file("/image", &file);
    stand.server.put("/image.asc", gpg.sign(&key, &file, true));
    stand.cluster("url = \"SERVER/image\"\nsignature = \"SERVER/image.asc\"\nkey = \"key.asc\"");
    let own = stand.path("key.asc");
    let secret = gpg.run(&["--armor", "--export-secret-keys", &key.fingerprint]);
    fs::write(&own, secret).expect("written");
    let said = stand.run(["fetch"]).fails().stderr_text();
    assert!(said.contains("this is a secret key, not an OpenPGP public key\n"), "{said}");
    let words = "hint: `gpg --import FILE`, then `gpg --armor --export FINGERPRINT > key.asc`, writes its public key\n";
    assert!(said.contains(words), "{said}");
    let home = stand.path("gpg");
    fs::create_dir(&home).expect("made");
    tool("chmod", ["700".as_ref(), home.as_os_str()]);
    let follow = |line: &str| {
        let script = format!(
            "cd {} && export GNUPGHOME={}; {line}",
            stand.folder.path().display(),
            home.display()
        );
        tool("sh", ["-ec", &script]);
    };
    follow(&format!(
        "gpg -q --batch --passphrase '' --import key.asc; gpg -q --armor --export {} > new; mv new key.asc",
        key.fingerprint
    ));
    stand.fetch_is("cluster.toml", &raw);

    let keybox = home.join("pubring.kbx");
    fs::copy(&keybox, &own).expect("copied");
    fs::remove_file(stand.path("nodeforge.lock")).expect("removed");
    let said = stand.run(["fetch"]).fails().stderr_text();
    assert!(said.contains("this is a keybox of GnuPG, not an OpenPGP public key\n"), "{said}");
    let words = "hint: `gpg --no-default-keyring --keyring ./FILE --armor --export FINGERPRINT > key.asc` writes one";
    assert!(said.contains(words), "{said}");
    follow(&format!(
        "gpg -q --no-default-keyring --keyring ./key.asc --armor --export {} > new; mv new key.asc",
        key.fingerprint
    ));
    stand.fetch_is("cluster.toml", &raw);
    drop(fs::remove_file(stand.path("nodeforge.lock")));
    for (bytes, what) in [
        (
            &b"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJqRRKt7qZ+7PAkXhbpA1tWiPCsw4oM t\n"[..],
            "an SSH key",
        ),
        (b"untrusted comment: minisign public key\nRWQ\n", "a key of minisign or signify"),
        (b"-----BEGIN CERTIFICATE-----\n", "a key or certificate of X.509"),
    ] {
        fs::write(&own, bytes).expect("written");
        let said = stand.run(["fetch"]).fails().stderr_text();
        assert!(said.contains(&format!("this is {what}, not an OpenPGP public key\n")), "{said}");
    }
    drop(
        std::process::Command::new("gpgconf")
            .env("GNUPGHOME", &home)
            .args(["--kill", "all"])
            .status(),
    );
}

#[test]
fn a_certificate_that_is_refused_says_why() {
    let authority = Authority::new();
    let server = Server::https_as_authority(&authority);
    let mut stand = Stand::with(server, Some(authority));
    stand.pinned_disk();
    let said = stand.fails("it");
    let words = "hint: the server shows a certificate of an authority as its own: it needs one that the authority \
                 signed for it\n";
    assert!(said.contains(words), "{said}");
    assert!(!said.contains("clock"), "{said}");
    // Nobody vouches for this one here.
    let mut stand = Stand::encrypted();
    stand.pinned_disk();
    let other = Authority::new();
    let said =
        stand.run(["fetch", "it"]).env("SSL_CERT_FILE", other.certificate()).exits(1).stderr_text();
    let words =
        "hint: an authority of your own, a proxy's for example, can be named in SSL_CERT_FILE\n";
    assert!(said.contains(words), "{said}");
    // The hint helps.
    let _ = stand.run(["fetch", "it"]).succeeds();
}
