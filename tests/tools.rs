//! The image tools on small images in every format, checked by debugfs, e2fsck, mtools and tar.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use serde_json::{Value, json};

use super::support::{Run, temporary_folder, tool};

const MIB: u64 = 1 << 20;
/// Where the two partitions are, in MiB.
const ESP: (u64, u64) = (1, 8);
const ROOT: (u64, u64) = (9, 28);
const SIZE: u64 = 48;
const ROLES: &str = "server[0-9]+ server 10-identity\nagent[0-9]+ agent 10-identity 20-report\n";

/// A folder with a copy of the image the tests share.
pub(crate) struct Fixture {
    folder: tempfile::TempDir,
}

impl Fixture {
    pub(crate) fn new() -> Self {
        let fixture = Self { folder: temporary_folder() };
        fs::copy(original(), fixture.path("node.img")).expect("a copy");
        fixture
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, content: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("inside the folder")).expect("a folder");
        fs::write(&path, content).expect("a file");
        path
    }

    pub(crate) fn run<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Run {
        Run::new(arguments).folder(self.folder.path())
    }

    pub(crate) fn json<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Value {
        let said = self.run(arguments).succeeds().stdout_text();
        serde_json::from_str(&said).expect("JSON")
    }

    /// The root file system as a file of its own.
    pub(crate) fn root(&self, image: &str) -> PathBuf {
        let part = self.path(&format!("{image}.root"));
        extract(&self.path(image), ROOT, &part);
        part
    }

    /// What debugfs says to a command about the root file system.
    pub(crate) fn debugfs(&self, command: &str) -> String {
        tool("debugfs", ["-R".as_ref(), command.as_ref(), self.root("node.img").as_os_str()])
    }

    /// Both file systems pass their checkers, and nothing is left beside the image.
    pub(crate) fn check_file_systems(&self, image: &str) {
        tool("e2fsck", ["-fn".as_ref(), self.root(image).as_os_str()]);
        let esp = self.path("esp");
        extract(&self.path(image), ESP, &esp);
        tool("fsck.fat", ["-n".as_ref(), esp.as_os_str()]);
        let left = fs::read_dir(self.folder.path()).expect("a folder");
        let names: Vec<_> = left.map(|entry| entry.expect("a name").file_name()).collect();
        let hidden = names.iter().any(|name| name.to_string_lossy().starts_with('.'));
        assert!(!hidden, "{names:?}");
    }
}

fn extract(image: &Path, (start, length): (u64, u64), to: &Path) {
    let bytes = fs::read(image).expect("the image");
    let range = usize::try_from(start * MIB).expect("small")
        ..usize::try_from((start + length) * MIB).expect("small");
    fs::write(to, &bytes[range]).expect("a partition");
}

fn original() -> &'static Path {
    static ORIGINAL: OnceLock<(tempfile::TempDir, PathBuf)> = OnceLock::new();
    &ORIGINAL.get_or_init(make).1
}

