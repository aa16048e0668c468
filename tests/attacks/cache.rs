//! A cache that is damaged, or that somebody else can write.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};

use crate::fetch::Stand;
use crate::support::{Arch, Machines, require_root, tool};

/// Changes one byte in the middle of the longest run of data, and leaves no trace of it but the byte.
fn flip(disk: &Path) {
    let file = File::options().read(true).write(true).open(disk).expect("writable");
    let then = file.metadata().and_then(|it| it.modified()).expect("a time");
    // The noise of the tiny base begins within its root file system, and is 9 MiB long.
    let at = 60 << 20;
    let (at, mut byte) = (at..100 << 20)
        .step_by(4096)
        .find_map(|at| {
            let mut block = [0; 4096];
            file.read_exact_at(&mut block, at).ok()?;
            let is_full = block.chunks(64).all(|part| part.iter().any(|byte| *byte != 0));
            is_full.then_some((at + 77, [block[77]]))
        })
        .unwrap_or((30 << 20, [0]));
    byte[0] ^= 0x10;
    file.write_all_at(&byte, at).expect("written");
    file.set_modified(then).expect("set");
}

fn prepared(machines: &Machines) -> PathBuf {
    let folder = machines.path("cache/nodeforge/prepared");
    let entries = fs::read_dir(&folder).expect("there").flatten();
    let mut names =
        entries.map(|it| it.path()).filter(|it| it.join("disk.img").exists()).collect::<Vec<_>>();
    assert_eq!(names.len(), 1);
    names.remove(0).join("disk.img")
}

