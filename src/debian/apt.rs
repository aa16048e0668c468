//! apt, run inside an image's root.

use std::process::Command;
use std::time::Duration;

use super::apt_output::{Watcher, failure};
use super::archives::Archives;
use super::host_apt::HostApt;
use super::log::Log;
use crate::cache::Package;
use crate::change::PackageState;
use crate::sandbox::{Guest, Network};
use crate::util::error::Result;
use crate::util::progress::Progress;

/// What every call gets. The image is thrown away when it fails, so nothing is synced on the way;
/// questions cannot be answered; the image is as small as its publisher's.
const OPTIONS: [&str; 14] = [
    "Dpkg::Use-Pty=0",
    "Dpkg::Options::=--force-unsafe-io",
    "Dpkg::Options::=--force-confdef",
    "Dpkg::Options::=--force-confold",
    "APT::Install-Recommends=0",
    "APT::Sandbox::User=root",
    "APT::Keep-Downloaded-Packages=1",
    "APT::Update::Error-Mode=any",
    "APT::Get::Assume-Yes=1",
    "APT::Get::allow-downgrades=1",
    "Acquire::Languages=none",
    "Acquire::Retries=3",
    "Acquire::http::Timeout=30",
    "Acquire::https::Timeout=30",
];

/// How long a look at the repositories may say nothing: a server that is silent is given up after two minutes
/// ([`OPTIONS`]), and no list is so long that it takes longer. apt 2.6 can wait for ever after it failed to connect.
const PATIENCE: Duration = Duration::from_secs(15 * 60);

/// More packages than any root has: a program of the image that lists them without end is not heard on.
const MANY: usize = 100_000;

/// Where packages come from.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum PackageSource {
    /// The repositories, looked at afresh.
    Repositories,
    /// These .deb files, which are all that is needed.
    Files(Vec<String>),
}

/// A file of apt's configuration with one proxy as the only way out, whatever other files say: where the
/// image's own proxy is out of reach.
pub(crate) fn only_way_out(proxy: &str) -> String {
    let mut text = String::new();
    // What stands below `Proxy` is for single hosts, and goes with it.
    for scheme in ["http", "https"] {
        for name in ["Proxy", "Proxy-Auto-Detect", "ProxyAutoDetect"] {
            text += &format!("#clear Acquire::{scheme}::{name};\n");
        }
        text += &format!("Acquire::{scheme}::Proxy \"{proxy}\";\n");
    }
    text
}

/// apt in a root.
pub(crate) struct Apt<'a> {
    pub(crate) guest: &'a Guest,
    pub(crate) archives: &'a mut Archives,
    pub(crate) log: &'a mut Log,
    pub(crate) progress: &'a dyn Progress,
    /// Whether it is the host's, for a root of another processor.
    pub(crate) from_host: bool,
    /// A file in the root that is read after all of its own configuration.
    pub(crate) last_word: Option<&'a str>,
}