/// GPT with an ESP on FAT and a root on ext4, as Debian's cloud images have them.
fn make() -> (tempfile::TempDir, PathBuf) {
    let folder = temporary_folder();
    let tree = folder.path().join("tree");
    for (path, content) in [
        (
            "etc/os-release",
            "PRETTY_NAME=\"Debian GNU/Linux 13 (trixie)\"\nID=debian\nVERSION_ID=13\n",
        ),
        ("etc/fstab", "LABEL=root / ext4 defaults 0 1\nLABEL=ESP /boot/efi vfat umask=0077 0 1\n"),
        ("etc/hostname", "agent1\n"),
        ("etc/machine-id", "uninitialized\n"),
        ("etc/passwd", "root:x:0:0:root:/root:/bin/bash\npi:x:1000:1000::/home/pi:/bin/bash\n"),
        ("etc/group", "root:x:0:\nsudo:x:27:pi\npi:x:1000:\n"),
        ("etc/shadow", "root:*:::::::\npi:$y$secret:::::::\n"),
        ("etc/nodeforge/roles", ROLES),
        ("usr/lib/modules/6.12.48+deb13-amd64/modules.dep", ""),
        (
            "usr/lib/systemd/system/ssh.service",
            "[Service]\n[Install]\nWantedBy=multi-user.target\n",
        ),
        (
            "var/lib/dpkg/status",
            "Package: bash\nStatus: install ok installed\nVersion: 5.2\n\nPackage: nano\nStatus: deinstall ok config-files\nVersion: 8\n",
        ),
        ("usr/bin/true", "\x7fELF\x02\x01\0\0\0\0\0\0\0\0\0\0\x02\0\x3e\0"),
        ("boot/efi/covered", "by the ESP\n"),
    ] {
        let path = tree.join(path);
        fs::create_dir_all(path.parent().expect("in the tree")).expect("a folder");
        fs::write(path, content).expect("a file");
    }
    fs::create_dir_all(tree.join("etc/systemd/system/multi-user.target.wants")).expect("a folder");
    symlink(
        "/usr/lib/systemd/system/ssh.service",
        tree.join("etc/systemd/system/multi-user.target.wants/ssh.service"),
    )
    .expect("a link");
    symlink("usr/bin", tree.join("bin")).expect("a link");
    let image = folder.path().join("original.img");
    File::create(&image).expect("an image").set_len(SIZE * MIB).expect("space");
    partition(&image);
    let root = folder.path().join("root");
    File::create(&root).expect("a file").set_len(ROOT.1 * MIB).expect("space");
    // As Debian's mke2fs.conf would have it, and the same for every user and at every time.
    let made = Command::new("/usr/sbin/mke2fs")
        .args(["-q", "-t", "ext4", "-L", "root", "-U", "6c1a5c3e-9a86-4a4c-8f0a-3a9c3b0f8f51"])
        .args(["-E", "root_owner=0:0,hash_seed=6c1a5c3e-9a86-4a4c-8f0a-3a9c3b0f8f51"])
        .args(["-b", "4096", "-N", "1024", "-J", "size=4", "-d"])
        .args([&tree, &root])
        .env("E2FSPROGS_FAKE_TIME", "1763683200")
        .status()
        .expect("mke2fs starts");
    assert!(made.success());
    own_by_root(&tree, &root, folder.path());
    let esp = folder.path().join("esp");
    File::create(&esp).expect("a file").set_len(ESP.1 * MIB).expect("space");
    tool(
        "mkfs.vfat",
        ["-F16".as_ref(), "-s1".as_ref(), "-nESP".as_ref(), "-i12345678".as_ref(), esp.as_os_str()],
    );
    let cmdline = folder.path().join("cmdline.txt");
    fs::write(&cmdline, "root=LABEL=root\n").expect("a file");
    tool("mcopy", ["-i".as_ref(), esp.as_os_str(), cmdline.as_os_str(), "::cmdline.txt".as_ref()]);
    for (part, (start, _)) in [(&esp, ESP), (&root, ROOT)] {
        let content = fs::read(part).expect("a partition");
        let file = File::options().write(true).open(&image).expect("the image");
        std::os::unix::fs::FileExt::write_all_at(&file, &content, start * MIB).expect("space");
    }
    (folder, image)
}

fn partition(image: &Path) {
    let script = format!(
        "label: gpt\nlabel-id: 11111111-2222-3333-4444-555555555555\n\
         i1 : start={}MiB, size={}MiB, type=4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709, uuid=11111111-0000-0000-0000-000000000001\n\
         i15 : start={}MiB, size={}MiB, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B, uuid=11111111-0000-0000-0000-000000000015\n",
        ROOT.0, ROOT.1, ESP.0, ESP.1
    );
    let file = image.with_extension("sfdisk");
    fs::write(&file, script).expect("a script");
    let status = Command::new("/usr/sbin/sfdisk")
        .arg("-q")
        .arg(image)
        .stdin(File::open(&file).expect("the script"))
        .status()
        .expect("sfdisk starts");
    assert!(status.success());
}

