//! A plan as somebody reviews it: grouped by role, with the text of files, and never with a secret.

use std::fs;
use std::path::Path;

use super::support::{Run, User};

/// Two nodes of one role and one of another, each with a secret of its own and one that all share.
const PROFILE: &str = r#"
description = "a profile of one's own"
extends = "quickstart"

[[secret]]
name = "token"
kind = "password"

[[secret]]
name = "vpn"
kind = "wireguard"

[[role]]
name = "server"
pattern = "server[0-9]+"
kind = "control-plane"
first = "server1"

[[role]]
name = "agent"
pattern = "agent[0-9]+"
kind = "worker"

[[role.files]]
path = "/etc/shared"
content = "token: {{ secrets.token }}\n"
mode = "0600"

[[role.files]]
path = "/etc/own"
content = "key: {{ secrets.vpn.private }}\nin base64: {{ secrets.token | b64encode }}\n{{ node.hostname }}\n"
mode = "0600"
"#;

fn folder() -> tempfile::TempDir {
    let folder = User::current().folder();
    fs::create_dir(folder.path().join("own")).expect("made");
    fs::write(folder.path().join("own/profile.toml"), PROFILE).expect("written");
    let text = "[cluster]\nname = \"lab\"\nprofile = \"./own\"\n[access]\nuser = \"me\"\nlogin = false\n\
        [ssh]\nhost_keys = \"first-boot\"\n[[files]]\npath = \"/etc/motd\"\ncontent = \"{{ node.role }}\\n\"\n\
        [[node]]\nhostname = \"server1\"\n[[node]]\nhostname = \"agent[1-2]\"\n";
    fs::write(folder.path().join("cluster.toml"), text).expect("written");
    folder
}

fn plan(folder: &Path, arguments: &[&str]) -> String {
    Run::new(["plan"]).args(arguments).folder(folder).succeeds().stdout_text()
}

#[test]
fn nodes_of_a_role_are_described_once_and_then_each_by_its_own() {
    let folder = folder();
    let text = plan(folder.path(), &[]);
    let (_, agents) = text.split_once("\nrole agent: agent1, agent2\n").expect(&text);
    let (shared, own) = agents.split_once("\n  agent1\n").expect(&text);
    assert!(shared.starts_with("  on each of the 2: "), "{text}");
    assert!(shared.contains("  + write /etc/motd, mode 0644, 6 bytes (cluster file)"), "{text}");
    assert!(
        shared.contains("  + write /etc/shared, mode 0600, from the secret token (role agent)\n")
    );
    let (first, second) = own.split_once("\n  agent2\n").expect(&text);
    assert!(first.contains("    ~ name the machine agent1 (cluster file)\n"), "{text}");
    assert!(
        first.contains("    + write /etc/own, mode 0600, from the secrets token, vpn"),
        "{text}"
    );
    assert!(second.contains("    ~ name the machine agent2 (cluster file)\n"), "{text}");
    // A role of one node is that node.
    assert!(text.contains("\nserver1 (role server)\n"), "{text}");
    assert!(!text.contains('\x1b'), "colours are for terminals");
    let colored = plan(folder.path(), &["--color", "always"]);
    assert!(colored.contains("  \x1b[32m+\x1b[0m write /etc/motd"), "{colored}");
}

#[test]
fn files_are_shown_with_the_names_of_their_secrets() {
    let folder = folder();
    let own = |name: &str| {
        format!("key: <secret vpn {name}>\nin base64: <base64 of <secret token>>\n{name}\n")
    };
    let both = format!("==> agent1 <==\n{}\n==> agent2 <==\n{}", own("agent1"), own("agent2"));
    assert_eq!(plan(folder.path(), &["--show", "/etc/own"]), both);
    assert_eq!(plan(folder.path(), &["--show", "/etc/own", "agent2"]), own("agent2"));
    assert_eq!(plan(folder.path(), &["--show", "/etc/shared"]), "token: <secret token>\n");
    let motd = "==> server1 <==\nserver\n\n==> agent1, agent2 <==\nagent\n";
    assert_eq!(plan(folder.path(), &["--show", "/etc/motd"]), motd);
    Run::new(["plan", "--show", "/etc/mott"])
        .folder(folder.path())
        .exits(2)
        .stderr("error: the plan writes no file `/etc/mott`\nhint: did you mean `/etc/motd`?\n");
    let whole = plan(folder.path(), &["--contents"]);
    assert!(whole.contains("\n        | key: <secret vpn agent1>\n"), "{whole}");
    assert!(whole.contains("\n      | token: <secret token>\n"), "{whole}");
    let json = plan(folder.path(), &["--json"]);
    assert!(json.contains("\"content\": \"token: <secret token>\\n\""), "{json}");
}

#[test]
fn nothing_that_is_printed_depends_on_a_secret() {
    let folder = folder();
    // The store, without a build: its base is not there.
    let missing = ["build", "--set", "base.path=missing.img"];
    Run::new(missing).folder(folder.path()).fails();
    let forms: [&[&str]; 4] = [&[], &["--contents"], &["--json"], &["--diff", "agent1", "agent2"]];
    let all = || forms.map(|arguments| plan(folder.path(), arguments));
    let before = all();
    let store = folder.path().join("nodeforge.secrets");
    let text = fs::read_to_string(&store).expect("there");
    let revealed = || {
        Run::new(["secrets", "show", "--reveal", "token"])
            .folder(folder.path())
            .succeeds()
            .stdout_text()
    };
    let token = revealed();
    // Longer than any that nodeforge makes.
    fs::write(&store, text.replace(token.trim_end(), &"x".repeat(99))).expect("written");
    assert_ne!(revealed(), token);
    assert_eq!(all(), before);
}

#[test]
fn two_nodes_differ_in_the_lines_of_their_files() {
    let folder = folder();
    let said = plan(folder.path(), &["--diff", "agent1", "agent2"]);
    let own = "~ write /etc/own, mode 0600, from the secrets token, vpn (role agent)\n\
               \x20   @@ -1,3 +1,3 @@\n\
               \x20   -key: <secret vpn agent1>\n\
               \x20   +key: <secret vpn agent2>\n\
               \x20    in base64: <base64 of <secret token>>\n\
               \x20   -agent1\n\
               \x20   +agent2\n";
    assert!(said.starts_with("--- agent1\n+++ agent2\n- name the machine agent1"), "{said}");
    assert!(said.contains(own), "{said}");
    assert!(!said.contains("/etc/shared") && !said.contains("/etc/motd"), "{said}");
    // Another role asked for the same file: that is no difference.
    let said = plan(folder.path(), &["--diff", "server1", "agent1"]);
    assert!(!said.contains("05-grow-root"), "{said}");
    assert!(said.contains("    -server\n    +agent\n"), "{said}");
}

#[test]
fn a_template_that_takes_a_secret_apart_is_planned() {
    let folder = folder();
    let path = folder.path().join("cluster.toml");
    let text = fs::read_to_string(&path).expect("there");
    let apart = "[[files]]\npath = \"/etc/part\"\nmode = \"0600\"\n\
        content = \"{{ (secrets.vpn.private | split('=') | list)[1] }}\\n\"\n[[node]]";
    fs::write(&path, text.replacen("[[node]]", apart, 1)).expect("written");
    let shown = plan(folder.path(), &["--show", "/etc/part"]);
    assert_eq!(shown, "<made from the secret vpn>\n");
}
