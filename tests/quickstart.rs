//! The main job: three nodes from one cluster file, end to end, as every kind of user.
//!
//! The base is bootstrapped and prepared once, into the user's own cache; later runs find it.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use super::support::{Run, User, for_every_user, partitions, temporary_folder, tool};

const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/quickstart");
const NODES: [&str; 3] = ["server1", "agent1", "agent2"];

/// A copy of the example with its artifacts.
pub(crate) struct Built {
    pub(crate) user: User,
    pub(crate) folder: tempfile::TempDir,
}

impl Built {
    fn output(&self) -> PathBuf {
        self.folder.path().join("out")
    }

    pub(crate) fn artifact(&self, name: &str) -> PathBuf {
        self.output().join(name)
    }
}

/// Built once for all tests of a user.
pub(crate) fn built(user: &User) -> &'static Built {
    static BY_ORDINARY_USER: OnceLock<Built> = OnceLock::new();
    static BY_ROOT: OnceLock<Built> = OnceLock::new();
    let built = if user.is_root() { &BY_ROOT } else { &BY_ORDINARY_USER };
    built.get_or_init(|| build(user.clone()))
}

fn build(user: User) -> Built {
    let folder = user.folder();
    copy_example(&user, folder.path());
    Run::by(&user, ["build"]).folder(folder.path()).succeeds();
    Built { user, folder }
}

fn copy_example(user: &User, folder: &Path) {
    for entry in fs::read_dir(EXAMPLE).expect("the example is there") {
        let entry = entry.expect("readable");
        if entry.path().is_file() && entry.file_name() != "nodeforge.secrets" {
            let status =
                user.command("cp").arg(entry.path()).arg(folder).status().expect("cp starts");
            assert!(status.success());
        }
    }
}

/// One partition as a file of its own, for tools that take no offset.
fn partition(image: &Path, number: u32, folder: &Path) -> PathBuf {
    let (_, range) = partitions(image)
        .into_iter()
        .find(|(it, _)| *it == number)
        .unwrap_or_else(|| panic!("{} has no partition {number}", image.display()));
    let file = folder.join(format!("p{number}"));
    tool(
        "dd",
        [
            "bs=1M".to_owned(),
            "iflag=skip_bytes,count_bytes".to_owned(),
            "conv=sparse".to_owned(),
            "status=none".to_owned(),
            format!("skip={}", range.start),
            format!("count={}", range.end - range.start),
            format!("if={}", image.display()),
            format!("of={}", file.display()),
        ],
    );
    // A hole at its end is not written.
    let whole = fs::File::options().write(true).open(&file).expect("there");
    whole.set_len(range.end - range.start).expect("as long as the partition");
    file
}

/// A file of the root file system, read by debugfs.
fn cat(root: &Path, path: &str) -> String {
    tool("debugfs", [OsStr::new("-R"), OsStr::new(&format!("cat {path}")), root.as_os_str()])
}

fn every_image_passes_the_file_system_checks(user: &User) {
    let built = built(user);
    let temporary = temporary_folder();
    for node in NODES {
        let image = built.artifact(&format!("{node}.img"));
        let verdict = tool("sgdisk", [OsStr::new("-v"), image.as_os_str()]);
        assert!(verdict.contains("No problems found."), "{verdict}");
        let root = partition(&image, 1, temporary.path());
        tool("e2fsck", [OsStr::new("-fn"), root.as_os_str()]);
        let esp = partition(&image, 15, temporary.path());
        tool("fsck.fat", [OsStr::new("-n"), esp.as_os_str()]);
    }
}

fn every_format_holds_the_same_disk(user: &User) {
    let built = built(user);
    for node in NODES {
        let raw = built.artifact(&format!("{node}.img"));
        let qcow2 = built.artifact(&format!("{node}.qcow2"));
        let clone = built.artifact(&format!("{node}.vmwarevm/disk.vmdk"));
        for (format, path) in [("qcow2", &qcow2), ("vmdk", &clone)] {
            tool(
                "qemu-img",
                [OsStr::new("check"), OsStr::new("-f"), OsStr::new(format), path.as_os_str()],
            );
            let said = tool(
                "qemu-img",
                [
                    OsStr::new("compare"),
                    OsStr::new("-f"),
                    OsStr::new(format),
                    OsStr::new("-F"),
                    OsStr::new("raw"),
                    path.as_os_str(),
                    raw.as_os_str(),
                ],
            );
            assert_eq!(said, "Images are identical.\n");
        }
    }
}

