//! Progress and notes on stderr: a live line in a terminal, plain lines elsewhere.

use std::io::IsTerminal as _;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::util::printable::{printable, printable_lines};
use crate::util::progress::Progress;

/// What a command says while it works.
pub(super) struct Ui {
    volume: Verbosity,
    live: bool,
    stage: Mutex<Option<Stage>>,
    finished: Mutex<Vec<(String, Duration)>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Verbosity {
    Quiet,
    Normal,
    Verbose,
}

struct Stage {
    name: String,
    started: Instant,
    bar: ProgressBar,
    transfer: Option<Transfer>,
}

/// A download under way.
struct Transfer {
    begun: Instant,
    /// Bytes that were there when it began.
    first: u64,
    /// When a line about it was last written.
    told: Instant,
}

/// How often a line reports a transfer where stderr is not a terminal.
const TELL: Duration = Duration::from_secs(5);

impl Ui {
    pub(super) fn new(quiet: bool, verbose: bool) -> Self {
        let volume = match (quiet, verbose) {
            (true, _) => Verbosity::Quiet,
            (_, true) => Verbosity::Verbose,
            _ => Verbosity::Normal,
        };
        let live = volume != Verbosity::Quiet && std::io::stderr().is_terminal();
        Self { volume, live, stage: Mutex::default(), finished: Mutex::default() }
    }

    /// A line for people, not for programs.
    pub(super) fn note(&self, text: &str) {
        if self.volume == Verbosity::Quiet {
            return;
        }
        match &*self.stage.lock().expect("no panic while drawing") {
            Some(stage) if self.live => stage.bar.suspend(|| say(text)),
            _ => say(text),
        }
    }

    /// Whether more was asked for.
    pub(super) fn is_verbose(&self) -> bool {
        self.volume == Verbosity::Verbose
    }

    /// A line for those who asked for more.
    pub(super) fn detail(&self, text: &str) {
        if self.volume == Verbosity::Verbose {
            self.note(text);
        }
    }

    /// The stages that are over, and how long each took.
    pub(super) fn timings(&self) -> Vec<(String, Duration)> {
        self.finished.lock().expect("no panic while drawing").clone()
    }
}

/// Other programs' words and strangers' names are among what is said.
fn say(text: &str) {
    anstream::eprintln!("{}", printable_lines(text));
}

impl Progress for Ui {
    fn stage(&self, name: &str) {
        self.finish();
        let target =
            if self.live { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let name = &printable(name);
        let bar = ProgressBar::with_draw_target(None, target)
            .with_style(style("{spinner} {prefix} {wide_msg:.dim} {elapsed:.dim}"));
        bar.set_prefix(name.to_owned());
        bar.enable_steady_tick(Duration::from_millis(100));
        if !self.live {
            self.note(name);
        }
        *self.stage.lock().expect("no panic while drawing") =
            Some(Stage { name: name.to_owned(), started: Instant::now(), bar, transfer: None });
    }

    fn message(&self, text: &str) {
        if let Some(stage) = &*self.stage.lock().expect("no panic while drawing") {
            stage.bar.set_message(printable(text));
        }
    }

    fn warn(&self, text: &str) {
        self.note(&format!("warning: {text}"));
    }

    fn bytes(&self, done: u64, total: Option<u64>) {
        let line = match &mut *self.stage.lock().expect("no panic while drawing") {
            Some(stage) => stage.transferred(done, total),
            None => None,
        };
        if let Some(line) = line
            && !self.live
        {
            self.note(&line);
        }
    }

    fn position(&self, done: u64, total: u64) {
        if let Some(stage) = &*self.stage.lock().expect("no panic while drawing") {
            if stage.bar.length() != Some(total) {
                stage.bar.set_length(total);
                stage.bar.set_style(style(
                    "{spinner} {prefix} [{bar:24}] {pos}/{len} {wide_msg:.dim} {elapsed:.dim}",
                ));
            }
            stage.bar.set_position(done);
        }
    }

    fn finish(&self) {
        let Some(stage) = self.stage.lock().expect("no panic while drawing").take() else { return };
        stage.bar.finish_and_clear();
        let elapsed = stage.started.elapsed();
        if self.live {
            self.note(&format!("  {} {}", stage.name, seconds(elapsed)));
        }
        self.finished.lock().expect("no panic while drawing").push((stage.name, elapsed));
    }
}

impl Stage {
    /// Shows how far a transfer is; for those without a terminal a line now and then.
    fn transferred(&mut self, done: u64, total: Option<u64>) -> Option<String> {
        let transfer = self.transfer.get_or_insert_with(|| {
            let (bar, left) = match total {
                Some(total) => {
                    self.bar.set_length(total);
                    ("[{bar:24}] {binary_bytes}/{binary_total_bytes}", "{eta} left")
                }
                None => ("{binary_bytes}", ""),
            };
            self.bar.set_style(style(&format!(
                "{{spinner}} {{prefix}} {bar} {{binary_bytes_per_sec}} {left} {{wide_msg:.dim}}"
            )));
            // What an earlier run left does not count for the rate.
            self.bar.set_position(done);
            self.bar.reset_eta();
            Transfer { begun: Instant::now(), first: done, told: Instant::now() }
        });
        self.bar.set_position(done);
        if transfer.told.elapsed() < TELL {
            return None;
        }
        transfer.told = Instant::now();
        let elapsed = transfer.begun.elapsed().as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "for people")]
        let rate = (done - transfer.first.min(done)) as f64 / elapsed;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "for people")]
        let rate_text = bytes(rate as u64);
        Some(match total.filter(|total| *total > 0) {
            Some(total) => {
                #[expect(clippy::cast_precision_loss, reason = "for people")]
                let left = total.saturating_sub(done) as f64 / rate.max(1.0);
                let percent = done.saturating_mul(100) / total;
                format!("  {percent} % of {}, {rate_text}/s, {left:.0} s left", bytes(total))
            }
            None => format!("  {}, {rate_text}/s", bytes(done)),
        })
    }
}

/// The bar must not stay on the screen when a command fails in the middle of a stage.
impl Drop for Ui {
    fn drop(&mut self) {
        if let Some(stage) = self.stage.get_mut().ok().and_then(Option::take) {
            stage.bar.finish_and_clear();
        }
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template)
        .expect("the template is a constant")
        .progress_chars("=> ")
}

/// `0.04 s`, `12.3 s`.
pub(super) fn seconds(elapsed: Duration) -> String {
    let seconds = elapsed.as_secs_f64();
    if seconds < 1.0 { format!("{seconds:.2} s") } else { format!("{seconds:.1} s") }
}

/// Bytes in the largest unit that leaves at least one: `12.3 MiB`.
pub(super) fn bytes(count: u64) -> String {
    indicatif::BinaryBytes(count).to_string()
}
