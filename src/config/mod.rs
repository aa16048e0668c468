//! The cluster file and what it refers to: text in, checked types out.

mod types;

pub use types::*;
