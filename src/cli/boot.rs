use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, ValueEnum, value_parser};
use regex::Regex;

use super::backing::BackingArgs;
use super::cluster::ClusterArgs;
use super::ui::{Ui, seconds};
use crate::artifact::{bootable, disk_of};
use crate::base::arch_of;
use crate::boot::{
    self, Accelerator, DoorNews, Echo, Ending, Expectation, FirmwareKind, Machine, NetworkCard,
    Visit, VisitEnding,
};
use crate::build::OutputFolder;
use crate::config::Arch;
use crate::disk;
use crate::guest::first_boot;
use crate::image::{Image, edit};
use crate::util::error::{Error, Result};

/// Boot a node or an image in QEMU; nothing it writes is kept
#[derive(Debug, Args)]
pub(super) struct BootCommand {
    /// A node that was built, or an image
    #[arg(value_name = "NODE|IMAGE")]
    target: String,

    /// Where the node's artifacts are [default: the cluster file's folder, or `out`]
    #[arg(short, long, value_name = "DIR")]
    output: Option<PathBuf>,

    #[command(flatten)]
    cluster: ClusterArgs,

    /// Let this user in by SSH, with a key that is thrown away afterwards
    ///
    /// The command to type is printed once the machine lets you in. With words after `--`, these are run
    /// in the machine as `ssh` would, and their exit code is that of this command; with `--until` or
    /// `--test` once that came true. The image itself stays as it is.
    #[arg(long)]
    ssh: bool,

    /// What to run in the machine, after `--`
    #[arg(value_name = "COMMAND", last = true, requires = "ssh")]
    words: Vec<String>,

    /// Exit 0 once a line of the console matches
    #[arg(long, value_name = "REGEX", conflicts_with = "test")]
    until: Option<Regex>,

    /// Exit 0 once first boot is done; a node that fails tries again until the timeout
    #[arg(long)]
    test: bool,

    /// Give up after so many seconds, and exit 124
    #[arg(long, value_name = "SECONDS", default_value_t = 600, value_parser = value_parser!(u64).range(..=YEAR))]
    timeout: u64,

    /// Memory in MiB
    #[arg(long, value_name = "MIB", default_value_t = 1024)]
    memory: u32,

    /// Processors
    #[arg(long, value_name = "N", default_value_t = 2)]
    cpus: u32,

    /// Let the machine reach the internet, and what else this host reaches
    ///
    /// A node whose packages wait for its first boot needs it.
    #[arg(long, conflicts_with = "network")]
    internet: bool,

    /// A network that machines booted with the same name share, and nothing else
    #[arg(long, value_name = "NAME")]
    network: Option<String>,

    #[command(flatten)]
    below: BackingArgs,

    /// What starts the machine
    #[arg(long, value_enum, default_value_t)]
    firmware: FirmwareKind,

    /// What runs the guest's instructions
    #[arg(long, value_enum, default_value_t, env = "NODEFORGE_ACCEL")]
    accel: AcceleratorChoice,
}

/// Seconds: nobody waits longer.
const YEAR: u64 = 365 * 86_400;

/// What runs the guest's instructions.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum AcceleratorChoice {
    /// `kvm` or `hvf` where a small guest runs with it, otherwise `tcg`
    #[default]
    Auto,
    /// Emulation: slow, and works on every host
    Tcg,
    /// Linux's own, for a guest of the host's architecture
    Kvm,
    /// The Mac's own, for a guest of the host's architecture
    Hvf,
}

