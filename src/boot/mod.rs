//! Artifacts booted in QEMU, on a throw-away overlay: the artifact itself is never written.

mod accelerator;
mod block;
mod console;
mod door;
mod firmware;
mod kernel;
mod qemu;
mod visit;

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;

use tempfile::TempDir;

use crate::util::error::{Context as _, Result};

pub use accelerator::Accelerator;
pub use block::refuse_compressed;
pub use console::{DoorNews, Echo, Ending, Expectation};
pub use door::Door;
pub use firmware::require_firmware;
pub use qemu::{FirmwareKind, Machine, NetworkCard};
pub use visit::{Visit, VisitEnding};

/// A folder for what one machine needs while it runs: sockets that control it, parts of its disk, keys. Only
/// this user gets in, whatever the umask says.
fn temporary_folder() -> Result<TempDir> {
    tempfile::Builder::new()
        .prefix("nodeforge-boot-")
        .permissions(Permissions::from_mode(0o700))
        .tempdir()
        .context(|| "making a temporary folder")
}
