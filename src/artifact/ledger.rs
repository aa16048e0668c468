//! What the last build left in an output folder, and how its files looked then: the next build makes only what
//! is missing, was edited, or would come out differently.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::manifest::{ArtifactRecord, Manifest, artifact_of};
use crate::cache::Cache;
use crate::disk::sha256_of_file;
use crate::util::error::{Error, Result};
use crate::util::file_identity::FileIdentity;
use crate::util::sha256::Sha256;

/// Its folder in the cache.
const FOLDER: &str = "built";

/// How files of an output folder looked when a build had published them.
///
/// It stands in the user's cache: output folders come from others too, and what they say of themselves
/// proves nothing.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    files: BTreeMap<String, FileLook>,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct FileLook {
    #[serde(flatten)]
    identity: FileIdentity,
    /// What it was made from and the manifest does not say.
    from: String,
    /// Of its bytes as they were published.
    sha256: Sha256,
}

impl Ledger {
    /// What the last build left; nothing where it was killed while it published.
    pub fn read(cache: &Cache, cluster: &str, output: &Path) -> Self {
        if Manifest::settled(output, cluster).is_none() {
            return Self::default();
        }
        let text = place(cache, output).and_then(|path| Ok(fs::read(path)?)).ok();
        text.and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default()
    }

    /// Notes how published files look now, and that they were made from `from`.
    pub fn note<'a>(
        &mut self,
        output: &Path,
        from: &str,
        records: impl IntoIterator<Item = &'a ArtifactRecord>,
    ) {
        for record in records {
            if let Some(identity) = identity(output, &record.path) {
                let look = FileLook { identity, from: from.to_owned(), sha256: record.sha256 };
                self.files.insert(record.path.clone(), look);
            }
        }
    }

    /// Writes it, without files that are gone. Where the cache cannot be written, the next build makes all
    /// again.
    pub fn write(&mut self, cache: &Cache, output: &Path) {
        self.files.retain(|path, _| fs::symlink_metadata(output.join(path)).is_ok());
        let text = serde_json::to_vec(self).expect("plain data");
        drop(place(cache, output).and_then(|path| Cache::write(&path, &text)));
    }
}

/// One for each output folder.
fn place(cache: &Cache, output: &Path) -> Result<PathBuf> {
    let output = fs::canonicalize(output)?;
    let name = Sha256::of(output.as_os_str().as_encoded_bytes()).to_string();
    Ok(cache.folder(FOLDER)?.join(name))
}

/// A link is not what was made.
fn identity(output: &Path, path: &str) -> Option<FileIdentity> {
    let found = fs::symlink_metadata(output.join(path)).ok().filter(fs::Metadata::is_file)?;
    Some(FileIdentity::of(&found))
}

/// What an artifact is made from beside what its plan says: the prepared base, and this very program. Between
/// releases its version alone does not tell it from another.
pub fn made_from(prepared: Sha256) -> String {
    let program = std::env::current_exe().and_then(fs::metadata);
    let program = program.map(|it| (it.len(), it.mtime(), it.mtime_nsec())).ok();
    format!("{prepared} {program:?}")
}

/// Why an artifact is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// No build of this user made it, or it, or a part of it, is gone.
    Missing,
    /// It is no longer as the last build left it.
    Edited,
    /// It would come out differently.
    Outdated,
}

/// What a build of these artifacts has to do in an output folder.
pub struct Freshness<'a> {
    /// Where it stands how the last build left them.
    pub cache: &'a Cache,
    /// The cluster's name.
    pub cluster: &'a str,
    /// The output folder.
    pub output: &'a Path,
    /// What they would be [made from](made_from); none where only what is recorded is compared.
    pub from: Option<&'a str>,
    /// Whether contents are compared too, not only sizes and times.
    pub compares_contents: bool,
}

impl Freshness<'_> {
    /// Of artifacts, each with the digest of what it is made from: those that are to be made, and why.
    pub fn reasons(&self, wanted: &[(String, String)]) -> Result<BTreeMap<String, Reason>> {
        let mut reasons = BTreeMap::new();
        let previous = Manifest::settled(self.output, self.cluster);
        let ledger = Ledger::read(self.cache, self.cluster, self.output);
        for (name, digest) in wanted {
            let records = previous.iter().flat_map(|it| &it.artifacts).filter(|it| it.is_of(name));
            if let Some(reason) =
                self.reason(name, digest, &records.collect::<Vec<_>>(), &ledger)?
            {
                reasons.insert(name.clone(), reason);
            }
        }
        Ok(reasons)
    }

    /// Those of the artifacts' files that are not as the last build left them, whoever changed them: nothing
    /// else may have what is in them. Where a build was killed while it published, nobody can tell.
    pub fn edited(&self, artifacts: &BTreeSet<&str>) -> Result<Vec<String>> {
        let Some(previous) = Manifest::settled(self.output, self.cluster) else {
            return Ok(Vec::new());
        };
        let ledger = Ledger::read(self.cache, self.cluster, self.output);
        let mut edited = Vec::new();
        for ArtifactRecord { path, size, sha256, .. } in previous.artifacts {
            if !artifacts.contains(artifact_of(&path)) {
                continue;
            }
            let Some(now) = identity(self.output, &path) else { continue };
            let known = ledger.files.get(&path).filter(|it| it.sha256 == sha256);
            if known.is_none_or(|it| it.identity != now)
                && (now.size != size || sha256_of_file(&self.output.join(&path))? != sha256)
            {
                edited.push(path);
            }
        }
        Ok(edited)
    }

    fn reason(
        &self,
        name: &str,
        digest: &str,
        records: &[&ArtifactRecord],
        ledger: &Ledger,
    ) -> Result<Option<Reason>> {
        if records.is_empty() || fs::symlink_metadata(self.output.join(name)).is_err() {
            return Ok(Some(Reason::Missing));
        }
        if records.iter().any(|it| it.inputs.as_deref() != Some(digest)) {
            return Ok(Some(Reason::Outdated));
        }
        // A machine that was started leaves files beside its disk.
        let found = fs::read_dir(self.output.join(name)).map_or(1, Iterator::count);
        if found != records.len() {
            let is_more = found > records.len();
            return Ok(Some(if is_more { Reason::Edited } else { Reason::Missing }));
        }
        for record in records {
            let known = ledger.files.get(&record.path).filter(|it| it.sha256 == record.sha256);
            let now = known.and_then(|_| identity(self.output, &record.path));
            let (Some(known), Some(now)) = (known, now) else { return Ok(Some(Reason::Missing)) };
            // A file that was only touched is read.
            let is_read = self.compares_contents || now != known.identity;
            let path = self.output.join(&record.path);
            let has_bytes = || Ok::<_, Error>(sha256_of_file(&path)? == known.sha256);
            if now.size != known.identity.size || is_read && !has_bytes()? {
                return Ok(Some(Reason::Edited));
            }
            if self.from.is_some_and(|from| from != known.from) {
                return Ok(Some(Reason::Outdated));
            }
        }
        Ok(None)
    }
}
