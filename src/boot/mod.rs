//! Artifacts booted in QEMU, on a throw-away overlay: the artifact itself is never written.

mod accelerator;
mod block;
mod console;
mod door;
mod firmware;
mod kernel;
mod qemu;
mod visit;

pub use accelerator::Accelerator;
pub use block::refuse_compressed;
pub use console::{DoorNews, Echo, Ending, Expectation};
pub use door::Door;
pub use firmware::require_firmware;
pub use qemu::{FirmwareKind, Machine, NetworkCard};
pub use visit::{Visit, VisitEnding};
