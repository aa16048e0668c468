//! The initramfs, made once: updates wait until all packages are there.

use std::collections::BTreeSet;
use std::path::Path;

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

/// Updates that are put off. What makes one for a new kernel is not: hooks of that kernel's package
/// look for it.
pub(crate) struct PostponedInitramfs(Option<Diversion>);

impl PostponedInitramfs {
    /// Takes the place of `update-initramfs` in the root this process is in, where it has one.
    pub(crate) fn install() -> Result<Self> {
        if !Path::new(PROGRAM).is_file() {
            return Ok(Self(None));
        }
        let own = aside(Path::new(PROGRAM));
        let script = format!(
            "#!/bin/sh\ncase $1 in\n-u*) echo \"$*\" >>{NOTES} ;;\n*) exec {} \"$@\" ;;\nesac\n",
            own.display()
        );
        Diversion::put(PROGRAM, &script, 0o755).map(|file| Self(Some(file)))
    }

    /// Does once what was asked for.
    pub(crate) fn make_up(
        self,
        guest: &Guest,
        log: &mut Log,
        progress: &dyn Progress,
    ) -> Result<()> {
        let Some(file) = self.0 else { return Ok(()) };
        let notes = guest.inside(|| {
            file.restore()?;
            // A script may have put anything there.
            LiveTree.read(Path::new(NOTES), LONGEST)
        })?;
        let notes = String::from_utf8_lossy(&notes.unwrap_or_default()).into_owned();
        if notes.is_empty() {
            return Ok(());
        }
        progress.stage("making the initramfs");
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
        Ok(())
    }
}
