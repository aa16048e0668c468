//! Prepared bases in a registry: Debian's docker-registry, on loopback.

mod logins;
mod pushed;
mod refused;
mod strangers;
mod trusted;

use std::ffi::OsStr;
use std::fs;
use std::path::PathBuf;

use serde_json::Value;

use crate::support::{Arch, Machines, OciRegistry, Run, temporary_folder, tool};

/// A machine that prepares bases, and pushes them.
struct Forge {
    machines: Machines,
}

/// Another machine, with the same cluster file and an empty cache.
struct Colleague {
    folder: tempfile::TempDir,
}

impl Forge {
    fn new() -> Self {
        Self { machines: Machines::new(Arch::Amd64, &["server1", "agent1"], "formats = [\"raw\"]") }
    }

    fn run<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Run {
        // Whoever runs the tests may be logged in somewhere.
        self.machines.run(arguments).env("REGISTRY_AUTH_FILE", self.machines.path("auth.json"))
    }

    /// Pushes its base; returns what it says.
    fn push(&self, place: &str) -> Value {
        let said = self.run(["-q", "push", place, "--sandbox", "none", "--json"]).succeeds();
        let said: Value = serde_json::from_str(&said.stdout_text()).expect("JSON");
        said["pushed"][0].clone()
    }

    /// A machine that has what is under version control.
    fn colleague(&self) -> Colleague {
        let folder = temporary_folder();
        for name in ["cluster.toml", "profile", "base.img", "nodeforge.lock"] {
            let (from, to) = (self.machines.path(name), folder.path().join(name));
            if from.exists() {
                tool(
                    "cp",
                    ["-r".as_ref(), "--sparse=always".as_ref(), from.as_os_str(), to.as_os_str()],
                );
            }
        }
        Colleague { folder }
    }

    /// Changes one byte of a large file of the base, each time another one.
    fn change_a_byte(&self) {
        use std::os::unix::fs::FileExt as _;
        let path = self.machines.path("base.img");
        let file = fs::File::options().read(true).write(true).open(&path).expect("there");
        let wanted = crate::support::noise(7, 9 << 20);
        let bytes = fs::read(path).expect("there");
        let place = |block: &[u8]| bytes.chunks(4096).position(|it| it == block);
        let mut blocks = wanted.chunks(4096).skip(5 << 8).step_by(256);
        let (at, block) =
            blocks.find_map(|block| Some((place(block)?, block))).expect("the file is in the base");
        file.write_all_at(&[!block[0]], (at * 4096) as u64).expect("written");
    }
}

impl Colleague {
    fn run<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Run {
        Run::new(arguments)
            .folder(self.folder.path())
            .env("XDG_CACHE_HOME", self.path("cache"))
            .env("HOME", self.folder.path())
            .env("REGISTRY_AUTH_FILE", self.path("auth.json"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The prepared base, as `prepare` tells it.
    fn prepare(&self, more: &[&str]) -> Value {
        let first = ["-q", "prepare", "--sandbox", "none", "--json"];
        let said = self.run(first.iter().chain(more)).succeeds();
        serde_json::from_str(&said.stdout_text()).expect("JSON")
    }

    /// The images of its cache, and what was left of any.
    fn cached(&self) -> Vec<String> {
        let mut all = Vec::new();
        for kind in ["prepared", "downloads"] {
            let folder = self.path("cache/nodeforge").join(kind);
            for entry in fs::read_dir(folder).into_iter().flatten() {
                let name = entry.expect("readable").file_name().into_string().expect("text");
                if !name.ends_with(".lock") {
                    all.push(format!("{kind}/{name}"));
                }
            }
        }
        all.sort();
        all
    }
}

/// A manifest of a repository, as the registry has it.
fn manifest(registry: &OciRegistry, digest: &str) -> Value {
    let text = fs::read(registry.blob(digest)).expect("a manifest");
    serde_json::from_slice(&text).expect("JSON")
}
