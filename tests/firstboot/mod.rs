//! The first-boot runner and its steps, under the node's own sh, with stand-ins for what a node has
//! and a test has not.

mod disks;
mod rounds;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use self::rounds::without_time;
use super::support::{FIRSTBOOT as SOURCES, Node, partitions, tool};

#[test]
fn a_node_finds_its_role_and_runs_its_steps_once() {
    let node = Node::new("server1");
    assert_eq!(
        node.boot(true),
        "nodeforge-firstboot: role=server hostname=server1 machine-id=0123456789abcdef0123456789abcdef\n\
         nodeforge-firstboot: step 10-one done\n\
         nodeforge-firstboot: step 20-two done\n\
         nodeforge-firstboot: done\n"
    );
    assert_eq!(node.calls(), "10-one \n20-two \nsystemctl --quiet disable k8s-firstboot.service\n");
    assert!(node.path("var/lib/k8s-firstboot-done").exists());

    let status = node.run("usr/bin/nodeforge-firstboot");
    assert!(status.status.success());
    assert_eq!(
        String::from_utf8_lossy(&status.stdout),
        "hostname: server1\nrole: server\n10-one: done\n20-two: done\nfirst boot: done\n"
    );
}

/// VMware's guest information, for `nodeforge vm list`.
#[test]
fn under_vmware_a_machine_says_how_far_it_is() {
    let node = Node::new("server1");
    node.is_virtual("vmware");
    node.step("20-two", "[ -e \"$NODEFORGE_ROOT/mended\" ]");
    node.boot(false);
    let said = |node: &Node| -> Vec<String> {
        let calls = node.calls();
        let own = calls.lines().filter_map(|it| it.strip_prefix("vmware-rpctool info-set "));
        own.map(|it| it.strip_prefix("guestinfo.nodeforge.status ").expect("it").into()).collect()
    };
    assert_eq!(said(&node), ["server at 10-one", "server at 20-two", "server failing 20-two 1"]);
    node.forget_calls();
    assert!(node.run("usr/bin/nodeforge-firstboot report").status.success());
    assert_eq!(node.calls(), "");
    node.write("mended", "");
    node.boot(true);
    assert_eq!(said(&node), ["server at 20-two", "server done"]);
    node.forget_calls();
    assert!(node.run("usr/bin/nodeforge-firstboot report").status.success());
    assert_eq!(said(&node), ["server done"]);

    let node = Node::new("nas");
    node.is_virtual("vmware");
    node.boot(false);
    assert_eq!(said(&node), ["- failing role 1"]);
}

#[test]
fn a_step_may_succeed_at_its_second_attempt() {
    let node = Node::new("agent7");
    node.step(
        "10-one",
        "[ -e \"$NODEFORGE_ROOT/tried\" ] || { : >\"$NODEFORGE_ROOT/tried\"; exit 1; }",
    );
    assert!(node.boot(true).contains("attempt 1 of 3\nnodeforge-firstboot: step 10-one done\n"));
}

#[test]
fn a_name_that_no_pattern_matches_is_an_error() {
    // The whole name must match: `server1x` and `xserver1` do not.
    for name in ["nas", "server1x", "xserver1"] {
        assert_eq!(
            without_time(&Node::new(name).boot(false)).0,
            format!(
                "nodeforge-firstboot: failed: this machine has no role: no pattern in \
                 /etc/nodeforge/roles matches the hostname {name} (round 1, since TIME)\n"
            )
        );
    }
}

#[test]
fn a_machine_without_a_name_asks_vmware_then_systemd() {
    let node = Node::new("");
    node.stand_in("vmware-rpctool", "echo Agent3");
    assert!(node.boot(true).contains("role=agent hostname=agent3"));
    assert_eq!(fs::read_to_string(node.path("etc/hostname")).expect("there"), "agent3\n");
    assert_eq!(
        fs::read_to_string(node.path("etc/hosts")).expect("there"),
        "127.0.0.1 localhost\n127.0.1.1 agent3\n"
    );
    assert!(node.calls().contains("hostname agent3\n"));

    let node = Node::new("localhost");
    node.stand_in("systemd-creds", "echo server9");
    assert!(node.boot(true).contains("role=server hostname=server9"));

    let node = Node::new("");
    assert!(node.boot(false).contains("failed: this machine has no name: "));
}

