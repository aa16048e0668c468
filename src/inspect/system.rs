//! The operating system of an image.

use serde::Serialize;

use crate::fs::Tree;
use crate::guest::files::names_in;
use crate::guest::identity::{MachineId, hostname};
use crate::guest::os_release;
use crate::image::Image;
use crate::inspect::packages;
use crate::util::error::Result;

/// The operating system of an image.
#[derive(Clone, Debug, Serialize)]
pub struct System {
    /// `PRETTY_NAME` of its os-release.
    pub os: Option<String>,
    /// `ID` of its os-release.
    pub os_id: Option<String>,
    /// `VERSION_ID` of its os-release.
    pub os_version: Option<String>,
    /// Debian's name for it.
    pub architecture: Option<String>,
    /// From `/etc/hostname`.
    pub hostname: Option<String>,
    /// Whether it has an identity of its own.
    pub machine_id: MachineId,
    /// How many packages are installed; `None` without dpkg.
    pub packages: Option<usize>,
    /// Versions of the kernels it has modules for.
    pub kernels: Vec<String>,
}

impl System {
    pub(super) fn of(image: &Image) -> Result<Self> {
        let mut release = os_release::read(image)?;
        Ok(Self {
            os: release.remove("PRETTY_NAME").or_else(|| release.remove("NAME")),
            os_id: release.remove("ID"),
            os_version: release.remove("VERSION_ID"),
            architecture: image.architecture()?.map(|architecture| architecture.to_string()),
            hostname: hostname(image)?,
            machine_id: MachineId::read(image)?,
            packages: packages(image)?.map(|packages| packages.len()),
            kernels: kernels(image)?,
        })
    }
}

/// A kernel has a folder of modules; those that are built without have their image.
fn kernels(tree: &dyn Tree) -> Result<Vec<String>> {
    let mut kernels = names_in(tree, "/usr/lib/modules")?;
    if kernels.is_empty() {
        kernels = names_in(tree, "/lib/modules")?;
    }
    if kernels.is_empty() {
        let boot = names_in(tree, "/boot")?;
        kernels = boot
            .iter()
            .filter_map(|name| name.strip_prefix("vmlinuz-"))
            .map(str::to_owned)
            .collect();
    }
    Ok(kernels)
}
