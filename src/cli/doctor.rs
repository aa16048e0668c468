use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anstyle::{AnsiColor, Style};
use clap::Args;
use serde_json::json;
use unicode_width::UnicodeWidthStr as _;

use super::cluster::ClusterArgs;
use super::output::{counted, print_json, print_painted, width};
use super::ui::Ui;
use crate::build::OutputFolder;
use crate::doctor::{self, Check, CheckVerdict};
use crate::util::error::Result;
use crate::util::printable::printable;
use crate::util::progress::Progress as _;

/// Say what this machine lacks for a build, and what mends it
///
/// It looks with the probes that `build` itself uses, changes nothing, and asks nobody on the network.
/// Exits 0 when a build can be made here, and 1 when not. Beside a cluster file it looks at what that
/// one needs.
#[derive(Debug, Args)]
pub(super) struct DoctorCommand {
    /// Where artifacts would go [default: the cluster file's folder, or `out`]
    #[arg(short, long, value_name = "DIR")]
    output: Option<PathBuf>,

    #[command(flatten)]
    cluster: ClusterArgs,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// The widest that lines get, in columns: longer ones are hard to read.
const WIDEST: usize = 100;

const HINT: Style = AnsiColor::Cyan.on_default();

impl DoctorCommand {
    pub(super) fn run(&self, ui: &Ui) -> Result<ExitCode> {
        ui.stage("looking");
        let cluster = self.cluster.load_if_any().transpose();
        let described = cluster.as_ref().and_then(|it| it.as_ref().ok());
        let output = OutputFolder::new(self.output.as_deref(), described)?;
        let checks = doctor::examine(cluster.as_ref(), &output.path);
        ui.finish();
        let can_build = doctor::can_build(&checks);
        if self.json {
            print_json(&json!({
                "nodeforge": env!("CARGO_PKG_VERSION"),
                "can_build": can_build,
                "checks": checks,
            }))?;
        } else {
            print_painted(&text(&checks, can_build, width().min(WIDEST)))?;
        }
        Ok(if can_build { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

/// All of it, with colours.
fn text(checks: &[Check], can_build: bool, columns: usize) -> String {
    let subjects = checks.iter().map(|it| it.subject.len()).max().unwrap_or_default();
    let indent = subjects + 4;
    let mut text = String::new();
    for check in checks {
        let (sign, style) = match check.verdict {
            CheckVerdict::Right => ("✓", AnsiColor::Green.on_default()),
            CheckVerdict::Limited => ("!", AnsiColor::Yellow.on_default().bold()),
            CheckVerdict::Wrong => ("✗", AnsiColor::Red.on_default().bold()),
        };
        let mut lines = wrap(&check.found, columns.saturating_sub(indent)).into_iter();
        let first = lines.next().unwrap_or_default();
        let subject = check.subject;
        writeln!(text, "{style}{sign}{style:#} {subject:subjects$}  {first}")
            .expect("writing to a string");
        for line in lines {
            writeln!(text, "{:indent$}{line}", "").expect("writing to a string");
        }
        for remedy in &check.remedies {
            for line in wrap(remedy, columns.saturating_sub(indent)) {
                writeln!(text, "{:indent$}{HINT}{line}{HINT:#}", "").expect("writing to a string");
            }
        }
    }
    let count = |verdict| checks.iter().filter(|it| it.verdict == verdict).count() as u64;
    let summary = match (count(CheckVerdict::Wrong), count(CheckVerdict::Limited)) {
        (0, 0) => "A build can be made here, and nothing is missing.".to_owned(),
        (0, limits) => {
            format!("A build can be made here; {} with `!`.", counted(limits, "limit", "limits"))
        }
        (wrong, _) => format!(
            "No build can be made here: {} wrong.",
            counted(wrong, "thing is", "things are")
        ),
    };
    debug_assert_eq!(can_build, count(CheckVerdict::Wrong) == 0);
    text.push('\n');
    for line in wrap(&summary, columns) {
        let bold = Style::new().bold();
        writeln!(text, "{bold}{line}{bold:#}").expect("writing to a string");
    }
    text
}

/// Lines of at most so many columns. A word that is longer has a line of its own, and a command between
/// backticks breaks only where it does not fit at all.
fn wrap(text: &str, columns: usize) -> Vec<String> {
    let text = printable(text);
    let mut lines = Vec::new();
    let mut line = String::new();
    for word in text.split_whitespace() {
        if !line.is_empty() && line.width() + 1 + word.width() > columns {
            lines.push(std::mem::take(&mut line));
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    if !line.is_empty() {
        lines.push(line);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_stay_in_their_columns() {
        let text = "QEMU 7.2 is too old: `apt install qemu-system-x86-of-backports` helps";
        assert_eq!(
            wrap(text, 22),
            ["QEMU 7.2 is too old:", "`apt install", "qemu-system-x86-of-backports`", "helps"]
        );
        assert_eq!(wrap("", 10), [] as [&str; 0]);
    }
}
