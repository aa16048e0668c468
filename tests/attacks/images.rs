//! Images that mean one thing to us and another to QEMU, or name files that are not theirs.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{FileExt as _, PermissionsExt as _, symlink};
use std::path::Path;
use std::process::Command;

use crate::support::{Arch, Machines, tool};

const NOT_A_NAME: &str = "is not the name of a file";
const OUTSIDE: &str = "is outside its folder";
const LINK: &str = "symlinks that an image leads to are not followed";

/// A folder with one image in it, and the user's own files beside it.
fn prepared() -> Machines {
    let machines = Machines::new(Arch::Amd64, &["server1"], "formats = [\"raw\"]");
    fs::create_dir(machines.path("images")).expect("a folder");
    fs::copy(machines.path("base.img"), machines.path("secret")).expect("copied");
    fs::create_dir(machines.path("home.vmwarevm")).expect("a folder");
    symlink("../secret", machines.path("home.vmwarevm/link")).expect("linked");
    symlink("../secret", machines.path("images/link")).expect("linked");
    symlink("home.vmwarevm", machines.path("linked.vmwarevm")).expect("linked");
    fs::copy(machines.path("base.img"), machines.path("home.vmwarevm/disk")).expect("copied");
    fs::create_dir(machines.path("bin")).expect("a folder");
    let qemu = machines.path("bin/qemu-system-x86_64");
    fs::write(
        &qemu,
        "#!/bin/sh\ntouch \"${0%/bin/*}/started\"\necho QEMU emulator version 10.0.2\n",
    )
    .expect("written");
    fs::set_permissions(&qemu, fs::Permissions::from_mode(0o755)).expect("set");
    machines
}

/// Every command that reads an image refuses `images/NAME` with `message`, and no QEMU is started.
#[track_caller]
fn refused_by_all(machines: &Machines, name: &str, message: &str) {
    let image = format!("images/{name}");
    let inside = format!("{image}:/etc/fstab");
    let path = format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", machines.path("bin").display());
    for arguments in [
        &["inspect", &image][..],
        &["ls", &image],
        &["cat", &inside],
        &["cp", &inside, "copied"],
        &["diff", &image, "base.img"],
        &["boot", &image, "--until", "x", "--timeout", "5"],
        &["flash", "--to-file", &image, "medium"],
        &["stamp", &image, "--hostname", "a", "-o", "a.img"],
    ] {
        let said = machines.run(arguments).env("PATH", &path).exits(2).stderr_text();
        assert!(said.contains(message), "{arguments:?}: {said}");
    }
    for made in ["copied", "medium", "a.img", "started"] {
        assert!(!machines.path(made).exists(), "{name}: {made}");
    }
}

#[test]
fn a_qcow2_does_not_choose_what_is_opened() {
    let machines = prepared();
    let secret = machines.path("secret").display().to_string();
    for (backing, message) in [
        ("fat:.", NOT_A_NAME),
        ("nbd:127.0.0.1:1", NOT_A_NAME),
        ("json:{\"driver\":\"file\",\"filename\":\"../secret\"}", NOT_A_NAME),
        ("../secret", OUTSIDE),
        (&secret, OUTSIDE),
        ("../home.vmwarevm/../secret", OUTSIDE),
        ("link", LINK),
        ("../home.vmwarevm/link", LINK),
        ("../linked.vmwarevm/disk", LINK),
    ] {
        let image = machines.path("images/it");
        let create = ["create", "-uqf", "qcow2", "-F", "raw", "-b", backing];
        let image = image.to_str().expect("UTF-8");
        tool("qemu-img", create.iter().chain(&[image, "100M"]));
        refused_by_all(&machines, "it", message);
    }
    // It is read where it may be, and where the user says that it is.
    for (backing, named) in [("../home.vmwarevm/disk", None), ("/nowhere/secret", Some(&secret))] {
        let image = machines.path("images/it");
        let create = ["create", "-uqf", "qcow2", "-F", "raw", "-b", backing];
        tool("qemu-img", create.iter().chain(&[image.to_str().expect("UTF-8"), "100M"]));
        let mut arguments = vec!["cat", "images/it:/etc/os-release"];
        arguments.extend(named.into_iter().flat_map(|it| ["--backing", it]));
        assert!(machines.run(arguments).succeeds().stdout_text().contains("trixie"));
    }
}

#[test]
fn a_vmdk_does_not_choose_what_is_opened() {
    let machines = prepared();
    let secret = machines.path("secret").display().to_string();
    let text = |lines: &str| {
        format!(
            "# Disk DescriptorFile\nversion=1\nCID=1\nparentCID=ffffffff\n\
             createType=\"monolithicFlat\"\n{lines}\n"
        )
    };
    for (lines, message) in [
        ("RW\t204800\tFLAT\t\"../secret\"\t0".to_owned(), OUTSIDE),
        (format!("RW 204800 FLAT \"{secret}\" 0"), OUTSIDE),
        ("RW 204800 FLAT \"link\" 0".to_owned(), LINK),
        ("RW 204800 FLAT \"fat:.\" 0".to_owned(), NOT_A_NAME),
        ("RW 204800 FLAT \"../home.vmwarevm/disk\" 0".to_owned(), OUTSIDE),
        ("rw 204800 FLAT \"x\" 0".to_owned(), "its descriptor has the extent"),
        ("parentCID=1\nRW 204800 ZERO".to_owned(), "its descriptor has two lines `parentcid`"),
    ] {
        fs::write(machines.path("images/it"), text(&lines)).expect("written");
        refused_by_all(&machines, "it", message);
    }
    for (hint, message) in
        [(&*secret, OUTSIDE), ("../secret", OUTSIDE), ("link", LINK), ("nbd:a:1", NOT_A_NAME)]
    {
        let lines = format!("parentFileNameHint=\"{hint}\"\nRW 204800 ZERO");
        let child = text(&lines).replace("parentCID=ffffffff", "parentCID=1");
        fs::write(machines.path("images/it"), child).expect("written");
        refused_by_all(&machines, "it", message);
    }
    // QEMU looks for extents in the descriptor of a sparse disk that has no sectors.
    let image = machines.path("images/it");
    fs::remove_file(&image).expect("removed");
    tool("qemu-img", ["create", "-qf", "vmdk", image.to_str().expect("UTF-8"), "1M"]);
    let file = fs::File::options().write(true).open(&image).expect("there");
    file.write_all_at(&[0; 8], 12).expect("written");
    refused_by_all(&machines, "it", "its header says that it has no sectors");
}

