//! Profiles: `profile.toml` and the folders it names.

mod apt;
mod fields;
mod folder;
mod handout;
mod images;
mod kernel;
mod learn;
mod load;
mod overlay;
mod role;
mod rule;
mod secret;

pub(crate) use folder::{firstboot, handout_pieces};
pub use folder::{shipped_profiles, starting_file};
pub(super) use load::load;
pub use load::load_profile;
