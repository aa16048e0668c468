use std::fs;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde::Serialize;

use super::cluster::ClusterArgs;
use super::output::{self, print, print_json};
use super::table::table;
use super::ui::Ui;
use crate::artifact::{ArtifactRecord, Manifest, Staging};
use crate::build::OutputFolder;
use crate::util::error::{Context, Error, Result};
use crate::vmware::{Bundle, Vmrun};

/// Drive the machines that were built for VMware
#[derive(Debug, Args)]
pub(super) struct VmCommand {
    #[command(subcommand)]
    action: VmAction,

    /// Where the machines are [default: the cluster file's folder, or `out`]
    #[arg(short, long, value_name = "DIR", global = true)]
    output: Option<PathBuf>,

    #[command(flatten)]
    cluster: ClusterArgs,
}

#[derive(Debug, Subcommand)]
enum VmAction {
    /// List the machines: which run, their roles and addresses, and how far their first boot is
    ///
    /// A running machine says so itself, through open-vm-tools and VMware's guest variables. Without
    /// `vmrun`, the list has what the bundles say.
    List {
        /// Print the list as JSON
        #[arg(long)]
        json: bool,
    },
    /// Turn machines on
    Start {
        /// Machines [default: all linked clones]
        #[arg(value_name = "NAME")]
        names: Vec<String>,

        /// Open a window for each
        #[arg(long)]
        gui: bool,
    },
    /// Shut machines down
    Stop {
        /// Machines [default: all that run]
        #[arg(value_name = "NAME")]
        names: Vec<String>,

        /// Pull the plug: for guests without VMware's tools
        #[arg(long)]
        hard: bool,
    },
    /// Delete machines with everything on their disks
    ///
    /// A clone's template stays as it is. A template goes only when no clone of it is left.
    Delete {
        /// Machines
        #[arg(value_name = "NAME", required = true)]
        names: Vec<String>,

        /// Go ahead without asking
        #[arg(short, long)]
        yes: bool,
    },
}

/// A machine in the list.
#[derive(Serialize)]
struct ListedMachine {
    name: String,
    vmx: PathBuf,
    /// The template's name; none for a machine that is not a clone.
    template: Option<String>,
    /// None where `vmrun` is not installed.
    running: Option<bool>,
    role: Option<String>,
    address: Option<String>,
    /// None for a machine that is off, or has no open-vm-tools.
    first_boot: Option<String>,
    /// The machine that its folder was copied from.
    copy_of: Option<String>,
}

impl VmCommand {
    pub(super) fn run(&self, ui: &Ui) -> Result<()> {
        let vmrun = Vmrun::find();
        let cluster = self.cluster.load_if_any()?;
        let output = OutputFolder::new(self.output.as_deref(), cluster.as_ref())?.path;
        let all = Bundle::all(&output)?;
        if let VmAction::List { json } = self.action {
            return list(&all, vmrun.ok().as_ref(), json, ui);
        }
        let vmrun = vmrun?;
        let running = vmrun.running()?;
        let runs = |machine: &Bundle| running.contains(&machine.vmx);
        match &self.action {
            VmAction::List { .. } => Ok(()),
            VmAction::Start { names, gui } => {
                let clones = all.iter().filter(|it| it.template.is_some() && it.copy_of.is_none());
                let chosen =
                    if names.is_empty() { clones.collect() } else { Bundle::select(&all, names)? };
                check_twins(&chosen, &all, runs)?;
                for machine in chosen.into_iter().filter(|it| !runs(it)) {
                    let context = || format!("starting `{}`", machine.name);
                    vmrun.start(&machine.vmx, *gui).context(context)?;
                    ui.note(&format!("{} runs", machine.name));
                }
                Ok(())
            }
            VmAction::Stop { names, hard } => {
                let chosen = if names.is_empty() {
                    all.iter().collect()
                } else {
                    Bundle::select(&all, names)?
                };
                for machine in chosen.into_iter().filter(|it| runs(it)) {
                    vmrun
                        .stop(&machine.vmx, *hard)
                        .context(|| format!("stopping `{}`", machine.name))
                        .map_err(|error| match hard {
                            true => error,
                            false => error.hint("`--hard` turns it off without asking the guest"),
                        })?;
                    ui.note(&format!("{} is off", machine.name));
                }
                Ok(())
            }
            VmAction::Delete { names, yes } => {
                let chosen = Bundle::select(&all, names)?;
                check(&chosen, &all, runs)?;
                if !yes {
                    ask(names)?;
                }
                let staging = Staging::new(&output)?;
                delete(chosen, &vmrun, &staging, ui)
            }
        }
    }
}

