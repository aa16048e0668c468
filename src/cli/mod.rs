//! The command line: one file a command, whose doc comment is its help text.

mod add;
mod arguments;
mod backing;
mod boot;
mod build;
mod cache;
mod cat;
mod check;
mod cluster;
mod completions;
mod cp;
mod diff;
mod doctor;
mod edit;
mod fetch;
mod flash;
mod html_report;
mod init;
mod inspect;
mod kubeconfig;
mod lock;
mod ls;
mod man;
mod output;
mod place;
mod plan;
mod prepare;
mod profile;
mod pull;
mod push;
mod report;
mod rm;
mod schema;
mod secrets;
mod source;
mod stamp;
mod table;
mod ui;
mod verify;
mod vm;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{ColorChoice, Parser, Subcommand};

use crate::util::calendar;
use crate::util::error::{Error, Result};
use crate::util::printable::printable;
use ui::Ui;

pub use report::report;

/// One cluster file in, every Kubernetes node's disk image out.
#[derive(Debug, Parser)]
#[command(name = "nodeforge", version, propagate_version = true, arg_required_else_help = true)]
#[command(infer_subcommands = false, disable_help_subcommand = true, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,

    /// When to use colours
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    color: ColorChoice,

    /// Say nothing but errors and results
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    quiet: bool,

    /// Say more
    #[arg(short, long, global = true)]
    verbose: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    Init(init::InitCommand),
    Check(check::CheckCommand),
    Doctor(doctor::DoctorCommand),
    Plan(plan::PlanCommand),
    Prepare(prepare::PrepareCommand),
    Build(build::BuildCommand),
    Report(html_report::ReportCommand),
    Stamp(stamp::StampCommand),
    Flash(flash::FlashCommand),
    Boot(boot::BootCommand),
    Fetch(fetch::FetchCommand),
    Push(push::PushCommand),
    Pull(pull::PullCommand),
    Profile(profile::ProfileCommand),
    Schema(schema::SchemaCommand),
    Secrets(secrets::SecretsCommand),
    Kubeconfig(kubeconfig::KubeconfigCommand),
    Add(add::AddCommand),
    Verify(verify::VerifyCommand),
    Lock(lock::LockCommand),
    Cache(cache::CacheCommand),
    Inspect(inspect::InspectCommand),
    Ls(ls::LsCommand),
    Cat(cat::CatCommand),
    Cp(cp::CpCommand),
    Rm(rm::RmCommand),
    Diff(diff::DiffCommand),
    Vm(vm::VmCommand),
    Completions(completions::CompletionsCommand),
    Man(man::ManCommand),
}

impl Cli {
    /// Reads the command line, or says what is wrong with it and exits. File names end up there, so
    /// what is quoted of it is made safe for a terminal.
    pub fn read() -> Self {
        let arguments: Vec<OsString> = std::env::args_os().collect();
        Self::try_parse_from(&arguments).unwrap_or_else(|_| {
            let safe = arguments.iter().map(|it| printable(&it.to_string_lossy()));
            // The same mistake in other letters.
            if let Err(error) = Self::try_parse_from(safe) {
                error.exit()
            }
            report(&Error::input("an argument has control characters in it"));
            std::process::exit(2)
        })
    }

    /// Makes the colours asked for those of everything printed from here on.
    pub fn apply_color(&self) {
        let choice = match self.color {
            ColorChoice::Auto => anstream::ColorChoice::Auto,
            ColorChoice::Always => anstream::ColorChoice::Always,
            ColorChoice::Never => anstream::ColorChoice::Never,
        };
        choice.write_global();
    }

    /// Carries out the command; returns what the process exits with when nothing failed.
    pub fn run(&self) -> Result<ExitCode> {
        let ui = Ui::new(self.quiet, self.verbose);
        calendar::fixed()?;
        match &self.command {
            Command::Init(command) => command.run(&ui),
            Command::Check(command) => command.run(&ui),
            Command::Doctor(command) => return command.run(&ui),
            Command::Plan(command) => command.run(&ui),
            Command::Prepare(command) => command.run(&ui),
            Command::Build(command) => command.run(&ui),
            Command::Report(command) => command.run(&ui),
            Command::Stamp(command) => command.run(&ui),
            Command::Flash(command) => command.run(&ui),
            Command::Boot(command) => return command.run(&ui),
            Command::Fetch(command) => command.run(&ui),
            Command::Push(command) => command.run(&ui),
            Command::Pull(command) => command.run(&ui),
            Command::Profile(command) => command.run(),
            Command::Schema(command) => command.run(),
            Command::Secrets(command) => command.run(&ui),
            Command::Kubeconfig(command) => command.run(&ui),
            Command::Add(command) => command.run(&ui),
            Command::Verify(command) => return command.run(),
            Command::Lock(command) => command.run(&ui),
            Command::Cache(command) => command.run(&ui),
            Command::Inspect(command) => command.run(&ui),
            Command::Ls(command) => command.run(),
            Command::Cat(command) => command.run(),
            Command::Cp(command) => command.run(&ui),
            Command::Rm(command) => command.run(&ui),
            Command::Diff(command) => return command.run(),
            Command::Vm(command) => command.run(&ui),
            Command::Completions(command) => command.run(<Self as clap::CommandFactory>::command()),
            Command::Man(command) => command.run(<Self as clap::CommandFactory>::command()),
        }
        .map(|()| ExitCode::SUCCESS)
    }
}
