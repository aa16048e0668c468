//! A colleague's cluster file, profile and output folder: they read and write where they belong.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use crate::support::{Arch, Machines, Run, User};

const ROLE: &str =
    "[[role]]\nname = \"server\"\npattern = \"server1\"\nkind = \"control-plane\"\nfirst = true\n";
const PROFILE_HINT: &str = "hint: a profile reads files of its own folder only\n";

/// A colleague's folder in `project`, with a profile, and beside it what is nobody else's business.
fn project(profile: &str, cluster: &str) -> tempfile::TempDir {
    let folder = User::current().folder();
    let project = folder.path().join("project");
    fs::create_dir_all(project.join("own/overlays")).expect("made");
    fs::create_dir_all(folder.path().join("home/.ssh")).expect("made");
    for secret in ["home/id", "home/.ssh/id", "home/profile.toml"] {
        fs::write(folder.path().join(secret), "description = \"PRIVATE\"\n").expect("written");
    }
    let text = format!("description = \"a colleague's\"\n{profile}\n{ROLE}");
    fs::write(project.join("own/profile.toml"), text).expect("written");
    let text = format!(
        "[cluster]\nname = \"lab\"\nprofile = \"./own\"\n[access]\nuser = \"me\"\nlogin = false\n\
         [base]\npath = \"base.img\"\n{cluster}\n[[node]]\nhostname = \"server1\"\n"
    );
    fs::write(project.join("cluster.toml"), text).expect("written");
    folder
}

/// The first line and the last of what a run in the project says.
fn refused(folder: &Path, arguments: &[&str]) -> (String, String) {
    let run = Run::new(arguments).folder(folder.join("project"));
    let said = run.env("HOME", folder.join("home")).exits(2).stderr_text();
    assert!(!said.contains("PRIVATE"), "{said}");
    let lines: Vec<&str> = said.lines().collect();
    let last = lines.iter().rev().find(|line| line.starts_with("hint")).copied();
    (format!("{}\n", lines[0]), format!("{}\n", last.unwrap_or_default()))
}

#[test]
fn a_profile_reads_its_own_folder() {
    let outside = "which is not below";
    let source = |path: &str| format!("[[handout]]\npath = \"a\"\nsource = \"{path}\"");
    for (profile, message) in [
        (source("~/.ssh/id"), "error: `~/.ssh/id` starts at the user's home\n"),
        (source("/etc/passwd"), "error: `/etc/passwd` is absolute\n"),
        (source("../../home/id"), "error: `../../home/id` leads out of its folder with `..`\n"),
        (source("link"), outside),
        (source("folder/id"), outside),
        (format!("{ROLE}[[role.files]]\npath = \"/a\"\nsource = \"link\"").replace("server", "x"), outside),
        ("overlays = [\"stolen\"]".into(), outside),
        ("base = { path = \"link\" }".into(), outside),
        ("base = { url = \"https://a.example/x\", signature = \"https://a.example/x.sig\", key = \"link\" }".into(), outside),
        ("[settings.a]\ntype = \"path\"\ndefault = \"/etc/passwd\"".into(), "error: `/etc/passwd` is absolute\n"),
        ("[settings.a]\ntype = \"secret\"\ndefault = { file = \"~/id\" }".into(), "error: `~/id` starts at the user's home\n"),
    ] {
        let folder = project(&profile, "");
        let own = folder.path().join("project/own");
        symlink("../../home/id", own.join("link")).expect("linked");
        symlink("../../home", own.join("folder")).expect("linked");
        symlink("../../../home/.ssh", own.join("overlays/stolen")).expect("linked");
        let (first, hint) = refused(folder.path(), &["check"]);
        assert!(first == message || message == outside && first.contains(outside), "{profile}: {first}");
        assert!(hint == PROFILE_HINT || profile.starts_with("overlays"), "{profile}: {hint}");
    }
}

