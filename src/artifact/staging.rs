//! An artifact appears whole or not at all: made in a hidden folder beside its place, synced,
//! then renamed into it.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::claims::{CLAIMS, claimed};
use super::manifest::write_synced;
use crate::util::error::{Context, Error, Result};
use crate::util::file_lock::FileLock;
use crate::util::new_files;
use crate::vmware::TemplateBackup;

/// What the hidden folders' names begin with.
const PREFIX: &str = ".nodeforge-";

/// Where the files of a template are backed up while a clone of it is deleted. Not in a folder that is gone
/// when dropped: they may be the only ones.
const BACKUP: &str = ".nodeforge-template";

/// A folder inside the output folder in which artifacts are made. Gone when dropped, with
/// everything that was not published.
pub struct Staging {
    // Dropped first: the lock outlives the folder.
    temporary: TempDir,
    output: PathBuf,
    _lock: FileLock,
}

impl Staging {
    /// Makes the output folder where it is missing, takes its lock, and clears away what a killed
    /// build left behind.
    pub fn new(output: &Path) -> Result<Self> {
        new_files::create_dir_all(output)
            .context(|| format!("cannot make the output folder `{}`", output.display()))?;
        let folder =
            File::open(output).context(|| format!("cannot open `{}`", output.display()))?;
        let lock = FileLock::try_exclusive(folder);
        let Some(lock) = lock.context(|| format!("cannot lock `{}`", output.display()))? else {
            return Err(Error::failure(format!(
                "another nodeforge is writing to `{}`",
                output.display()
            ))
            .hint("wait for it, or choose another folder with `-o`"));
        };
        for entry in fs::read_dir(output)? {
            let entry = entry?;
            let name = entry.file_name();
            if name.to_string_lossy().starts_with(PREFIX) && name != CLAIMS {
                if let Some(backup) = TemplateBackup::left_in(&entry.path()) {
                    backup.restore()?;
                    continue;
                }
                fs::remove_dir_all(entry.path())
                    .context(|| format!("cannot remove `{}`", entry.path().display()))?;
            }
        }
        let temporary = tempfile::Builder::new()
            .prefix(PREFIX)
            .tempdir_in(output)
            .context(|| format!("cannot make a folder in `{}`", output.display()))?;
        // Under sudo it stays root's until then: its owner could put links where root writes.
        Ok(Self { temporary, output: output.to_owned(), _lock: lock })
    }

    /// Where the artifact `name` is made.
    pub fn path(&self, name: &str) -> PathBuf {
        self.temporary.path().join(name)
    }

    /// Backs up the files of a bundle while what is done to another may take them away. If this process
    /// is killed, the next one that writes to the output folder restores them.
    pub fn back_up(&self, bundle: &Path) -> Result<TemplateBackup> {
        TemplateBackup::make(bundle, &self.output.join(BACKUP))
    }

    /// The folder in which artifacts end up.
    pub fn output(&self) -> &Path {
        &self.output
    }

    /// Writes down what is about to be published, beside what a killed build had written down.
    pub fn claim(&self, paths: impl IntoIterator<Item = String>) -> Result<()> {
        let mut claims = claimed(&self.output);
        claims.extend(paths);
        let text = serde_json::to_vec(&claims).expect("texts");
        write_synced(&self.path(CLAIMS), &text)?;
        self.publish([CLAIMS])
    }

    /// Whether no build was killed after it had claimed files.
    pub fn is_settled(&self) -> bool {
        !self.output.join(CLAIMS).exists()
    }

    /// All that was claimed is published and listed.
    pub fn settle(&self) -> Result<()> {
        fs::remove_file(self.output.join(CLAIMS))
            .context(|| format!("cannot remove `{CLAIMS}`"))?;
        self.sync()
    }

    /// Takes away what would be wrong while artifacts are published. All that was not published by
    /// then goes with the staging folder.
    pub fn withdraw<'a>(&self, names: impl IntoIterator<Item = &'a str>) -> Result<()> {
        let aside = self.path("withdrawn");
        fs::create_dir_all(&aside).context(|| format!("cannot make `{}`", aside.display()))?;
        for name in names {
            match fs::rename(self.output.join(name), aside.join(name)) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    return Err(Error::from(error))
                        .context(|| format!("cannot move `{name}` away"));
                }
                Ok(()) | Err(_) => {}
            }
        }
        self.sync()
    }

    /// Moves artifacts to their places, each in one step, in place of what was there.
    pub fn publish<'a>(&self, names: impl IntoIterator<Item = &'a str>) -> Result<()> {
        for name in names {
            let (from, to) = (self.path(name), self.output.join(name));
            new_files::give_tree(&from);
            replace(&from, &to).context(|| format!("cannot move `{name}` into place"))?;
        }
        self.sync()
    }

    /// The renames themselves.
    fn sync(&self) -> Result<()> {
        File::open(&self.output).and_then(|folder| folder.sync_all())?;
        Ok(())
    }
}

/// Renames `from` to `to`. A folder that is in the way changes places with it, and goes when the
/// staging folder does.
fn replace(from: &Path, to: &Path) -> Result<()> {
    let is_folder = |path: &Path| fs::symlink_metadata(path).is_ok_and(|it| it.is_dir());
    if !is_folder(from) && !is_folder(to) {
        fs::rename(from, to)?;
        return Ok(());
    }
    if fs::symlink_metadata(to).is_err() {
        fs::rename(from, to)?;
        return Ok(());
    }
    #[cfg(target_os = "linux")]
    {
        use rustix::fs::{CWD, RenameFlags, renameat_with};
        if renameat_with(CWD, from, CWD, to, RenameFlags::EXCHANGE).is_ok() {
            return Ok(());
        }
    }
    // A file system without exchange: for a moment there is neither.
    let aside = from.with_extension("previous");
    fs::rename(to, &aside)?;
    fs::rename(from, to)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_and_folders_replace_what_was_there() {
        let output = tempfile::tempdir().expect("a folder");
        for round in ["one", "two"] {
            let staging = Staging::new(output.path()).expect("staging");
            fs::write(staging.path("a.img"), round).expect("a file");
            fs::create_dir(staging.path("a.bundle")).expect("a folder");
            fs::write(staging.path("a.bundle").join(round), round).expect("a file");
            staging.publish(["a.img", "a.bundle"]).expect("published");
            drop(staging);
            assert_eq!(fs::read_to_string(output.path().join("a.img")).expect("there"), round);
            let inside: Vec<_> =
                fs::read_dir(output.path().join("a.bundle")).expect("there").collect();
            assert_eq!(inside.len(), 1);
            assert_eq!(fs::read_dir(output.path()).expect("there").count(), 2);
        }
    }

    #[test]
    fn one_build_at_a_time_writes_to_a_folder() {
        let output = tempfile::tempdir().expect("a folder");
        let first = Staging::new(output.path()).expect("staging");
        assert!(Staging::new(output.path()).is_err());
        drop(first);
        assert!(Staging::new(output.path()).is_ok());
    }

    #[test]
    fn what_a_killed_build_left_is_cleared_away() {
        let output = tempfile::tempdir().expect("a folder");
        fs::create_dir(output.path().join(".nodeforge-killed")).expect("a folder");
        drop(Staging::new(output.path()).expect("staging"));
        assert_eq!(fs::read_dir(output.path()).expect("there").count(), 0);
    }
}
