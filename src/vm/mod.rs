//! VMware's machines in an output folder, driven through its own `vmrun`.

mod bundle;
mod shield;
mod vmrun;

pub use bundle::Bundle;
pub use shield::Shield;
pub use vmrun::Vmrun;
