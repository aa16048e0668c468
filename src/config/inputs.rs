//! What a cluster is described by: files laid over each other, the environment, the command line.

use std::path::{Path, PathBuf};

use toml::de::DeTable;

use super::formats::FormatRule;
use super::types::Cluster;
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
        let mut sources = Vec::new();
        for path in &self.files {
            sources.push(read(path)?);
        }
        let here = std::env::current_dir().context(|| "cannot tell where this is".to_owned())?;
        let mut variables: Vec<(String, String)> =
            std::env::vars().filter(|(name, _)| name.starts_with(PREFIX)).collect();
        variables.sort();
        for (name, value) in variables {
            let key = name[PREFIX.len()..].to_ascii_lowercase().replace("__", ".");
            sources.push((override_source(format!("${name}"), &key, &value)?, here.clone()));
        }
        for set in &self.sets {
            let (key, value) = set.split_once('=').ok_or_else(|| no_override(set))?;
            sources.push((override_source("--set".into(), key.trim(), value)?, here.clone()));
        }
        let path = self.files.first().cloned().unwrap_or_default();
        cluster::parse_layers(&path, sources, formats)
    }
}

/// A cluster file with its folder.
fn read(path: &Path) -> Result<(Source, PathBuf)> {
    if !path.exists() {
        return Err(Error::input(format!("there is no cluster file `{}`", path.display()))
            .hint("`nodeforge init` writes one"));
    }
    let text = file::read_text(path, file::MOST_TOML)?;
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let directory = std::path::absolute(directory)
        .context(|| format!("cannot tell where `{}` is", directory.display()))?;
    Ok((Source { name: path.display().to_string(), text }, directory))
}

/// One value as a file of its own. What is no TOML value is text, so that nobody has to quote
/// quotes.
fn override_source(name: String, key: &str, value: &str) -> Result<Source> {
    let is_bare = |part: &str| {
        !part.is_empty()
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
    };
    if !key.split('.').all(is_bare) || key.len() > 256 {
        return Err(no_override(&if name.starts_with('$') { name } else { format!("{key}=…") }));
    }
    let mut text = format!("{key} = {value}\n");
    if value.contains(['\n', '\r']) || DeTable::parse(&text).is_err() {
        text = format!("{key} = {}\n", toml::Value::from(value));
    }
    Ok(Source { name, text })
}

fn no_override(written: &str) -> Error {
    Error::input(format!("`{written}` sets no value")).hint(
        "for example `--set settings.pod_subnet=10.244.0.0/16`, or in the environment \
               NODEFORGE__SETTINGS__POD_SUBNET",
    )
}
