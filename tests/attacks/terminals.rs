//! Nothing that strangers wrote reaches a terminal as a command to it.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};

use crate::support::{Run, tool};
use crate::tools::Fixture;

/// Sets the title, clears the screen, deletes, turns the direction of writing around.
const EVIL: &str = "e\u{1b}]0;x\u{7}\u{9b}2J\u{7f}\u{202e}\u{2066}\rl";
/// The same in TOML.
const TOML: &str = "e\\u001b]0;x\\u0007\\u009b2J\\u007f\\u202e\\u2066\\rl";

/// What a run printed, whether it went well or not.
fn said(fixture: &Fixture, arguments: &[&str]) -> String {
    let mut run = Run::new(arguments).folder(fixture.path(""));
    let command = run.command().env("XDG_CACHE_HOME", fixture.path("cache"));
    let output = command.output().expect("nodeforge starts");
    let text = [output.stdout, output.stderr].concat();
    String::from_utf8(text).unwrap_or_else(|text| panic!("{arguments:?}: {text}"))
}

/// An image in which everything has such a name, and a cluster file with such texts.
fn hostile() -> Fixture {
    let fixture = Fixture::new();
    let root = fixture.root("node.img");
    let label: String = EVIL.chars().take(8).collect();
    tool("tune2fs", ["-L".as_ref(), label.as_ref(), root.as_os_str()]);
    let image = File::options().write(true).open(fixture.path("node.img")).expect("there");
    let offset = 9 << 20;
    image.write_all_at(&fs::read(&root).expect("there"), offset).expect("written");
    fs::remove_file(root).expect("there");
    let status = format!("Package: {EVIL}\nStatus: install ok installed\nVersion: 1{EVIL}\n");
    for (path, content) in [
        ("etc/os-release", format!("PRETTY_NAME=\"{EVIL}\"\nID=debian\n")),
        ("etc/hostname", format!("{EVIL}\n")),
        ("etc/machine-id", format!("{EVIL}\n")),
        ("etc/passwd", format!("root:x:0:0:::\n{EVIL}:x:1000:1000:{EVIL}:/:/bin/sh\n")),
        ("etc/group", format!("root:x:0:\n{EVIL}:x:1000:\n")),
        ("etc/nodeforge/roles", format!(".* {EVIL} 10-{EVIL}\n")),
        ("var/lib/dpkg/status", status),
    ] {
        let file = fixture.write("file", &content);
        let place = format!("node.img:/{path}");
        let _ = fixture.run(["cp".as_ref(), file.as_os_str(), OsStr::new(&place)]).succeeds();
        fs::remove_file(file).expect("there");
    }
    let tree = fixture.path(EVIL);
    fs::create_dir(&tree).expect("made");
    fs::write(tree.join(EVIL), EVIL).expect("written");
    std::os::unix::fs::symlink(EVIL, tree.join("link")).expect("linked");
    let _ = fixture.run(["cp", "-r", EVIL, "node.img:/srv"]).succeeds();
    fixture.write(
        "own/profile.toml",
        &format!(
            "description = \"{TOML}\"\n[settings.a]\ntype = \"string\"\ndefault = \"{TOML}\"\n\
             description = \"{TOML}\"\n[[role]]\nname = \"server\"\npattern = \"server[0-9]\"\n\
             [[role.files]]\npath = \"/etc/x\"\nsource = \"s\"\n\
             [[handout]]\npath = \"h\"\ncontent = \"{TOML}\"\n"
        ),
    );
    fixture.write("own/s", EVIL);
    let cluster = format!(
        "[cluster]\nname = \"lab\"\nprofile = \"./own\"\n[base]\npath = \"node.img\"\n\
         [access]\nuser = \"me\"\nlogin = false\n[settings]\na = \"{TOML}\"\n\
         [[files]]\npath = \"/etc/y\"\ncontent = \"{TOML}\"\n[[node]]\nhostname = \"server[1-2]\"\n"
    );
    fixture.write("cluster.toml", &cluster);
    fixture.write("wrong.toml", &cluster.replace("user = \"me\"", &format!("user = \"{TOML}\"")));
    fixture.write("raw.toml", &cluster.replace("\"lab\"", &format!("\"{EVIL}\"")));
    fixture
}

