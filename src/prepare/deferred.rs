//! Preparing where no program of the image can run: files are laid, packages are left to the
//! first boot of each node.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::files::{put, source_file};
use crate::apply;
use crate::cache::Package;
use crate::change::{Action, Change, Checksum, Content, Owner, PackageState, Requester, UnitState};
use crate::config;
use crate::debian;
use crate::disk::Raw;
use crate::fs::Tree;
use crate::guest::vendor_setup::{self, FirstUser};
use crate::guest::{first_boot, generalise, units};
use crate::image::Image;
use crate::util::clock;
use crate::util::error::{Error, Result};
use crate::util::sha256::Sha256;

/// The step that does what is left, which the runner of the first boot looks for.
const STEP: &str = "05-packages";

/// What is left to the first boot.
#[derive(Default)]
struct Deferred {
    install: Vec<String>,
    remove: Vec<String>,
    hold: Vec<String>,
    enable: Vec<String>,
    upgrade: Vec<String>,
}

/// Applies the changes to a disk, as far as they need no program; returns what is installed.
pub(crate) fn apply(
    disk: &Path,
    changes: &[Change],
    files: &BTreeMap<Sha256, PathBuf>,
) -> Result<Vec<Package>> {
    let disk = Arc::new(Raw::open_writable(disk)?);
    let mut image = Image::open(disk, clock::now()?)?;
    let mut deferred = Deferred::default();
    let own = vendor_setup::switch_off(&image, changes, FirstUser::Made)?;
    apply::apply(&mut image, &own)?;
    for change in changes {
        deferred.one(&mut image, change, files)?;
    }
    if !deferred.is_empty() {
        apply::apply(&mut image, &deferred.files()?)?;
    }
    apply::apply(&mut image, &first_boot::presets())?;
    generalise(&mut image)?;
    image.flush()?;
    image.verify()?;
    debian::installed(&image)
}

impl Deferred {
    fn one(
        &mut self,
        image: &mut Image,
        change: &Change,
        files: &BTreeMap<Sha256, PathBuf>,
    ) -> Result<()> {
        match &change.action {
            Action::Grow { .. } => {}
            Action::Package { name, state } => {
                let (list, word) = match state {
                    PackageState::Installed => (&mut self.install, name.as_str()),
                    PackageState::Removed => (&mut self.remove, name.as_str()),
                    PackageState::Held => (&mut self.hold, name.as_str()),
                    PackageState::Upgraded => (&mut self.upgrade, "yes"),
                };
                list.push(word.to_owned());
            }
            Action::AptSource { .. } => {
                apply::apply(image, &source_file(change).into_iter().collect::<Vec<_>>())?;
            }
            Action::Download { checksum: Checksum::Sha256(sha256), path, mode, .. } => {
                let file = files.get(sha256).map(File::open).transpose()?;
                put(image, file, Path::new(path), *mode)?;
            }
            // A package may still bring it.
            Action::Unit { name, state: UnitState::Enabled } if !units::exists(image, name)? => {
                self.enable.push(name.clone());
            }
            Action::Download { .. }
            | Action::Images(_)
            | Action::File { .. }
            | Action::Directory { .. }
            | Action::Symlink { .. }
            | Action::Remove { .. }
            | Action::Unit { .. }
            | Action::User(_)
            | Action::KernelArgument { .. }
            | Action::KernelArgumentRemoved { .. }
            | Action::ConfigTxt { .. }
            | Action::Hostname { .. }
            | Action::MachineId { .. }
            | Action::DiskId { .. }
            | Action::Locale { .. }
            | Action::Keyboard { .. }
            | Action::Timezone { .. } => {
                apply::apply(image, std::slice::from_ref(change))?;
            }
        }
        Ok(())
    }

    fn is_empty(&self) -> bool {
        [&self.install, &self.remove, &self.hold, &self.enable, &self.upgrade]
            .iter()
            .all(|it| it.is_empty())
    }

    fn files(&self) -> Result<[Change; 2]> {
        let mut text = String::from("# What the first boot does, because the build could not.\n");
        for (key, words) in [
            ("REMOVE", &self.remove),
            ("INSTALL", &self.install),
            ("HOLD", &self.hold),
            ("ENABLE", &self.enable),
            ("UPGRADE", &self.upgrade),
        ] {
            if let Some(word) = words.iter().find(|word| !word.bytes().all(is_plain)) {
                return Err(Error::input(format!("`{word}` is not the name of a package or unit")));
            }
            writeln!(text, "{key}='{}'", words.join(" ")).expect("writing to a string");
        }
        let step = config::firstboot(&format!("steps/{STEP}")).expect("compiled in");
        let file = |path: &str, bytes: Vec<u8>, mode| {
            let (path, content, owner) = (path.into(), Content::public(bytes), Owner::root());
            Change::new(Action::File { path, content, mode, owner }, Requester::Nodeforge)
        };
        let path = format!("{}/{STEP}", first_boot::STEPS);
        Ok([
            file(first_boot::PACKAGES, text.into_bytes(), 0o644),
            file(&path, step.to_vec(), 0o755),
        ])
    }
}

/// Of a Debian package's name, version and relation, or a unit's name.
fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"+-.:~=@_/^".contains(&byte)
}