#[test]
fn a_disk_that_can_be_read_in_two_ways_is_read_in_none() {
    let machines = prepared();
    let descriptor = "# Disk DescriptorFile\nversion=1\nCID=1\nparentCID=ffffffff\n\
         createType=\"monolithicFlat\"\nRW 204800 FLAT \"../secret\" 0\n";
    let short = descriptor.replace("# Disk DescriptorFile", "#");
    let qcow2 = machines.path("images/qcow2");
    let create = ["create", "-uqf", "qcow2", "-F", "raw", "-b", "fat:."];
    tool("qemu-img", create.iter().chain(&[qcow2.to_str().expect("UTF-8"), "100M"]));
    let head = fs::read(&qcow2).expect("there")[..440].to_vec();
    for (start, message) in [
        (descriptor.as_bytes(), "it begins like a vmdk image and like a raw disk"),
        (short.as_bytes(), "it begins like a VMDK, but not as VMware writes one"),
        (&head, "it begins like a qcow2 image and like a raw disk"),
    ] {
        let image = machines.path("images/it");
        fs::copy(machines.path("base.img"), &image).expect("copied");
        let file = fs::File::options().write(true).open(&image).expect("there");
        file.write_all_at(start, 0).expect("written");
        refused_by_all(&machines, "it", message);
    }
}

/// What QEMU itself opens below the folder, by strace.
fn opened_by_qemu(machines: &Machines, arguments: &[&str]) -> BTreeSet<String> {
    let trace = machines.path("trace");
    let status = Command::new("strace")
        .args(["--follow-forks", "--quiet=all", "--string-limit=9999"])
        .args(["--trace=execve,open,openat,openat2,seccomp,connect", "--output"])
        .arg(&trace)
        .arg(env!("CARGO_BIN_EXE_nodeforge"))
        .args(arguments)
        .current_dir(machines.folder.path())
        .env("XDG_CACHE_HOME", machines.path("cache"))
        .status()
        .expect("strace starts");
    assert_eq!(status.code(), Some(124), "{arguments:?}");
    let calls = fs::read_to_string(trace).expect("a trace");
    let started = calls.lines().skip_while(|line| {
        !(line.contains("execve(") && line.contains("\"-blockdev\"") && line.ends_with("= 0"))
    });
    let started: Vec<&str> =
        started.skip_while(|line| !line.contains("execve(\"/usr/bin/qemu")).collect();
    assert!(started[0].contains("\"-sandbox\", \"on,"), "{}", started[0]);
    assert!(started[0].contains("\"user,restrict=on,"), "{}", started[0]);
    assert!(started.iter().any(|line| line.contains("seccomp(SECCOMP_SET_MODE_FILTER")));
    assert!(!started.iter().any(|line| line.contains("AF_INET")), "{arguments:?}");
    let opened = started.iter().filter(|line| line.contains("open") && !line.contains("= -1"));
    let folder = machines.folder.path().canonicalize().expect("there");
    let paths = opened.filter_map(|line| line.split('"').nth(1)).map(Path::new);
    let inside = paths.filter_map(|path| path.strip_prefix(&folder).ok());
    inside.map(|path| path.display().to_string()).filter(|it| it != "trace").collect()
}

#[test]
fn qemu_opens_the_chain_that_was_read_and_nothing_else() {
    let formats = "formats = [\"raw\", \"qcow2\", \"vmwarevm\"]";
    let machines = Machines::new(Arch::Amd64, &["server1"], formats);
    let _ = machines.run(["build"]).succeeds();
    let options = ["convert", "-O", "vmdk", "-o", "subformat=twoGbMaxExtentFlat"];
    let names = [machines.path("base.img"), machines.path("parts.vmdk")];
    let names = names.each_ref().map(|it| it.to_str().expect("UTF-8"));
    tool("qemu-img", options.iter().chain(&names));
    // A name that is there is not a backing file that is meant.
    let create = ["create", "-uqf", "qcow2", "-F", "raw", "-b", "base.img", "--"];
    let over = machines.path("over.qcow2");
    tool("qemu-img", create.iter().chain(&[over.to_str().expect("UTF-8"), "100M"]));
    for (image, expected) in [
        ("out/server1.img", &["out/server1.img"][..]),
        ("over.qcow2", &["base.img", "over.qcow2"]),
        ("out/server1.qcow2", &["out/server1.qcow2", "out/small-base.qcow2"]),
        (
            "out/server1.vmwarevm",
            &["out/server1.vmwarevm/disk.vmdk", "out/small-template.vmwarevm/base.vmdk"],
        ),
        ("parts.vmdk", &["parts-f001.vmdk"]),
    ] {
        let boot = ["boot", image, "--until", "never", "--timeout", "4"];
        let expected: BTreeSet<String> = expected.iter().map(|it| (*it).to_owned()).collect();
        assert_eq!(opened_by_qemu(&machines, &boot), expected, "{image}");
    }
}
