use std::time::{Duration, SystemTime};

use clap::{Args, Subcommand};

use super::output::{counted, print, print_json};
use super::table::table;
use super::ui::{Ui, bytes};
use crate::config;
use crate::error::{Error, Result};
use crate::progress::Progress as _;
use crate::source::{self, Kept, Limits};

/// Look after the images that nodeforge keeps
#[derive(Debug, Args)]
pub(super) struct Cache {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show what is kept, what was used last first
    List {
        /// Print the result as JSON
        #[arg(long)]
        json: bool,
    },
    /// Remove what is too old or too much, and what is damaged or not whole
    Prune {
        /// Remove images that were not used for so many days
        #[arg(long, value_name = "DAYS")]
        older_than: Option<u64>,

        /// Remove the images used longest ago until the cache takes no more than this: `20G`
        #[arg(long, value_name = "SIZE", value_parser = config::parse_size)]
        max_size: Option<u64>,

        /// Remove all images
        #[arg(long, conflicts_with_all = ["older_than", "max_size"])]
        all: bool,
    },
    /// Read all images and remove those that are not what they were
    Verify,
}

impl Cache {
    pub(super) fn run(&self, ui: &Ui) -> Result<()> {
        let cache = source::Cache::open()?;
        match self.command {
            Command::List { json } => list(&cache, json),
            Command::Prune { older_than, max_size, all } => {
                let day = 24 * 60 * 60;
                let days = if all { Some(0) } else { older_than };
                let age = days.map(|days| Duration::from_secs(days.saturating_mul(day)));
                prune(&cache, Limits { age, size: max_size }, ui)
            }
            Command::Verify => verify(&cache, ui),
        }
    }
}

fn list(cache: &source::Cache, json: bool) -> Result<()> {
    let images = cache.list()?;
    if json {
        let seconds = |time: SystemTime| {
            time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
        };
        let images: Vec<_> = images
            .iter()
            .map(|image| {
                serde_json::json!({
                    "kind": image.kind,
                    "key": image.key,
                    "origin": image.origin(),
                    "sha256": image.about.as_ref().map(|it| &it.sha256),
                    "size": image.about.as_ref().map(|it| it.size),
                    "occupied": image.occupied,
                    "used": seconds(image.used),
                })
            })
            .collect();
        return print_json(&images);
    }
    let rows: Vec<_> = images
        .iter()
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
    let headings = ["KIND", "KEY", "SIZE", "ON DISK", "USED", "ORIGIN"];
    print(&table(&headings, &[2, 3], &rows))
}

fn prune(cache: &source::Cache, limits: Limits, ui: &Ui) -> Result<()> {
    let pruned = cache.prune(limits, ui)?;
    for image in &pruned.images {
        print(&format!("{} {} {}\n", image.kind, image.key, image.origin()))?;
    }
    ui.note(&format!(
        "removed {} and {}: {}",
        counted(pruned.images.len() as u64, "image", "images"),
        counted(pruned.parts, "unfinished download", "unfinished downloads"),
        bytes(pruned.freed)
    ));
    Ok(())
}

fn verify(cache: &source::Cache, ui: &Ui) -> Result<()> {
    let mut damaged = 0;
    for image in cache.list()? {
        ui.stage(&format!("reading {} {}", image.kind, short(&image)));
        let is_sound = cache.verify(&image, ui)?;
        ui.finish();
        let verdict = if is_sound { "sound" } else { "damaged: removed" };
        print(&format!("{} {} {verdict}\n", image.kind, image.key))?;
        damaged += u64::from(!is_sound);
    }
    if damaged > 0 {
        return Err(Error::failure(format!(
            "{} damaged",
            counted(damaged, "image was", "images were")
        ))
        .hint("they are gone; what needs them gets them anew. Is the disk failing?"));
    }
    Ok(())
}

fn short(image: &Kept) -> &str {
    image.key.get(..12).unwrap_or(&image.key)
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