fn list(all: &[Bundle], vmrun: Option<&Vmrun>, json: bool, ui: &Ui) -> Result<()> {
    let running = vmrun.map(Vmrun::running).transpose()?;
    let listed: Vec<_> =
        all.iter()
            .map(|machine| {
                let runs = running.as_ref().map(|running| running.contains(&machine.vmx));
                let vmrun = vmrun.filter(|_| runs == Some(true));
                let said = vmrun.map(|it| it.status(&machine.vmx)).unwrap_or_default();
                // A static address is the one that others know it by.
                let address = || vmrun.and_then(|it| it.address(&machine.vmx));
                ListedMachine {
                    name: machine.name.clone(),
                    vmx: machine.vmx.clone(),
                    template: machine.template.as_ref().map(|it| {
                        it.file_stem().unwrap_or_default().to_string_lossy().into_owned()
                    }),
                    running: runs,
                    role: said.role.or_else(|| machine.role.clone()),
                    address: machine.address.clone().or_else(address),
                    first_boot: said.first_boot,
                    copy_of: machine.copy_of.clone(),
                }
            })
            .collect();
    if vmrun.is_none() {
        ui.note("note: `vmrun` is not installed, so which machines run is not known");
    }
    for machine in all.iter().filter(|it| it.copy_of.is_some()) {
        let text = twins(machine, machine.copy_of.as_deref().unwrap_or_default());
        ui.note(&format!("note: {text}"));
        ui.note(&format!("hint: {ONE_OF_THEM}"));
    }
    if json {
        return print_json(&listed);
    }
    let or_none = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    let rows: Vec<_> = listed
        .into_iter()
        .map(|it| {
            let state = match it.running {
                Some(true) => "running",
                Some(false) => "off",
                None => "-",
            };
            vec![
                it.name,
                state.to_owned(),
                or_none(it.role),
                or_none(it.address),
                or_none(it.first_boot),
                or_none(it.template),
            ]
        })
        .collect();
    let headings = ["NAME", "STATE", "ROLE", "ADDRESS", "FIRST BOOT", "TEMPLATE"];
    print(&table(&headings, &[], &rows))
}

const ONE_OF_THEM: &str =
    "run one of them only; a `[[node]]` and `nodeforge build` make another machine";

fn twins(copy: &Bundle, original: &str) -> String {
    format!(
        "`{}` is a copy of `{original}`: same MAC address or UUID, machine-id, SSH host keys and secrets",
        copy.name
    )
}

/// Refuses to run a machine beside its copy: they would take each other's address and place in the
/// cluster.
fn check_twins(chosen: &[&Bundle], all: &[Bundle], runs: impl Fn(&Bundle) -> bool) -> Result<()> {
    let together = |it: &&Bundle| chosen.contains(it) || runs(it);
    for machine in all.iter().filter(together) {
        let Some(twin) = all.iter().filter(together).find(|it| {
            **it != *machine
                && it.is_twin_of(machine)
                && (chosen.contains(it) || chosen.contains(&machine))
        }) else {
            continue;
        };
        let (copy, original) =
            if machine.copy_of.is_some() { (machine, twin) } else { (twin, machine) };
        return Err(Error::input(twins(copy, &original.name)).hint(ONE_OF_THEM));
    }
    Ok(())
}

/// Refuses what would take others' disks away, before anything is deleted.
fn check(chosen: &[&Bundle], all: &[Bundle], runs: impl Fn(&Bundle) -> bool) -> Result<()> {
    for machine in chosen {
        if runs(machine) {
            let name = &machine.name;
            return Err(Error::input(format!("`{name}` is running"))
                .hint(format!("`nodeforge vm stop {name}` shuts it down")));
        }
        let clones = machine.clones(all);
        let left: Vec<_> =
            clones.iter().filter(|it| !chosen.contains(it)).map(|it| it.name.as_str()).collect();
        if !left.is_empty() {
            return Err(Error::input(format!(
                "`{}` is the template of {}, which would lose their disks",
                machine.name,
                left.join(", ")
            ))
            .hint("delete the clones as well, or first"));
        }
    }
    Ok(())
}

/// Asks at the terminal; anything but a yes is a no.
fn ask(names: &[String]) -> Result<()> {
    let names = names.join(", ");
    let question = format!("All that is on their disks will be lost. Delete {names}?");
    match output::ask(&question)? {
        Some(true) => Ok(()),
        Some(false) => Err(Error::failure("nothing was deleted")),
        None => Err(Error::input(format!(
            "cannot ask whether to delete {names}: standard input is not a terminal"
        ))
        .hint("`--yes` goes ahead without asking")),
    }
}

/// Clones first: a template that goes with them has none left then.
fn delete(mut chosen: Vec<&Bundle>, vmrun: &Vmrun, staging: &Staging, ui: &Ui) -> Result<()> {
    chosen.sort_by_key(|it| it.template.is_none());
    for machine in chosen {
        // First, so that `sha256sum --check` misses nothing however far the rest comes.
        let known = Manifest::read(staging.output());
        let own = machine.folder.file_name().unwrap_or_default();
        publish(known.clone(), staging, |it| !Path::new(&it.path).starts_with(own))?;
        if let Err(error) = delete_one(machine, vmrun, staging, ui) {
            publish(known, staging, |it| staging.output().join(&it.path).is_file())?;
            return Err(error.context(format!("deleting `{}`", machine.name)));
        }
        ui.note(&format!("{} is deleted", machine.name));
    }
    Ok(())
}

/// Writes down what is left of what was known of the machines.
fn publish(
    manifest: Option<Manifest>,
    staging: &Staging,
    is_left: impl Fn(&ArtifactRecord) -> bool,
) -> Result<()> {
    let Some(mut manifest) = manifest else { return Ok(()) };
    manifest.retain(is_left);
    manifest.write(&staging.path(""))?;
    staging.publish([Manifest::SUMS, Manifest::NAME])
}

fn delete_one(machine: &Bundle, vmrun: &Vmrun, staging: &Staging, ui: &Ui) -> Result<()> {
    let template = machine.template.as_ref().filter(|it| it.is_dir());
    let backup = template.map(|it| staging.back_up(it)).transpose()?;
    let deleted = vmrun.delete(&machine.vmx);
    if let Some(backup) = backup
        && backup.restore()? > 0
    {
        ui.note("`vmrun` took files of the template away as well; they were put back");
    }
    deleted?;
    if machine.folder.exists() {
        fs::remove_dir_all(&machine.folder)
            .context(|| format!("removing `{}`", machine.folder.display()))?;
    }
    Ok(())
}
