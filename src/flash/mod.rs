//! Writing images to devices: which devices there are, which must not be touched, and how to leave
//! one that either boots what was meant or does not boot.

mod buffer;
mod contents;
mod device;
#[cfg(any(test, target_os = "macos"))]
mod diskutil;
mod fingerprint;
mod guards;
mod image;
mod layout;
#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "macos")]
mod macos;
#[cfg(target_os = "linux")]
mod mounts;
mod node;
mod open;
mod pipeline;
#[cfg(target_os = "linux")]
mod sysfs;
mod target;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod transfer;
mod verify;
mod write;

pub use contents::{Contents, PartContent};
pub use device::{Device, Purpose, Transport, Use};
pub use guards::{FlashRequest, Permitted, check};
pub use image::{needed, table_sector_size};
pub use layout::BehindImage;
#[cfg(target_os = "linux")]
pub use linux::{contents, find, list};
#[cfg(target_os = "macos")]
pub use macos::{contents, find, list};
pub use node::DeviceNode;
pub use open::OpenTarget;
pub use target::Target;
pub use write::{Summary, write};