#[test]
fn a_name_that_is_none_is_not_believed() {
    let node = Node::new("");
    node.stand_in("vmware-rpctool", "echo 'agent1; rm -rf /'");
    assert!(node.boot(false).contains("failed: this machine has no name: "));
}

#[test]
fn secrets_are_gone_once_first_boot_is_over() {
    let node = Node::new("agent1");
    fs::create_dir(node.path("etc/nodeforge/secrets")).expect("a folder");
    node.write("etc/nodeforge/secrets/token", "abcdef.0123456789abcdef");
    node.boot(true);
    assert!(!node.path("etc/nodeforge/secrets").exists());
}

#[test]
fn what_a_step_spent_is_gone_once_it_is_done_and_not_before() {
    let node = Node::new("server1");
    let spend = ". \"$NODEFORGE_ROOT/usr/lib/nodeforge/lib.sh\"; spent \"$root/etc/key\" \"$root/etc/none\"";
    node.write("etc/key", "AGE-SECRET-KEY-1");
    node.step("10-one", &format!("{spend}; exit 1"));
    node.boot(false);
    assert!(node.path("etc/key").exists());

    node.step("10-one", spend);
    node.step("20-two", "[ ! -e \"$NODEFORGE_ROOT/etc/key\" ]");
    node.boot(true);

    // The power failed between the mark and the shredding.
    let node = Node::new("agent1");
    node.write("etc/key", "AGE-SECRET-KEY-1");
    fs::create_dir_all(node.path("var/lib/nodeforge/firstboot")).expect("a folder");
    node.write("var/lib/nodeforge/firstboot/10-one.done", "");
    let file = node.path("etc/key").display().to_string();
    node.write("var/lib/nodeforge/firstboot/10-one.spent", &format!("{file}\n"));
    node.boot(true);
    assert!(!node.path("etc/key").exists());
}

#[test]
fn the_console_gets_the_lines_and_nothing_else() {
    let node = Node::new("agent1");
    node.step("10-one", "echo chatter");
    let script =
        "NODEFORGE_CONSOLE=$NODEFORGE_ROOT/console sh $NODEFORGE_ROOT/usr/bin/k8s-firstboot.sh";
    let output = node.shell(script);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let console = fs::read_to_string(node.path("console")).expect("there");
    assert!(said.contains("chatter\n"));
    assert_eq!(said.replace("chatter\n", "").lines().last(), console.lines().last());
    assert!(!console.contains("chatter"));
}

#[test]
fn a_unit_that_cannot_be_disabled_does_not_spoil_the_rest() {
    let node = Node::new("agent1");
    node.stand_in("systemctl", "exit 1");
    let said = node.boot(true);
    assert!(said.ends_with(
        "nodeforge-firstboot: cannot disable k8s-firstboot.service\nnodeforge-firstboot: done\n"
    ));
    assert!(node.path("var/lib/k8s-firstboot-done").exists());
}

