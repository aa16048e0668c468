//! Artifacts booted in QEMU, on a throw-away overlay: the artifact itself is never written.

mod block;
mod console;
mod firmware;
mod kernel;
mod qemu;

pub use block::refuse_compressed;
pub use console::{Ending, Expectation};
pub use qemu::{Accelerator, FirmwareKind, Machine, NetworkCard};
