use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use clap::{Args, Subcommand};

use super::output::{counted, print, print_json};
use super::table::table;
use super::ui::{Ui, bytes};
use crate::cache::{self, Kept, Limits};
use crate::config;
use crate::util::error::{Error, ErrorKind, Result};
use crate::util::progress::Progress as _;

/// Look after the images, files and packages that nodeforge keeps
#[derive(Debug, Args)]
pub(super) struct CacheCommand {
    #[command(subcommand)]
    command: CacheAction,
}

#[derive(Debug, Subcommand)]
enum CacheAction {
    /// Show what is kept, what was used last first
    List {
        /// Print the result as JSON
        #[arg(long)]
        json: bool,
    },
    /// Remove what is too old or too much, and what is damaged or not whole
    Prune {
        /// Remove what was not used for so many days
        #[arg(long, value_name = "DAYS")]
        older_than: Option<u64>,

        /// Remove what was used longest ago until the cache takes no more than this: `20G`
        #[arg(long, value_name = "SIZE", value_parser = config::parse_size)]
        max_size: Option<u64>,

        /// Remove everything that is not in use now
        #[arg(long, conflicts_with_all = ["older_than", "max_size"])]
        all: bool,

        /// Print the result as JSON
        #[arg(long)]
        json: bool,
    },
    /// Read everything and remove what is not what it was
    Verify {
        /// Print the result as JSON
        #[arg(long)]
        json: bool,
    },
}

impl CacheCommand {
    pub(super) fn run(&self, ui: &Ui) -> Result<()> {
        let cache = cache::Cache::open()?;
        match self.command {
            CacheAction::List { json } => list(&cache, json),
            CacheAction::Prune { older_than, max_size, all, json } => {
                let day = 24 * 60 * 60;
                let days = if all { Some(0) } else { older_than };
                let age = days.map(|days| Duration::from_secs(days.saturating_mul(day)));
                prune(&cache, Limits { age, size: max_size }, json, ui)
            }
            CacheAction::Verify { json } => verify(&cache, json, ui),
        }
    }
}

fn list(cache: &cache::Cache, json: bool) -> Result<()> {
    let all = cache.list()?;
    if json {
        let seconds = |time: SystemTime| {
            time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
        };
        let all: Vec<_> = all
            .iter()
            .map(|it| {
                serde_json::json!({
                    "kind": it.kind,
                    "key": it.key,
                    "origin": it.origin(),
                    "sha256": it.about.as_ref().map(|it| &it.sha256),
                    "size": it.about.as_ref().map(|it| it.size),
                    "occupied": it.occupied,
                    "used": seconds(it.used),
                })
            })
            .collect();
        return print_json(&all);
    }
    let (images, files): (Vec<_>, Vec<_>) = all.iter().partition(|it| it.is_image());
    let mut rows: Vec<_> = images
        .into_iter()
        .map(|image| {
            let size = image.about.as_ref().map_or_else(|| "-".into(), |it| bytes(it.size));
            vec![
                image.kind.clone(),
                short(image).to_owned(),
                size,
                bytes(image.occupied),
                ago(image.used),
                image.origin(),
            ]
        })
        .collect();
    let mut kinds: BTreeMap<&str, Vec<&Kept>> = BTreeMap::new();
    for file in files {
        kinds.entry(&file.kind).or_default().push(file);
    }
    rows.extend(kinds.into_iter().map(|(kind, files)| {
        let occupied = files.iter().map(|it| it.occupied).sum();
        let count = counted(files.len() as u64, "file", "files");
        // They come sorted.
        let used = files.first().map_or_else(String::new, |it| ago(it.used));
        vec![kind.to_owned(), "-".into(), "-".into(), bytes(occupied), used, count]
    }));
    let headings = ["KIND", "KEY", "SIZE", "ON DISK", "USED", "ORIGIN"];
    print(&table(&headings, &[2, 3], &rows))
}

fn prune(cache: &cache::Cache, limits: Limits, json: bool, ui: &Ui) -> Result<()> {
    let pruned = cache.prune(limits, ui)?;
    if json {
        let removed = |it: &Kept| {
            serde_json::json!({
                "kind": it.kind,
                "key": it.key,
                "origin": it.origin(),
                "occupied": it.occupied,
            })
        };
        return print_json(&serde_json::json!({
            "removed": pruned.kept.iter().map(removed).collect::<Vec<_>>(),
            "unfinished": pruned.parts,
            "freed": pruned.freed,
        }));
    }
    for it in &pruned.kept {
        print(format!("{} {} {}", it.kind, it.key, it.origin()).trim_end())?;
        print("\n")?;
    }
    let images = pruned.kept.iter().filter(|it| it.is_image()).count();
    ui.note(&format!(
        "removed {}, {} and {}: {}",
        counted(images as u64, "image", "images"),
        counted((pruned.kept.len() - images) as u64, "file", "files"),
        counted(pruned.parts, "unfinished download", "unfinished downloads"),
        bytes(pruned.freed)
    ));
    Ok(())
}

fn verify(cache: &cache::Cache, json: bool, ui: &Ui) -> Result<()> {
    let mut damaged = 0;
    let (mut found, mut unread) = (Vec::new(), Vec::new());
    for it in cache.list()? {
        ui.stage(&format!("reading {} {}", it.kind, short(&it)));
        let verified = cache.verify(&it, ui);
        ui.finish();
        let is_sound = match verified {
            Ok(is_sound) => is_sound,
            Err(error) if error.kind() == ErrorKind::Interrupted => return Err(error),
            Err(error) => {
                if !json {
                    print(&format!("{} {} cannot be read: stays\n", it.kind, it.key))?;
                }
                unread.extend(error.problems().to_vec());
                continue;
            }
        };
        damaged += u64::from(!is_sound);
        if json {
            found.push(serde_json::json!({ "kind": it.kind, "key": it.key, "sound": is_sound }));
            continue;
        }
        let verdict = if is_sound { "sound" } else { "damaged: removed" };
        print(&format!("{} {} {verdict}\n", it.kind, it.key))?;
    }
    if json {
        print_json(&found)?;
    }
    if damaged > 0 {
        let what = counted(damaged, "entry was", "entries were");
        let error = Error::failure(format!("{what} damaged")).hint(
            "they were removed and are made or fetched again when needed; is the disk failing?",
        );
        unread.extend(error.problems().to_vec());
    }
    Error::failures(unread)
}

/// A hash is told from others by its beginning; names are names.
fn short(kept: &Kept) -> &str {
    let is_hash = kept.key.len() == 64;
    kept.key.get(..12).filter(|_| is_hash).unwrap_or(&kept.key)
}

/// `3 days ago`, in the largest unit that leaves at least one.
fn ago(time: SystemTime) -> String {
    let seconds = SystemTime::now().duration_since(time).map_or(0, |since| since.as_secs());
    let (count, unit) = match seconds {
        0..60 => return "just now".into(),
        60..3600 => (seconds / 60, "minute"),
        3600..86_400 => (seconds / 3600, "hour"),
        _ => (seconds / 86_400, "day"),
    };
    format!("{} ago", counted(count, unit, &format!("{unit}s")))
}
