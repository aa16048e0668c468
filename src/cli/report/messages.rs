//! Every message about a wrong cluster file or profile, byte for byte: `tests/messages/*.txt`.
//!
//! A case there is `=== TITLE`, the wrong file, `---`, and what is printed. Tables that a cluster
//! file needs and a case does not have are appended to it; a case that begins with `# whole` stays
//! as it is. `NODEFORGE_BLESS=1 cargo test messages` overwrites the expected text.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use super::render;
use crate::build::rehearse;
use crate::config;
use crate::util::error::Result;

/// What a case leaves out.
const NEEDED: [(&str, &str); 3] = [
    ("[cluster]", "[cluster]\nname = \"home\"\nprofile = \"quickstart\"\n"),
    ("[access]", "[access]\nuser = \"admin\"\n"),
    ("[[node]]", "[[node]]\nhostname = \"server1\"\n"),
];
const USES_PROFILE: &str = "[cluster]\nname = \"home\"\nprofile = \"./own\"\n\
    [access]\nuser = \"admin\"\n[base]\nimage = \"x\"\n\
    [[node]]\nhostname = \"server1\"\naddresses = [\"192.168.1.10/24\"]\n\
    [[node]]\nhostname = \"server5\"\n";
const PUBLIC_KEY: &str = "ssh-ed25519 \
    AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti me@laptop\n";

struct Case {
    title: String,
    input: String,
    expected: String,
}

#[test]
fn cluster_files() -> Result<()> {
    check("cluster.txt", |folder, input| {
        let mut text = input.to_owned();
        if !input.starts_with("# whole") {
            for (table, needed) in NEEDED {
                if !input.contains(table) {
                    write!(text, "\n{needed}").expect("writing to a string");
                }
            }
        }
        fs::write(folder.join("cluster.toml"), text)
    })
}

#[test]
fn profiles() -> Result<()> {
    check("profile.txt", |folder, input| {
        let own = folder.join("own");
        fs::create_dir_all(own.join("overlays/own"))?;
        fs::write(own.join("overlays/own/binary.j2"), b"\xff")?;
        fs::write(own.join("profile.toml"), input)?;
        fs::write(folder.join("cluster.toml"), USES_PROFILE)
    })
}

fn check(name: &str, write: fn(&Path, &str) -> std::io::Result<()>) -> Result<()> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/messages").join(name);
    let mut cases = read(&path)?;
    let mut wrong = 0;
    for case in &mut cases {
        let folder = tempfile::tempdir()?;
        fs::write(folder.path().join("key.pub"), PUBLIC_KEY)?;
        fs::write(folder.path().join("key"), "-----BEGIN OPENSSH PRIVATE KEY-----\n")?;
        fs::write(folder.path().join("empty"), "")?;
        fs::write(folder.path().join("binary.j2"), b"ok\n\xff")?;
        write(folder.path(), &case.input)?;
        let printed = print(folder.path());
        if printed != case.expected {
            println!("=== {}\nprinted:\n{printed}\nexpected:\n{}", case.title, case.expected);
            wrong += 1;
        }
        case.expected = printed;
    }
    if std::env::var_os("NODEFORGE_BLESS").is_some() {
        fs::write(&path, text(&cases))?;
        return Ok(());
    }
    assert_eq!(wrong, 0, "of {} messages", cases.len());
    Ok(())
}

/// What a user sees in `folder`.
fn print(folder: &Path) -> String {
    let cluster = config::load(&folder.join("cluster.toml"), crate::artifact::format_rules());
    match cluster.and_then(|cluster| rehearse(&cluster)) {
        Ok(()) => "nothing is wrong\n".into(),
        Err(error) => anstream::adapter::strip_str(&render(&error))
            .to_string()
            .replace(&format!("{}/", folder.display()), ""),
    }
}

fn read(path: &PathBuf) -> Result<Vec<Case>> {
    let text = fs::read_to_string(path)?;
    let cases = text.split("=== ").skip(1).map(|case| {
        let (title, rest) = case.split_once('\n').unwrap_or((case, ""));
        let (input, expected) = rest.split_once("---\n").unwrap_or((rest, ""));
        let [title, input, expected] = [title, input, expected].map(str::to_owned);
        Case { title, input, expected: expected.trim_end().to_owned() + "\n" }
    });
    Ok(cases.collect())
}

fn text(cases: &[Case]) -> String {
    let mut text = String::new();
    for Case { title, input, expected } in cases {
        write!(text, "=== {title}\n{input}---\n{expected}\n").expect("writing to a string");
    }
    text.trim_end().to_owned() + "\n"
}