/// `kill -9` at the second of every call that the runner makes, until there is none left: the
/// next boot must always end well, and repeat at most the step that was cut short.
#[test]
fn the_power_may_fail_at_any_moment() {
    let mut cut = 1;
    loop {
        let node = Node::new("server1");
        // Programs that the runner calls; the n-th call of any ends the runner.
        for name in ["sync", "shred", "rm", "mkdir", "systemctl"] {
            let real = format!("/usr/bin/{name}");
            let body = format!(
                "n=$(cat \"$NODEFORGE_ROOT/n\" 2>/dev/null || echo 0); n=$((n + 1))
                 echo $n >\"$NODEFORGE_ROOT/n\"
                 [ $n -ne {cut} ] || kill -9 $PPID
                 [ {name} = systemctl ] || exec {real} \"$@\""
            );
            node.stand_in(name, &body);
        }
        node.step(
            "10-one",
            ". \"$NODEFORGE_ROOT/usr/lib/nodeforge/lib.sh\"; spent \"$root/etc/key\"",
        );
        node.step("20-two", "exit 0");
        node.write("etc/key", "AGE-SECRET-KEY-1");
        fs::create_dir(node.path("etc/nodeforge/secrets")).expect("a folder");
        node.write("etc/nodeforge/secrets/token", "abcdef.0123456789abcdef");
        let was_cut = !node.run("usr/bin/k8s-firstboot.sh").status.success();
        // On the node, the unit's condition.
        if !node.path("var/lib/k8s-firstboot-done").exists() {
            node.boot(true);
        }
        for gone in ["etc/key", "etc/nodeforge/secrets"] {
            assert!(!node.path(gone).exists(), "{gone}, cut at call {cut}");
        }
        assert!(node.path("var/lib/k8s-firstboot-done").exists());
        for step in ["10-one", "20-two"] {
            let calls = node.calls();
            let times = calls.lines().filter(|line| line.trim_end() == step).count();
            assert!((1..=2).contains(&times), "{step} ran {times} times, cut at call {cut}");
        }
        if !was_cut {
            break;
        }
        cut += 1;
    }
    assert!(cut > 10, "only {cut} calls");
}

#[test]
fn the_root_file_system_grows_to_its_disk() {
    let node = Node::new("agent1");
    let sys = node.path("sys/devices/virtio/block/vda/vda2");
    fs::create_dir_all(&sys).expect("a folder");
    fs::create_dir_all(node.path("sys/dev/block")).expect("a folder");
    std::os::unix::fs::symlink(&sys, node.path("sys/dev/block/254:2")).expect("linked");
    node.stand_in(
        "findmnt",
        "case $* in *MAJ*) echo ' 254:2 ' ;; *FSTYPE*) cat \"$NODEFORGE_ROOT/fstype\" ;; esac",
    );
    node.write("fstype", "ext4\n");
    for name in ["sfdisk", "partx", "resize2fs"] {
        node.stand_in(name, "exit 0");
    }
    // A whole disk, or a device of another kind.
    let output = node.run_step("05-grow-root");
    assert!(output.status.success());
    assert!(String::from_utf8_lossy(&output.stdout).contains("vda2, which is not a partition"));
    assert!(!node.calls().contains("resize2fs"));

    fs::write(sys.join("partition"), "2\n").expect("written");
    assert!(node.run_step("05-grow-root").status.success());
    let root = node.path("").display().to_string();
    assert!(node.calls().replace(root.trim_end_matches('/'), "ROOT").ends_with(
        "sfdisk --quiet --no-reread --no-tell-kernel --force -N 2 ROOT/dev/vda\n\
         partx --update --nr 2 ROOT/dev/vda\n\
         findmnt -n -o FSTYPE ROOT\n\
         resize2fs ROOT/dev/vda2\n"
    ));

    for broken in ["sfdisk", "partx", "resize2fs"] {
        node.stand_in(broken, "exit 1");
        assert!(!node.run_step("05-grow-root").status.success(), "{broken}");
        node.stand_in(broken, "exit 0");
    }
    node.write("fstype", "btrfs\n");
    assert!(node.run_step("05-grow-root").status.success());
}

/// Sectors of 512 bytes.
const TIB: u64 = 1 << 31;

