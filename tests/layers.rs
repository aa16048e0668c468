//! Files laid over each other, overrides, and where each value comes from.

use std::fs;

use super::support::{Run, User};

const BASE: &str = "[cluster]\nname = \"home\"\nprofile = \"quickstart\"\n[access]\nuser = \"me\"\n\
    ssh_authorized_keys = [\"key.pub\"]\n[disk]\nsize = \"3G\"\n";
const KEY: &str = "ssh-ed25519 \
    AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti me\n";

/// `base.toml` with a key beside it, `home/home.toml` with nodes.
fn folder(home: &str) -> tempfile::TempDir {
    let folder = User::current().folder();
    fs::create_dir(folder.path().join("home")).expect("made");
    fs::write(folder.path().join("base.toml"), BASE).expect("written");
    fs::write(folder.path().join("key.pub"), KEY).expect("written");
    fs::write(folder.path().join("home/home.toml"), home).expect("written");
    folder
}

#[test]
fn what_a_later_layer_says_counts_and_check_tells_whose_it_is() {
    let folder = folder("[disk]\nsize = \"4G\"\n\n[[node]]\nhostname = \"server1\"\n");
    let said = Run::new(["check", "-v", "-f", "base.toml", "-f", "home/home.toml"])
        .args(["--set", "cluster.name=lab", "--set", "access.passwordless_sudo=true"])
        .folder(folder.path())
        .env("NODEFORGE__OUTPUT__DIRECTORY", "elsewhere")
        .env("NODEFORGE__CLUSTER__NAME", "beaten")
        .succeeds()
        .stderr_text();
    let rows: Vec<Vec<&str>> =
        said.lines().map(|line| line.split("  ").filter(|it| !it.is_empty()).collect()).collect();
    for row in [
        ["access.user", "\"me\"", "base.toml:5"],
        ["access.passwordless_sudo", "true", "--set"],
        ["cluster.name", "\"lab\"", "--set"],
        ["cluster.profile", "\"quickstart\"", "base.toml:3"],
        ["disk.size", "\"4G\"", "home/home.toml:2"],
        ["node", "1 of [[node]]", "home/home.toml:4"],
        ["output.directory", "\"elsewhere\"", "$NODEFORGE__OUTPUT__DIRECTORY"],
        ["settings.api_name", "\"server1\"", "default of the profile quickstart"],
    ] {
        let found = rows.iter().any(|it| it.iter().map(|cell| cell.trim()).eq(row));
        assert!(found, "{row:?}\n{said}");
    }
}

#[test]
fn a_mistake_is_shown_in_its_own_layer() {
    let folder = folder("[disk]\nsise = \"4G\"\n\n[[node]]\nhostname = \"server1\"\n");
    Run::new(["check", "-f", "base.toml", "-f", "home/home.toml"])
        .args(["--set", "settings.api_name=no_name"])
        .folder(folder.path())
        .exits(2)
        .stdout("")
        .stderr(
            "error: unknown key `sise` in [disk]\n\
             \x20--> home/home.toml:2:1\n\
             \x20\x20|\n\
             2 | sise = \"4G\"\n\
             \x20\x20| ^^^^\n\
             hint: did you mean `size`?\n\
             \n\
             error: `no_name` is not a valid DNS name: `_` is not one of a-z, 0-9 and -\n\
             \x20--> --set:1:21\n\
             \x20\x20|\n\
             1 | settings.api_name = \"no_name\"\n\
             \x20\x20|                     ^^^^^^^^^\n",
        );
}

#[test]
fn paths_start_at_the_folder_of_the_layer_that_has_them() {
    let folder = folder(
        "[[files]]\npath = \"/etc/note\"\nsource = \"note\"\n[[node]]\nhostname = \"server1\"\n",
    );
    fs::write(folder.path().join("home/note"), "from home\n").expect("written");
    let said = Run::new(["plan", "-f", "base.toml", "-f", "home/home.toml", "server1"])
        .folder(folder.path())
        .succeeds()
        .stdout_text();
    assert!(
        said.contains("write /etc/note, mode 0644, 10 bytes, from home/note (cluster file)"),
        "{said}"
    );
}

#[test]
fn wrong_overrides_are_reported() {
    let folder = folder("[[node]]\nhostname = \"server1\"\n");
    let check = |arguments: &[&str]| {
        Run::new(["check", "-f", "base.toml", "-f", "home/home.toml"])
            .args(arguments)
            .folder(folder.path())
    };
    let said = check(&["--set", "disk"]).exits(2).stderr_text();
    assert!(
        said.starts_with("error: `disk` does not set a value\nhint: for example `--set "),
        "{said}"
    );
    let said = check(&["--set", "disk.size=1"]).exits(2).stderr_text();
    assert!(said.contains("--> --set:1:13\n"), "{said}");
    let said = check(&["other.toml"]).exits(2).stderr_text();
    assert!(
        said.starts_with("error: cluster files are named both with and without `-f`"),
        "{said}"
    );
    // A value is one value, whatever is in it.
    let said = check(&["--set", "cluster.name=x\"\nprofile = \"y"]).exits(2).stderr_text();
    assert!(said.contains("is not a valid DNS label"), "{said}");
}