#[test]
fn a_flipped_byte_in_the_prepared_base_reaches_no_image_and_no_card() {
    let machines = Machines::new(Arch::Amd64, &["server1"], r#"formats = ["raw"]"#);
    let _ = machines.run(["build"]).succeeds();
    let disk = prepared(&machines);
    flip(&disk);
    for format in ["raw", "raw.xz", "raw.zst", "raw.gz", "qcow2", "vmdk", "vmwarevm", "ova"] {
        let said =
            machines.run(["build", "-o", "other", "--format", format]).exits(1).stderr_text();
        assert!(said.contains("disk.img` is damaged: its bytes "), "{format}: {said}");
        assert!(said.contains("hint: `nodeforge cache verify` removes what is damaged"), "{said}");
        let left = fs::read_dir(machines.path("other")).map_or(0, |it| it.flatten().count());
        assert_eq!(left, 0, "{format}");
    }
    let card = machines.path("card");
    let arguments = ["flash", "--yes", "--to-file", "-o", "other", "server1"].map(Path::new);
    let said = machines.run(arguments.into_iter().chain([card.as_path()])).exits(1).stderr_text();
    assert!(said.contains("disk.img` is damaged: its bytes "), "{said}");
    if let Ok(bytes) = fs::read(&card) {
        assert!(bytes.iter().take(1 << 20).all(|it| *it == 0), "half an image that boots");
    }

    // The hint helps.
    let said = machines.run(["cache", "verify"]).exits(1).stdout_text();
    assert!(said.contains(" damaged: removed\n"), "{said}");
    let _ = machines.run(["build"]).succeeds();
    let said = machines.run(["cache", "verify"]).succeeds().stdout_text();
    assert!(!said.contains("damaged"), "{said}");
}

#[test]
fn what_was_not_looked_at_for_a_while_is_looked_at() {
    let mut stand = Stand::new();
    let raw = stand.pinned_disk();
    let disk = disk_of(&stand.fetch_is("it", &raw));
    let about = disk.with_file_name("about.json");
    let age = |days: u64| {
        let text = fs::read(&about).expect("there");
        let mut json: serde_json::Value = serde_json::from_slice(&text).expect("JSON");
        let seconds = &mut json["verified"]["secs_since_epoch"];
        *seconds = (seconds.as_u64().expect("a number") - days * 24 * 60 * 60).into();
        fs::write(&about, json.to_string()).expect("written");
    };
    let verified = || {
        let text = fs::read(&about).expect("there");
        let json: serde_json::Value = serde_json::from_slice(&text).expect("JSON");
        json["verified"]["secs_since_epoch"].as_u64().expect("a number")
    };
    // What was found to be right is noted.
    let before = verified();
    age(8);
    let said = stand.run(["fetch", "it"]).succeeds().stderr_text();
    assert!(!said.contains("damaged"), "{said}");
    assert!(verified() >= before);

    let file = File::options().write(true).open(&disk).expect("writable");
    let then = file.metadata().and_then(|it| it.modified()).expect("a time");
    file.write_all_at(b"bit rot", 5000).expect("written");
    file.set_modified(then).expect("set");
    age(8);
    let said = stand.run(["fetch", "it"]).succeeds().stderr_text();
    assert!(said.contains("is damaged and is made again"), "{said}");
    stand.fetch_is("it", &raw);
    assert_eq!(stand.server.requests("/image").len(), 2);
}

/// Where the cache has a disk, by what `fetch` says.
fn disk_of(said: &serde_json::Value) -> PathBuf {
    PathBuf::from(said["path"].as_str().expect("a path"))
}

/// What the cache has written down of a disk, and cannot read for a while.
struct Unreadable {
    path: PathBuf,
    text: Vec<u8>,
}

impl Unreadable {
    fn beside(disk: &Path) -> Self {
        let path = disk.with_file_name("about.json");
        let text = fs::read(&path).expect("there");
        fs::remove_file(&path).expect("removed");
        fs::create_dir(&path).expect("a folder, which cannot be read as a file");
        Self { path, text }
    }

    fn restore(self) {
        fs::remove_dir(&self.path).expect("removed");
        fs::write(self.path, self.text).expect("written");
    }
}

/// What cannot be read may be whole: it is not thrown away.
#[test]
fn what_cannot_be_read_is_not_taken_for_damage() {
    let mut stand = Stand::new();
    let raw = stand.pinned_disk();
    let disk = disk_of(&stand.fetch_is("it", &raw));
    let about = Unreadable::beside(&disk);
    let said = stand.run(["fetch", "it"]).exits(1).stderr_text();
    assert!(said.contains("about.json`\n  cause: Is a directory\n"), "{said}");
    assert!(disk.exists());
    assert_eq!(stand.server.requests("/image").len(), 1);
    about.restore();
    stand.fetch_is("it", &raw);
    assert_eq!(stand.server.requests("/image").len(), 1);
}

/// Nor by those that look after the cache.
#[test]
fn what_cannot_be_read_is_not_removed_as_damaged() {
    let mut stand = Stand::new();
    let raw = stand.pinned_disk();
    let disk = disk_of(&stand.fetch_is("it", &raw));
    let about = Unreadable::beside(&disk);
    let package = stand.cache().join("debs/it_1_all.deb");
    fs::create_dir_all(&package).expect("made");
    let told = format!("reading `{}`", about.path.display());

    let said = stand.run(["cache", "list"]).succeeds().stdout_text();
    assert!(said.contains("cannot be read"), "{said}");
    let said = stand.run(["cache", "verify"]).exits(1);
    assert!(said.stdout_text().contains(" cannot be read: stays\n"), "{}", said.stdout_text());
    assert!(!said.stdout_text().contains("damaged"), "{}", said.stdout_text());
    for words in [&told, &format!("reading `{}`", package.display())] {
        let words = format!("error: {words}\n  cause: Is a directory\n");
        assert!(said.stderr_text().contains(&words), "{}", said.stderr_text());
    }
    let said = stand.run(["cache", "prune"]).succeeds().stderr_text();
    assert!(said.contains(&format!("warning: {told}: Is a directory")), "{said}");
    assert!(disk.exists() && package.exists());

    about.restore();
    stand.fetch_is("it", &raw);
    assert_eq!(stand.server.requests("/image").len(), 1);
}

#[test]
#[ignore = "needs root"]
fn root_uses_nothing_that_another_user_can_write() {
    require_root();
    let mut stand = Stand::new();
    let raw = stand.pinned_disk();
    let disk = disk_of(&stand.fetch_is("it", &raw));
    let entry = disk.parent().expect("a folder").to_owned();
    let kind = entry.parent().expect("a folder").to_owned();
    let mode = |path: &Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("ours");
    };
    let refused = |path: &Path, who: &str| {
        for arguments in [&["fetch", "it"][..], &["fetch", "it", "--offline"]] {
            let said = stand.run(arguments).exits(1).stderr_text();
            let words = format!(
                "error: `{}` in the cache can be written by {who}: root cannot rely on it\n\
                 hint: XDG_CACHE_HOME can point root to a folder of its own\n",
                path.display()
            );
            assert!(said.ends_with(&words), "wanted {words}\n{said}");
        }
    };
    for path in [&stand.cache(), &kind, &entry, &disk, &disk.with_file_name("about.json")] {
        let before = fs::metadata(path).expect("there").permissions().mode();
        chown(path, Some(59_999), None).expect("root may");
        refused(path, "user 59999");
        chown(path, Some(0), Some(59_999)).expect("root may");
        mode(path, 0o775);
        refused(path, "group 59999");
        chown(path, Some(0), Some(0)).expect("root may");
        // The group of root is root's.
        let _ = stand.run(["fetch", "it", "--offline"]).succeeds();
        mode(path, 0o777);
        refused(path, "every user");
        mode(path, before);
        stand.fetch_is("it", &raw);
    }
    assert_eq!(stand.server.requests("/image").len(), 1);
    // The hint helps.
    let own = stand.path("own");
    mode(&disk, 0o666);
    let _ = stand.run(["fetch", "it"]).env("XDG_CACHE_HOME", &own).succeeds();
    tool("test", [Path::new("-d"), &own.join("nodeforge/bases")]);
}