/// sfdisk's own `+` takes the size without the bits that an MBR has no room for.
#[test]
fn the_root_file_system_never_shrinks_on_a_disk_too_large_for_an_mbr() {
    let node = Node::new("agent1");
    let sys = node.path("sys/devices/virtio/block/vda");
    fs::create_dir_all(sys.join("vda2")).expect("a folder");
    fs::create_dir_all(node.path("sys/dev/block")).expect("a folder");
    std::os::unix::fs::symlink(sys.join("vda2"), node.path("sys/dev/block/254:2")).expect("linked");
    node.stand_in("findmnt", "case $* in *MAJ*) echo 254:2 ;; *FSTYPE*) echo ext4 ;; esac");
    node.stand_in("sfdisk", "exec /usr/sbin/sfdisk \"$@\"");
    node.stand_in("partx", "exit 0");
    node.stand_in("resize2fs", "exit 0");
    fs::create_dir_all(node.path("dev")).expect("a folder");
    let disk = node.path("dev/vda");
    // Sectors of the disk, whether it has an MBR, and the partition's size before and after.
    for (size, label, before, after) in [
        (3 * TIB, "dos", 1 << 21, 2 * TIB - (1 << 21)),
        (2 * TIB + 4096, "dos", 1 << 21, 2 * TIB - (1 << 21)),
        (2 * TIB, "dos", 1 << 21, 2 * TIB - (1 << 21)),
        (3 * TIB, "dos", 2 * TIB - (1 << 21), 2 * TIB - (1 << 21)),
        (3 * TIB, "gpt", 1 << 21, 3 * TIB - (1 << 21) - 33),
    ] {
        let file = fs::File::create(&disk).expect("a disk");
        file.set_len(size * 512).expect("space");
        let table = format!(
            "label: {label}\nstart=2048, size=2048\nstart={}, size={before}\n",
            1_u64 << 21
        );
        node.write("table", &table);
        let script = "exec /usr/sbin/sfdisk --quiet $NODEFORGE_ROOT/dev/vda <$NODEFORGE_ROOT/table";
        assert!(node.shell(script).status.success());
        node.write("sys/devices/virtio/block/vda/size", &format!("{size}\n"));
        node.write("sys/devices/virtio/block/vda/queue/logical_block_size", "512\n");
        for (name, number) in [("partition", 2), ("start", 1 << 21), ("size", before)] {
            fs::write(sys.join("vda2").join(name), format!("{number}\n")).expect("written");
        }
        let output = node.run_step("05-grow-root");
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
        let is_cut = label == "dos" && size > 2 * TIB;
        let words = "the disk has an MBR, which cannot name what is behind 2 TiB\n";
        assert_eq!(said.contains(words), is_cut, "{said}");
        let (number, range) = partitions(&disk).pop().expect("two partitions");
        assert_eq!((number, range.start >> 9), (2, 1 << 21));
        assert_eq!((range.end - range.start) >> 9, after, "{size} {label} {before}");
    }
}

#[test]
fn a_machine_without_an_identity_is_refused() {
    let node = Node::new("agent1");
    fs::create_dir_all(node.path("etc/ssh")).expect("a folder");
    assert!(!node.run_step("10-identity").status.success(), "no SSH host key");
    node.write("etc/ssh/ssh_host_ed25519_key", "key");
    assert!(node.run_step("10-identity").status.success());
    let seed = fs::metadata(node.path("var/lib/systemd/random-seed")).expect("there");
    assert_eq!((seed.len(), seed.permissions().mode() & 0o777), (512, 0o600));
    for id in ["uninitialized\n", "", "0123\n"] {
        node.write("etc/machine-id", id);
        assert!(!node.run_step("10-identity").status.success(), "{id}");
    }
}

#[test]
fn the_clock_is_waited_for_where_somebody_sets_it() {
    let node = Node::new("agent1");
    node.stand_in("systemctl", "exit 3");
    assert!(node.run_step("15-clock").status.success());
    node.stand_in("systemctl", "exit 0");
    let output = node.shell(&format!("NODEFORGE_CLOCK_WAIT=0 sh {SOURCES}/steps/15-clock"));
    assert!(output.status.success());
    assert!(
        String::from_utf8_lossy(&output.stdout).contains("timed out waiting for a time server\n")
    );
    fs::create_dir_all(node.path("run/systemd/timesync")).expect("a folder");
    node.write("run/systemd/timesync/synchronized", "");
    let output = node.run_step("15-clock");
    assert!(!String::from_utf8_lossy(&output.stdout).contains("timed out"));
}

