//! An operating system's own files, each read and written in one place.

pub(crate) mod dpkg;
mod generalise;
mod vendor_setup;

pub(crate) use generalise::generalise;
pub(crate) use vendor_setup::{hand_over, is_networkds};
