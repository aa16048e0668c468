//! A node written without an image of it on any disk.

use std::fs;
use std::path::Path;

use crate::support::{Arch, Machines, checksum, noise, partitions, tool};

#[test]
fn a_node_that_was_not_built_is_streamed() {
    let machines = Machines::new(Arch::Arm64, &["server1", "agent1"], "formats = [\"raw\"]");
    for node in ["server1", "agent1"] {
        let medium = format!("{node}.medium");
        let finished = machines.run(["flash", "--to-file", node, &medium]).succeeds();
        assert!(finished.stderr_text().contains("read back and found right"));
    }
    assert!(!machines.path("out").exists());
    let _ = machines.run(["build"]).succeeds();
    for node in ["server1", "agent1"] {
        let built = machines.artifact(&format!("{node}.img"));
        let medium = machines.path(&format!("{node}.medium"));
        assert_eq!(checksum("sha256sum", &medium), checksum("sha256sum", &built), "{node}");
    }
}

/// What is on the card would not be what the cluster file says. The files' times say nothing: a
/// cluster file that was only touched is the same, and an overlay counts that it does not name.
#[test]
fn an_artifact_that_is_out_of_date_is_refused() {
    let machines = Machines::new(Arch::Amd64, &["server1"], "formats = [\"raw\"]");
    let cluster = fs::read_to_string(machines.path("cluster.toml")).expect("there");
    let side = "[[files]]\npath = \"/etc/motd\"\nsource = \"motd\"\n";
    let write = |name: &str, text: &str| {
        fs::write(machines.path(name), text).expect("written");
    };
    write("cluster.toml", &format!("{cluster}{side}"));
    write("motd", "one\n");
    let _ = machines.run(["build"]).succeeds();
    let flash = || machines.run(["flash", "--to-file", "server1", "medium"]);
    let _ = flash().succeeds();
    write("cluster.toml", &format!("{cluster}{side}# a comment\n"));
    let _ = flash().succeeds();

    let path = machines.artifact("server1.img").display().to_string();
    let stale = format!(
        "error: `{path}` is out of date: what it was built from has changed\n\
         hint: `nodeforge build server1` builds it again\n\
         hint: `nodeforge flash {path} DEVICE` writes it as it is\n"
    );
    let lock = fs::read_to_string(machines.path("nodeforge.lock")).expect("there");
    let secrets = fs::read_to_string(machines.path("nodeforge.secrets")).expect("there");
    for (name, before, after) in [
        ("cluster.toml", cluster.clone() + side, cluster.replace("admin", "someone") + side),
        ("motd", "one\n".into(), "two\n".into()),
        ("nodeforge.lock", lock.clone(), lock.replace("raw_size = ", "raw_size = 1")),
        ("nodeforge.secrets", secrets.clone(), another_seed(&secrets)),
    ] {
        assert_ne!(before, after, "{name}");
        write(name, &after);
        let _ = flash().exits(2).stderr(&stale);
        write(name, &before);
        let _ = flash().succeeds();
    }
    let _ = machines
        .run(["flash", "--to-file", "--set", "access.user=other", "server1", "medium"])
        .exits(2)
        .stderr(&stale);
    let _ = machines.run(["flash", "--to-file", &path, "medium"]).succeeds();
    write("motd", "three\n");
    let _ = machines.run(["build"]).succeeds();
    let _ = flash().succeeds();
}

/// The store with a seed whose first digit is another one.
fn another_seed(secrets: &str) -> String {
    let (before, seed) = secrets.split_once("[seed]\nvalue = \"").expect("a seed");
    let digit = if seed.starts_with('0') { '1' } else { '0' };
    format!("{before}[seed]\nvalue = \"{digit}{}", &seed[1..])
}

/// Preparing may take minutes, and writes secrets.
#[test]
fn a_missing_device_is_refused_before_a_base_is_prepared() {
    let machines = Machines::new(Arch::Amd64, &["server1"], "formats = [\"raw\"]");
    let _ = machines.run(["flash", "-n", "server1", "/dev/nonexistent"]).exits(2).stderr(
        "error: there is no device `/dev/nonexistent`\n\
         hint: `nodeforge flash --list` shows the devices there are\n",
    );
    assert!(!machines.path("nodeforge.secrets").exists() && !machines.path("cache").exists());
}

#[test]
fn what_is_neither_node_nor_image_is_refused() {
    let machines = Machines::new(Arch::Amd64, &["server1"], "formats = [\"raw\"]");
    let out = machines.path("out");
    let _ = machines.run(["flash", "--to-file", "server2", "medium"]).exits(2).stderr(&format!(
        "error: `{}` has no image of `server2`\n\
         hint: `nodeforge build` makes it; `-o` says where it is\n",
        out.display()
    ));
}

