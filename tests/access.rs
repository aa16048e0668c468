//! Who may log in: what sshd and crypt(3) take is taken, and nothing that they would pass over.

use std::fs;

use super::support::{Run, User, tool};
use super::tools::Fixture;

const KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJqRRKt7qZ+7PAkXhbpA1tWiPCsw4oM/WAAYKXuoXMQS me@laptop";

/// Lines as sshd(8) has them.
fn lines() -> Vec<String> {
    let options = [
        "",
        "command=\"/bin/sh -c ls\" ",
        "restrict,command=\"echo \\\"hello, you\\\"\" ",
        "from=\"10.0.0.0/8\",no-agent-forwarding ",
        "cert-authority,principals=\"root\" ",
    ];
    options.map(|options| format!("{options}{KEY}")).into()
}

fn cluster(access: &str) -> tempfile::TempDir {
    let folder = User::current().folder();
    let text = format!(
        "[cluster]\nname = \"lab\"\nprofile = \"quickstart\"\n[base]\npath = \"base.img\"\n\
         [access]\n{access}\n[[node]]\nhostname = \"server1\"\n"
    );
    fs::write(folder.path().join("cluster.toml"), text).expect("written");
    folder
}

#[test]
fn a_key_with_options_is_taken_wherever_a_key_is() {
    for line in lines() {
        // In a line of its own, in the cluster file, and by itself on the command line.
        let quoted = serde_json::Value::from(line.as_str());
        let folder = cluster(&format!("user = \"me\"\nssh_authorized_keys = [{quoted}, \"keys\"]"));
        let file = folder.path().join("keys");
        fs::write(&file, format!("# mine\n\n  {line}\n")).expect("written");
        tool("ssh-keygen", ["-l".as_ref(), "-f".as_ref(), file.as_os_str()]);
        let plan = Run::new(["plan", "--json"]).folder(folder.path()).succeeds().stdout_text();
        let plan: serde_json::Value = serde_json::from_str(&plan).expect("JSON");
        let mut changes = plan["nodes"][0]["changes"].as_array().expect("changes").iter();
        let user = changes.find(|it| it["action"] == "user").expect("a user");
        assert_eq!(user["ssh_authorized_keys"], serde_json::json!([line]));
    }
    let fixture = Fixture::new();
    let line = &lines()[1];
    fixture
        .run(["stamp", "node.img", "--hostname", "db", "--ssh-key", line, "-o", "a.img"])
        .succeeds();
    let place = "a.img:/home/pi/.ssh/authorized_keys";
    assert_eq!(fixture.run(["cat", place]).succeeds().stdout_text(), format!("{line}\n"));
}

#[test]
fn what_sshd_would_pass_over_is_refused() {
    for (line, message) in [
        (
            format!("comand=\"ls\" {KEY}"),
            "the option `comand` of an SSH key is not one that sshd knows",
        ),
        (
            format!("command=ls {KEY}"),
            "the option `command` of an SSH key needs its value in double quotes",
        ),
        (
            format!("restrict, {KEY}"),
            "the option `` of an SSH key is missing behind the last comma",
        ),
    ] {
        let folder = cluster("user = \"me\"\nssh_authorized_keys = [\"keys\"]");
        fs::write(folder.path().join("keys"), line).expect("written");
        let said = Run::new(["check"]).folder(folder.path()).exits(2).stderr_text();
        assert!(said.contains(&format!("\n  cause: {message}\n")), "{said}");
    }
    for (text, command) in [
        ("---- BEGIN SSH2 PUBLIC KEY ----\nAAAA\n", "ssh-keygen -i -f "),
        ("-----BEGIN PUBLIC KEY-----\nAAAA\n", "ssh-keygen -i -m PKCS8 -f "),
        ("PuTTY-User-Key-File-3: ssh-ed25519\n", "puttygen "),
    ] {
        let folder = cluster("user = \"me\"\nssh_authorized_keys = [\"keys\"]");
        fs::write(folder.path().join("keys"), text).expect("written");
        let said = Run::new(["check"]).folder(folder.path()).exits(2).stderr_text();
        assert!(said.contains(&format!("\nhint: `{command}")), "{said}");
    }
}

