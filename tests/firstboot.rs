//! The first-boot runner and its steps, under the node's own sh, with stand-ins for what a node has
//! and a test has not.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use super::support::tool;

const SOURCES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/firstboot");

/// A node's root with the runner, two roles and steps that note that they ran.
struct Node {
    root: tempfile::TempDir,
}

impl Node {
    fn new(hostname: &str) -> Self {
        let root = tempfile::tempdir().expect("a folder");
        let node = Self { root };
        for folder in ["etc", "usr/bin", "usr/lib/nodeforge/firstboot.d", "var/lib", "stand-ins"] {
            fs::create_dir_all(node.path(folder)).expect("a folder");
        }
        for (source, target) in [
            ("k8s-firstboot.sh", "usr/bin/k8s-firstboot.sh"),
            ("nodeforge-firstboot", "usr/bin/nodeforge-firstboot"),
            ("lib.sh", "usr/lib/nodeforge/lib.sh"),
        ] {
            fs::copy(Path::new(SOURCES).join(source), node.path(target)).expect("copied");
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
        node
    }

    fn path(&self, path: &str) -> PathBuf {
        self.root.path().join(path)
    }

    fn write(&self, path: &str, text: &str) {
        fs::write(self.path(path), text).expect("written");
    }

    fn program(&self, path: &str, name: &str, body: &str) {
        let note = format!("echo \"{name} $*\" >>\"$NODEFORGE_ROOT/calls\"");
        self.write(path, &format!("#!/bin/sh\n{note}\n{body}\n"));
        let executable = fs::Permissions::from_mode(0o755);
        fs::set_permissions(self.path(path), executable).expect("executable");
    }

    fn step(&self, name: &str, body: &str) {
        self.program(&format!("usr/lib/nodeforge/firstboot.d/{name}"), name, body);
    }

    fn stand_in(&self, name: &str, body: &str) {
        self.program(&format!("stand-ins/{name}"), name, body);
    }

    fn run(&self, program: &str) -> Output {
        let path = format!("{}:/usr/bin:/bin", self.path("stand-ins").display());
        Command::new("sh")
            .arg(self.path(program))
            .env_clear()
            .env("PATH", path)
            .env("NODEFORGE_ROOT", self.root.path())
            .env("NODEFORGE_ATTEMPTS", "3")
            .env("NODEFORGE_DELAY", "0")
            .output()
            .expect("sh starts")
    }

    /// Boots, wants it to end so, and gives what it said.
    #[track_caller]
    fn boot(&self, ends_well: bool) -> String {
        let output = self.run("usr/bin/k8s-firstboot.sh");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.success(), ends_well, "{said}\n{errors}");
        said
    }

    fn calls(&self) -> String {
        fs::read_to_string(self.path("calls")).unwrap_or_default()
    }
}

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

#[test]
fn a_step_that_fails_is_tried_again_then_named() {
    let node = Node::new("server1");
    node.step("20-two", "exit 1");
    let said = node.boot(false);
    assert!(said.ends_with(
        "nodeforge-firstboot: step 20-two did not succeed, attempt 1 of 3\n\
         nodeforge-firstboot: step 20-two did not succeed, attempt 2 of 3\n\
         nodeforge-firstboot: failed: step 20-two after 3 attempts; the next boot tries again\n"
    ));
    assert!(!node.path("var/lib/k8s-firstboot-done").exists());
    let status = node.run("usr/bin/nodeforge-firstboot");
    assert_eq!(status.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&status.stdout).contains("10-one: done\n20-two: not yet\n"));

    // The next boot: what was done is not repeated.
    node.step("20-two", "exit 0");
    let said = node.boot(true);
    assert!(said.contains("step 10-one was done before\n"));
    assert_eq!(node.calls().matches("10-one").count(), 1);
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
            Node::new(name).boot(false),
            format!(
                "nodeforge-firstboot: failed: no pattern in /etc/nodeforge/roles matches the hostname {name}\n"
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
fn the_scripts_are_clean() {
    let mut scripts = vec![];
    for folder in [SOURCES, &format!("{SOURCES}/steps")] {
        for entry in fs::read_dir(folder).expect("readable") {
            let path = entry.expect("readable").path();
            if path.is_file() && path.extension().is_none_or(|it| it != "service") {
                scripts.push(path);
            }
        }
    }
    assert!(scripts.len() >= 5);
    let root = concat!("--source-path=", env!("CARGO_MANIFEST_DIR"));
    let mut arguments = vec!["-x".to_owned(), root.to_owned()];
    arguments.extend(scripts.iter().map(|it| it.display().to_string()));
    tool("shellcheck", arguments);
}
