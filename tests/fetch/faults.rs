//! What can go wrong, what is said then, and what is left.

use std::ffi::OsStr;
use std::fs;

use super::Stand;
use crate::support::{Fault, checksum, compress, disk, noise, temporary_folder, tool};

/// Wants these words, no more than one error, and nothing left.
#[track_caller]
fn says(stand: &Stand, said: &str, words: &str) {
    let errors: Vec<_> = said.lines().filter(|line| line.starts_with("error: ")).collect();
    assert!(errors.len() == 1 && said.contains(words), "wanted: {words}\n{said}");
    assert_eq!(stand.kept(), [""; 0], "{said}");
}

fn stand() -> Stand {
    let mut stand = Stand::new();
    stand.pinned_disk();
    stand
}

#[test]
fn another_file_than_pinned() {
    let stand = stand();
    let other = compress("xz", &["-1", "-f"], &disk(stand.folder.path(), 9));
    stand.server.put_file("/image", &other);
    says(&stand, &stand.fails("it"), "is not what it should be: its SHA-256 is");
}

#[test]
fn a_body_cut_short_for_ever() {
    let stand = stand();
    stand.server.always("/image", Fault::CutAfter(0));
    says(&stand, &stand.fails("it"), "broke");
    assert_eq!(stand.server.requests("/image").len(), 5);
}

#[test]
fn a_server_that_announces_less_than_there_is() {
    let stand = stand();
    stand.server.always("/image", Fault::Shorter(1000));
    says(&stand, &stand.fails("it"), "is not what it should be");
}

#[test]
fn statuses() {
    for (status, header, words, requests) in [
        (403, "", "was refused: HTTP 403 Forbidden", 1),
        (404, "", "is not there: HTTP 404", 1),
        (410, "", "is not there: HTTP 410", 1),
        (500, "", "was refused: HTTP 500 Internal Server Error", 5),
        (503, "Retry-After: 7200", "the server asks to come back in 120 minutes", 1),
        // Its own clock counts, whatever ours says.
        (
            429,
            "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\nRetry-After: Sun, 06 Nov 1994 09:49:37 GMT",
            "the server asks to come back in 60 minutes",
            1,
        ),
    ] {
        let stand = stand();
        stand.server.always("/image", Fault::Status(status, header));
        says(&stand, &stand.fails("it"), words);
        assert_eq!(stand.server.requests("/image").len(), requests, "{status}");
    }
}

#[test]
fn a_busy_server_is_asked_again_when_it_wants() {
    let mut stand = Stand::new();
    let raw = stand.pinned_disk();
    let busy = Fault::Status(503, "Retry-After: 2");
    stand.server.once("/image", [busy, Fault::Status(502, "")]);
    let begun = std::time::Instant::now();
    stand.fetch_is("it", &raw);
    assert!(begun.elapsed().as_secs() >= 2);
    assert_eq!(stand.server.requests("/image").len(), 3);
}

/// The publisher takes the file away while it is downloaded.
#[test]
fn a_file_that_is_gone_when_it_is_asked_for_again() {
    for status in [403, 404] {
        let mut stand = Stand::new();
        let raw = stand.pinned_disk();
        stand.server.once("/image", [Fault::CutAfter(100_000), Fault::Status(status, "")]);
        let said = stand.fails("it");
        assert!(said.contains(&format!("HTTP {status}")), "{said}");
        assert!(said.contains("hint: run it again: it goes on after 100000 bytes"), "{said}");
        assert!(stand.kept().iter().all(|it| it.starts_with("downloads/")), "{:?}", stand.kept());
        stand.fetch_is("it", &raw);
        assert_eq!(
            stand.server.requests("/image").last().expect("one").headers["range"],
            "bytes=100000-"
        );
    }
}

#[test]
fn redirects_in_a_circle() {
    let stand = stand();
    stand.server.always("/image", Fault::Redirect(stand.server.url("/image")));
    says(&stand, &stand.fails("it"), "it redirects more than 8 times");
}

#[test]
fn a_redirect_away_from_encryption() {
    let mut stand = Stand::encrypted();
    stand.pinned_disk();
    stand.server.always("/image", Fault::Redirect("http://127.0.0.1:9/image".into()));
    let said = stand.fails("it");
    says(&stand, &said, "which is not encrypted");
}

#[test]
fn a_server_that_is_not_there() {
    let mut stand = Stand::new();
    let hash = "0".repeat(64);
    stand.image("it", &format!("url = \"http://127.0.0.1:9/image\"\nsha256 = \"{hash}\""));
    says(&stand, &stand.fails("it"), "cannot read `http://127.0.0.1:9/image`");
}

#[test]
fn a_bomb() {
    let mut stand = Stand::new();
    let raw = stand.path("zeros");
    fs::File::create(&raw).expect("a file").set_len(1 << 30).expect("long");
    let bomb = compress("xz", &["-1"], &raw);
    let hash = checksum("sha256sum", &bomb);
    stand.server.put_file("/image", &bomb);
    stand.image("it", &format!("url = \"SERVER/image\"\nsha256 = \"{hash}\"\nmax_size = 1048576"));
    says(&stand, &stand.fails("it"), "the image has more than 1048576 bytes");
}

