//! VMware's machines in an output folder, driven through its own `vmrun`.

mod bundle;
mod guest_status;
mod mac;
mod ovf;
mod template_backup;
mod vmrun;
pub(crate) mod vmsd;
mod vmx;

pub use bundle::Bundle;
pub use guest_status::GuestStatus;
pub(crate) use mac::mac_addresses;
pub(crate) use ovf::Ovf;
pub use template_backup::TemplateBackup;
pub use vmrun::Vmrun;
pub(crate) use vmx::Vmx;

/// The disk that a bundle's machine runs on.
pub(crate) const DISK: &str = "disk.vmdk";
