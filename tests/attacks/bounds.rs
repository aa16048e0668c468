//! Small inputs that ask for much: memory, time, room.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::{Run, temporary_folder, tool};

const KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJqRRKt7qZ+7PAkXhbpA1tWiPCsw4oM/WAAYKXuoXMQS t";

/// Checks a cluster whose profile has this file and this condition, with 2 GiB of address space.
fn check(template: &str, condition: &str) -> (Option<i32>, String) {
    let folder = temporary_folder();
    let path = |name: &str| folder.path().join(name);
    fs::create_dir_all(path("own/overlays/all/etc")).expect("made");
    fs::write(path("own/overlays/all/etc/bomb.j2"), template).expect("written");
    fs::write(
        path("own/profile.toml"),
        format!(
            "description = \"a test\"\n[[role]]\nname = \"server\"\npattern = \"server[0-9]+\"\n\
             kind = \"control-plane\"\nfirst = \"server1\"\n\
             overlays = [{{ name = \"all\", when = '''{condition}''' }}]\n"
        ),
    )
    .expect("written");
    fs::write(
        path("cluster.toml"),
        format!(
            "[cluster]\nname = \"t\"\nprofile = \"./own\"\n[base]\npath = \"b.img\"\narch = \"amd64\"\n\
             [access]\nuser = \"pi\"\nssh_authorized_keys = [\"{KEY}\"]\n[[node]]\nhostname = \"server1\"\n"
        ),
    )
    .expect("written");
    let script = format!("ulimit -v 2097152; exec {} check", env!("CARGO_BIN_EXE_nodeforge"));
    let output = Command::new("sh")
        .args(["-c", &script])
        .current_dir(folder.path())
        .env("XDG_CACHE_HOME", path("cache"))
        .output()
        .expect("sh starts");
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn a_template_takes_no_more_memory_than_a_template_needs() {
    let small = check("{{ node.hostname }}", "true");
    assert_eq!(small.0, Some(0), "{}", small.1);
    let double = |how: &str| {
        format!(
            "{{% set ns = namespace(x='abcdefgh') %}}{{% for i in range(60) %}}{how}{{% endfor %}}"
        )
    };
    for template in [
        double("{% set ns.x = ns.x ~ ns.x %}"),
        double("{% set ns.x = ns.x + ns.x %}"),
        double("{% set x %}{{ ns.x }}{{ ns.x }}{% endset %}{% set ns.x = x %}"),
        double("{% set ns.x = ns.x|replace('a', 'aa')|replace('b', 'bb') %}"),
        double("{% set ns.x = [ns.x, ns.x]|join %}"),
    ] {
        let (code, said) = check(&template, "true");
        assert_eq!(code, Some(2), "{template}: {said}");
        assert!(said.contains("takes more than 256 MiB of memory"), "{template}: {said}");
    }
    let grow = (0..12).fold("'aaaaaaaa'".to_owned(), |text, _| {
        format!("{text}|replace('a', 'aaaaaaaaaaaaaaaa')")
    });
    let (code, said) = check("x", &format!("{grow} == 'b'"));
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("takes more than 256 MiB of memory"), "{said}");
}

/// So many GiB of zeros as xz, in streams of one: some 150 KB each.
fn bomb(folder: &Path, count: usize) -> PathBuf {
    let zeros = folder.join("zeros");
    fs::File::create(&zeros).expect("a file").set_len(1 << 30).expect("long");
    tool("xz", [Path::new("-0"), &zeros]);
    let one = fs::read(zeros.with_extension("xz")).expect("there");
    let bomb = folder.join("bomb.img.xz");
    fs::write(&bomb, one.repeat(count)).expect("written");
    bomb
}

#[test]
fn a_bomb_is_refused_by_what_it_says_and_stopped_by_an_interrupt() {
    let folder = temporary_folder();
    let large = bomb(folder.path(), 70);
    let began = Instant::now();
    let said = Run::new([Path::new("ls"), &large]).exits(2).stderr_text();
    let words = format!("it unpacks to more than {} bytes: it says {}", 64_u64 << 30, 70_u64 << 30);
    assert!(said.contains(&words), "{said}");
    // The same as a base.
    let cluster = format!(
        "[cluster]\nname = \"t\"\nprofile = \"quickstart\"\n[base]\npath = \"bomb.img.xz\"\n[access]\nuser = \"pi\"\n\
         ssh_authorized_keys = [\"{KEY}\"]\n[[node]]\nhostname = \"server1\"\n"
    );
    fs::write(folder.path().join("cluster.toml"), cluster).expect("written");
    let fetch =
        |run: Run| run.folder(folder.path()).env("XDG_CACHE_HOME", folder.path().join("cache"));
    let said = fetch(Run::new(["fetch"])).exits(2).stderr_text();
    assert!(said.contains(&words), "{said}");
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());

    // As large as is allowed: it takes minutes, and obeys.
    fs::remove_file(&large).expect("removed");
    fs::remove_file(folder.path().join("zeros.xz")).expect("removed");
    let allowed = bomb(folder.path(), 60);
    let arguments = [vec!["ls".as_ref(), allowed.as_os_str()], vec!["fetch".as_ref()]];
    for arguments in arguments {
        let mut run = fetch(Run::new(arguments));
        let mut child = run.command().stderr(Stdio::null()).spawn().expect("nodeforge starts");
        std::thread::sleep(Duration::from_secs(2));
        assert!(child.try_wait().expect("asked").is_none(), "it is done already");
        let began = Instant::now();
        tool("kill", ["-INT", &child.id().to_string()]);
        let code = child.wait().expect("it ends").code();
        assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
        assert_eq!(code, Some(130));
    }
}