impl Apt<'_> {
    /// Brings packages into their states, with a fresh look at the repositories.
    ///
    /// `locked` are all packages that an earlier build installed; empty when there was none.
    pub(crate) fn apply(
        &mut self,
        wanted: &[(String, PackageState)],
        source: &PackageSource,
        locked: &[Package],
    ) -> Result<()> {
        let of = |state: PackageState| -> Vec<&str> {
            wanted.iter().filter(|it| it.1 == state).map(|it| it.0.as_str()).collect()
        };
        let (install, remove, hold) =
            (of(PackageState::Installed), of(PackageState::Removed), of(PackageState::Held));
        let upgrade = !of(PackageState::Upgraded).is_empty();
        let changes = upgrade || !install.is_empty();
        if changes && *source == PackageSource::Repositories {
            self.progress.stage("reading package lists");
            self.get(&["update"], &[], Network::Host)?;
        }
        if !remove.is_empty() {
            self.progress.stage("removing packages");
            self.get(&["purge"], &remove, Network::Loopback)?;
        }
        if changes {
            let exact: Vec<String> = match source {
                PackageSource::Files(files) => files.clone(),
                PackageSource::Repositories => locked.iter().map(Package::exact).collect(),
            };
            // What is locked has the upgraded ones among it.
            let all: Vec<&str> = if exact.is_empty() {
                if upgrade {
                    self.progress.stage("upgrading packages");
                    self.fetch_and_get("dist-upgrade", &[])?;
                }
                install.clone()
            } else {
                exact.iter().map(String::as_str).collect()
            };
            if !all.is_empty() {
                self.progress.stage("installing packages");
                let manual = if exact.is_empty() { String::new() } else { self.manual()? };
                match source {
                    PackageSource::Files(_) => self.get(&["install"], &all, Network::Loopback)?,
                    PackageSource::Repositories => self.fetch_and_get("install", &all)?,
                }
                self.mark_as_needed(locked, &install, &manual)?;
            }
            if upgrade {
                self.get(&["autopurge"], &[], Network::Loopback)?;
            }
        }
        if !hold.is_empty() {
            let mut command = self.guest.command("apt-mark", Network::Loopback)?;
            command.arg("hold").args(&hold);
            self.run(command, "`apt-mark hold`", None)?;
        }
        Ok(())
    }

    /// What was named only because it is locked is there for others' sake.
    fn mark_as_needed(&mut self, locked: &[Package], install: &[&str], manual: &str) -> Result<()> {
        let is_asked_for = |package: &&Package| {
            install.iter().any(|name| name.split(['=', ':', '/']).next() == Some(&package.name))
        };
        // Nor does an upgrade change why something is there.
        let was_asked_for = |package: &&Package| manual.lines().any(|name| name == package.name);
        let others: Vec<_> =
            locked.iter().filter(|it| !is_asked_for(it) && !was_asked_for(it)).collect();
        if others.is_empty() {
            return Ok(());
        }
        let mut command = self.guest.command("apt-mark", Network::Loopback)?;
        command.arg("auto").args(others.iter().map(|it| &it.name));
        self.run(command, "`apt-mark auto`", None)
    }

    /// First all that is needed is fetched, by apt alone; then packages' scripts run, without a network.
    fn fetch_and_get(&mut self, verb: &str, packages: &[&str]) -> Result<()> {
        let mut lines = Vec::new();
        // Without being told, it names MD5 for the sake of old scripts.
        let listed = [verb, "--print-uris", "-o", "Acquire::ForceHash=SHA256"];
        let listing = self.command(&listed, packages, Network::Loopback)?;
        // One that fails does so again right away, and is reported then.
        self.log.follow(listing, |line| {
            if line.starts_with('\'') && lines.len() < MANY {
                lines.push(line.to_owned());
            }
        })?;
        lines.iter().try_for_each(|line| self.archives.spare(line))?;
        let fetched = self.get(&[verb, "--download-only"], packages, Network::Host);
        // However it went, the next run finds what came.
        self.archives.keep_fetched()?;
        fetched?;
        self.get(&[verb, "--no-download"], packages, Network::Loopback)
    }

    fn get(&mut self, verb: &[&str], packages: &[&str], network: Network) -> Result<()> {
        let command = self.command(verb, packages, network)?;
        let patience = (verb == ["update"]).then_some(PATIENCE);
        self.run(command, &format!("`apt-get {}`", verb[0]), patience)
    }

    fn command(&self, verb: &[&str], packages: &[&str], network: Network) -> Result<Command> {
        let mut command = self.guest.command("apt-get", network)?;
        if let Some(path) = self.last_word {
            command.args(["-c", path]);
        }
        for option in OPTIONS {
            command.args(["-o", option]);
        }
        command.args(verb).arg("--").args(packages);
        self.surround(&mut command);
        Ok(command)
    }

    /// Gives a program the environment that all of them have.
    fn surround(&self, command: &mut Command) {
        command.env("DEBIAN_FRONTEND", "noninteractive").env("DEBCONF_NOWARNINGS", "yes");
        if self.from_host {
            command.envs(HostApt::environment());
        }
    }

    /// The packages that were asked for by name, a line each.
    fn manual(&mut self) -> Result<String> {
        let mut command = self.guest.command("apt-mark", Network::Loopback)?;
        command.arg("showmanual");
        let (mut names, mut count) = (String::new(), 0);
        self.log.follow(command, |line| {
            count += 1;
            if count < MANY {
                names.push_str(line);
                names.push('\n');
            }
        })?;
        Ok(names)
    }

    fn run(&mut self, mut command: Command, what: &str, patience: Option<Duration>) -> Result<()> {
        self.surround(&mut command);
        let mut watcher = Watcher::new(self.progress);
        match self.log.follow_within(patience, command, |line| watcher.line(line)) {
            Ok(status) if status.success() => Ok(()),
            Ok(_) => Err(failure(self.log, &format!("{what} failed"))),
            Err(error) => Err(self.log.blame(error)),
        }
    }
}
