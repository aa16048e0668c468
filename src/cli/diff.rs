use std::fmt::Write as _;
use std::path::Path;
use std::process::ExitCode;

use clap::Args;
use clap::builder::{OsStringValueParser, TypedValueParser as _};

use super::output::{counted, print, print_json};
use super::place::{Location, ReadArgs, missing};
use crate::fs::Tree;
use crate::inspect::diff::{Comparison, FileChanges, compare_files};
use crate::util::error::Result;
use crate::util::printable::printable;

/// Show what two images differ in: packages, units, users, files
///
/// With paths, only the files there are compared. Times are not. Of lines that begin with `+` only
/// the second image has the thing, of those with `-` only the first; `~` is in both and differs.
///
/// Exits with 0 when they are the same, 1 when they differ, 2 when they could not be compared.
#[derive(Debug, Args)]
pub(super) struct DiffCommand {
    /// An image, or a path in one
    #[arg(value_name = "IMAGE[:/PATH]", value_parser = OsStringValueParser::new().map(Location::from))]
    from: Location,

    /// Another
    #[arg(value_name = "IMAGE[:/PATH]", value_parser = OsStringValueParser::new().map(Location::from))]
    to: Location,

    /// Print JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    images: ReadArgs,
}

/// What diff(1) exits with, too.
const DIFFERENT: u8 = 1;
const TROUBLE: u8 = 2;

impl DiffCommand {
    pub(super) fn run(&self) -> Result<ExitCode> {
        match self.compare() {
            Ok(true) => Ok(ExitCode::SUCCESS),
            Ok(false) => Ok(ExitCode::from(DIFFERENT)),
            // 1 would say that they differ.
            Err(error) if error.exit_code() == DIFFERENT => {
                super::report(&error);
                Ok(ExitCode::from(TROUBLE))
            }
            Err(error) => Err(error),
        }
    }

    /// Whether they are the same.
    fn compare(&self) -> Result<bool> {
        let ((image_a, path_a), (image_b, path_b)) = (self.from.inside(), self.to.inside());
        let (a, b) = (self.images.open(image_a)?, self.images.open(image_b)?);
        let root = Path::new("/");
        if path_a == root && path_b == root {
            let found = Comparison::of(&a, &b)?;
            if self.json {
                print_json(&found)?;
            } else {
                print(&render(&found))?;
            }
            return Ok(found.is_empty());
        }
        let at_a = a.resolve(path_a)?.ok_or_else(|| missing(image_a, path_a))?;
        let at_b = b.resolve(path_b)?.ok_or_else(|| missing(image_b, path_b))?;
        let found = compare_files(&a, &at_a, &b, &at_b)?;
        if self.json {
            print_json(&serde_json::json!({ "files": found }))?;
        } else {
            print(&section("files", file_lines(&found)))?;
        }
        Ok(found.is_empty())
    }
}

fn render(found: &Comparison) -> String {
    let mut packages = Vec::new();
    for (name, version) in &found.packages.added {
        packages.push(format!("+ {name} {version}"));
    }
    for (name, version) in &found.packages.removed {
        packages.push(format!("- {name} {version}"));
    }
    for (name, change) in &found.packages.changed {
        packages.push(format!("~ {name} {} -> {}", change.from, change.to));
    }
    let mut units = Vec::new();
    for (name, state) in &found.units.added {
        units.push(format!("+ {name} {state}"));
    }
    for (name, state) in &found.units.removed {
        units.push(format!("- {name} {state}"));
    }
    for (name, change) in &found.units.changed {
        units.push(format!("~ {name} {} -> {}", change.from, change.to));
    }
    let mut users = Vec::new();
    for (name, user) in &found.users.added {
        users.push(format!("+ {name} uid {}", user.uid));
    }
    for (name, user) in &found.users.removed {
        users.push(format!("- {name} uid {}", user.uid));
    }
    for (name, change) in &found.users.changed {
        users.push(format!("~ {name} {}", change.what.join(", ")));
    }
    let sections = [
        ("packages", packages),
        ("units", units),
        ("users", users),
        ("files", file_lines(&found.files)),
    ];
    sections.into_iter().map(|(title, lines)| section(title, lines)).collect()
}

fn file_lines(found: &FileChanges) -> Vec<String> {
    let part = |sign: char, part: &crate::inspect::diff::ChangedPart| match part.entries {
        1 => format!("{sign} {}", part.path),
        entries => format!("{sign} {} ({})", part.path, counted(entries - 1, "name", "names")),
    };
    let mut lines: Vec<String> = found.added.iter().map(|added| part('+', added)).collect();
    lines.extend(found.removed.iter().map(|removed| part('-', removed)));
    let changed = found.changed.iter();
    lines.extend(changed.map(|change| format!("~ {} {}", change.path, change.what.join(", "))));
    lines
}

/// Nothing when there is nothing to say.
fn section(title: &str, lines: Vec<String>) -> String {
    let mut text = String::new();
    if !lines.is_empty() {
        writeln!(text, "{title}").expect("writing to a string");
    }
    for line in lines {
        writeln!(text, "  {}", printable(&line)).expect("writing to a string");
    }
    text
}
