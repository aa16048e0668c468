//! What the tests share: running the binary as somebody, and comparing exactly what it says.

mod person;
mod run;
mod tools;

pub(crate) use person::Person;
pub(crate) use run::Run;
pub(crate) use tools::{partitions, tool};
