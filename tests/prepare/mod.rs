//! Stage 1: real packages into a real base, in every sandbox, and what is left behind.

mod boots;
mod downloads;
mod initramfs;
mod locks;
mod machine;
mod refused;
mod sandboxes;
mod secrets;
mod shell;
mod traces;
mod vendor_setup;

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use super::support::{Authority, Gpg, Repository, Run, Server, Style, User, tool};

const KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJqRRKt7qZ+7PAkXhbpA1tWiPCsw4oM/WAAYKXuoXMQS t";

/// Makes a folder of every program that this machine has but QEMU's machines, for `PATH`.
pub(crate) fn without_qemu(folder: &Path) -> String {
    fs::create_dir(folder).expect("made");
    for program in ["/usr/bin", "/usr/sbin"].iter().flat_map(|it| fs::read_dir(it).expect("there"))
    {
        let program = program.expect("an entry");
        if !program.file_name().to_string_lossy().starts_with("qemu-system") {
            // Some are in both.
            drop(symlink(program.path(), folder.join(program.file_name())));
        }
    }
    folder.display().to_string()
}

/// The base of the quickstart as a raw image, bootstrapped once into the user's own cache.
pub(crate) fn base(user: &User) -> PathBuf {
    bootstrapped(user, "suite = \"trixie\", arch = \"amd64\", layout = \"uefi\"")
}

fn bootstrapped(user: &User, bootstrap: &str) -> PathBuf {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _guard = ONE_AT_A_TIME.lock();
    let folder = user.folder();
    let text = format!(
        "[cluster]\nname = \"t\"\nprofile = \"quickstart\"\n[base]\nbootstrap = {{ {bootstrap} }}\n\
         [access]\nuser = \"pi\"\nssh_authorized_keys = [\"{KEY}\"]\n[[node]]\nhostname = \"server1\"\n"
    );
    fs::write(folder.path().join("cluster.toml"), text).expect("written");
    let said = Run::by(user, ["fetch", "--json"]).folder(folder.path()).succeeds().stdout_text();
    let said: serde_json::Value = serde_json::from_str(&said).expect("JSON");
    PathBuf::from(said["path"].as_str().expect("a path"))
}

/// A cluster with a profile of its own, a cache of its own, and servers to fetch from.
pub(crate) struct Stand {
    user: User,
    folder: tempfile::TempDir,
    pub(crate) base: PathBuf,
    pub(crate) plain: Server,
    secure: Server,
    authority: Authority,
    /// Where a base of its own is.
    kept: Option<tempfile::TempDir>,
}

impl Stand {
    fn new(user: User) -> Self {
        let base = base(&user);
        Self::on(user, base)
    }

    pub(crate) fn on(user: User, base: PathBuf) -> Self {
        let folder = user.folder();
        let authority = Authority::new();
        // Others must be able to read it.
        tool(
            "chmod",
            [
                "-R".as_ref(),
                "a+rX".as_ref(),
                authority.certificate().parent().expect("a folder").as_os_str(),
            ],
        );
        let (plain, secure) = (Server::http(), Server::https(&authority));
        Self { user, folder, base, plain, secure, authority, kept: None }
    }

    /// Keeps a folder as long as the stand.
    fn keep(&mut self, folder: tempfile::TempDir) {
        self.kept = Some(folder);
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes cluster file and profile; `PLAIN` and `SECURE` in it stand for the servers.
    pub(crate) fn profile(&self, text: &str) {
        let text =
            text.replace("PLAIN", &self.plain.url("")).replace("SECURE", &self.secure.url(""));
        let profile = self.path("own");
        fs::create_dir_all(&profile).expect("made");
        let profile_text = format!(
            "description = \"a test\"\n{text}\n[[role]]\nname = \"server\"\npattern = \"server[0-9]+\"\n\
             kind = \"control-plane\"\nfirst = \"server1\"\n"
        );
        fs::write(profile.join("profile.toml"), profile_text).expect("written");
        let cluster = format!(
            "[cluster]\nname = \"t\"\nprofile = \"./own\"\n[base]\npath = \"{}\"\n\
             [access]\nuser = \"pi\"\nssh_authorized_keys = [\"{KEY}\"]\n[[node]]\nhostname = \"server1\"\n",
            self.base.display()
        );
        fs::write(self.path("cluster.toml"), cluster).expect("written");
    }

    pub(crate) fn run<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Run {
        Run::by(&self.user, arguments)
            .folder(self.folder.path())
            .env("XDG_CACHE_HOME", self.path("cache"))
            .env("SSL_CERT_FILE", self.authority.certificate())
    }

    /// Another program, as its user, where the cluster file is.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = self.user.command(program);
        command
            .current_dir(self.folder.path())
            .env("XDG_CACHE_HOME", self.path("cache"))
            .env("SSL_CERT_FILE", self.authority.certificate());
        command
    }

    /// Prepares; gives what was printed as JSON.
    #[track_caller]
    fn prepare(&self, arguments: &[&str]) -> serde_json::Value {
        let all = ["prepare", "--json"].iter().chain(arguments);
        let said = self.run(all).succeeds().stdout_text();
        serde_json::from_str(&said).expect("JSON")
    }

    /// Wants preparing to fail, and gives what was said.
    #[track_caller]
    fn fails(&self, arguments: &[&str]) -> String {
        self.run(["prepare"].iter().chain(arguments)).fails().stderr_text()
    }

    fn lock(&self) -> toml::Table {
        let text = fs::read_to_string(self.path("nodeforge.lock")).expect("a lock");
        toml::from_str(&text).expect("TOML")
    }
}

/// A signed repository of packages and what each runs after it is unpacked, served to `stand`. Gives
/// what a profile says of it.
fn own_repository(stand: &Stand, packages: &[(&str, &str)]) -> String {
    own_packages(stand, |repository| {
        for (name, script) in packages {
            repository.add_with(name, "1.0", script);
        }
    })
}

/// The same, of packages that the caller adds.
pub(crate) fn own_packages(stand: &Stand, add: impl FnOnce(&Repository)) -> String {
    let gpg = Gpg::new();
    let key = gpg.key("ed25519");
    let repository = Repository::new(Style::Flat);
    add(&repository);
    repository.publish(&gpg, &key, &stand.plain, "/r");
    stand.plain.put("/key.asc", gpg.public(&key));
    format!(
        "[[apt_source]]\nname = \"own\"\nuris = [\"PLAIN/r\"]\nsuites = [\"/\"]\n\
         key_url = \"PLAIN/key.asc\"\nfingerprint = \"{}\"\n",
        key.fingerprint
    )
}

/// The image that preparing made.
pub(crate) fn image(said: &serde_json::Value) -> PathBuf {
    PathBuf::from(said["path"].as_str().expect("a path"))
}

/// A partition of an image as debugfs and e2fsck name it.
fn root(image: &Path) -> String {
    let parts = super::support::partitions(image);
    // The root is the last to end.
    let (_, range) = parts.into_iter().max_by_key(|(_, range)| range.end).expect("partitions");
    format!("{}?offset={}", image.display(), range.start)
}

/// A file of the root file system, read by debugfs.
pub(crate) fn cat(image: &Path, path: &str) -> String {
    tool("debugfs", ["-R", &format!("cat {path}"), &root(image)])
}
