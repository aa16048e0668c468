//! What will be done, decided before anything is: pure, no disk is touched here.

mod change;
mod firstboot;
mod list;
mod network;
mod node;
mod prepare;
mod render;
mod show;

pub use change::{Action, Change, Content, Origin, Owner, PackageState, UnitState, User};
pub use node::{node, template};
pub use prepare::prepare;
pub use show::{describe, to_json};

#[cfg(test)]
mod tests;
