//! What `cp` and `ls` do where cp(1) and ls(1) are the model, and with what cannot be read.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt as _, FileTypeExt as _, MetadataExt as _};
use std::path::Path;
use std::process::Command;

use super::support::{Run, User, for_every_user, tool};
use super::tools::Fixture;

/// Where the root file system of the fixture's image begins, in bytes.
const ROOT: u64 = 9 << 20;

/// Has debugfs change the image's root file system.
fn debugfs(fixture: &Fixture, commands: &[&str]) {
    let root = fixture.root("node.img");
    for command in commands {
        tool("debugfs", ["-w".as_ref(), "-R".as_ref(), command.as_ref(), root.as_os_str()]);
    }
    let image = File::options().write(true).open(fixture.path("node.img")).expect("the image");
    image.write_all_at(&fs::read(root).expect("there"), ROOT).expect("written");
}

/// All names below a folder.
fn names(folder: &Path) -> String {
    tool("sh", ["-c", "cd \"$0\" && find . | LC_ALL=C sort", folder.to_str().expect("UTF-8")])
}

/// cp(1) on a folder with the image's content is the judge.
#[test]
fn a_dot_at_the_end_means_what_is_in_a_directory() {
    let fixture = Fixture::new();
    fixture.write("overlay/etc/own.conf", "own\n");
    fixture.write("overlay/srv/sub/file", "x");
    std::os::unix::fs::symlink("overlay", fixture.path("link")).expect("linked");
    for (number, source) in
        ["overlay/.", "./overlay/.", "overlay/etc/..", "overlay/", "overlay", "link/.", "link/"]
            .into_iter()
            .enumerate()
    {
        let (twin, image) = (format!("twin{number}"), format!("image{number}.img"));
        let _ = fixture.run(["cp", "-r", "node.img:/", &twin]).succeeds();
        let mut judge = Command::new("cp");
        judge.args(["-r", source, &twin]).current_dir(fixture.path("."));
        assert!(judge.status().expect("cp starts").success());
        fs::copy(fixture.path("node.img"), fixture.path(&image)).expect("copied");
        let _ = fixture.run(["cp", "-r", source, &format!("{image}:/")]).succeeds();
        let out = format!("out{number}");
        let _ = fixture.run(["cp", "-r", &format!("{image}:/."), &out]).succeeds();
        assert_eq!(names(&fixture.path(&out)), names(&fixture.path(&twin)), "{source}");
    }
    // Out of an image, into a directory that is there and into one that is not.
    fs::create_dir(fixture.path("there")).expect("made");
    for to in ["there", "new"] {
        let _ = fixture.run(["cp", "-r", "node.img:/etc/.", to]).succeeds();
        assert!(fixture.path(to).join("hostname").is_file(), "{to}");
    }
    let _ = fixture.run(["cp", "-r", "overlay/etc/.", "node.img:/etc/."]).succeeds();
    assert_eq!(fixture.debugfs("cat /etc/own.conf"), "own\n");
    let _ = fixture.run(["cp", "-r", "overlay/.", "node.img:/opt"]).succeeds();
    assert_eq!(fixture.debugfs("cat /opt/etc/own.conf"), "own\n");
}

for_every_user!(what_leaves_an_image_is_files_folders_and_links_of_whoever_copies);

fn what_leaves_an_image_is_files_folders_and_links_of_whoever_copies(user: &User) {
    let fixture = Fixture::new();
    let commands = [
        "mkdir /x",
        "write /etc/hostname /x/program",
        "sif /x/program mode 0106777",
        "sif /x/program uid 1234",
        "sif /x/program gid 1234",
        "ea_set /x/program user.origin somewhere",
        "symlink /x/link program",
        "sif /x mode 0042755",
        "sif /x uid 1234",
        "cd /x",
    ];
    fixture.write("etc-hostname", "agent1\n");
    let from = fixture.path("etc-hostname").display().to_string();
    let commands = commands.map(|it| it.replace("write /etc/hostname", &format!("write {from}")));
    debugfs(&fixture, &commands.each_ref().map(String::as_str));
    let nodes = fixture.path("nodes");
    let root = fixture.root("node.img");
    fs::write(&nodes, "cd /x\nmknod disk b 8 0\nmknod tty c 5 0\nmknod pipe p\n").expect("written");
    tool("debugfs", ["-w".as_ref(), "-f".as_ref(), nodes.as_os_str(), root.as_os_str()]);
    let image = File::options().write(true).open(fixture.path("node.img")).expect("the image");
    image.write_all_at(&fs::read(root).expect("there"), ROOT).expect("written");

    let folder = user.folder();
    let path = |name: &str| folder.path().join(name);
    fs::copy(fixture.path("node.img"), path("node.img")).expect("copied");
    let run = |arguments: &[&str]| {
        let run = Run::by(user, arguments).folder(folder.path());
        run.env("SUDO_UID", "1000").env("SUDO_GID", "1001").succeeds()
    };
    let copied = run(&["cp", "-r", "node.img:/x", "out"]);
    let _ =
        copied.stderr("note: 3 devices, pipes and sockets left out: `--preserve` copies them\n");
    let own = folder.path().metadata().expect("there");
    let own = if user.is_root() { (1000, 1001) } else { (own.uid(), own.gid()) };
    for name in ["", "program", "link"] {
        let found = path("out").join(name).symlink_metadata().expect("there");
        assert_eq!((found.uid(), found.gid()), own, "{name}");
        let mode = found.mode() & 0o7777;
        assert!(found.is_symlink() || mode == 0o755, "{name}: {mode:o}");
    }
    let program = path("out/program");
    assert_eq!(tool("getfattr", ["-d".as_ref(), "-m-".as_ref(), program.as_os_str()]), "");
    assert_eq!(names(&path("out")), ".\n./link\n./program\n");

    // All of it, as far as the user may.
    let _ = run(&["cp", "-r", "--preserve", "node.img:/x", "all"]);
    let program = path("all/program");
    let said = tool("getfattr", ["-d".as_ref(), "-m-".as_ref(), program.as_os_str()]);
    assert!(said.contains("user.origin=\"somewhere\""), "{said}");
    assert!(path("all/pipe").symlink_metadata().expect("there").file_type().is_fifo());
    let mode = program.metadata().expect("there").mode() & 0o7777;
    assert_eq!(mode, if user.is_root() { 0o6777 } else { 0o777 });
}

