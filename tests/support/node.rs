use std::cell::Cell;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use super::temporary_folder;

/// Where the runner, its library and the shipped steps are.
pub(crate) const FIRSTBOOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/firstboot");

/// A node's root with the runner, two roles and steps that note that they ran.
pub(crate) struct Node {
    root: tempfile::TempDir,
    /// After which the runner gives up; on a node it never does.
    rounds: Cell<u32>,
}

impl Node {
    pub(crate) fn new(hostname: &str) -> Self {
        let root = temporary_folder();
        let node = Self { root, rounds: Cell::new(1) };
        for folder in [
            "etc",
            "usr/bin",
            "usr/lib/nodeforge/firstboot.d",
            "var/lib/nodeforge/firstboot",
            "stand-ins",
        ] {
            fs::create_dir_all(node.path(folder)).expect("a folder");
        }
        for (source, target) in [
            ("k8s-firstboot.sh", "usr/bin/k8s-firstboot.sh"),
            ("nodeforge-firstboot", "usr/bin/nodeforge-firstboot"),
            ("lib.sh", "usr/lib/nodeforge/lib.sh"),
        ] {
            fs::copy(Path::new(FIRSTBOOT).join(source), node.path(target)).expect("copied");
        }
        fs::create_dir_all(node.path("etc/nodeforge")).expect("a folder");
        node.write(
            "etc/nodeforge/roles",
            "# PATTERN ROLE STEP…\n\nserver[0-9]+ server 10-one 20-two\nagent[0-9]+ agent 10-one\n",
        );
        node.write("etc/hosts", "127.0.0.1 localhost\n127.0.1.1 old\n");
        node.write("etc/machine-id", "0123456789abcdef0123456789abcdef\n");
        if !hostname.is_empty() {
            node.write("etc/hostname", &format!("{hostname}\n"));
        }
        node.step("10-one", "exit 0");
        node.step("20-two", "exit 0");
        for name in ["hostname", "systemctl", "vmware-rpctool", "vmtoolsd", "systemd-creds"] {
            node.stand_in(name, "exit 1");
        }
        node.stand_in("hostname", "exit 0");
        node.stand_in("systemctl", "exit 0");
        node.is_virtual("none");
        node
    }

    pub(crate) fn give_up_after(&self, rounds: u32) {
        self.rounds.set(rounds);
    }

    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.root.path().join(path)
    }

    pub(crate) fn write(&self, path: &str, text: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().expect("in the root")).expect("a folder");
        fs::write(path, text).expect("written");
    }

    pub(crate) fn read(&self, path: &str) -> String {
        fs::read_to_string(self.path(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    pub(crate) fn program(&self, path: &str, name: &str, body: &str) {
        let note = format!("echo \"{name} $*\" >>\"$NODEFORGE_ROOT/calls\"");
        self.write(path, &format!("#!/bin/sh\n{note}\n{body}\n"));
        let executable = fs::Permissions::from_mode(0o755);
        fs::set_permissions(self.path(path), executable).expect("executable");
    }

    pub(crate) fn step(&self, name: &str, body: &str) {
        self.program(&format!("usr/lib/nodeforge/firstboot.d/{name}"), name, body);
    }

    pub(crate) fn stand_in(&self, name: &str, body: &str) {
        self.program(&format!("stand-ins/{name}"), name, body);
    }

    pub(crate) fn run(&self, program: &str) -> Output {
        self.shell(&format!("exec sh $NODEFORGE_ROOT/{program}"))
    }

    /// What systemd says it runs on. Without a note: it is asked again and again.
    pub(crate) fn is_virtual(&self, kind: &str) {
        self.stand_in("systemd-detect-virt", "");
        self.write("stand-ins/systemd-detect-virt", &format!("#!/bin/sh\necho {kind}\n"));
    }

    /// One of the shipped steps.
    pub(crate) fn run_step(&self, name: &str) -> Output {
        self.run_script(&format!("firstboot/steps/{name}"))
    }

    /// A script of the project.
    pub(crate) fn run_script(&self, path: &str) -> Output {
        self.shell(&format!("exec sh {}/{path}", env!("CARGO_MANIFEST_DIR")))
    }

    /// Lays an overlay's files, those that are no templates, over the root.
    pub(crate) fn overlay(&self, path: &str) {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
        let status =
            Command::new("cp").arg("-R").arg(source.join(".")).arg(self.root.path()).status();
        assert!(status.expect("cp starts").success());
    }

    pub(crate) fn shell(&self, script: &str) -> Output {
        let path = format!("{}:/usr/bin:/bin", self.path("stand-ins").display());
        Command::new("sh")
            .args(["-c", script])
            .env_clear()
            .env("PATH", path)
            .env("NODEFORGE_ROOT", self.root.path())
            .env("NODEFORGE_ATTEMPTS", "3")
            .env("NODEFORGE_DELAY", "0")
            .env("NODEFORGE_ROUND_DELAY", "0")
            .env("NODEFORGE_ROUNDS", self.rounds.get().to_string())
            .env("NODEFORGE_API_WAIT", "0")
            .env("NODEFORGE_HOSTNAME", "node0")
            .env("NODEFORGE_STEP", "the-step")
            .output()
            .expect("sh starts")
    }

    /// Boots, wants it to end so, and gives what it said.
    #[track_caller]
    pub(crate) fn boot(&self, ends_well: bool) -> String {
        let output = self.run("usr/bin/k8s-firstboot.sh");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.success(), ends_well, "{said}\n{errors}");
        said
    }

    pub(crate) fn forget_calls(&self) {
        let _ = fs::remove_file(self.path("calls"));
    }

    pub(crate) fn calls(&self) -> String {
        fs::read_to_string(self.path("calls")).unwrap_or_default()
    }
}