/// mke2fs takes the owners, modes and times of the user who runs the tests.
fn own_by_root(tree: &Path, root: &Path, folder: &Path) {
    fn visit(tree: &Path, folder: &Path, script: &mut String) {
        let entries = fs::read_dir(folder).expect("a folder");
        for path in entries.map(|entry| entry.expect("a name").path()) {
            let metadata = path.symlink_metadata().expect("there");
            let inside = Path::new("/").join(path.strip_prefix(tree).expect("inside"));
            let inside = inside.display();
            let mode = if metadata.is_dir() {
                0o040_755
            } else if metadata.is_symlink() {
                0o120_777
            } else {
                0o100_644
            };
            for (field, value) in [
                ("uid", "0"),
                ("gid", "0"),
                ("mtime", "@1763683200"),
                ("mode", &format!("0{mode:o}")),
            ] {
                writeln!(script, "sif {inside} {field} {value}").expect("writing to a string");
            }
            if metadata.is_dir() {
                visit(tree, &path, script);
            }
        }
    }
    let mut script = String::new();
    visit(tree, tree, &mut script);
    let file = folder.join("owners");
    fs::write(&file, script).expect("a script");
    tool("debugfs", ["-wf".as_ref(), file.as_os_str(), root.as_os_str()]);
}

/// The image in every format that nodeforge writes, made by the tools of others.
fn every_format(fixture: &Fixture) -> Vec<(&'static str, PathBuf)> {
    let raw = fixture.path("node.img");
    let mut formats = Vec::new();
    for (format, name) in [("qcow2", "node.qcow2"), ("vmdk", "node.vmdk")] {
        let path = fixture.path(name);
        tool(
            "qemu-img",
            ["convert".as_ref(), "-O".as_ref(), format.as_ref(), raw.as_os_str(), path.as_os_str()],
        );
        formats.push((format, path));
    }
    let bundle = fixture.path("node.vmwarevm");
    fs::create_dir(&bundle).expect("a folder");
    fs::copy(fixture.path("node.vmdk"), bundle.join("disk.vmdk")).expect("a copy");
    formats.push(("vmdk", bundle));
    let status = Command::new("qemu-img")
        .args(["create", "-qf", "vmdk", "-F", "vmdk", "-b", "node.vmdk", "clone.vmdk"])
        .current_dir(fixture.folder.path())
        .status()
        .expect("qemu-img starts");
    assert!(status.success());
    formats.push(("vmdk", fixture.path("clone.vmdk")));
    for (program, name) in [("xz", "xz"), ("zstd", "zst"), ("gzip", "gz")] {
        tool(program, ["-kq1".as_ref(), raw.as_os_str()]);
        formats.push((name, fixture.path(&format!("node.img.{name}"))));
    }
    formats
}

#[test]
fn inspect_draws_the_disk_and_tells_what_is_on_it() {
    let fixture = Fixture::new();
    fixture.run(["inspect", "node.img"]).succeeds().stderr("").stdout(
        "\
node.img: raw, 48.00 MiB, GPT 11111111-2222-3333-4444-555555555555

┌─ 15 ──────────┬─ 1 ─────────────────────────────────────┬────────────────────┐
│ /boot/efi     │ /                                       │ unused             │
│ FAT16         │ ext4                                    │                    │
│ 8.00 MiB      │ 28.00 MiB                               │                    │
│ █░░░░░░░░░░░░ │ ██████░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░ │                    │
└───────────────┴─────────────────────────────────────────┴────────────────────┘

NUMBER     START       SIZE  TYPE                 FILE SYSTEM  LABEL  MOUNTED ON      USED       FREE
     1  9.00 MiB  28.00 MiB  Linux root (x86-64)  ext4         root   /           4.41 MiB  23.59 MiB
    15  1.00 MiB   8.00 MiB  EFI system           FAT16        ESP    /boot/efi      512 B   7.92 MiB

system        Debian GNU/Linux 13 (trixie)
architecture  amd64
hostname      agent1
machine id    made on first boot
packages      1
kernels       6.12.48+deb13-amd64
role          agent
first boot    pending: 10-identity, 20-report
",
    );
}