#[test]
fn a_partition_is_reached_by_its_number() {
    let fixture = Fixture::new();
    let listed = fixture.run(["ls", "node.img@15:/"]).succeeds();
    let _ = listed.stdout("cmdline.txt\n");
    let _ = fixture.run(["cat", "node.img@15:/cmdline.txt"]).succeeds().stdout("root=LABEL=root\n");
    // The directory that the ESP covers.
    let _ = fixture.run(["cat", "node.img@1:/boot/efi/covered"]).succeeds().stdout("by the ESP\n");
    fixture.write("new", "new\n");
    let _ = fixture.run(["cp", "new", "node.img@15:/"]).succeeds();
    let _ = fixture.run(["rm", "node.img@15:/cmdline.txt"]).succeeds();
    let _ = fixture.run(["cat", "node.img:/boot/efi/new"]).succeeds().stdout("new\n");
    let _ = fixture.run(["ls", "node.img:/boot/efi"]).succeeds().stdout("new\n");
    fixture.check_file_systems("node.img");
    let _ = fixture.run(["rm", "node.img@15:/new", "node.img:/etc/hostname"]).exits(2).stderr(
        "error: files of two partitions of one image cannot be removed at once\n\
         hint: remove those of one partition, then those of the other\n",
    );
    let _ = fixture
        .run(["ls", "node.img@7"])
        .exits(2)
        .stderr("error: there is no partition 7\nhint: there are 1, 15\n");
    // Without a root, the hint leads there.
    let image = File::options().write(true).open(fixture.path("node.img")).expect("the image");
    image.write_all_at(&[0; 4096], ROOT).expect("written");
    let _ = fixture.run(["ls", "node.img"]).exits(2).stderr(
        "error: opening the file system of partition 1 (at byte 9437184)\n  \
         cause: it holds no file system that is known here\n\
         hint: `IMAGE@15:/PATH` reaches the files of partition 15\n",
    );
    let _ = fixture.run(["cat", "node.img@15:/new"]).succeeds().stdout("new\n");
}

#[test]
fn what_cannot_be_read_is_reported_and_the_rest_is_there() {
    let fixture = Fixture::new();
    fixture.write("file", "after\n");
    let from = fixture.path("file").display().to_string();
    debugfs(
        &fixture,
        &[
            "mkdir /x",
            "mkdir /x/broken",
            &format!("write {from} /x/torn"),
            &format!("write {from} /x/zlast"),
            "sif /x/broken block[0] 0",
            "sif /x/torn block[0] 0",
        ],
    );
    let listed = fixture.run(["ls", "-R", "node.img:/x"]).exits(1);
    assert_eq!(listed.stdout_text(), "broken\ntorn\nzlast\n");
    assert!(listed.stderr_text().contains("/x/broken"), "{}", listed.stderr_text());
    let copied = fixture.run(["cp", "-r", "node.img:/x", "out"]).exits(1).stderr_text();
    assert_eq!(copied.matches("error: ").count(), 2, "{copied}");
    for path in ["/x/broken", "/x/torn"] {
        assert!(copied.contains(path), "{copied}");
    }
    assert_eq!(names(&fixture.path("out")), ".\n./zlast\n");
    assert_eq!(fs::read_to_string(fixture.path("out/zlast")).expect("there"), "after\n");
    // An image is changed whole or not at all.
    fs::copy(fixture.path("node.img"), fixture.path("other.img")).expect("copied");
    let _ = fixture.run(["cp", "-r", "node.img:/x", "other.img:/y"]).exits(1);
    let _ = fixture.run(["ls", "other.img:/y"]).exits(2);
}

#[test]
fn a_fat_directory_with_a_bad_name_is_listed() {
    let fixture = Fixture::new();
    fixture.write("new", "new\n");
    let _ = fixture.run(["cp", "new", "node.img:/boot/efi/BADNAME"]).succeeds();
    let mut bytes = fs::read(fixture.path("node.img")).expect("there");
    let at = bytes.windows(11).position(|it| it == b"BADNAME    ").expect("the entry");
    bytes[at + 3] = b'/';
    fs::write(fixture.path("node.img"), bytes).expect("written");
    let listed = fixture.run(["ls", "-R", "node.img@15"]).exits(1);
    let message = "cause: its name is damaged\n";
    assert!(listed.stderr_text().ends_with(message), "{}", listed.stderr_text());
    let _ = listed.stdout("cmdline.txt\n");
    let _ = fixture.run(["cp", "-r", "node.img@15:/", "out"]).exits(1);
    assert_eq!(names(&fixture.path("out")), ".\n./cmdline.txt\n");
}
