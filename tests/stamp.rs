//! `nodeforge stamp`: one node from any image, without a cluster file.

use std::fs;

use super::support::tool;
use super::tools::Fixture;

const KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJqRRKt7qZ+7PAkXhbpA1tWiPCsw4oM/WAAYKXuoXMQS me@laptop";

#[test]
fn every_format_holds_the_same_node() {
    let fixture = Fixture::new();
    let before = fs::read(fixture.path("node.img")).expect("the image");
    fixture.write("motd", "hello\n");
    for name in ["a.img", "a.img.xz", "a.img.zst", "a.img.gz", "a.qcow2", "a.vmdk"] {
        let arguments = ["stamp", "node.img", "--hostname", "server7", "--role", "agent"];
        let more =
            ["--ssh-key", KEY, "--passwordless-sudo", "--file", "motd:/etc/motd", "-o", name];
        fixture.run(arguments.into_iter().chain(more)).succeeds();
        let cat = |path: &str| {
            let place = format!("{name}:{path}");
            fixture.run(["cat", &place]).succeeds().stdout_text()
        };
        assert_eq!(cat("/etc/hostname"), "server7\n");
        assert_eq!(cat("/etc/machine-id"), "uninitialized\n");
        assert_eq!(cat("/etc/motd"), "hello\n");
        assert_eq!(cat("/home/pi/.ssh/authorized_keys"), format!("{KEY}\n"));
        let roles = cat("/etc/nodeforge/roles");
        assert_eq!(roles.lines().next(), Some("server7 agent 10-identity 20-report"));
        assert_eq!(fixture.json(["inspect", "--json", name])["nodeforge"]["role"], "agent");
    }
    assert!(fs::read(fixture.path("node.img")).expect("the image") == before, "the base changed");
    fixture.check_file_systems("a.img");
    for (format, name) in [("qcow2", "a.qcow2"), ("vmdk", "a.vmdk")] {
        let (image, raw) = (fixture.path(name), fixture.path("a.img"));
        let (image, raw) = (image.to_str().expect("UTF-8"), raw.to_str().expect("UTF-8"));
        tool("qemu-img", ["compare", "-f", format, "-F", "raw", image, raw]);
    }
}

#[test]
fn keys_and_states_of_another_machine_go() {
    let fixture = Fixture::new();
    fs::create_dir(fixture.path("ssh")).expect("made");
    for name in ["ssh_host_rsa_key", "ssh_host_rsa_key.pub", "ssh_config"] {
        fixture.write(&format!("ssh/{name}"), "another machine's\n");
    }
    fixture.run(["cp", "-r", "ssh", "node.img:/etc/"]).succeeds();
    fixture.run(["stamp", "node.img", "--hostname", "db", "-o", "a.img"]).succeeds();
    let said = fixture.run(["ls", "a.img:/etc/ssh"]).succeeds().stdout_text();
    assert!(said.contains("ssh_config") && !said.contains("ssh_host_rsa_key"), "{said}");
}

#[test]
fn the_same_words_give_the_same_bits() {
    let fixture = Fixture::new();
    for name in ["a.img", "b.img"] {
        fixture.run(["stamp", "node.img", "--hostname", "db", "-o", name]).succeeds();
    }
    let read = |name: &str| fs::read(fixture.path(name)).expect("an image");
    assert!(read("a.img") == read("b.img"));
}

#[test]
fn mistakes_are_reported_and_leave_nothing() {
    let fixture = Fixture::new();
    let cases: [(&[&str], &str); 6] = [
        (
            &["--hostname", "DB", "-o", "a.img"],
            "error: `DB` is not a valid host name: `D` is a capital letter\n",
        ),
        (
            &["--hostname", "db", "-o", "a.iso"],
            "error: cannot infer the format of `a.iso`\n\
             hint: let it end in .img, .img.xz, .img.zst, .img.gz, .qcow2 or .vmdk\n",
        ),
        (
            &["--hostname", "db", "-o", "node.img"],
            "error: OUT is a part of IMAGE, which must not be changed\n",
        ),
        (
            &["--hostname", "db", "--role", "boss", "-o", "a.img"],
            "stamping\nerror: the image has no role `boss`\nhint: its roles are agent, server\n",
        ),
        (
            &["--hostname", "db", "--user", "Me", "-o", "a.img"],
            "stamping\nerror: `Me` is not a valid login name\nhint: a login name is a letter and then letters, digits, \
             `-` or `_`, all in lower case\n",
        ),
        (
            &["--hostname", "db", "--file", "gone:/etc/x", "-o", "a.img"],
            "error: reading `gone`\n  cause: No such file or directory (os error 2)\n",
        ),
    ];
    for (arguments, expected) in cases {
        let run = fixture.run(["stamp", "node.img"].iter().chain(arguments));
        assert_eq!(run.exits(2).stderr_text(), expected);
        assert!(!fixture.path("a.img").exists());
    }
    fixture.check_file_systems("node.img");
}
