//! Which file takes which names from which other, and what goes round in circles.

use std::collections::{BTreeMap, BTreeSet};

use super::names::{Binding, Module, Modules, Path, Position};

/// For a file, the files that it takes names from, and these names with a line that has them.
pub(super) type Arrows = BTreeMap<String, BTreeMap<String, BTreeMap<String, usize>>>;

/// What a path leads to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Target {
    Module(Path),
    /// Something that a file defines: the file, and its name there.
    Item(String, String),
}

/// The arrows between files, and the paths into this crate that lead to nothing: those would be
/// gaps in the check.
///
/// An arrow leads to the file that defines a name, whatever re-exports it on the way. A re-export
/// within a room is a signpost: a file that only sets it up does not need what it points to.
pub(super) fn arrows(modules: &Modules) -> (Arrows, Vec<String>) {
    let mut arrows = Arrows::new();
    let mut unresolved = Vec::new();
    for (path, module) in modules {
        for mention in &module.mentions {
            let mut seen = BTreeSet::new();
            let targets = resolve(modules, path, &mention.path, &mut seen);
            let is_ours = matches!(mention.path[0].as_str(), "crate" | "super");
            if targets.is_empty() && is_ours && mention.path.len() > 1 {
                let path = mention.path.join("::");
                unresolved.push(format!("{}:{}: {path}", module.file, mention.line));
            }
            for target in targets {
                let Target::Item(file, name) = target else { continue };
                let is_signpost =
                    mention.place == Position::Reexport && room(&file) == room(&module.file);
                if file != module.file && !is_signpost {
                    let names = arrows.entry(module.file.clone()).or_default();
                    names.entry(file).or_default().entry(name).or_insert(mention.line);
                }
            }
        }
    }
    (arrows, unresolved)
}

/// A folder of `src`, or a file there: `src/disk/raw.rs` is of the room `disk`.
pub(super) fn room(file: &str) -> &str {
    let inner = file.strip_prefix("src/").unwrap_or(file);
    inner.split_once('/').map_or(inner.trim_end_matches(".rs"), |(room, _)| room)
}

fn resolve(
    modules: &Modules,
    from: &Path,
    path: &[String],
    seen: &mut BTreeSet<(Path, Vec<String>)>,
) -> BTreeSet<Target> {
    if !seen.insert((from.clone(), path.to_vec())) {
        return BTreeSet::new();
    }
    let (first, rest) = path.split_first().expect("a path has segments");
    let mut targets = match first.as_str() {
        "crate" => BTreeSet::from([Target::Module(from[..root(from)].to_vec())]),
        "self" => BTreeSet::from([Target::Module(from.clone())]),
        "super" => match from.split_last() {
            Some((_, parent)) => BTreeSet::from([Target::Module(parent.to_vec())]),
            None => BTreeSet::new(),
        },
        name => {
            let found = lookup(modules, from, name, seen);
            // The library, seen from the binary.
            let is_library = found.is_empty() && name == env!("CARGO_PKG_NAME");
            if is_library { BTreeSet::from([Target::Module(Path::new())]) } else { found }
        }
    };
    for segment in rest {
        // A function may share a module's name; what comes after `::` is in the module.
        if targets.iter().any(|target| matches!(target, Target::Module(_))) {
            targets.retain(|target| matches!(target, Target::Module(_)));
        }
        let mut next = BTreeSet::new();
        for target in targets {
            match target {
                Target::Module(path) if segment == "super" => {
                    next.extend(path.split_last().map(|(_, up)| Target::Module(up.to_vec())));
                }
                Target::Module(path) => next.extend(lookup(modules, &path, segment, seen)),
                // A variant, an associated function: where its type is.
                Target::Item(..) => drop(next.insert(target)),
            }
        }
        targets = next;
    }
    targets
}

/// How many segments of a module's path stand for its crate: the binary's are below `main`.
fn root(path: &Path) -> usize {
    usize::from(path.first().is_some_and(|first| first == super::BINARY))
}

fn lookup(
    modules: &Modules,
    path: &Path,
    name: &str,
    seen: &mut BTreeSet<(Path, Vec<String>)>,
) -> BTreeSet<Target> {
    let Some(module) = modules.get(path) else { return BTreeSet::new() };
    let mut targets = BTreeSet::new();
    for binding in module.names.get(name).into_iter().flatten() {
        match binding {
            Binding::Item => {
                targets.insert(Target::Item(module.file.clone(), name.to_owned()));
            }
            Binding::Module => drop(targets.insert(Target::Module(below(path, name)))),
            Binding::Import(import) => targets.extend(resolve(modules, path, import, seen)),
        }
    }
    if targets.is_empty() {
        targets.extend(by_globs(modules, path, module, name, seen));
    }
    targets
}

fn by_globs(
    modules: &Modules,
    path: &Path,
    module: &Module,
    name: &str,
    seen: &mut BTreeSet<(Path, Vec<String>)>,
) -> BTreeSet<Target> {
    let mut targets = BTreeSet::new();
    for glob in &module.globs {
        for target in resolve(modules, path, glob, &mut BTreeSet::new()) {
            if let Target::Module(other) = target
                && other != *path
                && seen.insert((other.clone(), vec!["*".into(), name.into()]))
            {
                targets.extend(lookup(modules, &other, name, seen));
            }
        }
    }
    targets
}

fn below(path: &Path, name: &str) -> Path {
    path.iter().cloned().chain([name.to_owned()]).collect()
}

/// Sets of two or more that can each reach all others of their set.
pub(super) fn circles(graph: &BTreeMap<&str, BTreeSet<&str>>) -> Vec<BTreeSet<String>> {
    let reachable: BTreeMap<&str, BTreeSet<&str>> =
        graph.keys().map(|from| (*from, reach(graph, from))).collect();
    let mut circles = BTreeSet::new();
    for (from, others) in &reachable {
        let back = |other: &&str| reachable.get(other).is_some_and(|those| those.contains(from));
        let circle: BTreeSet<String> =
            others.iter().copied().filter(back).map(str::to_owned).collect();
        if circle.len() > 1 {
            circles.insert(circle);
        }
    }
    circles.into_iter().collect()
}

fn reach<'a>(graph: &BTreeMap<&'a str, BTreeSet<&'a str>>, from: &str) -> BTreeSet<&'a str> {
    let mut reached = BTreeSet::new();
    let mut waiting: Vec<&str> = graph.get(from).into_iter().flatten().copied().collect();
    while let Some(next) = waiting.pop() {
        if reached.insert(next) {
            waiting.extend(graph.get(next).into_iter().flatten());
        }
    }
    reached
}
