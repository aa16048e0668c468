//! Bases: found, downloaded, verified, kept and locked, from servers that behave and servers that
//! do not.

mod cache;
mod faults;
mod formats;
mod full;
mod lock;
mod long;
mod proxies;
mod publishers;
mod resume;
mod trust;

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use super::support::{Authority, Run, Server, checksum, compress, disk, temporary_folder, tool};

/// A server, a catalogue that names it, and a cache of its own.
pub(crate) struct Stand {
    pub(crate) server: Server,
    pub(crate) folder: tempfile::TempDir,
    authority: Option<Authority>,
    pub(crate) catalogue: String,
}

impl Stand {
    pub(crate) fn new() -> Self {
        Self::with(Server::http(), None)
    }

    pub(crate) fn encrypted() -> Self {
        let authority = Authority::new();
        Self::with(Server::https(&authority), Some(authority))
    }

    pub(crate) fn with(server: Server, authority: Option<Authority>) -> Self {
        let folder = temporary_folder();
        Self { server, folder, authority, catalogue: String::new() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn cache(&self) -> PathBuf {
        self.path("cache/nodeforge")
    }

    /// Adds an image `name` to the catalogue.
    pub(crate) fn image(&mut self, name: &str, lines: &str) {
        let url = self.server.url("");
        let lines = lines.replace("SERVER", &url);
        self.catalogue.push_str(&format!(
            "[[image]]\nname = \"{name}\"\ndescription = \"a test\"\narch = \"amd64\"\nlayout = \"uefi\"\n{lines}\n"
        ));
    }

    /// An image at `/image` whose hash the catalogue pins.
    pub(crate) fn pinned(&mut self, file: &Path) {
        self.server.put_file("/image", file);
        let hash = checksum("sha256sum", file);
        self.image("it", &format!("url = \"SERVER/image\"\nsha256 = \"{hash}\""));
    }

    /// A disk compressed with xz, pinned as the image `it`; gives the raw disk.
    pub(crate) fn pinned_disk(&mut self) -> PathBuf {
        let raw = disk(self.folder.path(), 1);
        let file = compress("xz", &["--keep", "-1", "--block-size=1MiB"], &raw);
        self.pinned(&file);
        raw
    }

    pub(crate) fn run<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Run {
        let catalogue = self.path("catalogue.toml");
        fs::write(&catalogue, &self.catalogue).expect("written");
        let run = Run::new(arguments)
            .folder(self.folder.path())
            .env("NODEFORGE_CATALOGUE", catalogue)
            .env("XDG_CACHE_HOME", self.path("cache"));
        match &self.authority {
            Some(authority) => run.env("SSL_CERT_FILE", authority.certificate()),
            None => run,
        }
    }

    /// Fetches an image; gives what was printed as JSON.
    #[track_caller]
    pub(crate) fn fetch(&self, name: &str) -> serde_json::Value {
        let said = self.run(["fetch", "--json", name]).succeeds().stdout_text();
        serde_json::from_str(&said).expect("JSON")
    }

    /// Fetches an image and wants the raw disk, sparse.
    #[track_caller]
    pub(crate) fn fetch_is(&self, name: &str, raw: &Path) -> serde_json::Value {
        let said = self.fetch(name);
        let path = said["path"].as_str().expect("a path");
        tool("cmp", [OsStr::new(path), raw.as_os_str()]);
        assert_eq!(said["sha256"], checksum("sha256sum", raw));
        said
    }

    /// Fetches an image, wants that to fail, and gives what was said.
    #[track_caller]
    pub(crate) fn fails(&self, name: &str) -> String {
        self.run(["fetch", name]).exits(1).stderr_text()
    }

    /// All files in the cache but locks, by their paths in it.
    pub(crate) fn kept(&self) -> Vec<String> {
        if !self.cache().exists() {
            return Vec::new();
        }
        let said = tool("find", [self.cache().as_os_str(), OsStr::new("-type"), OsStr::new("f")]);
        let prefix = format!("{}/", self.cache().display());
        let mut files: Vec<_> = said
            .lines()
            .filter_map(|line| line.strip_prefix(&prefix))
            .filter(|line| !line.ends_with(".lock"))
            .map(str::to_owned)
            .collect();
        files.sort();
        files
    }

    /// A cluster file with this `[base]`.
    pub(crate) fn cluster(&self, base: &str) {
        let base = base.replace("SERVER", &self.server.url(""));
        let text = format!(
            "[cluster]\nname = \"t\"\nprofile = \"quickstart\"\n\n[base]\n{base}\n\n[access]\nuser = \"pi\"\n\
             ssh_authorized_keys = [\"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJqRRKt7qZ+7PAkXhbpA1tWiPCsw4oM/WAAYKXuoXMQS t\"]\n\n\
             [[node]]\nhostname = \"server1\"\n"
        );
        fs::write(self.path("cluster.toml"), text).expect("written");
    }

    pub(crate) fn lock(&self) -> toml::Table {
        let text = fs::read_to_string(self.path("nodeforge.lock")).expect("a lock");
        toml::from_str(&text).expect("TOML")
    }
}