#[test]
fn every_format_tells_the_same() {
    let fixture = Fixture::new();
    let raw = fixture.json(["inspect", "--json", "node.img"]);
    assert_eq!(raw["system"]["hostname"], "agent1");
    assert_eq!(raw["system"]["machine_id"], "uninitialized");
    assert_eq!(raw["system"]["architecture"], "amd64");
    assert_eq!(raw["system"]["packages"], 1);
    assert_eq!(raw["system"]["kernels"], json!(["6.12.48+deb13-amd64"]));
    assert_eq!(raw["nodeforge"]["role"], "agent");
    assert_eq!(raw["nodeforge"]["first_boot"], "pending");
    assert_eq!(raw["notes"], json!([]));
    for (format, path) in every_format(&fixture) {
        let found = fixture.json([OsStr::new("inspect"), "--json".as_ref(), path.as_os_str()]);
        assert_eq!(found["format"], format);
        for part in ["size", "partition_table", "partitions", "system", "nodeforge"] {
            assert_eq!(found[part], raw[part], "{format}: {part}");
        }
        let place = format!("{}:/boot/efi/cmdline.txt", path.display());
        fixture.run(["cat", &place]).succeeds().stdout("root=LABEL=root\n");
    }
}

#[test]
fn inspect_names_the_build_an_image_came_from() {
    let fixture = Fixture::new();
    let manifest = json!({
        "generator": "nodeforge 0.1.0", "cluster": "home", "profile": "debian",
        "inputs": [], "packages": [], "nodes": [],
        "artifacts": [{ "path": "node.img", "node": "agent1", "size": 1, "sha256": "00".repeat(32) }],
    });
    fixture.write("manifest.json", &manifest.to_string());
    let said = fixture.run(["inspect", "node.img"]).succeeds().stdout_text();
    let expected = "built by      nodeforge 0.1.0, cluster home, profile debian\n";
    assert!(said.ends_with(expected), "{said}");
    fs::rename(fixture.path("node.img"), fixture.path("other.img")).expect("a new name");
    let found = fixture.json(["inspect", "--json", "other.img"]);
    assert_eq!(found["build"], Value::Null);
}

#[test]
fn inspect_shows_partitions_even_without_a_root() {
    let fixture = Fixture::new();
    let blank = fixture.path("blank.img");
    File::create(&blank).expect("a file").set_len(SIZE * MIB).expect("space");
    partition(&blank);
    let found = fixture.json(["inspect", "--json", "blank.img"]);
    assert_eq!(found["partitions"].as_array().map(Vec::len), Some(2));
    assert_eq!(found["partitions"][0]["file_system"], Value::Null);
    assert_eq!(found["system"], Value::Null);
    assert_eq!(found["notes"].as_array().map(Vec::len), Some(1));
}

#[test]
fn ls_lists() {
    let fixture = Fixture::new();
    fixture.run(["ls", "node.img"]).succeeds().stdout("bin\nboot\netc\nlost+found\nusr\nvar\n");
    fixture.run(["ls", "node.img:/bin"]).succeeds().stdout("true\n");
    fixture.run(["ls", "node.img:/boot/efi"]).succeeds().stdout("cmdline.txt\n");
    fixture.run(["ls", "-lR", "node.img:/etc/systemd"]).succeeds().stdout(
        "\
drwxr-xr-x 3 root root 4096 2025-11-21 00:00 system
drwxr-xr-x 2 root root 4096 2025-11-21 00:00 system/multi-user.target.wants
lrwxrwxrwx 1 root root   35 2025-11-21 00:00 system/multi-user.target.wants/ssh.service -> /usr/lib/systemd/system/ssh.service
",
    );
    fixture
        .run(["ls", "-l", "node.img:/bin", "-d"])
        .succeeds()
        .stdout("lrwxrwxrwx 1 root root 7 2025-11-21 00:00 /bin -> usr/bin\n");
    let listed = fixture.json(["ls", "--json", "node.img:/etc/hostname"]);
    assert_eq!(
        listed,
        json!([{
            "path": "/etc/hostname", "type": "file", "size": 7, "mode": "0644", "links": 1,
            "uid": 0, "gid": 0, "user": "root", "group": "root",
            "modified": "2025-11-21T00:00:00Z",
        }])
    );
    fixture
        .run(["ls", "node.img:/none"])
        .exits(2)
        .stderr("error: `/none` does not exist in `node.img`\n");
}

