//! The shipped catalogue, with its servers moved to loopback.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::MetadataExt as _;

use super::Stand;
use crate::support::{Fault, Gpg, checksum, compress, disk, tool};

const CATALOGUE: &str = include_str!("../../src/base/catalogue/catalogue.toml");
const LISTING: &str = "<html><a href=\"../\">../</a>";

/// The shipped catalogue with these hosts at the stand's server.
fn moved(stand: &mut Stand, hosts: &[&str]) {
    let mut text = CATALOGUE.to_owned();
    for host in hosts {
        text = text.replace(&format!("https://{host}"), &stand.server.url(""));
    }
    stand.catalogue = text;
}

#[test]
fn raspberry_pi_os_is_signed() {
    const IMAGES: &str = "/raspios_lite_arm64/images/";
    let mut stand = Stand::new();
    moved(
        &mut stand,
        &["downloads.raspberrypi.com", "keyserver.ubuntu.com", "www.raspberrypi.org"],
    );
    let gpg = Gpg::new();
    let key = gpg.key("rsa3072");
    let pinned = "F4AADD86C4687D69AE04543E796C114AD12B2292";
    stand.catalogue = stand.catalogue.replace(pinned, &key.fingerprint);
    let keyserver = format!("/pks/lookup?op=get&options=mr&search=0x{}", key.fingerprint);
    stand.server.put(&keyserver, gpg.public(&key));

    let mut listing = LISTING.to_owned();
    let mut raws = Vec::new();
    // The newest one's folder is dated a day later than its image.
    for (seed, folder, date) in [(1, "2026-09-15", "2026-09-15"), (2, "2026-10-07", "2026-10-06")] {
        let raw = disk(stand.folder.path(), seed);
        let kept = stand.path(&format!("{date}.raw"));
        fs::rename(&raw, &kept).expect("renamed");
        let file = compress("xz", &["--keep", "-1"], &kept);
        let name = format!("{date}-raspios-trixie-arm64-lite.img.xz");
        let named = stand.path(&name);
        fs::rename(&file, &named).expect("renamed");
        let path = format!("{IMAGES}raspios_lite_arm64-{folder}/");
        stand.server.put_file(&format!("{path}{name}"), &named);
        let sum = format!("{}  {name}\n", checksum("sha256sum", &named));
        fs::write(stand.path("sum.sha256"), &sum).expect("written");
        let check =
            format!("cd '{}' && sha256sum --check sum.sha256", stand.folder.path().display());
        tool("sh", ["-c", &check]);
        stand.server.put(&format!("{path}{name}.sha256"), sum);
        let signature = gpg.sign(&key, &named, false);
        fs::write(stand.path("signature"), &signature).expect("written");
        assert!(gpg.verifies(&stand.path("signature"), &named));
        stand.server.put(&format!("{path}{name}.sig"), signature);
        stand.server.put(&path, format!("{LISTING}<a href=\"{name}\">{name}</a>"));
        listing.push_str(&format!("<a href=\"raspios_lite_arm64-{folder}/\">{folder}/</a>\n"));
        raws.push(kept);
    }
    stand.server.put(IMAGES, listing);
    stand.server.put("/raspios_lite_arm64_latest", "");
    let newest = format!(
        "{IMAGES}raspios_lite_arm64-2026-10-07/2026-10-06-raspios-trixie-arm64-lite.img.xz"
    );
    let redirect = Fault::Redirect(stand.server.url(&newest));
    stand.server.always("/raspios_lite_arm64_latest", redirect);

    let said = stand.fetch_is("raspios-lite-arm64", &raws[1]);
    let verified = format!("OpenPGP signature by {}", key.fingerprint);
    assert_eq!(said["verified"], verified.as_str());
    assert_eq!(said["locked"]["date"], "2026-10-06");
    let agent = &stand.server.requests(&newest)[0].headers["user-agent"];
    assert_eq!(agent, concat!("nodeforge/", env!("CARGO_PKG_VERSION")));

    let listed = stand.run(["fetch", "--list", "raspios-lite-arm64"]).succeeds();
    let expected = "raspios-lite-arm64@2026-09-15\nraspios-lite-arm64@2026-10-07\n";
    assert_eq!(listed.stdout_text(), expected);
    for (name, raw) in
        [("2026-09-15", &raws[0]), ("2026-10-07", &raws[1]), ("2026-10-06", &raws[1])]
    {
        stand.fetch_is(&format!("raspios-lite-arm64@{name}"), raw);
    }
    let said = stand.run(["fetch", "raspios-lite-arm64@2026-10-01"]).exits(2).stderr_text();
    assert!(said.contains("`raspios-lite-arm64` has no release `2026-10-01`"), "{said}");
}

