//! The cluster file and what it refers to: text in, checked types out.

mod access;
mod address;
mod base;
mod check;
mod cluster;
mod condition;
pub(crate) mod file;
mod files;
mod formats;
mod hostname;
mod inputs;
mod node;
mod origins;
mod pools;
mod profile;
mod profile_types;
mod reader;
pub mod schema;
mod secret_spec;
mod setting;
mod size;
pub(crate) mod suggest;
mod types;

pub use crate::config::profile_types::*;
pub use crate::config::types::*;
pub use access::{authorized_keys, check_user_name};
pub use cluster::load;
#[cfg(test)]
pub(crate) use cluster::parse;
pub use formats::FormatRule;
#[cfg(test)]
pub(crate) use formats::example_rules;
pub use hostname::check_hostname;
pub use inputs::Inputs;
pub use origins::{ValueOrigin, show};
pub use secret_spec::{SecretKind, SecretSpec};

pub(crate) use profile::firstboot;
pub use profile::{load_profile, shipped_profiles, starting_file};
pub(crate) use size::parse as parse_size;
pub(crate) use suggest::closest;

#[cfg(test)]
pub(crate) mod tests;