#[test]
fn cat_prints_what_others_read() {
    let fixture = Fixture::new();
    fixture
        .run(["cat", "node.img:/etc/hostname", "node.img:/etc/passwd"])
        .succeeds()
        .stdout(&(fixture.debugfs("cat /etc/hostname") + &fixture.debugfs("cat /etc/passwd")));
    fixture.run(["cat", "node.img:/etc"]).exits(2).stderr("error: `/etc` is not a file\n");
    fixture
        .run(["cat", "node.img"])
        .exits(2)
        .stderr("error: `node.img` names no file in an image\nhint: write `node.img:/PATH`\n");
}

/// A tree with all that a copy can lose.
fn difficult_tree(folder: &Path) {
    fs::create_dir_all(folder.join("sub/empty")).expect("folders");
    fs::write(folder.join("sub/program"), "#!/bin/sh\n").expect("a file");
    fs::set_permissions(folder.join("sub/program"), fs::Permissions::from_mode(0o751))
        .expect("mode");
    fs::hard_link(folder.join("sub/program"), folder.join("second")).expect("a hard link");
    symlink("sub/program", folder.join("link")).expect("a link");
    symlink("x".repeat(100), folder.join("sub/long")).expect("a link");
    fs::write(folder.join("ünïcode name"), "x".repeat(70_000)).expect("a file");
    let sparse = File::create(folder.join("sparse")).expect("a file");
    sparse.set_len(3 * MIB).expect("space");
    std::os::unix::fs::FileExt::write_all_at(&sparse, b"end", 2 * MIB).expect("space");
    fs::set_permissions(folder.join("sub/empty"), fs::Permissions::from_mode(0o555)).expect("mode");
    let time = std::time::UNIX_EPOCH + std::time::Duration::new(1_000_000_000, 123_456_789);
    for name in ["sub/program", "sparse", "sub/empty", "sub"] {
        File::open(folder.join(name)).expect("there").set_modified(time).expect("its owner");
    }
    let tagged = folder.join("sub/program");
    tool(
        "setfattr",
        ["-n".as_ref(), "user.origin".as_ref(), "-v".as_ref(), "test".as_ref(), tagged.as_os_str()],
    );
}

/// Everything of a folder that tar can tell.
fn archive(folder: &Path) -> String {
    tool(
        "sh",
        [
            "-c".as_ref(),
            "cd \"$1\" && tar --sort=name --xattrs --format=posix --pax-option=delete=atime,delete=ctime -cf - . | sha256sum".as_ref(),
            "sh".as_ref(),
            folder.as_os_str(),
        ],
    )
}

#[test]
fn a_tree_comes_out_as_it_went_in() {
    let fixture = Fixture::new();
    // As it would be in a home folder: /tmp may keep no attributes.
    let tree = fixture.path("tree");
    difficult_tree(&tree);
    fixture.run(["cp", "-r", "tree", "node.img:/srv"]).exits(0).stderr("");
    fixture.check_file_systems("node.img");
    let stat = fixture.debugfs("stat /srv/sub/program");
    let owner = tree.metadata().expect("there");
    assert!(stat.contains("Mode:  0751"), "{stat}");
    assert!(stat.contains("Links: 2"), "{stat}");
    assert!(stat.contains("user.origin (4) = \"test\""), "{stat}");
    assert!(
        stat.contains(&format!("User: {:>5}   Group: {:>5}", owner.uid(), owner.gid())),
        "{stat}"
    );
    let inode = |path: &str| fixture.json(["ls", "-d", "--json", &format!("node.img:{path}")]);
    assert_eq!(inode("/srv/second")[0]["links"], 2);
    fixture.run(["cp", "-rp", "node.img:/srv", "out"]).succeeds().stderr("");
    assert_eq!(archive(&fixture.path("out")), archive(&tree));
    // From image to image, and out of the other.
    fs::copy(original(), fixture.path("other.img")).expect("a copy");
    fixture.run(["cp", "-r", "node.img:/srv", "other.img:/var/lib/"]).succeeds().stderr("");
    fixture.check_file_systems("other.img");
    fixture.run(["cp", "-rp", "other.img:/var/lib/srv", "out2"]).succeeds();
    assert_eq!(archive(&fixture.path("out2")), archive(&tree));
}

