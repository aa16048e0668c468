use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use regex::Regex;

use super::backing::BackingArgs;
use super::cluster::ClusterArgs;
use super::ui::Ui;
use crate::artifact::{bootable, disk_of};
use crate::base::arch_of;
use crate::boot::{self, Accelerator, Ending, Expectation, FirmwareKind, Machine, NetworkCard};
use crate::build::OutputFolder;
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

    /// Exit 0 once a line of the console matches
    #[arg(long, value_name = "REGEX", conflicts_with = "test")]
    until: Option<Regex>,

    /// Exit 0 once first boot is done; a node that fails tries again until the timeout
    #[arg(long)]
    test: bool,

    /// Give up after so many seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
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
    #[arg(long, value_enum, default_value_t)]
    accel: Accelerator,
}

impl BootCommand {
    pub(super) fn run(&self, ui: &Ui) -> Result<()> {
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
            accelerator: self.accel,
            network: self.network(),
        };
        let prepared = machine.prepare()?;
        let Some(expectation) = self.expectation() else { return prepared.interact() };
        let success = &expectation.success;
        let (what, complaint) = match prepared.watch(&expectation)? {
            Ending::Success(_) => return Ok(()),
            Ending::TimedOut(complaint) => {
                let seconds = self.timeout;
                let what =
                    format!("nothing on the console matched `{success}` in {seconds} seconds");
                (what, complaint)
            }
            Ending::PoweredOff(complaint) => {
                (format!("the machine went off before its console matched `{success}`"), complaint)
            }
        };
        Err(match complaint {
            Some(line) => Error::failure(format!("it said last `{line}`")).context(what),
            None => Error::failure(what),
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
        let timeout = Duration::from_secs(self.timeout);
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
}