/// What a publisher packs is the image, not the archive; and what is no image is not written at all.
#[test]
fn an_archive_is_unpacked_and_what_is_no_disk_is_refused() {
    let machines = Machines::new(Arch::Amd64, &["server1"], "formats = [\"raw\"]");
    let folder = machines.folder.path().to_str().expect("UTF-8");
    let script = "cd \"$0\" && tar -cf a.tar base.img && gzip -k a.tar && xz -k -0 a.tar \
        && zstd -q -k a.tar && mv a.tar.gz x.img.tar.gz";
    tool("sh", ["-ec", script, folder]);
    let expected = checksum("sha256sum", &machines.path("base.img"));
    for name in ["a.tar", "x.img.tar.gz", "a.tar.xz", "a.tar.zst"] {
        let _ = machines.run(["flash", "--to-file", name, "medium"]).succeeds();
        assert_eq!(checksum("sha256sum", &machines.path("medium")), expected, "{name}");
        fs::remove_file(machines.path("medium")).expect("removed");
    }
    fs::write(machines.path("noise"), noise(5, 1 << 20)).expect("written");
    fs::write(machines.path("zeros"), vec![0; 1 << 20]).expect("written");
    let script = "cd \"$0\" && gzip -k noise && xz -k noise && tar -czf text.tar.gz cluster.toml";
    tool("sh", ["-ec", script, folder]);
    for name in ["noise", "zeros", "noise.gz", "noise.xz"] {
        let _ = machines.run(["flash", "--to-file", name, "medium"]).exits(2).stderr(&format!(
            "error: `{name}` is not the image of a disk\n\
             hint: it has neither a partition table nor a file system\n"
        ));
    }
    let _ = machines.run(["flash", "--to-file", "text.tar.gz", "medium"]).exits(2);
    assert!(!machines.path("medium").exists());
    // Other commands name it, and do not call it a disk without a table.
    let _ = machines.run(["inspect", "a.tar"]).exits(2).stderr(
        "error: `a.tar` is a tar archive, not an image\n\
         hint: unpack it, and use what comes out: `tar -xf FILE`\n",
    );
}

/// An edit that was killed after it had happened, and before all of it was in the image.
#[test]
fn build_and_boot_finish_an_edit() {
    let machines = Machines::new(Arch::Amd64, &["server1"], "formats = [\"raw\"]");
    let (image, before) = (machines.path("base.img"), machines.path("before.img"));
    let journal = machines.path(".base.img.nodeforge-edit");
    fs::copy(&image, &before).expect("copied");
    let content = noise(3, 5 << 20);
    fs::write(machines.path("large"), &content).expect("written");
    let build = || {
        let _ = machines.run(["build"]).succeeds();
        let from = format!("{}:/srv-large", machines.artifact("server1.img").display());
        let copied = machines.path("copied");
        let _ = machines.run(["cp".as_ref(), from.as_ref(), copied.as_os_str()]).succeeds();
        assert!(fs::read(copied).expect("there") == content);
    };
    // There is nothing in it that would boot.
    let boot = || {
        let arguments = ["boot", "./base.img", "--until", "x", "--timeout", "1"];
        let _ = machines.run(arguments).exits(124);
    };
    let commands: [(&str, &dyn Fn()); 2] = [("build", &build), ("boot", &boot)];
    for (name, finish) in commands {
        let mut finished = 0;
        // The journal is made durable, its folder, and then what is carried over. e2fsck, whose
        // calls are not meant, is asked afterwards.
        let edit = ["cp", "--fsck", "never", "large", "base.img:/srv-large"];
        for step in 1.. {
            fs::copy(&before, &image).expect("copied");
            if !machines.is_killed_at("fsync", step, &edit) {
                break;
            }
            let names = machines.run(["ls", "base.img:/"]).succeeds().stdout_text();
            if !journal.exists() || names.lines().all(|name| name != "srv-large") {
                continue;
            }
            finish();
            finished += 1;
            assert!(!journal.exists(), "{name} after step {step}");
            let (_, root) = partitions(&image).into_iter().find(|(it, _)| *it == 1).expect("it");
            let at = format!("{}?offset={}", image.display(), root.start);
            tool("e2fsck", ["-fn", &at]);
            let stat = tool("debugfs", ["-R", "stat /srv-large", &at]);
            assert!(stat.contains(&format!("Size: {}", content.len())), "{stat}");
        }
        assert!(finished >= 3, "{name} finished {finished} edits");
    }
}