#[test]
fn cp_goes_where_cp_goes() {
    let fixture = Fixture::new();
    fixture.write("a", "A");
    fixture.write("b", "B");
    // Into a directory, through a link to one, in place of a file, under a new name.
    fixture.run(["cp", "a", "b", "node.img:/etc"]).succeeds();
    fixture.run(["cp", "a", "node.img:/bin"]).succeeds();
    fixture.run(["cp", "--owner", "pi:sudo", "b", "node.img:/etc/a"]).succeeds();
    fixture.run(["cp", "a", "node.img:/etc/new"]).succeeds();
    fixture.run(["cp", "a", "node.img:/boot/efi/config.txt"]).succeeds();
    fixture.check_file_systems("node.img");
    assert_eq!(fixture.debugfs("cat /etc/a"), "B");
    assert_eq!(fixture.debugfs("cat /usr/bin/a"), "A");
    assert_eq!(fixture.debugfs("cat /etc/new"), "A");
    let line = fixture.run(["ls", "-l", "node.img:/etc/a"]).succeeds().stdout_text();
    assert!(line.starts_with("-rw-r--r-- 1 pi sudo 1 "), "{line}");
    let esp = fixture.path("esp");
    assert_eq!(tool("mtype", ["-i".as_ref(), esp.as_os_str(), "::config.txt".as_ref()]), "A");
    // Out: what a link points at, to a file, to a folder.
    fixture.run(["cp", "node.img:/bin/true", "node.img:/etc/hostname", "."]).succeeds();
    assert_eq!(fs::read_to_string(fixture.path("hostname")).expect("there"), "agent1\n");
    for (arguments, said) in [
        (
            ["cp", "a", "node.img:/no/where"],
            "error: the image has no directory `/no`\nhint: copy a directory with `-r` to make it\n",
        ),
        (
            ["cp", "node.img:/etc", "etc"],
            "error: `/etc` is a directory\nhint: `-r` copies it with all that is in it\n",
        ),
        (["cp", "node.img:/none", "x"], "error: `/none` does not exist in `node.img`\n"),
        (
            ["cp", "a", "c"],
            "error: neither `a` nor `c` is in an image\nhint: write `IMAGE:/PATH` for a file in an image; for others there is cp(1)\n",
        ),
    ] {
        fixture.run(arguments).exits(2).stderr(said);
    }
}

#[test]
fn what_fails_changes_nothing() {
    let fixture = Fixture::new();
    let before = fs::read(fixture.path("node.img")).expect("the image");
    fixture.write("small", "fits");
    let large = File::create(fixture.path("large")).expect("a file");
    large.set_len(100 * MIB).expect("space");
    symlink("small", fixture.path("link")).expect("a link");
    let failed = fixture.run(["cp", "small", "large", "node.img:/srv"]).exits(2);
    assert!(failed.stderr_text().starts_with("error: `/srv` is not a directory\n"));
    let failed = fixture.run(["cp", "small", "large", "node.img:/etc"]).exits(1);
    assert!(failed.stderr_text().contains("no space left on the root file system"));
    let failed = fixture.run(["cp", "-r", "small", "link", "node.img:/boot/efi"]).exits(2);
    assert!(failed.stderr_text().contains("FAT has no symlinks"));
    fixture.run(["rm", "node.img:/etc/hostname", "node.img:/none"]).exits(2);
    assert!(fs::read(fixture.path("node.img")).expect("the image") == before);
    fixture.check_file_systems("node.img");
}

