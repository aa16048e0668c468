//! File trees in user space: ext4 and FAT behind one trait.
//!
//! A [`Volume`] is one file system, seen by node; a [`Namespace`] mounts volumes into each other
//! and is the [`Tree`] that everything else works on.

mod acl;
pub mod ext4;
pub mod fat;
mod image_partition;
#[cfg(target_os = "linux")]
mod live;
#[cfg_attr(not(target_os = "linux"), allow(dead_code))]
pub(crate) mod mkfs;
mod namespace;
mod open;
mod probe;
pub(crate) mod repair;
mod resolve;
#[cfg(test)]
pub(crate) mod second_reader;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod tree;
mod used;
mod volume;
mod written;

pub use ext4::Ext4;
pub use fat::Fat;
pub(crate) use image_partition::ImagePartition;
#[cfg(target_os = "linux")]
pub(crate) use live::LiveTree;
pub use namespace::{Mount, Namespace};
pub use open::open;
pub use probe::{Kind, probe};
#[cfg(test)]
pub(crate) use second_reader::{UNKNOWN_TO_IT, assert_readers_agree};
#[cfg(test)]
pub(crate) use testing::{
    CLOCK, EXT4_KINDS, ROOT_DIRECTORY, ROOT_FILE, assert_fat_clean, ext4_image, fat_image, overlay,
    sample_tree, tree, writable,
};
pub use tree::{Attributes, Entry, FileType, Metadata, Tree};
pub use used::in_use;
pub(crate) use used::join;
pub use volume::{Planned, Space, Volume, VolumeNode};
pub use written::Expected;
