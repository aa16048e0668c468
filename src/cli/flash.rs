use std::fmt::Write as _;
use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use clap::Args;
use serde::Serialize;

use super::CLUSTER_FILE;
use super::build::stamp_one;
use super::output::print_json;
use super::source::SourceArgs;
use super::table::table;
use super::ui::{Ui, bytes, seconds};
use crate::artifact::{Manifest, disk_of, flashable, format_rules, in_use};
use crate::cache::CachedImage;
use crate::cli::{artifact, prepare};
use crate::disk::{self, Disk, Overlay};
use crate::flash::{self, Contents, Device, OpenTarget, Permitted, Request, Summary};
use crate::image::{FsckPolicy, edit};
use crate::secrets::Secrets;
use crate::util::error::{Context, Error, Result};
use crate::util::progress::Progress as _;
use crate::{config, plan};

/// Write a node or an image to a card, a stick or a drive
///
/// A node that was not built is stamped in memory and written from its prepared base.
///
/// All of the device is lost. What must not be: the disks this system runs from, anything mounted
/// or otherwise in use, is refused.
#[derive(Debug, Args)]
pub(super) struct Flash {
    /// A node, or an image
    #[arg(value_name = "NODE|IMAGE", required_unless_present = "list")]
    target: Option<String>,

    /// The device to write to
    #[arg(value_name = "DEVICE", required_unless_present = "list")]
    device: Option<PathBuf>,

    /// List the devices an image could be written to
    #[arg(long, conflicts_with_all = ["target", "device", "yes", "dry_run", "no_verify", "to_file"])]
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

    /// DEVICE is a regular file, which is made or replaced
    #[arg(long)]
    to_file: bool,

    /// Where the node's artifacts are [default: the cluster file's folder, or `out`]
    #[arg(short, long, value_name = "DIR")]
    output: Option<PathBuf>,

    #[command(flatten)]
    sandbox: prepare::PrepareArgs,

    #[command(flatten)]
    from: SourceArgs,
}

/// What is written.
struct Image {
    /// As messages call it.
    name: String,
    disk: Arc<dyn Disk>,
    /// The files that are read meanwhile.
    files: Vec<PathBuf>,
    /// Keeps it in the cache.
    _in_use: Option<CachedImage>,
}

/// A device in the list.
#[derive(Serialize)]
struct Listed {
    #[serde(flatten)]
    device: Device,
    contents: Contents,
}

impl Flash {
    pub(super) fn run(&self, ui: &Ui) -> Result<()> {
        let (Some(target), Some(device)) = (&self.target, &self.device) else {
            return self.list();
        };
        let image = self.find_image(target, device, ui)?;
        let permitted = self.check(Some(&image), device)?;
        match &permitted {
            Permitted::Device(found) => {
                let question = describe(found, &flash::contents(found));
                if self.dry_run {
                    print(&format!("{question}would be replaced by {}\n", say(&image)))?;
                    return Ok(());
                }
                if !self.yes {
                    ask(&question, &image, found)?;
                }
            }
            Permitted::File if self.dry_run => {
                return print(&format!("{} would become {}\n", device.display(), say(&image)));
            }
            Permitted::File => {}
        }
        self.write(&*image.disk, &permitted, device, ui)
    }

    /// The node's artifact that is written fastest, or the node itself.
    fn find_image(&self, target: &str, device: &Path, ui: &Ui) -> Result<Image> {
        let found = artifact::find(target, self.output.as_deref(), &flashable());
        let path = match found {
            Ok(path) => path,
            Err(error) => return self.stamp(target, device, ui)?.ok_or(error),
        };
        if path != Path::new(target) {
            refuse_outdated(&path, target)?;
            refuse_started(&path, target)?;
        }
        let file = disk_of(&path);
        let disk = if disk::probe(&file)?.is_compressed() {
            disk::open_forward(&file)?
        } else {
            edit::open_to_read(&file)?
        };
        let files = disk::files(&file)?;
        Ok(Image { name: path.display().to_string(), disk, files, _in_use: None })
    }

    /// A node of the cluster file here, stamped in memory; `None` when there is no such node.
    fn stamp(&self, target: &str, device: &Path, ui: &Ui) -> Result<Option<Image>> {
        let file = Path::new(CLUSTER_FILE);
        if !file.exists() {
            return Ok(None);
        }
        let cluster = config::load(file, format_rules())?;
        let Some(node) = cluster.nodes.iter().find(|it| it.hostname == target) else {
            return Ok(None);
        };
        // Before a base is prepared for a device that is none.
        self.check(None, device)?;
        let secrets = Secrets::load_or_create(&cluster)?;
        secrets.check_expiry(&cluster)?;
        let changes = plan::node(&cluster, node, &secrets)?;
        let prepared = self.sandbox.obtain(&cluster, &self.from, false, ui)?;
        ui.stage("stamping the node");
        let delta = stamp_one(&prepared.base, &changes, FsckPolicy::Auto)
            .context(|| format!("stamping `{target}`"))?;
        let disk = Arc::new(Overlay::with_delta(Arc::clone(&prepared.base.disk), delta));
        let image = prepared.base.image;
        Ok(Some(Image {
            name: target.to_owned(),
            disk,
            files: vec![image.path.clone()],
            _in_use: Some(image),
        }))
    }

