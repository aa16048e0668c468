//! The cluster file and what it refers to: text in, checked types out.

mod access;
mod address;
mod base;
mod cache;
mod check;
mod cluster;
mod cluster_types;
mod condition;
mod disks;
pub(crate) mod file;
mod file_types;
mod files;
mod formats;
mod hostname;
mod inputs;
mod key_lines;
mod kubelet;
mod node;
mod origin;
mod origins;
mod own_keys;
mod password_hash;
mod pools;
mod profile;
mod profile_types;
mod reader;
mod recipient;
mod registry_reference;
pub mod schema;
mod secret_spec;
mod setting;
mod setting_types;
mod size;
pub(crate) mod suggest;
mod traits;
mod types;
mod words;

pub use crate::config::cluster_types::*;
pub use crate::config::file_types::*;
pub use crate::config::profile_types::*;
pub use crate::config::setting_types::*;
pub use crate::config::types::*;
pub use access::{authorized_keys, check_user_name};
#[cfg(test)]
pub(crate) use cluster::parse;
pub use files::path_problem;
pub use formats::FormatRule;
#[cfg(test)]
pub(crate) use formats::example_rules;
pub use hostname::check_hostname;
pub use inputs::{Inputs, load};
pub use kubelet::Taint;
pub use origin::{ClusterSource, Origin, ValueGiver, ValueOrigin};
pub use origins::show;
pub use own_keys::own_keys;
pub use recipient::recipients_of;
pub use registry_reference::{ManifestName, RegistryReference};
pub(crate) use registry_reference::{is_loopback, is_tag};
pub use secret_spec::{ClientRecipe, SecretKind, SecretRecipe, SecretSpec};

pub(crate) use file::stays_below;
pub(crate) use profile::{firstboot, handout_pieces};
pub use profile::{load_profile, shipped_profiles, starting_file};
pub(crate) use size::parse as parse_size;
pub(crate) use suggest::closest;

#[cfg(test)]
pub(crate) mod tests;