fn a_clone_is_a_few_mebibytes_and_finds_its_template(user: &User) {
    let built = built(user);
    for node in NODES {
        let bundle = built.artifact(&format!("{node}.vmwarevm"));
        let names: BTreeSet<_> = fs::read_dir(&bundle)
            .expect("there")
            .map(|it| it.expect("readable").file_name().to_string_lossy().into_owned())
            .collect();
        let expected = ["disk.vmdk".to_owned(), format!("{node}.vmsd"), format!("{node}.vmx")];
        assert_eq!(names, BTreeSet::from(expected));
        let disk = fs::metadata(bundle.join("disk.vmdk")).expect("there");
        assert!(disk.len() < 8 << 20, "{} bytes", disk.len());
        let vmsd = fs::read_to_string(bundle.join(format!("{node}.vmsd"))).expect("there");
        let template = vmsd
            .lines()
            .find_map(|line| line.strip_prefix("cloneOf0 = \""))
            .expect("a clone")
            .trim_end_matches('"');
        assert!(bundle.join(template).is_file(), "{template}");
    }
    let template = built.artifact("quickstart-template.vmwarevm/base.vmdk");
    assert_eq!(fs::metadata(template).expect("there").mode() & 0o222, 0);
}

fn nodes_differ_in_what_makes_them_themselves(user: &User) {
    let built = built(user);
    let temporary = temporary_folder();
    let mut ids = BTreeSet::new();
    let mut keys = BTreeSet::new();
    let known_hosts = fs::read_to_string(built.artifact("known_hosts")).expect("there");
    for node in NODES {
        let root = partition(&built.artifact(&format!("{node}.img")), 1, temporary.path());
        assert_eq!(cat(&root, "/etc/hostname"), format!("{node}\n"));
        let id = cat(&root, "/etc/machine-id");
        assert!(id.len() == 33 && id.trim_end().chars().all(|c| c.is_ascii_hexdigit()), "{id}");
        ids.insert(id);
        let key = cat(&root, "/etc/ssh/ssh_host_ed25519_key.pub");
        let words: Vec<_> = key.split_whitespace().collect();
        assert!(known_hosts.contains(&format!("{} {}", words[0], words[1])), "{key}");
        keys.insert(key);
        let mode = tool(
            "debugfs",
            [OsStr::new("-R"), OsStr::new("stat /etc/ssh/ssh_host_ed25519_key"), root.as_os_str()],
        );
        assert!(mode.contains("Mode:  0600") && mode.contains("User:     0"), "{mode}");
    }
    assert_eq!((ids.len(), keys.len()), (3, 3));
}

fn checksums_and_manifest_tell_the_truth(user: &User) {
    let built = built(user);
    let sums = built
        .user
        .command("sha256sum")
        .args(["--check", "--strict", "--quiet", "SHA256SUMS"])
        .current_dir(built.output())
        .output()
        .expect("sha256sum starts");
    assert!(sums.status.success(), "{}", String::from_utf8_lossy(&sums.stdout));
    let text = fs::read(built.artifact("manifest.json")).expect("there");
    let manifest: serde_json::Value = serde_json::from_slice(&text).expect("JSON");
    let nodes: Vec<_> =
        manifest["nodes"].as_array().expect("nodes").iter().map(|it| &it["hostname"]).collect();
    assert_eq!(nodes, ["server1", "agent1", "agent2"]);
    let packages = manifest["packages"].as_array().expect("packages");
    assert!(packages.iter().any(|it| it["name"] == "containerd"));
    // The first secret anybody would look for.
    let secrets = fs::read_to_string(built.folder.path().join("nodeforge.secrets")).expect("there");
    let seed = secrets.split('"').find(|word| word.len() == 64).expect("a seed");
    assert!(!String::from_utf8_lossy(&text).contains(seed));
    let mode = fs::metadata(built.folder.path().join("nodeforge.secrets")).expect("there").mode();
    assert_eq!(mode & 0o777, 0o600);
}

fn nothing_but_artifacts_is_left(user: &User) {
    let built = built(user);
    let names: BTreeSet<_> = fs::read_dir(built.output())
        .expect("there")
        .map(|it| it.expect("readable").file_name().to_string_lossy().into_owned())
        .collect();
    let mut expected: BTreeSet<String> = [
        "SHA256SUMS",
        "known_hosts",
        "manifest.json",
        "quickstart-base.qcow2",
        "quickstart-template.vmwarevm",
        "sbom.spdx.json",
    ]
    .map(str::to_owned)
    .into();
    for node in NODES {
        expected.extend(["bmap", "img", "qcow2", "vmwarevm"].map(|it| format!("{node}.{it}")));
    }
    assert_eq!(names, expected);
}