#[test]
fn a_clock_from_before_the_certificates_is_set_to_their_day() {
    let node = Node::new("agent1");
    node.stand_in("systemctl", "exit 3");
    node.stand_in(
        "date",
        "case $* in
        *--set*) [ -e $NODEFORGE_ROOT/stuck ] || echo ${3#@} >$NODEFORGE_ROOT/now ;;
        *--date*) exec /usr/bin/date \"$@\" ;;
        *) exec /usr/bin/date -u -d @$(cat $NODEFORGE_ROOT/now) \"${2:-$1}\" ;;
        esac",
    );
    node.write("now", "1740000000\n");
    assert!(node.run_step("15-clock").status.success(), "nothing says what is wrong with it");
    node.write("etc/nodeforge/not-before", "2026-11-21\n");
    node.write("stuck", "");
    let output = node.run_step("15-clock");
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stdout).contains("the clock cannot be set"));

    fs::remove_file(node.path("stuck")).expect("there");
    node.write("var/lib/systemd/timesync/clock", "");
    let output = node.run_step("15-clock");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("the clock says 2025-02-19, before"), "{said}");
    assert!(said.ends_with("it is 2026-11-21 00:00:00 UTC\n"), "{said}");
    // What is right is left alone.
    node.write("now", "1800000000\n");
    assert!(node.run_step("15-clock").status.success());
    assert_eq!(node.read("now"), "1800000000\n");
}

#[test]
fn a_file_is_replaced_as_a_whole_or_not_at_all() {
    let node = Node::new("agent1");
    let write = |command: &str| {
        let library = ". \"$NODEFORGE_ROOT/usr/lib/nodeforge/lib.sh\"";
        node.shell(&format!("set -eu; {library}; {command}")).status.success()
    };
    let file = "etc/new/file";
    assert!(write("echo one | write_file 0640 \"$root/etc/new/file\""));
    assert_eq!(node.read(file), "one\n");
    let mode = fs::metadata(node.path(file)).expect("there").permissions().mode() & 0o777;
    assert_eq!(mode, 0o640);
    assert!(write("write_file 0600 \"$root/etc/new/file\" printf '%s\\n' two"));
    assert_eq!(node.read(file), "two\n");
    // Half of it was there when the command failed; also where a caller has an eye on its status.
    let half = "half() { echo half; return 1; }; write_file 0600 \"$root/etc/new/file\" half";
    assert!(!write(half));
    assert!(!write(&format!("{half} || {{ echo failed; exit 1; }}")));
    node.stand_in("sync", "exit 1");
    assert!(!write("echo three | write_file 0600 \"$root/etc/new/file\""));
    assert_eq!(node.read(file), "two\n");
}

#[test]
fn a_table_of_file_systems_survives_an_editor_that_fails() {
    let node = Node::new("agent1");
    let fstab = "UUID=1 / ext4 defaults 0 1\n/dev/sda2 none swap sw 0 0\n";
    node.write("etc/fstab", fstab);
    node.write("proc/swaps", "Filename Type Size Used Priority\n");
    node.stand_in("swapoff", "exit 0");
    // It finds swap, and fails when it should write.
    node.stand_in("awk", "case $1 in *found*) ;; *) echo UUID; exit 2 ;; esac");
    assert!(!node.run_step("30-swap-off").status.success());
    assert_eq!(node.read("etc/fstab"), fstab);
}