#[test]
fn rm_removes_what_it_is_told_to() {
    let fixture = Fixture::new();
    fixture
        .run(["rm", "node.img:/etc"])
        .exits(2)
        .stderr("error: `/etc` is a directory\nhint: `-r` removes it with all that is in it\n");
    fixture
        .run(["rm", "-r", "node.img:/boot/efi"])
        .exits(2)
        .stderr("error: removing `/boot/efi`\n  cause: a file system is mounted there\n");
    fixture
        .run([
            "rm",
            "-rf",
            "node.img:/etc/systemd",
            "node.img:/bin",
            "node.img:/none",
            "node.img:/boot/efi/cmdline.txt",
        ])
        .succeeds()
        .stderr("");
    fixture.check_file_systems("node.img");
    fixture.run(["ls", "node.img"]).succeeds().stdout("boot\netc\nlost+found\nusr\nvar\n");
    fixture.run(["ls", "node.img:/usr/bin"]).succeeds().stdout("true\n");
    fixture.run(["ls", "node.img:/boot/efi"]).succeeds().stdout("");
}

#[test]
fn other_formats_are_only_read() {
    let fixture = Fixture::new();
    fixture.write("a", "A");
    for (format, path) in every_format(&fixture) {
        let disk = if path.is_dir() { path.join("disk.vmdk") } else { path.clone() };
        let before = fs::read(&disk).expect("there");
        let place = format!("{}:/etc", path.display());
        let said = fixture.run(["cp", "a", &place]).exits(2).stderr_text();
        let expected = format!("is a {format} image, which can only be read\nhint: ");
        assert!(said.contains(&expected), "{said}");
        assert!(fs::read(&disk).expect("there") == before);
    }
}

#[test]
fn an_image_in_use_is_left_alone() {
    let fixture = Fixture::new();
    let file = File::open(fixture.path("node.img")).expect("the image");
    rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive).expect("nobody has it");
    let said = fixture.run(["rm", "node.img:/etc/hostname"]).exits(1).stderr_text();
    assert!(said.contains("node.img` is in use\nhint: "), "{said}");
    fixture.run(["cat", "node.img:/etc/hostname"]).succeeds().stdout("agent1\n");
}

#[test]
fn diff_tells_what_an_administrator_would() {
    let fixture = Fixture::new();
    fs::copy(original(), fixture.path("other.img")).expect("a copy");
    fixture.run(["diff", "node.img", "other.img"]).succeeds().stdout("").stderr("");
    fixture.write("status", "Package: bash\nStatus: install ok installed\nVersion: 5.3\n\nPackage: nano\nStatus: install ok installed\nVersion: 8\n");
    fixture.write("shadow", "root:*:::::::\npi:$y$other:::::::\n");
    fixture.write("new/a", "");
    fixture.write("new/b", "");
    for (from, to) in
        [("status", "/var/lib/dpkg/status"), ("shadow", "/etc/shadow"), ("new", "/opt")]
    {
        let place = format!("other.img:{to}");
        fixture.run(["cp", "-r", "--owner", "root", from, &place]).succeeds();
    }
    let link = "/etc/systemd/system/multi-user.target.wants/ssh.service";
    fixture.run(["rm", &format!("other.img:{link}")]).succeeds();
    fixture.run(["diff", "node.img", "other.img"]).exits(1).stderr("").stdout(
        "\
packages
  + nano 8
  ~ bash 5.2 -> 5.3
units
  ~ ssh.service enabled -> disabled
users
  ~ pi password
files
  + /opt/ (2 names)
  - /etc/systemd/system/multi-user.target.wants/ssh.service
  ~ /etc/shadow content
  ~ /var/lib/dpkg/status content
",
    );
    fixture
        .run(["diff", "node.img:/etc/shadow", "other.img:/etc/shadow"])
        .exits(1)
        .stdout("files\n  ~ /etc/shadow content\n");
    let said = fixture.run(["diff", "--json", "node.img", "other.img"]).exits(1).stdout_text();
    assert!(!said.contains("$y$"), "a password's hash is shown");
    let found: Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!(found["packages"]["changed"]["bash"], json!({ "from": "5.2", "to": "5.3" }));
    assert_eq!(found["users"]["changed"]["pi"]["what"], json!(["password"]));
    fixture.run(["diff", "node.img", "none.img"]).exits(2);
}
