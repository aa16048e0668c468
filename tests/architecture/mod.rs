//! The shape of the source: no circles, arrows that point down, files of a bearable length, and one
//! name for one type. `docs/architecture.md` explains the rooms.

mod arrows;
mod made_up;
mod names;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use arrows::{Arrows, circles, room};
use names::Modules;

/// The rooms from the top down: each takes names from those below it only. So does the list in
/// `docs/architecture.md`.
const ROOMS: [&str; 33] = [
    "main",
    "fuzzing",
    "worker",
    "cli",
    "doctor",
    "overview",
    "build",
    "boot",
    "flash",
    "inspect",
    "artifact",
    "vmware",
    "prepare",
    "base",
    "bootstrap",
    "debian",
    "registry",
    "cache",
    "download",
    "sandbox",
    "apply",
    "plan",
    "image",
    "guest",
    "secrets",
    "change",
    "config",
    "versions",
    "fs",
    "table",
    "disk",
    "util",
    "lib",
];
/// The most lines of a file.
const LONGEST: usize = 600;
/// The binary's module, which no module of the library is called.
const BINARY: &str = "<main>";

#[test]
fn files_and_rooms_have_no_circles() {
    let found = shape(&sources("src")).circles();
    assert!(found.is_empty(), "files or rooms need each other:\n{found}");
}

#[test]
fn arrows_point_down() {
    let found = shape(&sources("src")).upward();
    assert!(found.is_empty(), "imports from a room that is not below:\n{found}");
}

#[test]
fn the_page_lists_the_rooms_in_the_same_order() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/architecture.md");
    let page = fs::read_to_string(page).expect("the page");
    let paths = page.lines().filter(|line| line.starts_with("src/"));
    let paths = paths.map(|line| line.split_whitespace().next().expect("the line's path"));
    let listed: Vec<&str> = paths.map(room).collect();
    // The crate's root only declares the rooms.
    assert_eq!(listed, ROOMS[..ROOMS.len() - 1]);
}

#[test]
fn a_type_name_means_one_type() {
    let found = shape(&sources("src")).doubled_types();
    assert!(found.is_empty(), "type names defined more than once:\n{found}");
}

#[test]
fn files_are_short() {
    let mut long = String::new();
    for folder in ["src", "tests", "benches", "fuzz"] {
        for (file, text) in sources(folder) {
            let lines = text.lines().count();
            if lines > LONGEST {
                writeln!(long, "  {file}: {lines} lines").expect("writing to a string");
            }
        }
    }
    assert!(long.is_empty(), "files of more than {LONGEST} lines:\n{long}");
}

/// Every path into this crate is understood, so that the checks see all arrows.
#[test]
fn every_path_is_resolved() {
    let unresolved = shape(&sources("src")).unresolved;
    assert!(unresolved.is_empty(), "paths that lead to nothing:\n  {}", unresolved.join("\n  "));
}

struct Shape {
    modules: Modules,
    arrows: Arrows,
    unresolved: Vec<String>,
}

/// Reads a crate whose files have paths such as `src/lib.rs`.
fn shape(sources: &BTreeMap<String, String>) -> Shape {
    let mut modules = names::read(sources, "src/lib.rs", &Vec::new());
    if sources.contains_key("src/main.rs") {
        modules.append(&mut names::read(sources, "src/main.rs", &vec![BINARY.to_owned()]));
    }
    let (arrows, unresolved) = arrows::arrows(&modules);
    Shape { modules, arrows, unresolved }
}

impl Shape {
    /// Circles of files with all their arrows; of rooms those arrows that point up.
    fn circles(&self) -> String {
        let mut text = String::new();
        for circle in circles(&self.graph(|file| file)) {
            writeln!(text, "{} files:", circle.len()).expect("writing to a string");
            text += &self.list(|from, to| circle.contains(from) && circle.contains(to));
        }
        for circle in circles(&self.graph(room)) {
            let names: Vec<_> = circle.iter().map(String::as_str).collect();
            writeln!(text, "{} rooms: {}", circle.len(), names.join(", "))
                .expect("writing to a string");
            text += &self.list(|from, to| {
                is_upward(from, to) && circle.contains(room(from)) && circle.contains(room(to))
            });
        }
        text
    }

    fn upward(&self) -> String {
        let mut text = String::new();
        let rooms: BTreeSet<&str> =
            self.modules.values().map(|module| room(&module.file)).collect();
        for name in rooms.iter().filter(|name| !ROOMS.contains(*name)) {
            writeln!(text, "  {name}: a room that ROOMS does not list")
                .expect("writing to a string");
        }
        text + &self.list(is_upward)
    }

    fn doubled_types(&self) -> String {
        let mut places: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for module in self.modules.values() {
            for (name, line) in &module.types {
                places.entry(name).or_default().push(format!("{}:{line}", module.file));
            }
        }
        let mut text = String::new();
        for (name, places) in places.iter().filter(|(_, places)| places.len() > 1) {
            writeln!(text, "  {name}: {}", places.join(", ")).expect("writing to a string");
        }
        text
    }

    /// Arrows between files, or between what `name` makes of them.
    fn graph(&self, name: impl Fn(&str) -> &str) -> BTreeMap<&str, BTreeSet<&str>> {
        let mut graph: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for (from, targets) in &self.arrows {
            for to in targets.keys().filter(|to| name(to) != name(from)) {
                graph.entry(name(from)).or_default().insert(name(to));
            }
        }
        graph
    }

    /// A line for each arrow that is `wanted`.
    fn list(&self, wanted: impl Fn(&str, &str) -> bool) -> String {
        let mut text = String::new();
        for (from, targets) in &self.arrows {
            for (to, names) in targets.iter().filter(|(to, _)| wanted(from, to)) {
                let names: Vec<_> =
                    names.iter().map(|(name, line)| format!("{name} (line {line})")).collect();
                writeln!(text, "  {from} -> {to}: {}", names.join(", "))
                    .expect("writing to a string");
            }
        }
        text
    }
}

/// Whether an arrow leads to another room that is not below.
fn is_upward(from: &str, to: &str) -> bool {
    let floor = |file: &str| ROOMS.iter().position(|name| *name == room(file));
    room(from) != room(to) && floor(from) >= floor(to)
}

/// The Rust files below a folder of this repository, by their paths from its root.
fn sources(folder: &str) -> BTreeMap<String, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = BTreeMap::new();
    let mut waiting = vec![root.join(folder)];
    while let Some(folder) = waiting.pop() {
        for entry in fs::read_dir(&folder).expect("a folder of this repository") {
            let path = entry.expect("an entry of it").path();
            if path.is_dir() {
                waiting.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).expect("a source file");
                let name = path.strip_prefix(root).expect("below it").display().to_string();
                found.insert(name, text);
            }
        }
    }
    found
}
