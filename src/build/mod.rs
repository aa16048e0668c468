//! The pipeline: a cluster becomes a prepared base, nodes' deltas, and published artifacts.
//!
//! A [`Project`] is a cluster with all that belongs to it, each opened once: lock file, catalogue, cache.
//! [`Project::prepare`] makes a prepared base, [`build`] everything that follows from it.

mod artifacts;
mod bases;
mod built_base;
mod find;
mod guards;
mod known_hosts;
mod node_image;
mod prepared;
mod project;
mod pushed;
mod records;
mod registry;
mod rehearsal;
mod stale;
mod stamp;
mod status;

pub use artifacts::{BuildRequest, Built, build};
pub use bases::bases_for;
pub use built_base::BuiltBase;
pub use find::OutputFolder;
pub use node_image::NodeImage;
pub use prepared::{Preparation, PreparedCluster, Status};
pub use project::{Options, Project};
pub use registry::{PullOptions, RegistryChoice, pull};
pub use rehearsal::rehearse;
pub use stamp::{StampedNode, stamp};
pub use status::{ArtifactStatus, Fate, artifact_status};