#[test]
fn a_profile_reads_no_variable_and_no_other_profile() {
    for (profile, message, hint) in [
        (
            "[settings.a]\ntype = \"secret\"\ndefault = { env = \"HOME\" }",
            "error: a profile reads no variable of the environment\n",
            "hint: the cluster file may: in [settings], `NAME = { env = \"…\" }`\n",
        ),
        (
            "extends = \"~/\"",
            "error: `~/` is not a profile beside this one\n",
            "hint: a profile extends a shipped one, or one in a folder beside its own: `../other`\n",
        ),
        (
            "extends = \"../../home\"",
            "error: `../../home` is not a profile beside this one\n",
            "hint: a profile extends a shipped one, or one in a folder beside its own: `../other`\n",
        ),
        (
            "[[secret]]\nname = \"a\"\nkind = \"file\"\npath = \"../home/id\"",
            "error: `../home/id` leads out of its folder with `..`\n",
            "hint: the user's own file lies below the cluster file's folder\n",
        ),
        (
            "[base]\nbootstrap = { suite = \"trixie\", arch = \"amd64\", layout = \"uefi\", mirror = \"file:///etc\" }",
            "error: `file:///etc` is not the address of a mirror\n",
            "hint: for example `https://deb.debian.org/debian`\n",
        ),
    ] {
        let folder = project(profile, "");
        let said = refused(folder.path(), &["check"]);
        assert_eq!(said, (message.into(), hint.into()), "{profile}");
    }
    // A file of the user's that is a link out of the folder, and a `profile.toml` that is one.
    let folder = project("[[secret]]\nname = \"a\"\nkind = \"file\"\npath = \"mine.key\"", "");
    symlink("../home/id", folder.path().join("project/mine.key")).expect("linked");
    let (first, _) = refused(folder.path(), &["plan"]);
    assert_eq!(first, "error: the secret `a` cannot be read\n");
    let folder = project("", "");
    let own = folder.path().join("project/own/profile.toml");
    fs::remove_file(&own).expect("removed");
    symlink("../../home/profile.toml", &own).expect("linked");
    assert!(refused(folder.path(), &["check"]).0.contains("which is not below"));
}

#[test]
fn the_user_may_name_any_file_and_the_plan_shows_it() {
    let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJqRRKt7qZ+7PAkXhbpA1tWiPCsw4oM/WAAYKXuoXMQS me";
    let profile = "overlays = [\"net\"]\nextends = \"../common\"\n[settings.token]\ntype = \"secret\"\n\
        [[secret]]\nname = \"mine\"\nkind = \"file\"\npath = \"mine.key\"\n\
        [[role]]\nname = \"server\"\npattern = \"server1\"\nkind = \"control-plane\"\nfirst = true\n\
        [[role.files]]\npath = \"/etc/join\"\nmode = \"0600\"\nsource = \"join.j2\"\n[[role]]\nname = \"x\"\npattern = \"x\"\n#";
    let cluster = "[settings]\ntoken = { file = \"~/id\" }\n[[files]]\npath = \"/etc/motd\"\nsource = \"~/.ssh/id\"\n";
    let folder = project(profile, cluster);
    let path = |name: &str| folder.path().join(name);
    let profile = fs::read_to_string(path("project/own/profile.toml")).expect("there");
    let end = profile.find("[[role]]\nname = \"x\"").expect("there");
    fs::write(path("project/own/profile.toml"), &profile[..end]).expect("written");
    fs::create_dir_all(path("project/common")).expect("made");
    fs::write(path("project/common/profile.toml"), "description = \"c\"\n").expect("written");
    fs::create_dir_all(path("project/own/overlays/net/etc")).expect("made");
    fs::write(path("project/own/overlays/net/etc/net.j2"), "n\n").expect("written");
    fs::write(path("project/own/join.j2"), "{{ secrets.mine }}{{ settings.token }}")
        .expect("written");
    fs::write(path("project/mine.key"), "hush").expect("written");
    fs::write(path("home/me.pub"), key).expect("written");
    let text = fs::read_to_string(path("project/cluster.toml")).expect("there");
    let text = text.replace("login = false", "ssh_authorized_keys = [\"~/me.pub\"]");
    fs::write(path("project/cluster.toml"), text).expect("written");
    let home = path("home");
    let run = Run::new(["plan"]).folder(path("project")).env("HOME", &home);
    let plan = run.succeeds().stdout_text();
    let home = home.display();
    for line in [
        "  + write /etc/net, mode 0644, 2 bytes, from own/overlays/net/etc/net.j2 (overlay net)"
            .into(),
        "  + write /etc/join, mode 0600, from the secrets mine, token, from own/join.j2, mine.key, \
         HOME/id (role server)"
            .replace("HOME", &home.to_string()),
        format!("  + write /etc/motd, mode 0644, 24 bytes, from {home}/.ssh/id (cluster file)"),
        format!("  + set up the user me, 1 SSH key, no password, from {home}/me.pub (cluster file)"),
    ] {
        assert!(plan.lines().any(|it| it == line), "{line}\n{plan}");
    }
}

