//! What a cluster is described by: files laid over each other, the environment, the command line.

use std::path::{Path, PathBuf};

use toml::de::DeTable;

use super::cluster_types::Cluster;
use super::formats::FormatRule;
use super::origin::Origin;
use super::reader::LayerText;
use crate::config::{cluster, file};
use crate::util::error::{Context as _, Error, Result, Source};

/// What the environment's variables that override a value begin with.
const PREFIX: &str = "NODEFORGE__";

/// What a cluster is described by, from the least to the most weighty: files, then variables of
/// the environment, then values of the command line.
#[derive(Clone, Debug, Default)]
pub struct Inputs {
    /// Cluster files; what a later one says counts.
    pub files: Vec<PathBuf>,
    /// `settings.pod_subnet=10.244.0.0/16`
    pub sets: Vec<String>,
}

impl Inputs {
    /// Reads the cluster with its profile, and checks all of it; `formats` are the artifact formats
    /// there are. Every problem is reported.
    pub fn load(&self, formats: &'static [FormatRule]) -> Result<Cluster> {
        let mut texts = Vec::new();
        for path in &self.files {
            texts.push(read(path)?);
        }
        let here =
            std::env::current_dir().context(|| "cannot find the current folder".to_owned())?;
        let mut variables: Vec<(String, String)> =
            std::env::vars().filter(|(name, _)| name.starts_with(PREFIX)).collect();
        variables.sort();
        for (name, value) in variables {
            let key = name[PREFIX.len()..].to_ascii_lowercase().replace("__", ".");
            let shown = format!("${name}");
            let text = override_text(&key, &value).ok_or_else(|| no_override(&shown))?;
            let source = Source { name: shown, text };
            texts.push(LayerText { origin: Origin::Environment, source, directory: here.clone() });
        }
        for set in &self.sets {
            let (key, value) = set.split_once('=').ok_or_else(|| no_override(set))?;
            let key = key.trim();
            let text = override_text(key, value).ok_or_else(|| no_override(&format!("{key}=…")))?;
            let source = Source { name: "--set".into(), text };
            texts.push(LayerText { origin: Origin::CommandLine, source, directory: here.clone() });
        }
        let path = self.files.first().cloned().unwrap_or_default();
        cluster::parse_layers(&path, texts, formats)
    }
}

/// Reads a cluster file with its profile, and checks all of it; `formats` are the artifact formats
/// there are. Every problem is reported.
pub fn load(path: &Path, formats: &'static [FormatRule]) -> Result<Cluster> {
    Inputs { files: vec![path.to_owned()], sets: Vec::new() }.load(formats)
}

/// A cluster file with its folder.
fn read(path: &Path) -> Result<LayerText> {
    if !path.exists() {
        return Err(Error::input(format!("there is no cluster file `{}`", path.display()))
            .hint("`nodeforge init` writes one"));
    }
    let text = file::read_toml(path)?;
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let directory = std::path::absolute(directory)
        .context(|| format!("cannot tell where `{}` is", directory.display()))?;
    let source = Source { name: path.display().to_string(), text };
    Ok(LayerText { origin: Origin::File, source, directory })
}

/// One value as the text of a file of its own; `None` when the key is not one. What is not a TOML
/// value is text, so that quotes need no quotes around them.
fn override_text(key: &str, value: &str) -> Option<String> {
    let is_bare = |part: &str| {
        !part.is_empty()
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
    };
    if !key.split('.').all(is_bare) || key.len() > 256 {
        return None;
    }
    let text = format!("{key} = {value}\n");
    let is_toml = !value.contains(['\n', '\r']) && DeTable::parse(&text).is_ok();
    Some(if is_toml { text } else { format!("{key} = {}\n", toml::Value::from(value)) })
}

fn no_override(written: &str) -> Error {
    Error::input(format!("`{written}` does not set a value")).hint(
        "for example `--set settings.pod_subnet=10.244.0.0/16`, or in the environment \
               NODEFORGE__SETTINGS__POD_SUBNET",
    )
}
