//! Machines other than the one that the tests run on.

mod accelerators;
mod boots;
mod debian13;
mod sudo;
mod table;
mod terminals;

pub(crate) use terminals::hang_up;