#[test]
fn no_command_passes_on_what_a_terminal_would_obey() {
    let fixture = hostile();
    let place = format!("node.img:/{EVIL}");
    let (missing, set) = (format!("{EVIL}.img"), format!("settings.a={EVIL}"));
    let nowhere = format!("{EVIL}/none.img");
    fs::copy(fixture.path("node.img"), fixture.path("other.img")).expect("copied");
    let _ = fixture.run(["rm", "-r", "other.img:/srv", "other.img:/etc/passwd"]).succeeds();
    fixture.write(&missing, "not an image");
    let runs: &[&[&str]] = &[
        &["inspect", "node.img"],
        &["inspect", "--json", "node.img"],
        &["inspect", "--sbom", "node.img"],
        &["inspect", &missing],
        &["ls", "-lR", "node.img:/"],
        &["ls", "-R", "node.img:/srv"],
        &["ls", "--json", "-R", "node.img:/srv"],
        &["ls", &place],
        &["cat", &place],
        &["cat", &missing],
        &["cp", &place, "."],
        &["cp", EVIL, "node.img:/"],
        &["rm", &place],
        &["diff", "node.img", "other.img"],
        &["diff", "--json", "node.img", "other.img"],
        &["stamp", "node.img", "--hostname", "x", "--role", EVIL, "-o", "x.img"],
        &["stamp", "node.img", "--hostname", "x", "--ssh-key", EVIL, "-o", "x.img"],
        &["flash", "--to-file", "--yes", "node.img", &missing],
        &["flash", "--list"],
        &["boot", &nowhere],
        &["check", "-v"],
        &["check", "--json"],
        &["check", "wrong.toml"],
        &["check", "raw.toml"],
        &["check", "--set", &set, "-v"],
        &["plan"],
        &["plan", "--json"],
        &["plan", "--diff", "server1", "server2"],
        &["plan", "--diff-base"],
        &["plan", "--contents"],
        &["plan", "--show", EVIL],
        &["doctor"],
        &["doctor", "--json"],
        &["report"],
        &["fetch"],
        &["push", EVIL],
        &["pull", EVIL],
        &["prepare", "--sandbox", EVIL],
        &["build", "--format", "raw", "-v"],
        &["build", EVIL],
        &["profile", "list"],
        &["profile", "show", "./own"],
        &["profile", "show", "--json", "./own"],
        &["profile", "show", EVIL],
        &["secrets", "show"],
        &["secrets", "rotate", EVIL],
        &["lock"],
        &["kubeconfig"],
        &["add", EVIL],
        &["verify"],
        &["cache", "list"],
        &["vm", "list"],
        &["init", "--profile", EVIL, "new"],
        &["schema", "cluster"],
        &["completions", "bash"],
        &["man", "manual"],
    ];
    for arguments in runs {
        let text = said(&fixture, arguments);
        let active = |c: char| {
            !matches!(c, '\n' | '\t') && c.is_control()
                || matches!(c, '\u{200e}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{206f}')
        };
        // A tab is what scripts and manual pages are made of.
        assert!(!text.contains(active), "{arguments:?}: {text:?}");
    }
    let help = said(&fixture, &["--help"]);
    let known = help.lines().filter_map(|line| line.strip_prefix("  ")?.split_once("  "));
    let known = known.map(|(name, _)| name.trim()).filter(|name| {
        !name.is_empty() && name.chars().all(|c| c.is_ascii_lowercase()) && *name != "help"
    });
    let tried: BTreeSet<&str> = runs.iter().map(|it| it[0]).collect();
    assert_eq!(known.collect::<BTreeSet<&str>>(), tried, "a command is missing here");
    assert!(fs::metadata(fixture.path("node.img")).expect("there").size() > 0);
}

/// What is asked for is a file's own bytes, and JSON still means what was there.
#[test]
fn bytes_and_json_are_whole() {
    let fixture = hostile();
    let place = format!("node.img:/srv/{EVIL}");
    let bytes = fixture.run(["cat", &place]).succeeds().output.stdout;
    assert_eq!(bytes, EVIL.as_bytes());
    let listed = fixture.json(["ls", "--json", "node.img:/srv"]);
    let names: Vec<_> = listed.as_array().expect("a list").iter().map(|it| &it["path"]).collect();
    assert!(names.iter().any(|it| **it == *EVIL), "{names:?}");
}
