//! Files for people, which a build leaves in the output folder.

use super::list::content;
use super::render::{Renderer, Scope};
use crate::change::Content;
use crate::config::{self, Cluster};
use crate::secrets::Secrets;
use crate::util::error::{Error, Problem, Result};

/// A file for the people who run the cluster: a router's settings, a laptop's tunnel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SideFile {
    /// From the output folder, without `..`.
    pub path: String,
    /// What is in it.
    pub content: Content,
    /// Files of this machine that it is made from, as users see them.
    pub sources: Vec<String>,
}

impl SideFile {
    /// What it is, or lies in, at the top of the output folder.
    pub fn top(&self) -> &str {
        self.path.split('/').next().unwrap_or_default()
    }

    /// Permission bits: for its owner's eyes only when it holds a secret.
    pub fn mode(&self) -> u32 {
        if self.content.secrets.is_empty() { 0o644 } else { 0o600 }
    }
}

/// All of the profile's handouts that are wanted, in its order.
pub fn handouts(cluster: &Cluster, secrets: &Secrets) -> Result<Vec<SideFile>> {
    let renderer = Renderer::new(cluster, Scope::People(secrets));
    let mut handouts: Vec<SideFile> = Vec::new();
    for wanted in &cluster.profile.handouts {
        if !renderer.holds(wanted.when.as_ref())? {
            continue;
        }
        let path = renderer.render_word("a handout's `path`", &wanted.path)?;
        let fault = if handouts.iter().any(|other| other.path == path) {
            Some("is the path of two handouts")
        } else {
            config::SideFileSpec::path_fault(&path).or_else(|| {
                let top = path.split('/').next().unwrap_or_default();
                let mut endings = cluster.output.known.iter().flat_map(|it| &it.endings);
                let is_taken = endings.any(|ending| top.ends_with(ending));
                is_taken.then_some(config::SideFileSpec::TAKEN)
            })
        };
        if let Some(fault) = fault {
            let problem = Problem::new(format!("`{path}` {fault}"));
            return Err(Error::input(problem.at_places([wanted.place.clone()])));
        }
        let content = content(&wanted.bytes, wanted.is_template, &wanted.template_name, &renderer)?;
        let sources = renderer.sources(wanted.source.as_deref(), &content);
        handouts.push(SideFile { path, content, sources });
    }
    Ok(handouts)
}
