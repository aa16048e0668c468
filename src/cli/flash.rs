use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;
use serde::Serialize;

use super::backing::BackingArgs;
use super::cluster::ClusterArgs;
use super::output::{self, print, print_json};
use super::source::{PrepareArgs, SourceArgs};
use super::table::table;
use super::ui::{Ui, bytes, seconds};
use crate::artifact::flashable;
use crate::build::{NodeImage, OutputFolder};
use crate::config::Cluster;
use crate::disk::Disk;
use crate::flash::{
    self, BehindImage, Contents, Device, FlashRequest, OpenTarget, Permitted, Summary,
};
use crate::util::error::{Context, Error, Result};
use crate::util::progress::Progress as _;
use crate::util::room::{self, FolderUse};

/// Write a node or an image to a card, a stick or a drive
///
/// A node that was not built is stamped in memory and written from its prepared base.
///
/// All of the device is lost, except what is behind the image of a node whose cluster file has `root_size`.
/// What must not be written to: the disks this system runs from, anything mounted
/// or otherwise in use, is refused.
#[derive(Debug, Args)]
pub(super) struct FlashCommand {
    /// A node, or an image
    #[arg(value_name = "NODE|IMAGE", required_unless_present = "list")]
    target: Option<String>,

    /// The device to write to
    #[arg(value_name = "DEVICE", required_unless_present = "list")]
    device: Option<PathBuf>,

    /// List the devices an image could be written to
    #[arg(long, conflicts_with_all = ["target", "device", "yes", "dry_run", "no_verify", "to_file", "keep", "erase"])]
    list: bool,

    /// Print the list as JSON
    #[arg(long, requires = "list")]
    json: bool,

    /// Go ahead without asking
    #[arg(short, long)]
    yes: bool,

    /// Say what would be done, and do nothing
    #[arg(short = 'n', long)]
    dry_run: bool,

    /// Read everything back and compare; this is the default
    #[arg(long, overrides_with = "no_verify")]
    verify: bool,

    /// Trust that the device holds what was written to it
    #[arg(long, overrides_with = "verify")]
    no_verify: bool,

    /// Leave what is behind the image as it is; this is the default with `root_size` in the cluster file
    #[arg(long, overrides_with = "erase", conflicts_with = "to_file")]
    keep: bool,

    /// Erase all of the device; this is the default without `root_size`
    #[arg(long, overrides_with = "keep", conflicts_with = "to_file")]
    erase: bool,

    /// DEVICE is a regular file, which is made or replaced
    #[arg(long)]
    to_file: bool,

    /// Where the node's artifacts are [default: the cluster file's folder, or `out`]
    #[arg(short, long, value_name = "DIR")]
    output: Option<PathBuf>,

    #[command(flatten)]
    below: BackingArgs,

    #[command(flatten)]
    cluster: ClusterArgs,

    #[command(flatten)]
    how: PrepareArgs,

    #[command(flatten)]
    from: SourceArgs,
}

/// A device in the list.
#[derive(Serialize)]
struct ListedDevice {
    #[serde(flatten)]
    device: Device,
    contents: Contents,
}

impl FlashCommand {
    pub(super) fn run(&self, ui: &Ui) -> Result<()> {
        let (Some(target), Some(device)) = (&self.target, &self.device) else {
            return self.list();
        };
        let cluster = self.cluster.load_if_any()?;
        let folder = OutputFolder::new(self.output.as_deref(), cluster.as_ref())?;
        let image = self.find_image(target, device, cluster.as_ref(), &folder, ui)?;
        let permitted = self.check(Some(&image), device, &folder)?;
        let behind = self.behind(cluster.as_ref());
        match &permitted {
            Permitted::Device(found) => {
                let question = describe(found, &flash::contents(found));
                if self.dry_run {
                    let kept = match behind {
                        BehindImage::Erased => "",
                        BehindImage::Kept => "; what is behind that is kept",
                    };
                    print(&format!("{question}would be replaced by {}{kept}\n", say(&image)))?;
                    return Ok(());
                }
                if !self.yes {
                    ask(&question, &image, behind, found)?;
                }
            }
            Permitted::File if self.dry_run => {
                return print(&format!("{} would become {}\n", device.display(), say(&image)));
            }
            Permitted::File => {}
        }
        self.write(&*image.disk, behind, &permitted, device, ui)
    }

