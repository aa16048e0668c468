//! Artifacts: every format from the same prepared bases and the same deltas.
//!
//! What a format is stands in the table in `format/`; everything here goes through that table.

mod batch;
mod bmap;
mod claims;
mod codec;
mod compressed;
mod dependents;
mod format;
mod formats;
mod in_use;
mod inputs;
mod ledger;
mod made;
mod manifest;
mod own_files;
mod prepared;
mod side_file;
mod staging;
mod standalone;
mod write;

pub use batch::{Batch, NodeDisk};
pub use dependents::{outdated, unchanged};
pub use format::definition::ArtifactFormat;
pub use formats::{bootable, chosen, disk_of, flashable, format_named, format_names, format_rules};
pub use in_use::in_use;
pub use inputs::DiskInputs;
pub use ledger::{Freshness, Ledger, Reason, made_from};
pub use made::Artifact;
pub use manifest::{
    ArtifactRecord, BaseRecord, FileRecord, InputRecord, Manifest, NodeRecord, PREPARED_BASE,
    artifact_of, write_synced,
};
pub use own_files::{OwnFiles, refuse_edited};
pub use prepared::PreparedBase;
pub use side_file::write_side_files;
pub use staging::Staging;
pub use standalone::{standalone_endings, standalone_format, write_standalone};
pub use write::{digests, expected, names_of, shared_names, write};