    /// Whether the device may be written over with an image; with any, when none is given.
    fn check(&self, image: Option<&Image>, device: &Path) -> Result<Permitted> {
        let output = artifact::folder(self.output.as_deref())?;
        let files = image.map_or(&[][..], |it| &it.files);
        let mut needed: Vec<_> =
            files.iter().map(|it| ("a part of the image", it.as_path())).collect();
        if let Some((what, _)) = needed.first_mut() {
            *what = "the image";
        }
        if output.exists() {
            needed.push(("the output folder", &output));
        }
        let sector_size =
            image.map(|it| flash::table_sector_size(&*it.disk)).transpose()?.flatten();
        let size = image.map_or(0, |it| it.disk.size());
        let request = Request { name: device, size, sector_size, needed: &needed };
        flash::check(&request, flash::find(device)?, self.to_file)
    }

    fn write(&self, source: &dyn Disk, to: &Permitted, name: &Path, ui: &Ui) -> Result<()> {
        let started = Instant::now();
        let mut target = match to {
            Permitted::Device(device) => OpenTarget::device(device)?,
            Permitted::File => OpenTarget::file(name, source.size())?,
        };
        let context = || format!("flashing `{}`", name.display());
        let summary = flash::write(source, &mut target, !self.no_verify, ui).context(context);
        ui.finish();
        target.finish(summary.is_ok()).context(context)?;
        ui.note(&said(&summary?, !self.no_verify, started.elapsed(), name));
        Ok(())
    }

    fn list(&self) -> Result<()> {
        let listed = flash::list()?.into_iter().map(|device| {
            let contents = flash::contents(&device);
            Listed { device, contents }
        });
        let listed: Vec<_> = listed.collect();
        if self.json {
            return print_json(&listed);
        }
        let rows: Vec<_> = listed.iter().map(row).collect();
        print(&table(&["DEVICE", "SIZE", "VIA", "MODEL", "SERIAL", "IN USE", "HOLDS"], &[1], &rows))
    }
}

/// What a build made before the cluster file was changed is not the node that it describes.
fn refuse_outdated(artifact: &Path, node: &str) -> Result<()> {
    let changed = |path: &Path| path.metadata().and_then(|it| it.modified()).ok();
    // Where there is no cluster file, the artifact is all there is.
    let Some(edited) = changed(Path::new(CLUSTER_FILE)) else { return Ok(()) };
    // A bundle is as old as its disk.
    if changed(&disk_of(artifact)).is_some_and(|built| built >= edited) {
        return Ok(());
    }
    let path = artifact.display();
    Err(Error::input(format!("`{path}` is older than `{CLUSTER_FILE}`"))
        .hint(format!("`nodeforge build {node}` makes it anew"))
        .hint(format!("`nodeforge flash {path} DEVICE` writes it as it is")))
}

/// What a machine wrote to its disk is not what was built, and while it runs it goes on writing.
fn refuse_started(artifact: &Path, node: &str) -> Result<()> {
    let folder = artifact.parent().unwrap_or(Path::new(""));
    let name = artifact.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let Some(manifest) = Manifest::read(folder) else { return Ok(()) };
    if in_use(&manifest.cluster, [name], folder).is_empty() {
        return Ok(());
    }
    let path = artifact.display();
    Err(Error::input(format!("`{path}` was started since it was built"))
        .hint(format!("`nodeforge build --replace {node}` makes it anew"))
        .hint(format!("`nodeforge flash {path} DEVICE` writes it as it is")))
}

fn row(listed: &Listed) -> Vec<String> {
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

fn say(image: &Image) -> String {
    format!("{} ({})", image.name, bytes(image.disk.size()))
}

/// Asks whoever sits at the terminal; anything but a yes is a no.
fn ask(question: &str, image: &Image, device: &Device) -> Result<()> {
    let name = device.path.display();
    if !io::stdin().is_terminal() {
        return Err(Error::input(format!(
            "nobody can be asked whether `{name}` may be overwritten: standard input is no terminal"
        ))
        .hint("`--yes` goes ahead without asking; `--dry-run` shows what would be lost"));
    }
    anstream::eprint!("{question}All of it will be lost. Write {} to {name}? [y/N] ", say(image));
    io::stderr().flush()?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    if matches!(answer.trim().to_lowercase().as_str(), "y" | "yes") {
        return Ok(());
    }
    Err(Error::failure(format!("`{name}` was left as it is")))
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

fn print(text: &str) -> Result<()> {
    write!(io::stdout(), "{text}")?;
    Ok(())
}
