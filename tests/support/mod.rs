//! What the tests share: running the binary as somebody, and comparing exactly what it says.

mod boot_report;
mod cleanup;
mod kubernetes;
mod machine;
mod namespaces;
mod node;
mod power;
mod proxy;
mod publisher;
mod python;
mod raw_bytes;
mod repository;
mod run;
mod server;
mod tools;
mod user;

pub(crate) use boot_report::{BOOT_REPORT_END, report_when_up, write_boot_report};
pub(crate) use cleanup::remove_at_exit;
pub(crate) use kubernetes::{K3S, resources_are_known};
pub(crate) use machine::{Arch, Machines, tiny_base};
pub(crate) use namespaces::run_in_namespaces;
pub(crate) use node::{FIRSTBOOT, Node};
pub(crate) use power::Powered;
pub(crate) use proxy::Proxy;
pub(crate) use publisher::{Gpg, Key, checksum, compress, disk, noise};
pub(crate) use python::python_tool;
pub(crate) use raw_bytes::found_in;
pub(crate) use repository::{Repository, Style};
pub(crate) use run::Run;
pub(crate) use server::{Authority, Fault, Server};
pub(crate) use tools::{names, partitions, tool};
pub(crate) use user::User;