/// What an interrupted edit of an image has left to do belongs to the image.
fn check_flash_after_killed_edits(steps: &[u32]) {
    let machines = Machines::new(Arch::Amd64, &["server1"], "formats = [\"raw\"]");
    let (image, before) = (machines.path("base.img"), machines.path("before.img"));
    fs::copy(&image, &before).expect("copied");
    // Some MiB, so that carrying them over takes its time.
    let text = "a line of what is to be there\n".repeat(70_000);
    fs::write(machines.path("hello"), &text).expect("written");
    // e2fsck, whose calls are not meant, is asked afterwards.
    let edit = ["cp", "--fsck", "never", "hello", "base.img:/etc/hello"];
    let mut kills = 0;
    for step in steps {
        let _ = fs::remove_file(machines.path(".base.img.nodeforge-edit"));
        fs::copy(&before, &image).expect("copied");
        kills += u32::from(machines.is_killed_at("pwrite64,fsync", *step, &edit));

        let _ = machines.run(["flash", "--to-file", "./base.img", "medium"]).succeeds();
        let medium = machines.path("medium");
        let (_, root) = partitions(&medium).into_iter().find(|(it, _)| *it == 1).expect("it");
        tool("e2fsck", ["-fn", &format!("{}?offset={}", medium.display(), root.start)]);
        let names = machines.run(["ls", "medium:/etc"]).succeeds().stdout_text();
        if names.lines().any(|name| name == "hello") {
            let found = machines.run(["cat", "medium:/etc/hello"]).succeeds().stdout_text();
            assert!(found == text, "step {step}");
        }
    }
    assert!(kills as usize * 2 >= steps.len(), "{kills} kills");
}

#[test]
fn flash_never_reads_a_half_edited_image() {
    check_flash_after_killed_edits(&[1, 4, 16]);
}

/// Others stand on the base, and a clone's disk is in its template too.
#[test]
fn no_part_of_the_image_is_written_over() {
    let formats = "formats = [\"qcow2\", \"vmwarevm\"]";
    let machines = Machines::new(Arch::Amd64, &["server1"], formats);
    let _ = machines.run(["build"]).succeeds();
    let sums = || checksums(&machines.path("out"));
    let before = sums();
    for (image, part) in [
        ("out/server1.qcow2", "out/small-base.qcow2"),
        ("out/server1.vmwarevm", "out/server1.vmwarevm/disk.vmdk"),
        ("out/server1.vmwarevm", "out/small-template.vmwarevm/base.vmdk"),
    ] {
        let said = machines.run(["flash", "--to-file", image, part]).exits(2).stderr_text();
        assert!(said.ends_with("the image\n"), "{image} {part}: {said}");
    }
    let stamp = ["stamp", "out/server1.qcow2", "--hostname", "x", "-o", "out/small-base.qcow2"];
    let _ = machines
        .run(stamp)
        .exits(2)
        .stderr("error: OUT is a part of IMAGE, which must not be changed\n");
    assert_eq!(sums(), before);
}

/// The SHA-256 of all files in a folder.
fn checksums(folder: &Path) -> String {
    tool(
        "sh",
        [
            "-c",
            "find \"$1\" -type f -exec sha256sum {} + | sort",
            "sh",
            &folder.display().to_string(),
        ],
    )
}

/// It has another machine's state by then, and may be written to meanwhile.
#[test]
fn the_disk_of_a_started_machine_is_refused() {
    let machines = Machines::new(Arch::Amd64, &["server1"], "formats = [\"qcow2\"]");
    let _ = machines.run(["build"]).succeeds();
    let path = machines.artifact("server1.qcow2").display().to_string();
    tool("qemu-io", ["-f", "qcow2", "-c", "write -P 7 200M 1M", &path]);
    let _ = machines.run(["flash", "--to-file", "server1", "medium"]).exits(2).stderr(&format!(
        "error: `{path}` was started after it was built\n\
         hint: `nodeforge build --replace server1` builds it again\n\
         hint: `nodeforge flash {path} DEVICE` writes it as it is\n"
    ));
    let _ = machines.run(["flash", "--to-file", &path, "medium"]).succeeds();
}

#[test]
fn a_killed_flash_leaves_the_file_that_was_there() {
    let machines = Machines::new(Arch::Amd64, &["server1"], "formats = [\"raw\"]");
    let _ = machines.run(["build"]).succeeds();
    let image = checksum("sha256sum", &machines.artifact("server1.img"));
    let medium = machines.path("medium");
    let mut kills = 0;
    for step in [1, 4, 16, 64] {
        fs::write(&medium, "what was there").expect("written");
        let arguments = ["flash", "--to-file", "server1", "medium"];
        let was_killed = machines.is_killed_at("pwrite64,fsync", step, &arguments);
        kills += u32::from(was_killed);
        let is_old = fs::read(&medium).expect("there") == b"what was there";
        let is_new = checksum("sha256sum", &medium) == image;
        assert!(is_new || was_killed && is_old, "{step}");
    }
    assert!(kills > 1, "{kills} kills");
}

mod long {
    #[test]
    #[ignore = "long: kills at ten steps"]
    fn flash_never_reads_an_image_whose_edit_was_killed() {
        super::check_flash_after_killed_edits(&[1, 2, 3, 4, 5, 6, 8, 10, 15, 20]);
    }
}
