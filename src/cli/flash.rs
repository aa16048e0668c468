use std::fmt::Write as _;
use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;
use serde::Serialize;

use super::artifact;
use super::print_json;
use super::table::table;
use super::ui::{Ui, bytes, seconds};
use crate::disk::{self, Disk};
use crate::error::{Context, Error, Result};
use crate::flash::{self, Contents, Device, OpenTarget, Permitted, Request, Summary};
use crate::progress::Progress as _;

/// Write a node or an image to a card, a stick or a drive
///
/// All of the device is lost. What must not be: the disks this system runs from, anything mounted
/// or otherwise in use, is refused.
#[derive(Debug, Args)]
pub(super) struct Flash {
    /// A node that was built, or an image
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
        let image = self.find_image(target)?;
        let source = disk::open_forward(&artifact::disk_of(&image))?;
        let permitted = self.check(&image, &*source, device)?;
        match &permitted {
            Permitted::Device(found) => {
                let question = describe(found, &flash::contents(found));
                if self.dry_run {
                    print(&format!("{question}would be replaced by {}\n", say(&image, &*source)))?;
                    return Ok(());
                }
                if !self.yes {
                    ask(&question, &image, &*source, found)?;
                }
            }
            Permitted::File if self.dry_run => {
                let text = format!("{} would become {}\n", device.display(), say(&image, &*source));
                return print(&text);
            }
            Permitted::File => {}
        }
        self.write(&*source, &permitted, device, ui)
    }

    /// The node's artifact that is written fastest.
    fn find_image(&self, target: &str) -> Result<PathBuf> {
        let endings = ["img", "qcow2", "vmdk", "vmwarevm", "img.zst", "img.xz"];
        artifact::find(target, self.output.as_deref(), &endings)
    }

    fn check(&self, image: &Path, source: &dyn Disk, device: &Path) -> Result<Permitted> {
        let output = artifact::folder(self.output.as_deref())?;
        let mut needed = vec![("the image", image)];
        if output.exists() {
            needed.push(("the output folder", &output));
        }
        let request = Request {
            name: device,
            size: source.size(),
            sector_size: flash::table_sector_size(source)?,
            needed: &needed,
        };
        flash::check(&request, flash::find(device)?, self.to_file)
    }

    fn write(&self, source: &dyn Disk, to: &Permitted, name: &Path, ui: &Ui) -> Result<()> {
        let started = Instant::now();
        let mut target = match to {
            Permitted::Device(device) => OpenTarget::device(device)?,
            Permitted::File => OpenTarget::file(name, source.size())?,
        };
        let summary = flash::write(source, &mut target, !self.no_verify, ui)
            .context(|| format!("flashing `{}`", name.display()));
        ui.finish();
        target.finish();
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

fn say(image: &Path, source: &dyn Disk) -> String {
    format!("{} ({})", image.display(), bytes(source.size()))
}

/// Asks whoever sits at the terminal; anything but a yes is a no.
fn ask(question: &str, image: &Path, source: &dyn Disk, device: &Device) -> Result<()> {
    let name = device.path.display();
    if !io::stdin().is_terminal() {
        return Err(Error::input(format!(
            "nobody can be asked whether `{name}` may be overwritten: standard input is no terminal"
        ))
        .hint("`--yes` goes ahead without asking; `--dry-run` shows what would be lost"));
    }
    anstream::eprint!(
        "{question}All of it will be lost. Write {} to {name}? [y/N] ",
        say(image, source)
    );
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
