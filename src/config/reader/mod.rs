//! Reading TOML files with errors that point into them.

mod layer;
mod layers;
mod span;
mod value;

pub(super) use layer::LayerText;
pub(super) use layers::Reader;
pub(super) use span::{Span, Spanned};
pub(super) use value::{Table, Value};
