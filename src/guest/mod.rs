//! An operating system's own files, each read and written in one place.

mod generalise;
pub(crate) mod packages;
mod vendor_setup;

pub(crate) use generalise::generalise;
pub(crate) use packages::{STATUS, installed};
pub(crate) use vendor_setup::{hand_over, is_networkds};