    /// First boot has made partitions behind the root where the cluster file says how far that grows.
    fn behind(&self, cluster: Option<&Cluster>) -> BehindImage {
        let is_divided = cluster.is_some_and(|it| it.disk.root_size.is_some());
        if self.keep || (is_divided && !self.erase) {
            BehindImage::Kept
        } else {
            BehindImage::Erased
        }
    }

    /// The image, the node's artifact that is written fastest, or the node stamped in memory.
    fn find_image(
        &self,
        target: &str,
        device: &Path,
        cluster: Option<&Cluster>,
        folder: &OutputFolder,
        ui: &Ui,
    ) -> Result<NodeImage> {
        let missing = match folder.find(target, &flashable()) {
            Ok(path) if path == Path::new(target) => {
                return NodeImage::open(&path, &self.below.backing);
            }
            Ok(path) => return NodeImage::open_artifact(&path, target, cluster, folder),
            Err(error) => error,
        };
        let node = |cluster: &'_ Cluster| cluster.nodes.iter().position(|it| it.hostname == target);
        let Some((cluster, index)) = cluster.and_then(|it| Some((it, node(it)?))) else {
            return Err(missing);
        };
        // Before a base is prepared for a device that cannot be written to.
        self.check(None, device, folder)?;
        let preparation = self.how.preparation(false);
        NodeImage::stamp(
            cluster,
            &cluster.nodes[index],
            &self.how.options(&self.from),
            preparation,
            ui,
        )
    }

    /// Whether the device may be written over with an image; with any, when none is given.
    fn check(
        &self,
        image: Option<&NodeImage>,
        device: &Path,
        folder: &OutputFolder,
    ) -> Result<Permitted> {
        let files = image.map_or(&[][..], |it| &it.files);
        let mut needed: Vec<_> =
            files.iter().map(|it| ("a part of the image", it.as_path())).collect();
        if let Some((what, _)) = needed.first_mut() {
            *what = "the image";
        }
        if folder.path.exists() {
            needed.push(("the output folder", &folder.path));
        }
        let sector_size =
            image.map(|it| flash::table_sector_size(&*it.disk)).transpose()?.flatten();
        let size = image.map_or(0, |it| it.disk.size());
        let request = FlashRequest { name: device, size, sector_size, needed: &needed };
        let permitted = flash::check(&request, flash::find(device)?, self.to_file)?;
        if let Permitted::Device(device) = &permitted
            && !self.dry_run
        {
            OpenTarget::require_rights(device)?;
        }
        Ok(permitted)
    }

    fn write(
        &self,
        source: &dyn Disk,
        behind: BehindImage,
        to: &Permitted,
        name: &Path,
        ui: &Ui,
    ) -> Result<()> {
        let started = Instant::now();
        let (mut target, needed) = match to {
            Permitted::Device(device) => (OpenTarget::device(device)?, None),
            Permitted::File => {
                let needed = flash::needed(source)?;
                room::require(folder_of(name), FolderUse::Copy, needed)?;
                (OpenTarget::file(name, source.size())?, Some(needed))
            }
        };
        let context = || format!("flashing `{}`", name.display());
        let summary = flash::write(source, &mut target, behind, !self.no_verify, ui)
            .context(context)
            // A file that is not whole never takes the place of another.
            .map_err(|error| match needed {
                Some(_) => {
                    room::explain(error.without_hints(), folder_of(name), FolderUse::Copy, needed)
                }
                None => error,
            });
        ui.finish();
        target.finish(summary.is_ok()).context(context)?;
        ui.note(&said(&summary?, !self.no_verify, started.elapsed(), name));
        Ok(())
    }

