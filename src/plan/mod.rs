//! What will be done, decided before anything is: pure, no disk is touched here.

mod addition;
mod firstboot;
mod images;
mod list;
mod network;
mod node;
mod prepare;
mod render;
mod rotation;
mod rules;
mod schema;
mod shared_base;
mod show;
mod side_file;
mod single;

pub use addition::{Addition, ApiManifest, Different, NodeDifference, addition};
pub(crate) use images::container_images;
pub(crate) use list::subject;
pub use node::{node, template};
pub use prepare::prepare;
pub use rotation::{RotationCommands, after_rotation};
pub use rules::advice;
pub use schema::schema;
pub use shared_base::{BaseOfNodes, SharedBase, SharedBases};
pub use show::{describe, describe_handout, handout_to_json, to_json};
pub use side_file::{SideFile, handouts};
pub use single::{Found, Single, single};

#[cfg(test)]
mod tests;
