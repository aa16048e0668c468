use std::path::{Path, PathBuf};

use clap::Args;

use super::arguments::looks_like_file;
use super::cluster::ClusterArgs;
use super::output::{print, print_json};
use super::source::SourceArgs;
use super::table::{pairs, table};
use super::ui::Ui;
use crate::base::{FetchedFile, ResolveOptions, ResolvedBase, Resolver};
use crate::build::Project;
use crate::cache::Cache;
use crate::config::Base;
use crate::util::error::{Error, Result};
use crate::util::progress::Progress as _;

/// Download and verify a cluster's base, or an image of the catalogue
#[derive(Debug, Args)]
pub(super) struct FetchCommand {
    /// The cluster file, or an image of the catalogue: NAME or NAME@RELEASE [default: cluster.toml]
    #[arg(value_name = "FILE|NAME")]
    what: Option<String>,

    /// Show the images of the catalogue, or the releases of one
    #[arg(long)]
    list: bool,

    #[command(flatten)]
    cluster: ClusterArgs,

    #[command(flatten)]
    source: SourceArgs,

    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

impl FetchCommand {
    pub(super) fn run(&self, ui: &Ui) -> Result<()> {
        match (&self.what, self.list) {
            (None, true) => self.list_images(),
            (Some(name), true) => self.list_releases(name, ui),
            (what, false) => {
                let (base, downloads) = self.fetch(what.as_deref(), ui)?;
                ui.finish();
                self.print(&base, &downloads)
            }
        }
    }

    fn fetch(&self, what: Option<&str>, ui: &Ui) -> Result<(ResolvedBase, Vec<FetchedFile>)> {
        match what {
            Some(name) if !looks_like_file(name) => {
                if self.source.locked {
                    return Err(Error::input("only a cluster file has a lock")
                        .hint("leave out `--locked`, or name the cluster file"));
                }
                let resolver = Resolver {
                    cache: &Cache::open()?,
                    catalogue: &self.source.catalogue()?,
                    directory: Path::new("."),
                    options: ResolveOptions {
                        offline: self.source.offline,
                        ..ResolveOptions::default()
                    },
                    progress: ui,
                };
                Ok((resolver.resolve(&Base::Catalogue(name.to_owned()), None)?, Vec::new()))
            }
            file => {
                let cluster = self.cluster.load(file.map(PathBuf::from))?;
                let mut project = Project::open(&cluster, &self.source.options(), ui)?;
                let base = project.base()?;
                // What is fetched here does not depend on packages.
                let inputs = project.inputs(&base, &[])?;
                Ok((base, inputs.all))
            }
        }
    }

    fn print(&self, base: &ResolvedBase, downloads: &[FetchedFile]) -> Result<()> {
        if self.json {
            return print_json(&serde_json::json!({
                "path": base.path.display().to_string(),
                "sha256": base.sha256,
                "origin": base.origin,
                "verified": base.verified,
                "cached": base.was_cached,
                "locked": base.locked,
                "downloads": downloads.iter().map(|it| serde_json::json!({
                    "url": it.url, "path": it.path.display().to_string(), "sha256": it.sha256, "verified": it.verified,
                })).collect::<Vec<_>>(),
            }));
        }
        pairs(&[
            ("origin", &base.origin),
            ("verified", &base.verified),
            ("sha256", &base.sha256.to_string()),
            ("path", &base.path.display().to_string()),
        ])?;
        for download in downloads {
            print("\n")?;
            pairs(&[
                ("origin", &download.url),
                ("verified", &download.verified),
                ("sha256", &download.sha256.to_string()),
                ("path", &download.path.display().to_string()),
            ])?;
        }
        Ok(())
    }

    fn list_images(&self) -> Result<()> {
        let catalogue = self.source.catalogue()?;
        if self.json {
            return print_json(&catalogue.entries().collect::<Vec<_>>());
        }
        let row = |entry: &crate::base::CatalogueEntry| {
            let layout = entry.layout_name().to_owned();
            vec![
                entry.name.clone(),
                entry.arch.name().to_owned(),
                layout,
                entry.trust().to_owned(),
                entry.description.clone(),
            ]
        };
        let headings = ["NAME", "ARCH", "LAYOUT", "VERIFIED BY", "DESCRIPTION"];
        let rows: Vec<_> = catalogue.entries().map(row).collect();
        print(&table(&headings, &[], &rows))
    }

    fn list_releases(&self, name: &str, ui: &Ui) -> Result<()> {
        if self.source.offline {
            return Err(Error::input("releases are listed by their publisher, not by the cache")
                .hint("leave out `--offline`"));
        }
        let catalogue = self.source.catalogue()?;
        let dates = catalogue.entry(name)?.dates(ui)?;
        if self.json {
            return print_json(&dates);
        }
        let lines: Vec<_> = dates.iter().map(|date| format!("{name}@{date}\n")).collect();
        print(&lines.concat())
    }
}
