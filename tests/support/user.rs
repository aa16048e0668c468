use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use super::temporary_folder;

/// A user who runs nodeforge.
#[derive(Clone, Debug)]
pub(crate) struct User {
    /// Whether it is another user than the one who runs the tests.
    is_other: bool,
    /// Where their files are.
    pub(crate) home: PathBuf,
}

/// User and group number of the ordinary user that root's tests run as. The last one before those
/// that Debian's policy reserves.
const ID: u32 = 59_999;
/// The first of their 65,536 subordinate ids; from here on, systemd gives none to its containers.
const SUBORDINATE: u32 = 0x7000_0000;
const NAME: &str = "nodeforge-test";
/// Root's own cache is not reachable by others, who must read bases in this one.
const HOME: &str = "/var/cache/nodeforge-tests";

/// Runs a program as a user that exists only in its own mount namespace: `newuidmap` and others look
/// users up in these files. The machine gets no account that would have to be removed.
const WITH_ACCOUNT: &str = "
files=$1 id=$2
shift 2
for file in passwd group subuid subgid; do
	mount --bind \"$files/$file\" \"/etc/$file\" || exit 125
done
exec setpriv --reuid \"$id\" --regid \"$id\" --clear-groups -- \"$@\"";

impl User {
    /// The user who runs the tests.
    pub(crate) fn current() -> Self {
        let home = PathBuf::from(std::env::var_os("HOME").expect("HOME is set"));
        Self { is_other: false, home }
    }

    /// A user with subordinate ids and no privileges. One who is not root is that already.
    pub(crate) fn ordinary() -> Self {
        if !is_root() {
            return Self::current();
        }
        static HOME_MADE: OnceLock<()> = OnceLock::new();
        HOME_MADE.get_or_init(|| {
            fs::create_dir_all(HOME).expect("a folder");
            fs::set_permissions(HOME, fs::Permissions::from_mode(0o700)).expect("it is ours");
            chown(HOME, Some(ID), Some(ID)).expect("root may");
        });
        Self { is_other: true, home: PathBuf::from(HOME) }
    }

    /// Root, in tests that are marked `#[ignore = "needs root"]`.
    #[track_caller]
    pub(crate) fn root() -> Self {
        require_root();
        Self::current()
    }

    pub(crate) fn is_root(&self) -> bool {
        !self.is_other && is_root()
    }

    /// Whether it is another user than the one who runs the tests.
    pub(crate) fn is_other(&self) -> bool {
        self.is_other
    }

    /// A program as this user, with their home and nothing of another's environment.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = if self.is_other {
            let mut command = Command::new("unshare");
            command.args(["--mount", "sh", "-c", WITH_ACCOUNT, "sh"]);
            command.arg(account_files()).arg(ID.to_string()).arg(program);
            command.env("USER", NAME).env("LOGNAME", NAME);
            command
        } else {
            Command::new(program)
        };
        command
            .env("HOME", &self.home)
            .env("XDG_CACHE_HOME", self.cache())
            .env("NODEFORGE_CACHE_SIZE", "12G")
            .env_remove("NO_COLOR");
        command
    }

    /// What their tests keep from run to run, apart from what nodeforge keeps for them.
    pub(crate) fn cache(&self) -> PathBuf {
        if self.is_other { self.home.clone() } else { self.home.join(".cache/nodeforge-tests") }
    }

    /// A new folder of theirs, gone with the test.
    pub(crate) fn folder(&self) -> tempfile::TempDir {
        let folder = temporary_folder();
        if self.is_other {
            chown(folder.path(), Some(ID), Some(ID)).expect("root may");
        }
        folder
    }
}

/// Whether the tests run as root.
pub(super) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Fails a test that is not marked as one that needs root.
#[track_caller]
pub(crate) fn require_root() {
    assert!(is_root(), "this test needs root: mark it `#[ignore = \"needs root\"]`");
}

/// This machine's lists of users with the ordinary user in them.
pub(crate) fn account_files() -> &'static Path {
    static FILES: OnceLock<tempfile::TempDir> = OnceLock::new();
    let make = || {
        let folder = temporary_folder();
        let copy = |name: &str, line: String| {
            let file = folder.path().join(name);
            let text =
                fs::read_to_string(Path::new("/etc").join(name)).expect("every Debian has it");
            fs::write(&file, format!("{}\n{line}\n", text.trim_end())).expect("written");
            fs::set_permissions(file, fs::Permissions::from_mode(0o644)).expect("it is ours");
        };
        copy("passwd", format!("{NAME}:x:{ID}:{ID}::{HOME}:/bin/sh"));
        copy("group", format!("{NAME}:x:{ID}:"));
        copy("subuid", format!("{NAME}:{SUBORDINATE}:65536"));
        copy("subgid", format!("{NAME}:{SUBORDINATE}:65536"));
        folder
    };
    FILES.get_or_init(make).path()
}
