//! Files that are others while packages are installed, and put back as they were.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::{fs, io};

use crate::util::error::{Context, Result};

/// What ends the name of a diverted file meanwhile.
const ASIDE: &str = "nodeforge-aside";

/// Answers every question whether a service may start with "no" (invoke-rc.d's policy layer).
const POLICY: (&str, &str, u32) = ("/usr/sbin/policy-rc.d", "#!/bin/sh\nexit 101\n", 0o755);

const RESOLV_CONF: &str = "/etc/resolv.conf";

/// What only costs time while it exists: man-db indexes manual pages after every installation, and
/// debconf looks into all packages beforehand for questions, which cannot be answered here.
const COSTLY: [&str; 3] = [
    "/var/lib/man-db/auto-update",
    "/usr/lib/apt/apt-extracttemplates",
    "/usr/bin/apt-extracttemplates",
];

/// Files of the root this process is in that are others for a while.
pub(crate) struct Diversions {
    files: Vec<Diversion>,
}

pub(crate) struct Diversion {
    path: PathBuf,
    /// What was put there; `None` when the file is only gone for a while.
    text: Option<String>,
}

impl Diversions {
    /// Puts in the host's name servers and a policy that starts nothing, and takes away what only
    /// costs time. On failure the whole root is thrown away: nothing is put back then.
    pub(crate) fn install(resolv_conf: &str) -> Result<Self> {
        let (policy, script, mode) = POLICY;
        let mut files = vec![
            Diversion::put(policy, script, mode)?,
            Diversion::put(RESOLV_CONF, resolv_conf, 0o644)?,
        ];
        for path in COSTLY {
            files.push(Diversion::take(path)?);
        }
        Ok(Self { files })
    }

    /// Puts everything back, links as links. What a package put in a diverted file's place stays.
    pub(crate) fn restore(self) -> Result<()> {
        self.files.iter().try_for_each(Diversion::restore)
    }
}

impl Diversion {
    pub(crate) fn take(path: &str) -> Result<Self> {
        let path = PathBuf::from(path);
        rename(&path, &aside(&path))?;
        Ok(Self { path, text: None })
    }

    pub(crate) fn put(path: &str, text: &str, mode: u32) -> Result<Self> {
        let mut diversion = Self::take(path)?;
        let write = || {
            fs::write(&diversion.path, text)?;
            fs::set_permissions(&diversion.path, fs::Permissions::from_mode(mode))
        };
        write().context(|| format!("cannot replace `{path}`"))?;
        diversion.text = Some(text.to_owned());
        Ok(diversion)
    }

    pub(crate) fn restore(&self) -> Result<()> {
        let aside = aside(&self.path);
        if self.is_still_ours() {
            if self.text.is_some() {
                fs::remove_file(&self.path)
                    .context(|| format!("cannot remove `{}`", self.path.display()))?;
            }
            rename(&aside, &self.path)
        } else {
            match fs::remove_file(&aside) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error.into()),
                Ok(()) | Err(_) => Ok(()),
            }
        }
    }

    fn is_still_ours(&self) -> bool {
        let metadata = fs::symlink_metadata(&self.path);
        match &self.text {
            Some(text) => {
                metadata.is_ok_and(|it| it.is_file())
                    && fs::read_to_string(&self.path).is_ok_and(|now| now == *text)
            }
            None => metadata.is_err(),
        }
    }
}

pub(crate) fn aside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(ASIDE);
    PathBuf::from(name)
}

/// Renames, when there is anything to rename.
fn rename(from: &Path, to: &Path) -> Result<()> {
    match fs::rename(from, to) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).context(|| format!("cannot rename `{}`", from.display()))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_link_comes_back_as_a_link() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("resolv.conf");
        symlink("../run/dangling", &path).unwrap();
        let diversion =
            Diversion::put(path.to_str().unwrap(), "nameserver 192.0.2.1\n", 0o644).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "nameserver 192.0.2.1\n");
        diversion.restore().unwrap();
        assert_eq!(fs::read_link(&path).unwrap(), Path::new("../run/dangling"));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_was_not_there_is_gone_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("policy-rc.d");
        Diversion::put(path.to_str().unwrap(), "x", 0o755).unwrap().restore().unwrap();
        Diversion::take(path.to_str().unwrap()).unwrap().restore().unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_a_package_put_there_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("resolv.conf");
        fs::write(&path, "old").unwrap();
        let diversion = Diversion::put(path.to_str().unwrap(), "diverted", 0o644).unwrap();
        fs::remove_file(&path).unwrap();
        symlink("stub-resolv.conf", &path).unwrap();
        diversion.restore().unwrap();
        assert_eq!(fs::read_link(&path).unwrap(), Path::new("stub-resolv.conf"));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
