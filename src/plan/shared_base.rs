//! Which nodes share a prepared base: those that have the same packages.

use std::collections::BTreeMap;

use super::prepare::prepare;
use crate::change::{Action, PackageState};
use crate::config::{Cluster, Node};
use crate::util::error::{Error, Result};
use crate::util::sha256::Sha256;

/// The most characters that packages may have in the name of a file.
const LONGEST: usize = 40;

/// A prepared base that nodes share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SharedBase {
    /// What the names of files begin with that its nodes share: the cluster's name, and what it has beside the
    /// packages of all nodes: `rpi`, `rpi+lvm2`. No host name has a `+`.
    pub name: String,
    /// Packages that it has beside the profile's, sorted.
    pub packages: Vec<String>,
    /// Those of them that only some nodes have; none in the cluster's main base.
    pub own: Vec<String>,
}

/// A prepared base with the nodes that it is for, in the order of the cluster file.
pub type BaseOfNodes<'a> = (SharedBase, Vec<&'a Node>);

/// What decides which prepared base a node has.
pub struct SharedBases<'a> {
    cluster: &'a Cluster,
    /// What a base has or lacks anyway, by its name without a version.
    listed: BTreeMap<String, (String, PackageState)>,
    /// What all nodes have beside that.
    of_all: Vec<String>,
}

impl<'a> SharedBases<'a> {
    /// Those of a cluster.
    pub fn of(cluster: &'a Cluster) -> Result<Self> {
        let mut listed = BTreeMap::new();
        for change in prepare(cluster, &[])? {
            if let Action::Package { name, state } = change.action
                && matches!(state, PackageState::Installed | PackageState::Removed)
            {
                listed.insert(bare(&name).to_owned(), (name, state));
            }
        }
        let mut bases = Self { cluster, listed, of_all: Vec::new() };
        bases.of_all = bases.beside(&cluster.default_packages)?;
        Ok(bases)
    }

    /// The base of nodes that have no packages of their own, and of a template.
    pub fn main(&self) -> SharedBase {
        self.with(self.of_all.clone())
    }

    /// A node's.
    pub fn of_node(&self, node: &Node) -> Result<SharedBase> {
        Ok(self.with(self.beside(&node.packages)?))
    }

    /// Those of some nodes: the main one first, where a node has it, then in the order of the nodes.
    pub fn of_nodes<'n>(&self, nodes: &[&'n Node]) -> Result<Vec<BaseOfNodes<'n>>> {
        let mut groups: Vec<(Vec<String>, Vec<&'n Node>)> = Vec::new();
        for node in nodes {
            let packages = self.beside(&node.packages)?;
            match groups.iter_mut().find(|(other, _)| *other == packages) {
                Some((_, nodes)) => nodes.push(node),
                None => groups.push((packages, vec![node])),
            }
        }
        groups.sort_by_key(|(packages, _)| *packages != self.of_all);
        Ok(groups.into_iter().map(|(packages, nodes)| (self.with(packages), nodes)).collect())
    }

    fn with(&self, packages: Vec<String>) -> SharedBase {
        let own: Vec<_> =
            packages.iter().filter(|name| !self.of_all.contains(name)).cloned().collect();
        let cluster = &self.cluster.name;
        let name =
            if own.is_empty() { cluster.clone() } else { format!("{cluster}+{}", label(&own)) };
        SharedBase { name, packages, own }
    }

    /// What of a node's packages a base has not anyway.
    fn beside(&self, packages: &[String]) -> Result<Vec<String>> {
        let mut beside = Vec::new();
        for name in packages {
            match self.listed.get(bare(name)) {
                None => beside.push(name.clone()),
                Some((_, PackageState::Removed)) => {
                    return Err(Error::input(format!(
                        "`packages` asks for `{name}`, which the profile removes"
                    ))
                    .hint("leave it out, or take another profile"));
                }
                // Which version that is, is the profile's.
                Some((listed, _)) if name.contains('=') && name != listed => {
                    return Err(Error::input(format!(
                        "`packages` asks for `{name}`, and the base has `{listed}` for all nodes"
                    ))
                    .hint("leave it out: a setting of the profile may say which version that is"));
                }
                Some(_) => {}
            }
        }
        Ok(beside)
    }
}

/// A package's name without its version.
fn bare(name: &str) -> &str {
    name.split('=').next().unwrap_or(name)
}

/// What packages are called in names of files: by themselves while that is short.
fn label(packages: &[String]) -> String {
    let joined = packages.join("+");
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
    if joined.len() <= LONGEST && joined.bytes().all(is_plain) {
        joined
    } else {
        Sha256::of(joined).to_string()[..12].to_owned()
    }
}