#[test]
fn a_download_that_is_not_an_image() {
    let folder = temporary_folder();
    let raw = disk(folder.path(), 1);
    let xz = fs::read(compress("xz", &["--keep", "-1"], &raw)).expect("readable");
    let backed = folder.path().join("backed.qcow2");
    let create = ["create", "-q", "-f", "qcow2", "-F", "raw", "-b"].map(OsStr::new);
    tool("qemu-img", create.into_iter().chain([raw.as_os_str(), backed.as_os_str()]));
    let nested = {
        let qcow2 = folder.path().join("nested.qcow2");
        let convert = ["convert", "-O", "qcow2"].map(OsStr::new);
        tool("qemu-img", convert.into_iter().chain([raw.as_os_str(), qcow2.as_os_str()]));
        fs::read(compress("xz", &["-1"], &qcow2)).expect("readable")
    };
    let archive = folder.path().join("other.tar");
    let tar = |options: &[&str], name: &str| {
        let mut arguments: Vec<_> = options.iter().map(OsStr::new).collect();
        arguments.extend([OsStr::new("-cf"), archive.as_os_str(), OsStr::new("-C")]);
        tool("tar", arguments.into_iter().chain([folder.path().as_os_str(), OsStr::new(name)]));
        fs::read(&archive).expect("readable")
    };
    let damaged = {
        let mut bytes = xz.clone();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        bytes
    };
    let cases: [(&str, Vec<u8>, &str); 12] = [
        (
            "a web page",
            b"<!DOCTYPE html><title>Log in</title>".to_vec(),
            "is a web page, not an image",
        ),
        ("garbage after xz", [&xz[..], b"garbage!"].concat(), "it cannot be decompressed as xz"),
        ("xz cut short", xz[..xz.len() - 100].to_vec(), "it cannot be decompressed as xz"),
        ("damaged xz", damaged, "it cannot be decompressed as xz"),
        ("nothing", Vec::new(), "0 bytes are not a whole number of sectors"),
        ("half a sector", noise(1, 700), "700 bytes are not a whole number of sectors"),
        ("a zip", b"PK\x03\x04whatever".to_vec(), "zip files cannot be read"),
        ("a qcow2 in xz", nested, "it holds a qcow2 image"),
        ("a qcow2 on another", fs::read(&backed).expect("readable"), "it needs a backing file"),
        ("an archive of text", tar(&[], "disk.raw.xz"), "the archive holds no image"),
        (
            "a pax sparse archive",
            tar(&["--format=pax", "--sparse"], "disk.raw"),
            "make it with `tar --format=gnu --sparse`",
        ),
        ("gzip of nothing", b"\x1f\x8b\x08".to_vec(), "it cannot be decompressed as gz"),
    ];
    for (name, body, words) in cases {
        let mut stand = Stand::new();
        let file = stand.path("body");
        fs::write(&file, body).expect("written");
        stand.pinned(&file);
        let said = stand.run(["fetch", "it"]).fails().stderr_text();
        eprintln!("{name}: {said}");
        says(&stand, &said, words);
    }
}

/// What is left after the file system was full: enough to go on, nothing that looks whole.
#[test]
fn a_full_disk() {
    let mut stand = Stand::new();
    let raw = stand.pinned_disk();
    let folder = stand.path("small");
    fs::create_dir(&folder).expect("a folder");
    let mut inner = stand.run(["fetch", "it"]).env("XDG_CACHE_HOME", &folder);
    let program = env!("CARGO_BIN_EXE_nodeforge");
    let script = format!(
        "mount -t tmpfs -o size=3M none {0} && {program} fetch it; echo \"exit $?\" >&2; \
         find {0} -type f ! -name '*.lock' | sed 's/.*\\.//' | sort | tr '\\n' ' ' >&2; \
         mount -o remount,size=64M {0} && {program} fetch --json it",
        folder.display()
    );
    let old = inner.command();
    let mut command = std::process::Command::new("unshare");
    command.args(["--user", "--map-root-user", "--mount", "sh", "-c", &script]);
    command.envs(old.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.current_dir(stand.folder.path());
    let output = command.output().expect("unshare starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("No space left on device"), "{said}");
    assert!(said.contains("hint: make room"), "{said}");
    assert!(said.contains("exit 1\njson part "), "{said}");
    let found: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(found["sha256"], checksum("sha256sum", &raw));
}

#[test]
fn a_cache_that_cannot_be_written() {
    let mut stand = Stand::new();
    stand.pinned_disk();
    let mut inner = stand.run(["fetch", "it"]);
    let cache = stand.path("cache");
    fs::create_dir_all(cache.join("nodeforge")).expect("a folder");
    let script = format!(
        "mount --bind {0} {0} && mount -o remount,bind,ro {0} && {1} fetch it",
        cache.display(),
        env!("CARGO_BIN_EXE_nodeforge")
    );
    let mut command = std::process::Command::new("unshare");
    command.args(["--user", "--map-root-user", "--mount", "sh", "-c", &script]);
    command.envs(inner.command().get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.current_dir(stand.folder.path());
    let output = command.output().expect("unshare starts");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    says(&stand, &said, "Read-only file system");
    assert!(said.contains("hint: XDG_CACHE_HOME can point the cache to another folder"), "{said}");
}
