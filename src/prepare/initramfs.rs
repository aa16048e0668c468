//! The initramfs, made once: updates wait until all packages are there. And made for any machine: in a
//! sandbox there is no hardware to look at.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::diversions::{Diversion, aside};
use crate::debian::{Log, failure};
use crate::fs::{LiveTree, Tree as _};
use crate::sandbox::{Guest, Network};
use crate::util::error::Result;
use crate::util::progress::Progress;

const PROGRAM: &str = "/usr/sbin/update-initramfs";
/// One line for each update that was put off: its arguments.
const NOTES: &str = "/run/nodeforge-initramfs";

/// The most bytes of them.
const LONGEST: u64 = 1 << 20;

/// What mkinitramfs(8) reads, in this order; the last setting counts.
const CONFIG: &str = "/etc/initramfs-tools/initramfs.conf";
const CONFIG_FOLDERS: [&str; 2] =
    ["/usr/share/initramfs-tools/conf.d", "/etc/initramfs-tools/conf.d"];
/// Read after all others.
const OWN_CONFIG: &str = "/etc/initramfs-tools/conf.d/zz-nodeforge";

/// Updates that are put off. What makes one for a new kernel is not: hooks of that kernel's package
/// look for it.
pub(crate) struct PostponedInitramfs {
    program: Option<Diversion>,
    config: Option<Diversion>,
}

impl PostponedInitramfs {
    /// Takes the place of `update-initramfs` in the root this process is in, where it has one.
    pub(crate) fn install() -> Result<Self> {
        if !Path::new(PROGRAM).is_file() {
            return Ok(Self { program: None, config: None });
        }
        let own = aside(Path::new(PROGRAM));
        let script = format!(
            "#!/bin/sh\ncase $1 in\n-u*) echo \"$*\" >>{NOTES} ;;\n*) exec {} \"$@\" ;;\nesac\n",
            own.display()
        );
        let program = Some(Diversion::put(PROGRAM, &script, 0o755)?);
        let config = for_any_machine(&settings()?);
        let has_folder = Path::new(CONFIG_FOLDERS[1]).is_dir();
        let config = config.filter(|_| has_folder);
        let config = config.map(|text| Diversion::put(OWN_CONFIG, &text, 0o644)).transpose()?;
        Ok(Self { program, config })
    }

    /// Does once what was asked for.
    pub(crate) fn make_up(
        self,
        guest: &Guest,
        log: &mut Log,
        progress: &dyn Progress,
    ) -> Result<()> {
        let Some(file) = self.program else { return Ok(()) };
        let notes = guest.inside(|| {
            file.restore()?;
            // A script may have put anything there.
            LiveTree.read(Path::new(NOTES), LONGEST)
        })?;
        let notes = String::from_utf8_lossy(&notes.unwrap_or_default()).into_owned();
        if !notes.is_empty() {
            progress.stage("making the initramfs");
        }
        for arguments in notes.lines().collect::<BTreeSet<_>>() {
            // It may have been removed meanwhile.
            if !guest.inside(|| Ok(Path::new(PROGRAM).is_file()))? {
                break;
            }
            let mut command = guest.command(PROGRAM, Network::Loopback)?;
            command.args(arguments.split_whitespace());
            if !log.follow(command, |line| progress.message(line))?.success() {
                return Err(failure(log, "`update-initramfs` failed"));
            }
        }
        match self.config {
            Some(config) => guest.inside(|| config.restore()),
            None => Ok(()),
        }
    }
}

/// The text of all configuration, in the order in which it is read.
fn settings() -> Result<String> {
    let mut files = vec![PathBuf::from(CONFIG)];
    for folder in CONFIG_FOLDERS {
        let entries = fs::read_dir(folder).into_iter().flatten();
        let mut names: Vec<PathBuf> = entries.filter_map(|it| Some(it.ok()?.path())).collect();
        names.sort();
        files.extend(names);
    }
    let mut text = String::new();
    for file in files {
        let bytes = LiveTree.read(&file, LONGEST)?.unwrap_or_default();
        text.push_str(&String::from_utf8_lossy(&bytes));
        text.push('\n');
    }
    Ok(text)
}

/// What an initramfs is to be made with instead, where these settings ask the machine at hand.
///
/// Raspberry Pi OS has `MODULES=dep`, the modules of the hardware in /sys (pi-gen, export-image/05-finalise).
/// Its publisher made the first with `most` as well: all that a root may be on. And the type of the
/// root, whose fsck goes along, would be asked of a disk that is not there.
fn for_any_machine(settings: &str) -> Option<String> {
    let value = |key: &str| {
        let mut last_first = settings.lines().rev().filter_map(|it| it.trim().strip_prefix(key));
        last_first.next().map(|it| it.trim_matches(['"', '\'']).to_owned()).unwrap_or_default()
    };
    let mut text = String::new();
    if value("MODULES=") == "dep" {
        text.push_str("MODULES=most\n");
    }
    if matches!(value("FSTYPE=").as_str(), "" | "auto") {
        text.push_str("FSTYPE=ext4\n");
    }
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_asks_the_machine_is_set() {
        let set = |text: &str| for_any_machine(text).unwrap_or_default();
        assert_eq!(set("MODULES=most\nFSTYPE=auto\n"), "FSTYPE=ext4\n");
        assert_eq!(set("MODULES=most\nFSTYPE=auto\n\nFSTYPE=ext4\n"), "");
        assert_eq!(set("#MODULES=dep\nMODULES=list\nFSTYPE=ext4\n"), "");
        assert_eq!(set("MODULES=most\n\n MODULES=\"dep\"\n"), "MODULES=most\nFSTYPE=ext4\n");
        assert_eq!(set("MODULES=dep\nMODULES=most\n"), "FSTYPE=ext4\n");
    }
}