fn a_full_disk_is_an_error_that_leaves_nothing(user: &User) {
    let built = built(user);
    // In a mount namespace of its own, which an ordinary user may make as well.
    let script = "mkdir full && mount -t tmpfs -o size=20M tmpfs full || exit 3
                  \"$0\" build -o full; code=$?; ls -A full >left; exit $code";
    let output = built
        .user
        .command("unshare")
        .args(["--map-root-user", "--mount", "sh", "-c", script])
        .arg(env!("CARGO_BIN_EXE_nodeforge"))
        .current_dir(built.folder.path())
        .output()
        .expect("unshare starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("/full` is full: 20.0 MiB are free, and "), "{said}");
    assert!(said.ends_with("hint: make room, or choose another folder with `-o`\n"), "{said}");
    let left = fs::read_to_string(built.folder.path().join("left")).expect("written");
    assert_eq!(left, "");
}

fn equal_inputs_give_equal_bits_whatever_the_number_of_jobs(user: &User) {
    let built = built(user);
    let sums = |name: &str| fs::read_to_string(built.folder.path().join(name)).expect("there");
    for jobs in ["1", "5"] {
        Run::by(&built.user, ["build", "--jobs", jobs, "-o", "again"])
            .folder(built.folder.path())
            .succeeds();
        assert_eq!(sums("again/SHA256SUMS"), sums("out/SHA256SUMS"), "--jobs {jobs}");
        fs::remove_dir_all(built.folder.path().join("again")).expect("removed");
    }
}

for_every_user!(
    every_image_passes_the_file_system_checks,
    every_format_holds_the_same_disk,
    a_clone_is_a_few_mebibytes_and_finds_its_template,
    nodes_differ_in_what_makes_them_themselves,
    checksums_and_manifest_tell_the_truth,
    nothing_but_artifacts_is_left,
    a_full_disk_is_an_error_that_leaves_nothing,
    equal_inputs_give_equal_bits_whatever_the_number_of_jobs,
);

/// A node that fails is watched until the timeout: it tries again by itself. Only QEMU is a stand-in here.
#[test]
fn a_boot_test_that_runs_out_of_time_names_the_step_that_failed_last() {
    let built = built(&User::ordinary());
    let folder = built.user.folder();
    let qemu = folder.path().join("qemu-system-x86_64");
    let stand_in = |lines: &str, end: &str| {
        let script = format!(
            "#!/bin/sh\n[ \"$1\" != --version ] || {{ echo QEMU emulator version 10.0.2; exit; }}\n\
             cat <<'EOF'\n{lines}EOF\n{end}\n"
        );
        fs::write(&qemu, script).expect("written");
        tool("chmod", ["0755", &qemu.display().to_string()]);
    };
    let path = format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", folder.path().display());
    let boot = |arguments: &[&str]| {
        Run::by(&built.user, ["boot", "agent1", "--test", "--timeout", "2"])
            .args(arguments)
            .folder(built.folder.path())
            .env("PATH", &path)
    };
    let failed = |step: &str| format!("nodeforge-firstboot: failed: step {step} (round 1)\n");
    let lines = format!("{}{}\n", failed("20-two"), failed("30-three"));
    let what = "nothing on the console matched `nodeforge-firstboot: done` in 2 seconds";
    stand_in(&lines, "exec sleep 60");
    let told = boot(&[]).exits(124).stderr_text();
    let wanted = format!("error: {what}\n  cause: it said last `{}`\n", failed("30-three").trim());
    assert!(told.ends_with(&wanted), "{told}");
    stand_in("booting\n", "exec sleep 60");
    let told = boot(&[]).exits(124).stderr_text();
    assert!(told.ends_with(&format!("error: {what}\n")), "{told}");
    stand_in(&lines, "");
    let told = boot(&[]).exits(1).stderr_text();
    assert!(told.contains("error: the machine went off before its console matched"), "{told}");
    stand_in(&format!("{lines}nodeforge-firstboot: done\n"), "exec sleep 60");
    let told = boot(&[]).exits(0).stderr_text();
    assert!(told.contains("\nmatched `nodeforge-firstboot: done` after 0."), "{told}");
    // Nobody is behind the port.
    let told = boot(&["--ssh", "--", "true"]).exits(124).stderr_text();
    assert!(told.ends_with("error: the machine let nobody in within 2 seconds\n"), "{told}");
    stand_in("nodeforge-firstboot: done\n", "sleep 1");
    let told = boot(&["--ssh", "--", "true"]).exits(1).stderr_text();
    assert!(told.ends_with("error: the machine went off before it let anybody in\n"), "{told}");
    boot(&["--ssh"]).exits(2).stdout("").stderr(
        "error: with `--until` and `--test`, `--ssh` needs a command\n\
         hint: `nodeforge boot NODE --test --ssh -- COMMAND` runs it once first boot is done\n",
    );
}
