//! `vmrun`, which comes with VMware Fusion and Workstation.
//!
//! Source: VMware's "Using the vmrun Command to Control Virtual Machines".

use std::path::{Path, PathBuf};

use super::guest_status::{self, GuestStatus};
use crate::util::error::{Error, Result};
use crate::util::process::{Tool, search_path};

/// Where the products keep it, when it is not in `PATH`.
const FOLDERS: [&str; 3] = [
    "/Applications/VMware Fusion.app/Contents/Public",
    "/Applications/VMware Fusion.app/Contents/Library",
    "/usr/lib/vmware/bin",
];

/// The program, found.
pub struct Vmrun {
    program: PathBuf,
}

impl Vmrun {
    /// Looks for it in `PATH` and in the products' own folders.
    pub fn find() -> Result<Self> {
        let path = search_path();
        let folders = path.split(':').chain(FOLDERS);
        let program = folders.map(|folder| Path::new(folder).join("vmrun")).find(|it| it.is_file());
        let program = program.ok_or_else(|| {
            Error::failure("`vmrun` is not installed")
                .hint("it comes with VMware Fusion and VMware Workstation")
        })?;
        Ok(Self { program })
    }

    fn call(&self, arguments: &[&str], machine: &Path) -> Result<()> {
        let (command, options) = arguments.split_first().expect("a command");
        self.tool().arg(command).arg(machine).args(options).run()?;
        Ok(())
    }

    fn tool(&self) -> Tool {
        let product = if cfg!(target_os = "macos") { "fusion" } else { "ws" };
        Tool::new(&self.program.to_string_lossy(), "VMware").args(["-T", product])
    }

    /// The `.vmx` files of machines that run now.
    pub fn running(&self) -> Result<Vec<PathBuf>> {
        let text = self.tool().arg("list").run()?;
        // The first line counts the others.
        Ok(text.lines().skip(1).map(|line| resolved(Path::new(line.trim()))).collect())
    }

    /// What a running machine's guest says of itself; without open-vm-tools in it, nothing.
    pub fn status(&self, machine: &Path) -> GuestStatus {
        GuestStatus::parse(&self.guest_variable(machine, GuestStatus::NAME))
    }

    /// A running machine's address, as open-vm-tools found it.
    pub fn address(&self, machine: &Path) -> Option<String> {
        guest_status::address(&self.guest_variable(machine, "ip"))
    }

    /// `guestinfo.NAME`; empty where it is not set, or cannot be read.
    fn guest_variable(&self, machine: &Path, name: &str) -> String {
        let tool = self.tool().arg("readVariable").arg(machine).args(["guestVar", name]);
        tool.run().unwrap_or_default()
    }

    /// Turns a machine on, with a window or without.
    pub fn start(&self, machine: &Path, window: bool) -> Result<()> {
        self.call(&["start", if window { "gui" } else { "nogui" }], machine)
    }

    /// Shuts a machine down, or pulls its plug.
    pub fn stop(&self, machine: &Path, hard: bool) -> Result<()> {
        self.call(&["stop", if hard { "hard" } else { "soft" }], machine)
    }

    /// Deletes a machine's files and takes it out of the library.
    pub fn delete(&self, machine: &Path) -> Result<()> {
        self.call(&["deleteVM"], machine)
    }
}

/// A path in the form in which equal files have equal paths.
fn resolved(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}