    fn list(&self) -> Result<()> {
        let listed = flash::list()?.into_iter().map(|device| {
            let contents = flash::contents(&device);
            ListedDevice { device, contents }
        });
        let listed: Vec<_> = listed.collect();
        if self.json {
            return print_json(&listed);
        }
        let rows: Vec<_> = listed.iter().map(row).collect();
        print(&table(&["DEVICE", "SIZE", "VIA", "MODEL", "SERIAL", "IN USE", "HOLDS"], &[1], &rows))
    }
}

fn row(listed: &ListedDevice) -> Vec<String> {
    let device = &listed.device;
    let dash = |text: String| if text.is_empty() { "-".to_owned() } else { text };
    let uses: Vec<_> = device.uses.iter().map(|it| it.purpose.to_string()).collect();
    let state = if device.read_only { "read-only".to_owned() } else { uses.join(", ") };
    vec![
        device.path.display().to_string(),
        bytes(device.size),
        device.transport.to_string(),
        dash(device.name()),
        dash(device.serial.clone().unwrap_or_default()),
        dash(state),
        listed.contents.to_string(),
    ]
}

/// A device so that its owner recognises it, and what is on it.
fn describe(device: &Device, contents: &Contents) -> String {
    let mut facts = vec![device.name()];
    facts.extend(device.serial.as_ref().map(|serial| format!("serial {serial}")));
    facts.extend([bytes(device.size), device.transport.to_string()]);
    if device.removable {
        facts.push("removable".to_owned());
    }
    facts.retain(|it| !it.is_empty());
    let mut text = format!("{}: {}\n", device.path.display(), facts.join(", "));
    let label = contents.label.as_ref().map(|it| format!(" `{it}`")).unwrap_or_default();
    writeln!(text, "  holds {}{label}", contents.kind).expect("writing to a string");
    for part in &contents.partitions {
        let label = part.label.as_ref().map(|it| format!(" `{it}`")).unwrap_or_default();
        writeln!(text, "  {:>3}: {}, {}{label}", part.number, bytes(part.size), part.kind)
            .expect("writing to a string");
    }
    text
}

/// The folder that a file is in.
fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|it| !it.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn say(image: &NodeImage) -> String {
    format!("{} ({})", image.name, bytes(image.disk.size()))
}

/// Asks at the terminal; anything but a yes is a no.
fn ask(question: &str, image: &NodeImage, behind: BehindImage, device: &Device) -> Result<()> {
    let name = device.path.display();
    let lost = match behind {
        BehindImage::Erased => "All of it will be lost.".to_owned(),
        BehindImage::Kept => format!(
            "Its first {} will be lost, and what is behind them is kept (`--erase` erases it).",
            bytes(image.disk.size())
        ),
    };
    let question = format!("{question}{lost} Write {} to {name}?", say(image));
    match output::ask(&question)? {
        Some(true) => Ok(()),
        Some(false) => Err(Error::failure(format!("`{name}` was not changed"))),
        None => Err(Error::input(format!(
            "cannot ask whether to overwrite `{name}`: standard input is not a terminal"
        ))
        .hint("`--yes` goes ahead without asking; `--dry-run` shows what would be lost")),
    }
}

fn said(summary: &Summary, verified: bool, elapsed: std::time::Duration, name: &Path) -> String {
    let rate = |count: u64| {
        let rate = count as f64 / elapsed.as_secs_f64().max(1e-3);
        // Rates are told in whole bytes.
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let rate = rate as u64;
        bytes(rate)
    };
    let verdict = if verified { "read back and found right" } else { "not read back" };
    format!(
        "{}: {} written, {} of zeros skipped, {verdict}, in {} ({}/s)",
        name.display(),
        bytes(summary.written),
        bytes(summary.skipped),
        seconds(elapsed),
        rate(summary.written + summary.skipped),
    )
}
