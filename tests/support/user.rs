use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

/// Somebody who runs nodeforge.
#[derive(Clone, Debug)]
pub(crate) struct User {
    /// Another than the one who runs the tests.
    other: Option<&'static str>,
    /// Where their files are.
    pub(crate) home: PathBuf,
}

/// Made by the tests when they run as root.
const ORDINARY: &str = "nodeforge-test";

impl User {
    /// Whoever runs the tests.
    pub(crate) fn current() -> Self {
        Self { other: None, home: PathBuf::from(std::env::var_os("HOME").expect("HOME is set")) }
    }

    /// Everybody the product must work for. Root can be anybody; an ordinary user is one already.
    pub(crate) fn all() -> Vec<Self> {
        if Self::is_root() {
            vec![Self::current(), Self::ordinary()]
        } else {
            vec![Self::current()]
        }
    }

    pub(crate) fn is_root() -> bool {
        rustix::process::geteuid().is_root()
    }

    /// A user with subordinate ids and nothing else.
    fn ordinary() -> Self {
        static MADE: OnceLock<()> = OnceLock::new();
        MADE.get_or_init(|| {
            let exists = Command::new("id").arg(ORDINARY).output().expect("id").status.success();
            if !exists {
                let status = Command::new("useradd")
                    .args(["--create-home", "--shell", "/bin/sh", ORDINARY])
                    .status()
                    .expect("useradd starts");
                assert!(status.success(), "useradd: {status}");
            }
        });
        Self { other: Some(ORDINARY), home: PathBuf::from("/home").join(ORDINARY) }
    }

    /// A program as this user, with their home and nothing of another's environment.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = match self.other {
            None => Command::new(program),
            Some(name) => {
                let mut command = Command::new("setpriv");
                command.args(["--reuid", name, "--regid", name, "--init-groups", program]);
                command
            }
        };
        command
            .env("HOME", &self.home)
            .env("USER", self.other.unwrap_or("root"))
            .env("XDG_CACHE_HOME", self.cache())
            .env("NODEFORGE_CACHE_SIZE", "12G")
            .env_remove("NO_COLOR");
        command
    }

    /// What their tests keep from run to run, apart from what nodeforge keeps for them.
    pub(crate) fn cache(&self) -> PathBuf {
        self.home.join(".cache/nodeforge-tests")
    }

    /// A new folder of theirs, gone with the test.
    pub(crate) fn folder(&self) -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a temporary folder");
        if let Some(name) = self.other {
            let status = Command::new("chown").arg(name).arg(folder.path()).status();
            assert!(status.expect("chown starts").success());
        }
        folder
    }
}
