//! Under sudo: the cache is the user's, and so is whatever is made.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::flash::LoopDevice;
use crate::support::{Arch, Machines, require_root, tool};

/// The user's number, and that of their group.
const ID: u32 = 59_999;

/// Runs a program as a user who may use sudo, and exists only in this mount namespace.
const AS_USER: &str = r#"
files=$1 id=$2
shift 2
for file in passwd group subuid subgid shadow sudoers; do
	mount --bind "$files/$file" "/etc/$file" || exit 125
done
exec setpriv --reuid "$id" --regid "$id" --clear-groups -- "$@""#;

/// A home with a cluster in it, of a user who may become root.
struct Home {
    machines: Machines,
    accounts: tempfile::TempDir,
}

impl Home {
    fn new() -> Self {
        require_root();
        let machines = Machines::new(Arch::Amd64, &["server1"], r#"formats = ["raw", "vmwarevm"]"#);
        let accounts = crate::support::temporary_folder();
        let add = |name: &str, line: String, mode: u32| {
            let file = accounts.path().join(name);
            let before = fs::read_to_string(Path::new("/etc").join(name)).unwrap_or_default();
            fs::write(&file, format!("{}\n{line}\n", before.trim_end())).expect("written");
            fs::set_permissions(file, fs::Permissions::from_mode(mode)).expect("it is ours");
        };
        let home = machines.folder.path().display();
        add("passwd", format!("forger:x:{ID}:{ID}::{home}:/bin/sh"), 0o644);
        add("group", format!("forger:x:{ID}:"), 0o644);
        add("shadow", "forger:*:19000::::::".into(), 0o640);
        add("subuid", "forger:1879048192:65536".into(), 0o644);
        add("subgid", "forger:1879048192:65536".into(), 0o644);
        let sudoers = accounts.path().join("sudoers");
        fs::write(&sudoers, "Defaults env_reset\nforger ALL=(ALL:ALL) NOPASSWD: ALL\n")
            .expect("written");
        fs::set_permissions(sudoers, fs::Permissions::from_mode(0o440)).expect("it is ours");
        let (owner, folder) = (format!("{ID}:{ID}"), machines.folder.path().display().to_string());
        tool("chown", ["-R", &owner, &folder]);
        Self { machines, accounts }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.machines.path(name)
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", AS_USER, "sh"]).arg(self.accounts.path());
        command.arg(ID.to_string()).args(arguments).current_dir(self.machines.folder.path());
        command.env("HOME", self.machines.folder.path()).env_remove("XDG_CACHE_HOME");
        command.env_remove("NO_COLOR").output().expect("unshare starts")
    }

    /// Runs nodeforge and wants it to succeed; gives what it said.
    #[track_caller]
    fn nodeforge(&self, before: &[&str], arguments: &[&str]) -> String {
        let program = env!("CARGO_BIN_EXE_nodeforge");
        let output = self.run(&[before, &[program], arguments].concat());
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let said = text(&output.stdout) + &text(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {said}");
        said
    }

    /// Files in the home that are not the user's.
    fn strange(&self) -> String {
        let folder = self.machines.folder.path().as_os_str();
        let id = ID.to_string();
        let tests = ["(", "!", "-user", &id, "-o", "!", "-group", &id, ")", "-print"];
        tool("find", std::iter::once(folder).chain(tests.map(AsRef::as_ref)))
    }
}

const SUDO: &[&str] = &["sudo"];

#[test]
#[ignore = "needs root"]
fn under_sudo_all_that_is_made_is_the_users() {
    let home = Home::new();
    // The first of all builds, into a cache that is not there yet.
    home.nodeforge(SUDO, &["-q", "build"]);
    assert_eq!(home.strange(), "");
    assert!(home.path(".cache/nodeforge/prepared").is_dir());
    for name in ["nodeforge.lock", "nodeforge.secrets", "out/server1.img", "out/manifest.json"] {
        assert!(home.path(name).exists(), "{name}");
    }
    // The user replaces it, and sudo finds what the user prepared.
    home.nodeforge(&[], &["build"]);
    let said = home.nodeforge(SUDO, &["build", "--replace"]);
    assert!(said.contains("prepared base from the cache"), "{said}");

    home.nodeforge(SUDO, &["flash", "--yes", "--to-file", "server1", "card.img"]);
    home.nodeforge(SUDO, &["stamp", "base.img", "--hostname", "db1", "-o", "db1.qcow2"]);
    home.nodeforge(SUDO, &["cp", "cluster.toml", "card.img:/etc/cluster.toml"]);
    home.nodeforge(SUDO, &["cp", "-r", "card.img:/etc", "etc"]);
    home.nodeforge(SUDO, &["init", "new/folder"]);
    home.nodeforge(SUDO, &["man", "new/man"]);
    home.nodeforge(SUDO, &["secrets", "rotate", "seed"]);
    home.nodeforge(SUDO, &["cache", "prune"]);
    home.nodeforge(SUDO, &["cache", "verify"]);
    assert_eq!(home.strange(), "");
    home.nodeforge(&[], &["build", "--replace"]);
    home.nodeforge(&[], &["flash", "--yes", "--to-file", "server1", "card.img"]);
}

/// Whoever may not write to the device is told before anything is asked or made, and what is told helps.
#[test]
#[ignore = "needs root"]
fn rights_to_the_device_are_tested_first() {
    let home = Home::new();
    let device = LoopDevice::new(home.accounts.path(), 600 << 20, &[]);
    let program = env!("CARGO_BIN_EXE_nodeforge");
    for yes in [&["--yes"][..], &[]] {
        let name = device.name();
        let arguments = [&[program, "flash", "server1", &name][..], yes].concat();
        let output = home.run(&arguments);
        assert_eq!(
            String::from_utf8_lossy(&output.stderr),
            format!(
                "error: opening `{name}`\n  cause: Permission denied\n\
                 hint: writing to a device takes root: try again with `sudo`\n"
            )
        );
        assert!(!home.path(".cache").exists(), "nothing was prepared");
    }
    let said = home.nodeforge(SUDO, &["flash", "--yes", "server1", &device.name()]);
    assert!(said.contains("read back and found right"), "{said}");
    assert_eq!(home.strange(), "");
    let hostname = format!("{}:/etc/hostname", device.name());
    assert_eq!(home.nodeforge(SUDO, &["cat", &hostname]), "server1\n");
}

/// What replaces a file is its owner's.
#[test]
#[ignore = "needs root"]
fn under_sudo_what_is_roots_stays_roots() {
    let home = Home::new();
    home.nodeforge(SUDO, &["-q", "build"]);
    let secrets = home.path("nodeforge.secrets");
    chown(&secrets, Some(0), Some(0)).expect("root may");
    home.nodeforge(SUDO, &["secrets", "rotate", "seed"]);
    assert_eq!(fs::metadata(&secrets).expect("there").uid(), 0);
    // What another user can write is not used, as by any root.
    chown(home.path(".cache/nodeforge"), Some(ID + 1), None).expect("root may");
    let output = home.run(&["sudo", env!("CARGO_BIN_EXE_nodeforge"), "-q", "build"]);
    assert_eq!(
        String::from_utf8_lossy(&output.stderr),
        format!(
            "error: `{}` in the cache can be written by user {}: root cannot rely on it\n\
             hint: XDG_CACHE_HOME can point root to a folder of its own\n",
            home.path(".cache/nodeforge").display(),
            ID + 1
        )
    );
}