/// The command that a hint names makes a key that is taken.
#[test]
fn a_key_in_another_format_is_converted_as_the_hint_says() {
    let folder = cluster("user = \"me\"\nssh_authorized_keys = [\"keys\"]");
    let path = |name: &str| folder.path().join(name).to_str().expect("UTF-8").to_owned();
    let key = path("id");
    tool("ssh-keygen", ["-q", "-t", "ecdsa", "-N", "", "-f", &key]);
    let exported = tool("ssh-keygen", ["-e", "-m", "PKCS8", "-f", &key]);
    fs::write(path("keys"), exported).expect("written");
    let said = Run::new(["check"]).folder(folder.path()).exits(2).stderr_text();
    let hint = said.lines().find_map(|line| line.strip_prefix("hint: `")).expect("a hint");
    let command: Vec<&str> = hint.split('`').next().expect("a command").split(' ').collect();
    let converted = tool(command[0], &command[1..]);
    fs::write(path("keys"), converted).expect("written");
    Run::new(["check"]).folder(folder.path()).succeeds();
}

/// What crypt(3) makes of a password with these settings.
fn crypt(settings: &str) -> String {
    tool("perl", ["-e", "print crypt('secret', $ARGV[0]) // ''", settings])
}

fn is_taken(hash: &str) -> bool {
    let folder = cluster(&format!("user = \"me\"\npassword_hash = '{hash}'"));
    let mut run = Run::new(["check"]).folder(folder.path());
    let output = run.command().output().expect("nodeforge starts");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() || said.contains(": no password matches it\n"), "{said}");
    output.status.success()
}

#[test]
fn hashes_are_those_that_a_password_can_match() {
    for settings in [
        "$6$abc$",
        "$6$rounds=5000$0123456789abcdef$",
        "$5$abc$",
        "$y$j9T$abcdefghijklmnop$",
        "$gy$j9T$abcdefghijklmnop$",
        "$7$CU..../....abcdefghijk$",
        "$2b$04$abcdefghijklmnopqrstuu",
        "$2y$04$abcdefghijklmnopqrstuu",
    ] {
        let hash = crypt(settings);
        assert!(hash.len() > settings.len(), "crypt(3) has no {settings}");
        assert_eq!(crypt(&hash), hash, "the judge knows its own");
        assert!(is_taken(&hash), "{hash}");
        let (cut, long) = (&hash[..hash.len() - 1], format!("{hash}a"));
        let foreign = format!("{cut}!");
        for wrong in [settings, settings.trim_end_matches('$'), cut, &long, &foreign] {
            assert_ne!(crypt(wrong), wrong, "crypt(3) says that no password has it");
            assert!(!is_taken(wrong), "{wrong}");
        }
    }
    for wrong in ["$6$", "$6$abc", "$y$j9T$", "$2b$10$short", "$6$rounds=10$abc$"] {
        assert!(!is_taken(wrong), "{wrong}");
    }
}

#[test]
fn who_is_there_already_is_nobody_to_log_in() {
    for name in ["nobody", "daemon", "www-data", "sudo", "systemd-network"] {
        let folder = cluster(&format!("user = \"{name}\""));
        let said = Run::new(["check"]).folder(folder.path()).exits(2).stderr_text();
        let expected = format!("error: `{name}` is an account or a group of the system itself\n");
        assert!(said.starts_with(&expected), "{said}");
        let fixture = Fixture::new();
        let stamp = ["stamp", "node.img", "--hostname", "db", "--user", name, "-o", "a.img"];
        assert!(fixture.run(stamp).exits(2).stderr_text().contains(&expected));
    }
    // One that only this image has.
    let fixture = Fixture::new();
    let passwd = fixture.run(["cat", "node.img:/etc/passwd"]).succeeds().stdout_text();
    fixture
        .write("passwd", &format!("{passwd}postgres:x:110:110::/var/lib/pg:/usr/sbin/nologin\n"));
    fixture.run(["cp", "passwd", "node.img:/etc/passwd"]).succeeds();
    let stamp = ["stamp", "node.img", "--hostname", "db", "--user", "postgres", "-o", "a.img"];
    let said = fixture.run(stamp).exits(2).stderr_text();
    assert!(said.contains("`postgres` is a system account of the image\n"), "{said}");
    for name in ["localhost", "ip6-loopback"] {
        let said = fixture.run(["stamp", "node.img", "--hostname", name, "-o", "a.img"]).exits(2);
        let said = said.stderr_text();
        assert!(said.contains("every machine has it already\n"), "{said}");
    }
}
