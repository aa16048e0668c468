//! Tests are written so that none passes without having tested anything.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The one test here that runs itself again as root of a user namespace instead of being ignored.
const EXEMPT: &str = "extract_tests.rs";

/// What is wrong with the tests of a file, a line each.
#[derive(Default)]
struct Checker<'a> {
    file: &'a str,
    /// Where each module in the file begins, by its indentation, and its name.
    modules: Vec<(usize, &'a str)>,
    is_test: bool,
    ignored: Option<&'a str>,
    /// The indentation of the test that the line is in.
    inside: Option<usize>,
    mistakes: Vec<String>,
}

impl<'a> Checker<'a> {
    fn line(&mut self, number: usize, line: &'a str) {
        let text = line.trim_start();
        let indent = line.len() - text.len();
        let mut wrong = |what: &str| {
            self.mistakes.push(format!("{}:{number}: {what}", self.file));
        };
        if let Some(begin) = self.inside {
            if text == "}" && indent == begin {
                self.inside = None;
            } else if returns_early(text) {
                wrong("a test that returns early passes without having tested anything");
            }
        } else if text == "#[test]" {
            self.is_test = true;
        } else if let Some(reason) = text.strip_prefix("#[ignore") {
            let reason = reason.strip_prefix(" = \"").and_then(|it| it.strip_suffix("\"]"));
            if reason.is_none_or(|it| it != "needs root" && !it.starts_with("long: ")) {
                wrong("the reason to ignore a test is `needs root` or `long: …`");
            }
            self.ignored = reason;
        } else if let Some(name) = text.strip_prefix("mod ").and_then(|it| it.strip_suffix(" {")) {
            self.modules.push((indent, name));
        } else if text == "}" && self.modules.last().is_some_and(|it| it.0 == indent) {
            self.modules.pop();
        } else if text.starts_with("fn ") && self.is_test {
            let is_in = |name: &str| {
                self.modules.iter().any(|it| it.1 == name)
                    || Path::new(self.file).with_extension("").iter().any(|it| it == name)
            };
            let (is_long, is_root) = (is_in("long"), is_in("as_root"));
            let reason = self.ignored.unwrap_or_default();
            if is_long != reason.starts_with("long: ") {
                wrong("tests in a module `long`, and only they, are ignored as `long: …`");
            }
            if is_root != reason.ends_with("needs root") && (is_root || is_long) {
                wrong("tests in a module `as_root` are ignored as ones that need root");
            }
            (self.is_test, self.ignored) = (false, None);
            self.inside = (!text.ends_with('}')).then_some(indent);
        }
        if text.contains("geteuid") && !self.file.contains("support") {
            wrong("a test does not ask who runs it: `User` and `#[ignore]` do");
        }
    }
}

/// Tests return nothing; `return value` is in a closure, or in another language.
fn returns_early(line: &str) -> bool {
    line.match_indices("return").any(|(at, word)| {
        let rest = line[at + word.len()..].trim_start();
        rest.is_empty() || rest.starts_with([';', '}', ',']) || rest.starts_with("Ok(())")
    })
}

fn sources(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("readable") {
        let path = entry.expect("readable").path();
        if path.is_dir() {
            sources(&path, into);
        } else if path.extension().is_some_and(|it| it == "rs") && !path.ends_with(EXEMPT) {
            into.push(path);
        }
    }
}

fn mistakes(file: &str, text: &str) -> Vec<String> {
    let mut checker = Checker { file, ..Checker::default() };
    for (number, line) in (1..).zip(text.lines()) {
        checker.line(number, line);
    }
    checker.mistakes
}

#[test]
fn tests_are_marked_and_do_not_return_early() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    sources(&root.join("tests"), &mut files);
    // Outside its tests, the program may ask who runs it.
    let tests = files.len();
    sources(&root.join("src"), &mut files);
    let mut found = Vec::new();
    for (index, path) in files.iter().enumerate() {
        let text = fs::read_to_string(path).expect("UTF-8");
        let name = path.strip_prefix(root).expect("below").display().to_string();
        let wrong = mistakes(&name, &text);
        found.extend(wrong.into_iter().filter(|it| index < tests || !it.contains("who runs it")));
    }
    found.retain(|it| !it.starts_with("tests/conventions.rs"));
    assert_eq!(found, Vec::<String>::new());
}

