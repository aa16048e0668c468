//! What the tests share: running the binary as somebody, and comparing exactly what it says.

mod home;
mod judge;
mod kubernetes;
mod lasting;
mod machine;
mod node;
mod person;
mod power;
mod proxy;
mod publisher;
mod python;
mod raw_bytes;
mod repository;
mod run;
mod server;
mod tools;

pub(crate) use home::in_a_home_of_its_own;
pub(crate) use judge::{SETTLED, says_when_up, write_judge};
pub(crate) use kubernetes::{K3S, resources_are_known};
pub(crate) use lasting::remove_at_exit;
pub(crate) use machine::{Arch, Machines, tiny_base};
pub(crate) use node::{FIRSTBOOT, Node};
pub(crate) use person::Person;
pub(crate) use power::Powered;
pub(crate) use proxy::Proxy;
pub(crate) use publisher::{Gpg, Key, checksum, compress, disk, noise};
pub(crate) use python::python_tool;
pub(crate) use raw_bytes::found_in;
pub(crate) use repository::{Repository, Style};
pub(crate) use run::Run;
pub(crate) use server::{Authority, Fault, Server};
pub(crate) use tools::{names, partitions, tool};
