//! Resolving a base: the catalogue, images on this machine, and what a lock file pins.

mod binding;
mod catalogue;
mod chart;
mod image_archive;
pub(crate) mod import;
mod inputs;
mod lock_file;
mod locked_prepared;
mod provenance;
mod remote;
mod resolve;

pub use binding::{pinned, request};
pub use catalogue::{Catalogue, CatalogueEntry};
pub use inputs::{FetchedFile, PrepareInputs};
pub use lock_file::{Lock, LockFile, PackagePins};
pub use locked_prepared::{LockedPrepared, RegistryPins};
pub use resolve::{ResolveOptions, ResolvedBase, Resolver, arch_of};