#[test]
fn debian_is_trusted_over_https_and_its_newest_whole_release_is_taken() {
    let mut stand = Stand::encrypted();
    moved(&mut stand, &["cloud.debian.org"]);
    let raw = disk(stand.folder.path(), 1);
    let archive = stand.path("disk.tar");
    let folder = stand.folder.path();
    tool(
        "tar",
        [
            OsStr::new("--create"),
            OsStr::new("--sparse"),
            OsStr::new("--file"),
            archive.as_os_str(),
            OsStr::new("--directory"),
            folder.as_os_str(),
            OsStr::new("disk.raw"),
        ],
    );
    let file = compress("xz", &["--keep", "-1"], &archive);
    let release = "/images/cloud/trixie/20251117-2299/";
    let name = "debian-13-generic-arm64-20251117-2299.tar.xz";
    stand.server.put_file(&format!("{release}{name}"), &file);
    let hash = checksum("sha512sum", &file);
    let sums = format!("{}  other.qcow2\n{hash}  {name}\n", "0".repeat(128));
    stand.server.put(&format!("{release}SHA512SUMS"), sums);
    let mut listing = LISTING.to_owned();
    // The newest is still being uploaded.
    for date in ["20251101-2200", "20251117-2299", "20251120-2301"] {
        listing.push_str(&format!("<a href=\"{date}/\">{date}/</a>\n"));
    }
    stand.server.put("/images/cloud/trixie/", listing);

    let said = stand.fetch_is("debian-13-generic-arm64", &raw);
    assert_eq!(
        said["verified"],
        format!(
            "{}, which is not signed: trusted over https at first use",
            stand.server.url(&format!("{release}SHA512SUMS"))
        )
        .as_str()
    );
    assert_eq!(said["locked"]["sha512"], hash.as_str());
    let kept = fs::metadata(said["path"].as_str().expect("a path")).expect("there");
    assert!(kept.blocks() * 512 < 4 << 20, "{} of 8 MiB", kept.blocks() * 512);

    // A server whose certificate no authority signed is not trusted.
    let said = stand.run(["fetch", "debian-13-generic-arm64"]).env("SSL_CERT_FILE", "/dev/null");
    let said = said.exits(1).stderr_text();
    assert!(said.contains("cannot read `https://127.0.0.1"), "{said}");
}

#[test]
fn checksums_without_encryption_are_worth_nothing() {
    let mut stand = Stand::new();
    moved(&mut stand, &["cloud.debian.org"]);
    let said = stand.run(["fetch", "debian-13-generic-arm64"]).exits(2).stderr_text();
    assert!(said.contains("is not encrypted, and no hash or key is pinned for it"), "{said}");
    assert_eq!(stand.server.requests("/images/cloud/trixie/").len(), 0);
}

#[test]
fn the_catalogue_is_shown_and_a_users_own_is_laid_over_it() {
    let mut stand = Stand::new();
    stand.image("mine", &format!("url = \"SERVER/i\"\nsha256 = \"{}\"", "0".repeat(64)));
    let listed = stand.run(["fetch", "--list"]).succeeds().stdout_text();
    let line = |name: &str| listed.lines().find(|line| line.starts_with(name)).map(str::to_owned);
    let words = |line: Option<String>| {
        line.unwrap_or_default()
            .split("  ")
            .map(str::trim)
            .filter(|it| !it.is_empty())
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    assert_eq!(words(line("mine"))[..4], ["mine", "amd64", "uefi", "pinned SHA-256"]);
    assert_eq!(
        words(line("raspios-lite-arm64"))[..4],
        ["raspios-lite-arm64", "arm64", "raspberry-pi", "OpenPGP signature"]
    );
    assert_eq!(listed.lines().count(), 1 + 14 + 1);
    let said = stand.run(["fetch", "raspios-lite-arm"]).exits(2).stderr_text();
    assert!(said.contains("did you mean `raspios-lite-arm64`?"), "{said}");
}