#[test]
fn a_download_is_there_when_it_is_what_was_asked_for() {
    let node = Node::new("agent1");
    let file = "srv/file";
    let download = |sha256: &str| {
        let library = ". \"$NODEFORGE_ROOT/usr/lib/nodeforge/lib.sh\"";
        let call = format!("download https://example.org/a '{sha256}' 0755 \"$root/srv/file\"");
        let output = node.shell(&format!("set -eu; {library}; {call}"));
        (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    node.stand_in("curl", "while [ \"$1\" != --output ]; do shift; done; printf hello >\"$2\"");
    let hash = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
    let (well, said) = download(&"0".repeat(64));
    assert!(!well && said.contains("https://example.org/a does not have the SHA-256 hash 0000"));
    assert_eq!(fs::read_dir(node.path("srv")).expect("a folder").count(), 0, "nothing is left");
    assert!(download(hash).0);
    assert_eq!(node.read(file), "hello");
    let mode = fs::metadata(node.path(file)).expect("there").permissions().mode() & 0o777;
    assert_eq!(mode, 0o755);
    fs::remove_file(node.path(file)).expect("there");
    let calls = node.calls();
    for none in ["", "abc", &hash.replace('2', "2\n")] {
        let (well, said) = download(none);
        assert!(!well && said.contains("nothing says what https://example.org/a must hash to"));
    }
    assert_eq!(node.calls(), calls, "nothing is asked for");
    node.stand_in(
        "curl",
        "while [ \"$1\" != --output ]; do shift; done; printf h >\"$2\"; exit 18",
    );
    assert!(!download(hash).0 && !node.path(file).exists(), "half a file");
}

/// Every file of a node that is a program or a library of the shell, and every Perl program.
fn scripts() -> Vec<PathBuf> {
    let mut scripts = vec![];
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut folders: Vec<_> = ["firstboot", "profiles", "overlays"].map(|it| root.join(it)).into();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("readable") {
            let path = entry.expect("readable").path();
            if path.is_dir() {
                // What is handed out runs on people's machines; its own tests judge it as it is rendered.
                if !path.ends_with("handouts") {
                    folders.push(path);
                }
                continue;
            }
            let text = fs::read_to_string(&path).expect("text");
            if text.starts_with("#!") || text.contains("# shellcheck shell=") {
                scripts.push(path);
            }
        }
    }
    scripts
}

#[test]
fn the_scripts_are_clean() {
    let (mut shell, mut perl) = (vec![], 0);
    for path in scripts() {
        let text = fs::read_to_string(&path).expect("text");
        let path = path.display().to_string();
        if text.starts_with("#!/usr/bin/perl") {
            tool("perl", ["-cw", &path]);
            perl += 1;
            continue;
        }
        assert!(text.starts_with("#!/bin/sh\n") || !text.starts_with("#!"), "{path}: not POSIX");
        tool("dash", ["-n", &path]);
        // A directive before the first command is for the whole file.
        let header = text.lines().take_while(|line| line.starts_with('#') || line.is_empty());
        let blanket = header.filter(|line| line.contains("disable=")).count();
        assert_eq!(blanket, 0, "{path}: switches a check off for the whole file");
        shell.push(path);
    }
    assert!(shell.len() >= 35 && perl >= 2, "{} and {perl}", shell.len());
    let root = concat!("--source-path=", env!("CARGO_MANIFEST_DIR"));
    let mut arguments = vec!["-x".to_owned(), root.to_owned()];
    arguments.extend(shell);
    tool("shellcheck", arguments);
}

/// A stand-in for the root must be all that a script reads and writes, or a test would one day
/// change the machine that it runs on.
#[test]
fn the_scripts_keep_to_their_root() {
    // The kernel's own, the same for every root.
    const SHARED: [&str; 4] = ["/dev/null", "/dev/urandom", "/dev/zero", "/proc/uptime"];
    let places =
        ["etc", "usr", "var", "run", "root", "home", "proc", "sys", "dev", "boot", "opt", "tmp"];
    for path in scripts() {
        let text = fs::read_to_string(&path).expect("text");
        if text.starts_with("#!/usr/bin/perl") {
            continue;
        }
        for line in text.lines().filter(|line| !line.trim_start().starts_with('#')) {
            // Messages name files as a user finds them.
            if ["log ", "fail "].iter().any(|it| line.contains(it)) {
                continue;
            }
            for (at, _) in line.match_indices('/') {
                let rest = &line[at..];
                let before = line[..at].chars().next_back().unwrap_or(' ');
                let first = rest[1..].split('/').next().unwrap_or_default();
                if places.contains(&first)
                    && " \"'<>=(".contains(before)
                    && !line[..at].ends_with("$root\"")
                    && !SHARED.iter().any(|it| rest.starts_with(it))
                {
                    panic!("{}: `{line}` does not begin with $root", path.display());
                }
            }
        }
    }
}