/// What strangers wrote is printed by those who make it safe for a terminal.
#[test]
fn a_terminal_is_written_to_in_few_places() {
    /// Results, progress, errors; a worker's messages, and why it could not start a program, which the
    /// worker reads; a machine's own console.
    const WRITERS: [&str; 7] = [
        "cli/output.rs",
        "cli/ui.rs",
        "cli/report/mod.rs",
        "sandbox/protocol.rs",
        "sandbox/confine.rs",
        "sandbox/vm/init.rs",
        "boot/console.rs",
    ];
    /// Of tests.
    const LOGS: [&str; 3] =
        ["cli/report/messages.rs", "image/hostile_tests.rs", "disk/mutation.rs"];
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    let mut found = Vec::new();
    for path in files {
        let text = fs::read_to_string(&path).expect("UTF-8");
        let name = path.strip_prefix(&root).expect("below").display().to_string();
        let writes = ["print!(", "println!(", "stdout()", "stderr()", "dbg!("];
        let is_known = WRITERS.iter().chain(&LOGS).any(|it| name == *it);
        // A child process' own are no terminal of ours.
        let lines = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        let lines = lines.filter(|line| writes.iter().any(|it| line.contains(it)));
        let lines = lines.filter(|line| !line.contains(".stdout()") && !line.contains(".stderr()"));
        if !is_known {
            found.extend(lines.map(|line| format!("{name}: {}", line.trim())));
        }
    }
    assert_eq!(found, Vec::<String>::new());
}

#[test]
fn mistakes_are_found() {
    let wrong = |text: &str| mistakes("tests/a.rs", text).len();
    let test = |attribute: &str, body: &str| format!("#[test]\n{attribute}fn a() {{\n{body}}}\n");
    assert_eq!(wrong(&test("", "    assert!(true);\n")), 0);
    assert_eq!(wrong(&test("#[ignore = \"needs root\"]\n", "")), 0);
    assert_eq!(wrong(&test("", "    if !linux { return; }\n")), 1);
    assert_eq!(wrong(&test("", "    let Some(a) = b else { return };\n")), 1);
    assert_eq!(wrong(&test("", "    if !geteuid().is_root() {}\n")), 1);
    assert_eq!(wrong(&test("#[ignore]\n", "")), 1);
    assert_eq!(wrong(&test("#[ignore = \"slow\"]\n", "")), 1);
    assert_eq!(wrong(&test("#[ignore = \"long: all\"]\n", "")), 1);
    let long = |attribute: &str| {
        format!("mod long {{\n    #[test]\n{attribute}    fn a() {{\n    }}\n}}\n")
    };
    assert_eq!(wrong(&long("    #[ignore = \"long: all\"]\n")), 0);
    assert_eq!(wrong(&long("    #[ignore = \"long: all, needs root\"]\n")), 1);
    assert_eq!(wrong(&long("    #[ignore = \"needs root\"]\n")), 2);
    assert_eq!(wrong(&long("")), 1);
}

/// How often each file asks whether it is for macOS, or not for Linux.
fn paths_of_macos(folder: &Path, found: &mut BTreeMap<String, usize>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            paths_of_macos(&path, found);
            continue;
        }
        let asks = |line: &&str| {
            let line = line.trim_start();
            // What is only unused there is no path of its own.
            !line.starts_with("#[cfg_attr(")
                && [
                    "not(target_os = \"linux\")",
                    "target_os = \"macos\"",
                    "cfg!(target_os = \"linux\")",
                ]
                .iter()
                .any(|it| line.contains(it))
                && line != "not(target_os = \"linux\"),"
        };
        let count = fs::read_to_string(&path).expect("text").lines().filter(asks).count();
        if count > 0 {
            let root = Path::new(env!("CARGO_MANIFEST_DIR"));
            let name = path.strip_prefix(root).expect("below it").display().to_string();
            found.insert(name, count);
        }
    }
}

#[test]
fn every_path_of_macos_is_in_the_docs() {
    let mut found = BTreeMap::new();
    paths_of_macos(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut found);
    let row = |line: &str| {
        let mut cells = line.strip_prefix("| `src/")?.split(" | ");
        let (name, count) = (cells.next()?.strip_suffix('`')?, cells.next()?);
        Some((format!("src/{name}"), count.parse().ok()?))
    };
    let told: BTreeMap<String, usize> =
        include_str!("../docs/macos.md").lines().filter_map(row).collect();
    assert_eq!(found, told);
}