#[test]
fn artifacts_stay_in_the_cluster_files_folder() {
    let hint = "hint: artifacts stay below the cluster file's folder; `-o` names any other\n";
    for (directory, fault) in [
        ("~/.ssh", "starts at the user's home"),
        ("/tmp/x", "is absolute"),
        ("../home", "leads out of its folder with `..`"),
    ] {
        let folder = project("", &format!("[output]\ndirectory = \"{directory}\""));
        let said = refused(folder.path(), &["build"]);
        assert_eq!(said, (format!("error: `{directory}` {fault}\n"), hint.into()));
    }
    for directory in ["out", "link/deeper"] {
        let folder = project("", &format!("[output]\ndirectory = \"{directory}\""));
        symlink("../home", folder.path().join("project/out")).expect("linked");
        symlink("../home/new", folder.path().join("project/link")).expect("linked");
        let (first, last) = refused(folder.path(), &["build"]);
        assert!(first.contains("which is not below"), "{first}");
        assert_eq!(last, "hint: `-o` names a folder elsewhere\n");
        assert!(!folder.path().join("home/new").exists());
    }
    // What is typed may be anywhere: it fails later, for want of a base.
    let folder = project("", "");
    for named in [["-o", "../elsewhere"], ["--set", "output.directory=../elsewhere"]] {
        let run = Run::new(["build"]).args(named).folder(folder.path().join("project"));
        let said = run.fails().stderr_text();
        assert!(said.contains("base.img"), "{said}");
        assert!(folder.path().join("elsewhere").is_dir());
    }
}

#[test]
fn a_build_replaces_what_a_build_of_its_cluster_made() {
    let machines =
        Machines::new(Arch::Amd64, &["server1"], "directory = \".\"\nformats = [\"raw\"]");
    let write = |path: &str, text: &str| {
        let path = machines.path(path);
        fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        fs::write(path, text).expect("written");
    };
    let profile = fs::read_to_string(machines.path("profile/profile.toml")).expect("there");
    let handouts = "[[handout]]\npath = \"src/main.c\"\ncontent = \"x\"\n\
        [[secret]]\nname = \"a\"\nkind = \"hex\"\n\
        [[handout]]\npath = \"keys/a\"\ncontent = \"{{ secrets.a }}\"\n";
    write("profile/profile.toml", &format!("{profile}{handouts}"));
    let refused = |name: &str, and_more: &str| {
        let was = if and_more.is_empty() { "was" } else { "were" };
        let _ = machines.run(["build", "-q"]).exits(2).stderr(&format!(
            "error: `{}`{and_more} {was} not made by a build of the cluster `small`, and would be replaced\n\
             hint: move it away, or choose another folder with `-o`\n\
             hint: `--replace` replaces it\n",
            machines.path(&format!("./{name}")).display()
        ));
    };
    write("src/other.c", "mine");
    refused("src/other.c", "");
    fs::remove_file(machines.path("src/other.c")).expect("there");
    for name in ["keys", "known_hosts", "server1.img", "manifest.json", "sbom.spdx.json"] {
        symlink("cluster.toml", machines.path(name)).expect("linked");
        refused(name, "");
        fs::remove_file(machines.path(name)).expect("there");
    }
    for name in ["server1.img", "server1.bmap", "SHA256SUMS"] {
        write(name, "mine");
    }
    refused("server1.img", " and 2 other files");
    let cluster = fs::read(machines.path("cluster.toml")).expect("there");
    for name in ["server1.img", "server1.bmap", "SHA256SUMS"] {
        fs::remove_file(machines.path(name)).expect("there");
    }
    symlink("cluster.toml", machines.path("server1.img")).expect("linked");
    let _ = machines.run(["build", "-q", "--replace"]).succeeds();
    assert!(!machines.path("server1.img").is_symlink());
    assert_eq!(fs::read(machines.path("cluster.toml")).expect("there"), cluster);
    let _ = machines.run(["build", "-q"]).succeeds();
    write("keys/mine", "mine");
    refused("keys/mine", "");
    assert_eq!(fs::read(machines.path("keys/mine")).expect("there"), b"mine");
}

#[test]
fn a_build_that_was_killed_still_owns_what_it_published() {
    let machines = Machines::new(Arch::Amd64, &["server1", "agent1"], "formats = [\"raw\"]");
    let _ = machines.run(["build", "-q"]).succeeds();
    // As it is when a first build is killed at its last step but one.
    let names = ["server1.img", "server1.bmap", "agent1.img", "known_hosts"];
    fs::write(machines.artifact(".nodeforge-publishing"), format!("{names:?}")).expect("written");
    for name in ["manifest.json", "SHA256SUMS", "agent1.bmap", "sbom.spdx.json"] {
        fs::remove_file(machines.artifact(name)).expect("there");
    }
    let _ = machines.run(["build", "-q", "server1"]).succeeds();
    assert!(!machines.artifact(".nodeforge-publishing").exists());
    let _ = machines.run(["build", "-q", "agent1"]).succeeds();
}

#[test]
fn a_backup_in_an_output_folder_is_restored_inside_it() {
    let machines = Machines::new(Arch::Amd64, &["server1"], "formats = [\"raw\"]");
    let backup = machines.artifact(".nodeforge-template");
    fs::create_dir_all(backup.join("files")).expect("made");
    fs::write(backup.join("files/authorized_keys"), "evil").expect("written");
    symlink("../../home", backup.join("of")).expect("linked");
    let _ = machines.run(["build", "-q"]).succeeds();
    assert!(!machines.path("home").exists() && !backup.exists());
}