impl BootCommand {
    pub(super) fn run(&self, ui: &Ui) -> Result<ExitCode> {
        let expectation = self.expectation();
        if self.ssh && self.words.is_empty() && expectation.is_some() {
            return Err(Error::input("with `--until` and `--test`, `--ssh` needs a command").hint(
                "`nodeforge boot NODE --test --ssh -- COMMAND` runs it once first boot is done",
            ));
        }
        let cluster = self.cluster.load_if_any()?;
        let folder = OutputFolder::new(self.output.as_deref(), cluster.as_ref())?;
        let image = folder.find(&self.target, &bootable())?;
        let disk = disk_of(&image);
        boot::refuse_compressed(&disk)?;
        edit::finish(&disk)?;
        let tree = Image::open(disk::open_over(&disk, &self.below.backing)?, 0)?;
        let arch = arch_of(&tree, &disk)?;
        ui.note(&format!("booting {}", image.display()));
        if !self.internet && self.network.is_none() && first_boot::has_packages(&tree)? {
            ui.note("note: its first boot installs packages, and cannot reach the internet");
            ui.note("hint: `--internet` lets it");
        }
        let machine = Machine {
            disk,
            backing: self.below.backing.clone(),
            arch,
            memory_mib: self.memory,
            cpus: self.cpus,
            firmware: self.firmware,
            accelerator: self.accelerator(arch, ui)?,
            network: self.network(),
            ssh: self.ssh,
        };
        let prepared = machine.prepare()?;
        if !self.words.is_empty() {
            let visit = Visit {
                after: expectation.as_ref(),
                timeout: self.timeout(),
                words: &self.words,
                echo: if ui.is_verbose() { Echo::Stderr } else { Echo::Nowhere },
            };
            return match prepared.visit(&visit)? {
                VisitEnding::Ran(code) => Ok(code.into()),
                VisitEnding::NotSaid(ending, success) => self.report(ui, &success, ending),
                VisitEnding::Closed(said) => {
                    let what = format!("the machine let nobody in within {} seconds", self.timeout);
                    let said = said.map(|line| format!("`ssh` said last `{line}`"));
                    Err(with_cause(Error::timed_out, what, said))
                }
                VisitEnding::PoweredOff => {
                    Err(Error::failure("the machine went off before it let anybody in"))
                }
            };
        }
        let Some(expectation) = expectation else {
            ui.note("Ctrl-a x leaves");
            prepared.interact(|news| match news {
                DoorNews::Open(command) => {
                    ui.note(&format!("\nin another terminal: {command}"));
                }
                DoorNews::Closed(said) => {
                    ui.note(&format!("\nthe machine let nobody in: {said}"));
                }
            })?;
            return Ok(ExitCode::SUCCESS);
        };
        self.report(ui, &expectation.success, prepared.watch(&expectation)?)
    }

    /// What came of watching the console.
    fn report(&self, ui: &Ui, success: &Regex, ending: Ending) -> Result<ExitCode> {
        let said = |line: String| format!("it said last `{line}`");
        match ending {
            Ending::Success(line, elapsed) => {
                // A console that waits for an answer is in the middle of its line.
                ui.note(&format!("\nmatched `{line}` after {}", seconds(elapsed)));
                Ok(ExitCode::SUCCESS)
            }
            Ending::TimedOut(complaint) => {
                let seconds = self.timeout;
                let what =
                    format!("nothing on the console matched `{success}` in {seconds} seconds");
                Err(with_cause(Error::timed_out, what, complaint.map(said)))
            }
            Ending::PoweredOff(complaint) => {
                let what = format!("the machine went off before its console matched `{success}`");
                Err(with_cause(Error::failure, what, complaint.map(said)))
            }
        }
    }

    /// What was asked for, or the fastest that works.
    fn accelerator(&self, arch: Arch, ui: &Ui) -> Result<Accelerator> {
        Ok(match self.accel {
            AcceleratorChoice::Tcg => Accelerator::Tcg,
            AcceleratorChoice::Kvm => Accelerator::Kvm,
            AcceleratorChoice::Hvf => Accelerator::Hvf,
            AcceleratorChoice::Auto => {
                let (accelerator, reason) = Accelerator::best(arch)?;
                match &reason {
                    Some(reason) => {
                        ui.note(&format!("note: it is emulated, and slow: {reason}"));
                        let hints = reason.problems().iter().flat_map(|it| &it.hints);
                        for hint in hints {
                            ui.note(&format!("hint: {hint}"));
                        }
                    }
                    None => ui.detail(&format!("with {}", accelerator.name())),
                }
                accelerator
            }
        })
    }

    fn network(&self) -> NetworkCard {
        match &self.network {
            Some(name) => NetworkCard::Shared(name.clone()),
            None if self.internet => NetworkCard::Internet,
            None => NetworkCard::Nothing,
        }
    }

    fn expectation(&self) -> Option<Expectation> {
        let timeout = self.timeout();
        if self.test {
            let regex = |text| Regex::new(text).expect("the pattern is a constant");
            return Some(Expectation {
                success: regex("nodeforge-firstboot: done"),
                complaint: Some(regex("nodeforge-firstboot: failed: ")),
                timeout,
            });
        }
        let success = self.until.clone()?;
        Some(Expectation { success, complaint: None, timeout })
    }

    fn timeout(&self) -> Duration {
        Duration::from_secs(self.timeout)
    }
}

/// An error with what the machine itself had to say.
fn with_cause(kind: fn(String) -> Error, what: String, said: Option<String>) -> Error {
    match said {
        Some(said) => kind(said).context(what),
        None => kind(what),
    }
}
