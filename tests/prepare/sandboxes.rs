//! Every sandbox makes the same, on every processor.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::machine::MachineKernel;
use super::{Stand, bootstrapped, cat, image, own_repository, root, without_qemu};
use crate::support::{Arch, Machines, User, partitions, tool};

/// What may differ between two runs of apt: when they were.
const ALLOWED: [&str; 3] = ["./lost+found", "./var/cache/ldconfig", "./var/lib/dpkg/lock"];

/// As [`Stand::prepare`], with a mask of modes for new files.
fn prepare_under(stand: &Stand, mask: &str, arguments: &[&str]) -> serde_json::Value {
    let mut command = stand.command("sh");
    command.args(["-c", "umask \"$1\"; shift; exec \"$@\"", "sh", mask]);
    command.args([env!("CARGO_BIN_EXE_nodeforge"), "prepare", "--json"]).args(arguments);
    let output = command.output().expect("a shell starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// A repository with a package that has something of everything.
fn package(stand: &Stand) -> String {
    let script = "cp /bin/true /usr/share/probe.d && chmod 4755 /usr/share/probe.d
        ln /usr/share/probe.d /usr/share/probe.e
        truncate -s 8M /usr/share/probe.sparse
        mkfifo -m 0640 /usr/share/probe.fifo
        chown 33:44 /usr/share/probe.fifo
        touch -d @1000000000 /usr/share/probe.old
        if command -v setcap >/dev/null; then setcap cap_net_raw+ep /usr/share/probe.e; fi
        test -e /proc/self/status && test -c /dev/null && test ! -e /sys/class
        # No disk can do that: nobody asks one.
        sync /dev/null
        test -w /tmp && test ! -e /dev/sda
        dpkg --print-architecture >/usr/share/probe.arch
        uname -m >/usr/share/probe.machine";
    let source = own_repository(stand, &[("probe", script)]);
    format!("[packages]\ninstall = [\"probe\", \"libcap2-bin\"]\n{source}")
}

/// Every file of a root file system with all that can be said of it, as the kernel reads it.
fn listing(image: &Path) -> Vec<String> {
    let range =
        partitions(image).into_iter().map(|it| it.1).max_by_key(|it| it.end).expect("parts");
    let script = format!(
        "d=$(mktemp -d) && mount -t ext4 -o ro,loop,noload,offset={},sizelimit={} '{}' $d && cd $d &&
         find . -printf '%p %y %m %U %G %n %l\\n' | sort &&
         find . -type f -printf '%p %s %b\\n' | grep probe | sort &&
         find . -type f -print0 | sort -z | xargs -0 sha256sum | awk '{{ print $2, $1 }}' &&
         getfattr -R -h -d -m - -e hex . && cd / && umount $d && rmdir $d",
        range.start,
        range.end - range.start,
        image.display()
    );
    let said = tool("unshare", ["--mount", "sh", "-c", &script]);
    said.lines().map(str::to_owned).collect()
}

#[test]
fn a_later_build_installs_the_same_files_offline() {
    let stand = Stand::new(User::current());
    stand.profile(&package(&stand));
    let said = stand.fails(&["--offline"]);
    assert!(said.contains("the cache does not have"), "{said}");
    let first = stand.prepare(&[]);
    let lock = stand.lock();
    let packages = lock["package"].as_array().expect("packages");
    let probe = packages.iter().find(|it| it["name"].as_str() == Some("probe")).expect("there");
    assert_eq!(probe["sha256"].as_str().expect("a hash").len(), 64);

    // The repository moves on; the cluster does not, not even without a network.
    stand.plain.remove("/r/InRelease");
    let again = stand.prepare(&["--locked", "--offline", "--force"]);
    assert_eq!(again["packages"], first["packages"]);
    let states = |said: &serde_json::Value| cat(&image(said), "/var/lib/apt/extended_states");
    assert!(states(&again).contains("Package: libcap2"), "what nobody asked for is automatic");

    // A damaged file of the cache is not used.
    let name = format!("cache/nodeforge/debs/probe_1.0_{}.deb", "all");
    fs::write(stand.path(&name), "damaged").expect("written");
    let said = stand.fails(&["--locked", "--offline", "--force"]);
    assert!(said.contains("the cache does not have every package"), "{said}");

    let said = stand.run(["plan"]).succeeds().stdout_text();
    assert!(said.contains("  in the cache as "), "{said}");
    stand.profile(&(package(&stand) + "[kernel]\nmodules = [\"overlay\"]\n"));
    let said = stand.run(["plan"]).succeeds().stdout_text();
    assert!(said.contains("whether it must be made is known after `nodeforge fetch`"), "{said}");
    stand.run(["fetch"]).succeeds();
    let said = stand.run(["plan"]).succeeds().stdout_text();
    let line = said.lines().find(|line| line.contains("made again: ")).expect("a reason");
    assert!(line.contains("apt source own changed"), "{line}");
    assert!(line.contains("/etc/modules-load.d/nodeforge.conf is new"), "{line}");
}

/// Raspberry Pi OS's layout, another processor's programs, as anybody.
#[test]
fn arm64_is_prepared_as_amd64_is() {
    let bootstrap = "suite = \"trixie\", arch = \"arm64\", layout = \"raspberry-pi\"";
    let base = bootstrapped(&User::current(), bootstrap);
    let stand = Stand::on(User::current(), base);
    let before = fs::read_dir("/proc/sys/fs/binfmt_misc").map_or(0, Iterator::count);
    let kernel =
        "[kernel]\ncmdline = [\"cgroup_enable=memory\"]\nconfig_txt = [\"dtparam=pciex1\"]\n";
    stand.profile(&(package(&stand) + kernel));
    let made = image(&stand.prepare(&[]));
    assert_eq!(fs::read_dir("/proc/sys/fs/binfmt_misc").map_or(0, Iterator::count), before);
    tool("e2fsck", ["-fn", &root(&made)]);
    assert_eq!(cat(&made, "/usr/share/probe.arch"), "arm64\n");
    assert_eq!(cat(&made, "/usr/share/probe.machine"), "aarch64\n");

    let layout = tool("sfdisk", ["--dump".as_ref(), made.as_os_str()]);
    let id = layout.lines().find_map(|line| line.strip_prefix("label-id: 0x")).expect("an MBR");
    assert!(layout.contains("start=       16384, size=     1048576, type=c"), "{layout}");
    assert!(layout.contains("start=     1064960, "), "{layout}");
    let fat = |path: &str| {
        let image = format!("{}@@{}", made.display(), 16_384 * 512);
        tool("mtype", ["-i", &image, path])
    };
    let line = fat("::cmdline.txt");
    assert!(line.contains(&format!("root=PARTUUID={id}-02 ")), "{line}");
    assert_eq!(line.matches("cgroup_enable=memory").count(), 1);
    assert_eq!(fat("::config.txt").matches("\ndtparam=pciex1\n").count(), 1);
    let fstab = cat(&made, "/etc/fstab");
    assert!(fstab.contains(&format!("PARTUUID={id}-01  /boot/firmware")), "{fstab}");
    assert!(fstab.contains(&format!("PARTUUID={id}-02  /  ")), "{fstab}");

    let said = stand.fails(&["--sandbox", "loop", "--force"]);
    assert!(said.contains("`--sandbox userns` can"), "{said}");
}

#[test]
fn without_a_sandbox_packages_are_left_to_the_first_boot() {
    none_leaves_packages_to_the_first_boot(&User::ordinary());
}

fn none_leaves_packages_to_the_first_boot(user: &User) {
    let stand = Stand::new(user.clone());
    let units = "[units]\nenable = [\"ssh.service\", \"probe.service\"]\n";
    stand.profile(&(package(&stand) + units));
    let made = image(&stand.prepare(&["--sandbox", "none"]));
    tool("e2fsck", ["-fn", &root(&made)]);
    let list = cat(&made, "/etc/nodeforge/packages");
    assert!(list.contains("INSTALL='probe libcap2-bin'\n"), "{list}");
    assert!(list.contains("ENABLE='probe.service'\n"), "{list}");
    let step = cat(&made, "/usr/lib/nodeforge/firstboot.d/05-packages");
    assert_eq!(step, fs::read_to_string("firstboot/steps/05-packages").expect("there"));
    assert_eq!(cat(&made, "/etc/machine-id"), "uninitialized\n");
    assert!(cat(&made, "/etc/apt/keyrings/own.asc").contains("BEGIN PGP PUBLIC KEY"));
    let said = stand.run(["plan", "--sandbox", "none"]).succeeds().stdout_text();
    assert!(said.contains("packages left to the first boot"), "{said}");
    // `--locked` says what it cannot promise.
    let locked = stand.run(["prepare", "--sandbox", "none", "--locked"]).succeeds();
    let said = locked.stderr_text();
    assert!(said.contains("`--locked` does not hold them"), "{said}");
}

mod as_root {
    use super::*;
    use crate::support::require_root;

    #[test]
    #[ignore = "needs root"]
    fn without_a_sandbox_packages_are_left_to_the_first_boot() {
        super::none_leaves_packages_to_the_first_boot(&User::root());
    }

    #[test]
    #[ignore = "needs root"]
    fn all_sandboxes_make_the_same_tree() {
        let stand = Stand::new(User::root());
        let kernel = MachineKernel::take(&stand);
        stand.profile(&package(&stand));
        let mut all = Vec::new();
        for (sandbox, mask) in [("loop", "022"), ("userns", "077"), ("vm", "022")] {
            let said = prepare_under(&stand, mask, &["--sandbox", sandbox, "--force"]);
            let made = image(&said);
            tool("e2fsck", ["-fn", &root(&made)]);
            // Nothing of what a sandbox works with is kept with the image.
            let beside = fs::read_dir(Path::new(&made).parent().expect("a folder")).expect("there");
            let mut beside: Vec<_> = beside.map(|it| it.expect("an entry").file_name()).collect();
            beside.sort();
            assert_eq!(beside, ["about.json", "disk.img"], "{sandbox}");
            all.push((said["packages"].clone(), listing(&made)));
            // Each as if it were the first.
            fs::remove_file(stand.path("nodeforge.lock")).expect("a lock");
        }
        kernel.keep();
        assert_eq!(all[0].0, all[1].0);
        assert_eq!(all[0].0, all[2].0);
        let differs = |one: usize, other: usize| -> Vec<&String> {
            let lines: std::collections::BTreeSet<_> = all[other].1.iter().collect();
            let is_allowed = |line: &str| ALLOWED.iter().any(|it| line.starts_with(it));
            all[one].1.iter().filter(|line| !lines.contains(line) && !is_allowed(line)).collect()
        };
        assert_eq!((differs(0, 1), differs(1, 0)), (Vec::new(), Vec::new()));
        assert_eq!((differs(0, 2), differs(2, 0)), (Vec::new(), Vec::new()));
        let text = all[0].1.join("\n");
        for line in [
            "./usr/share/probe.e f 4755 0 0 2 ",
            "./usr/share/probe.fifo p 640 33 44 1 ",
            "./usr/share/probe.sparse 8388608 0",
        ] {
            assert!(text.contains(line), "{line}");
        }
        assert!(text.contains("security.capability=0x0100000200200000"), "the capability survives");
    }

    #[test]
    #[ignore = "needs root"]
    fn missing_subordinate_ids_are_reported_before_the_base_is_fetched() {
        require_root();
        let machines = Machines::new(Arch::Amd64, &["server1"], "");
        let folder = machines.folder.path();
        let give_to =
            |whom: &str| tool("chown", ["-R".as_ref(), whom.as_ref(), folder.as_os_str()]);
        let give = || give_to("54321:54321");
        give();
        let path = without_qemu(&machines.path("programs"));
        let run = |arguments: &[&str]| {
            let mut command = Command::new("setpriv");
            command
                .env("PATH", &path)
                .args(["--reuid", "54321", "--regid", "54321", "--clear-groups"])
                .arg(env!("CARGO_BIN_EXE_nodeforge"))
                .args(arguments)
                .current_dir(folder)
                .env("XDG_CACHE_HOME", machines.path("cache"));
            command.output().expect("setpriv starts")
        };
        let told = "the user `54321` has no ids in /etc/subuid";
        let failed = run(&["prepare"]);
        assert_eq!(
            String::from_utf8_lossy(&failed.stderr),
            format!(
                "error: {told}\n\
                 hint: as root: usermod --add-subuids 100000-165535 --add-subgids 100000-165535 54321\n\
                 hint: `--sandbox none` leaves packages to each node's first boot\n\
                 hint: or let a machine do it: `qemu-system-x86_64` is not installed: \
                 `apt install qemu-system-x86` on Debian 13, \
                 `apt install -t bookworm-backports qemu-system-x86` on Debian 12, \
                 `brew install qemu` on macOS\n"
            )
        );
        assert_eq!(failed.status.code(), Some(1));
        assert!(!machines.path("cache/nodeforge/prepared").exists());
        let plan = run(&["plan"]);
        let plan = String::from_utf8_lossy(&plan.stdout);
        assert!(plan.contains(&format!("  which fails here: {told}\n")), "{plan}");
        assert!(run(&["prepare", "--sandbox", "none"]).status.success());
        // What another user prepared needs no sandbox any more. Root uses no cache of somebody else's.
        give_to("0:0");
        let _ = machines.run(["prepare"]).succeeds();
        give();
        let built = run(&["build"]);
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    }
}
