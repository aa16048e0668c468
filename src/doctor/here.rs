//! What a build finds where it is made: room, the time, keys.

use std::path::Path;

use rustix::fs::Access;

use super::check::{Check, CheckVerdict};
use crate::base::LockFile;
use crate::cache::Cache;
use crate::config::{self, Cluster};
use crate::disk::Scratch;
use crate::plan;
use crate::util::room::{self, FolderUse};
use crate::util::{calendar, clock};

/// With less than this, in bytes, some bases of Debian cannot be made.
const COMFORTABLE: u64 = 4 << 30;

/// The day before which no clock is right: this program is not older.
const RELEASED: &str = "2026-11-01";

pub(super) fn examine(cluster: Option<&Cluster>, output: &Path) -> Vec<Check> {
    let mut checks = Vec::new();
    match Cache::look() {
        Ok(cache) => checks.push(space("cache", &cache.root, FolderUse::Cache)),
        Err(error) => checks.push(Check::of("cache", CheckVerdict::Wrong, &error)),
    }
    checks.push(space("temporary", &Scratch::default().folder, FolderUse::Scratch));
    checks.push(space("output", output, FolderUse::Output));
    checks.push(time());
    checks.push(keys());
    if let Some(cluster) = cluster {
        if !is_writable(&cluster.directory) {
            let shown = cluster.directory.display();
            let found = format!("`{shown}` cannot be written to: lock file and secrets go there");
            checks.push(Check::wrong("cluster file", found));
        }
        checks.extend(lock(cluster));
    }
    checks
}

/// Whether a folder, or the one in which it would have to be made, takes what is written.
fn is_writable(folder: &Path) -> bool {
    let nearest = folder.ancestors().find(|it| it.exists()).unwrap_or(Path::new("."));
    rustix::fs::access(nearest, Access::WRITE_OK).is_ok()
}

/// A folder in which a build writes, and its room.
fn space(subject: &'static str, folder: &Path, place: FolderUse) -> Check {
    let shown = folder.display();
    if !is_writable(folder) {
        return Check::wrong(subject, format!("`{shown}` cannot be written to"))
            .remedy(place.hint());
    }
    let Some(free) = room::free(folder) else {
        return Check::limited(subject, format!("how much room `{shown}` has is not known"));
    };
    let found = format!("{:.1} GiB free in `{shown}`", free as f64 / f64::from(1 << 30));
    if free >= COMFORTABLE {
        return Check::right(subject, found);
    }
    // What is cached, and deltas, need next to nothing.
    Check::limited(subject, found).remedy(place.hint())
}

fn time() -> Check {
    const SUBJECT: &str = "clock";
    if let Err(error) = clock::now() {
        return Check::of(SUBJECT, CheckVerdict::Wrong, &error);
    }
    let today = calendar::today();
    if today.as_str() < RELEASED {
        return Check::wrong(
            SUBJECT,
            format!("it says {today}: signatures and certificates would fail"),
        )
        .remedy("`timedatectl set-ntp true`, or set it by hand");
    }
    Check::right(SUBJECT, format!("{today}, UTC"))
}

fn keys() -> Check {
    let own = config::own_keys();
    if own.is_empty() {
        return Check::limited("SSH keys", "none in ~/.ssh for `[access] ssh_authorized_keys`")
            .remedy("`ssh-keygen -t ed25519` makes one");
    }
    Check::right("SSH keys", own.join(", "))
}

/// The keys of apt sources that the lock file pins.
fn lock(cluster: &Cluster) -> Vec<Check> {
    const SUBJECT: &str = "apt keys";
    let looked = LockFile::open(&cluster.directory).and_then(|file| {
        let changes = plan::prepare(cluster, &[])?;
        file.check(&changes)?;
        Ok(file.expiring(&changes))
    });
    match looked {
        Err(error) => vec![Check::of(SUBJECT, CheckVerdict::Wrong, &error)],
        Ok(soon) if soon.is_empty() => {
            vec![Check::right(SUBJECT, "none of those that the lock file pins expires soon")]
        }
        Ok(soon) => soon.into_iter().map(|it| Check::limited(SUBJECT, it)).collect(),
    }
}
