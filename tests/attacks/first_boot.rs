//! What reaches a node on its first boot: guest information, and what it downloads.

use std::fs;
use std::path::{Path, PathBuf};

use crate::support::{Arch, Authority, Machines, Node, Server};

/// Names that would become further lines of files.
const LINES: [&str; 5] =
    ["agent3\\n127.0.0.1 k3s.test", "x\\nagent3", "agent3\\r", "agent3 evil", "agent3\\033[2J"];

#[test]
fn a_name_is_one_line_wherever_it_comes_from() {
    for name in LINES {
        for source in ["vmware-rpctool", "systemd-creds"] {
            let node = Node::new("");
            node.stand_in(source, &format!("printf '{name}'"));
            let said = node.boot(false);
            assert!(said.contains("failed: this machine has no name"), "{source} {name}: {said}");
            assert!(!node.read("etc/hosts").contains("agent3"), "{source} {name}");
            assert!(!node.path("etc/hostname").exists(), "{source} {name}");
        }
    }
}

#[test]
fn a_token_is_one_line() {
    let token = format!("K10{}::node:abc1", "0".repeat(64));
    for value in [format!("{token}\\nevil: x"), format!("evil: x\\n{token}")] {
        let node = Node::new("agent1");
        node.write("usr/share/nodeforge/k3s/agent.yaml", "server: https://k3s.test:6443\n");
        node.stand_in("vmware-rpctool", &format!("printf '{value}'"));
        let step = "profiles/fusion-k3s/firstboot/25-guestinfo";
        let root = env!("CARGO_MANIFEST_DIR");
        let output = node.shell(&format!("export NODEFORGE_ROLE=agent; exec sh {root}/{step}"));
        assert!(!output.status.success(), "{value}");
        assert!(!node.path("etc/rancher/k3s/config.yaml").exists(), "{value}");
    }
}

/// Every file of a node that the shell reads.
fn scripts(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("readable") {
        let path = entry.expect("readable").path();
        if path.is_dir() {
            scripts(&path, into);
        } else if path.extension().is_none_or(|it| it != "toml" && it != "md") {
            into.push(path);
        }
    }
}

/// A redirection to http would be followed to whoever answers, and another scheme reads files.
#[test]
fn every_download_keeps_to_https() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    for folder in ["firstboot", "profiles", "overlays"] {
        scripts(&root.join(folder), &mut files);
    }
    let mut count = 0;
    for file in files {
        let text = fs::read_to_string(&file).expect("text").replace("\\\n", " ");
        for line in text.lines().filter(|line| !line.trim_start().starts_with('#')) {
            let words: Vec<&str> = line.split_whitespace().collect();
            let shown = file.display();
            assert!(!words.contains(&"wget"), "{shown}: {line}");
            // Whoever throws the answer away asks whether somebody answers.
            if words.contains(&"curl") && !line.contains("--output /dev/null") {
                count += 1;
                let secure = "--proto '=https' --proto-redir '=https'";
                assert!(words.join(" ").contains(secure), "{shown}: {line}");
                assert!(!words.iter().any(|it| matches!(*it, "-k" | "--insecure")), "{shown}");
            }
            // What is not pinned by a hash is not fetched on a node.
            assert!(
                !words.contains(&"helm_install") || !line.contains("--repo"),
                "{shown}: {line}"
            );
            assert!(!line.contains("oci://"), "{shown}: {line}");
        }
    }
    assert!(count >= 3, "{count} calls of curl");
}

/// What no publisher vouches for is trusted once: the lock file says what it was from then on.
#[test]
fn what_came_first_is_pinned() {
    let authority = Authority::new();
    let (plain, secure) = (Server::http(), Server::https(&authority));
    let machines = Machines::new(Arch::Amd64, &["server1"], "formats = [\"raw\"]");
    let profile = fs::read_to_string(machines.path("profile/profile.toml")).expect("there");
    let artifact = |url: &str| {
        let artifact = format!(
            "[[artifact]]\nurl = \"{url}\"\nsha256 = \"first-use\"\npath = \"/srv/chart\"\n"
        );
        fs::write(machines.path("profile/profile.toml"), format!("{profile}{artifact}"))
            .expect("written");
    };
    let fetch = |cache: &str, arguments: &[&str]| {
        let run = machines.run(["fetch"]).args(arguments);
        run.env("SSL_CERT_FILE", authority.certificate())
            .env("XDG_CACHE_HOME", machines.path(cache))
    };
    plain.put("/chart", "a chart");
    artifact(&plain.url("/chart"));
    let said = fetch("cache", &[]).exits(2).stderr_text();
    assert!(said.contains("is not an https:// address"), "{said}");

    secure.put("/chart", "a chart");
    artifact(&secure.url("/chart"));
    let said = fetch("cache", &[]).succeeds().stderr_text();
    assert!(said.contains("at first use: nodeforge.lock pins its SHA-256 "), "{said}");
    secure.put("/chart", "another chart");
    let said = fetch("cache", &["--locked"]).succeeds().stderr_text();
    assert!(!said.contains("at first use"), "{said}");
    let said = fetch("new", &["--locked"]).fails().stderr_text();
    assert!(said.contains("is not what it should be: its SHA-256 is"), "{said}");
}
