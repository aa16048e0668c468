//! Stage 2: a plan's changes applied to an image, in user space.

use std::path::Path;

use crate::change::{Action, Change, UnitState};
use crate::fs::Tree;
use crate::guest::{
    accounts, command_line, config_txt, files, identity, language, login_user, time_zone, units,
};
use crate::image::Image;
use crate::table::{DiskId, Scheme};
use crate::util::clock;
use crate::util::error::{Context, Error, Result};

/// What every stamped file's times are when `SOURCE_DATE_EPOCH` is not set: 2026-01-01.
const DEFAULT_CLOCK: i64 = 1_767_225_600;

/// The time that stamped files get, in seconds since 1970: `SOURCE_DATE_EPOCH`, else a constant, so
/// that equal inputs give equal bits on whatever day.
pub fn clock() -> Result<i64> {
    Ok(clock::fixed()?.unwrap_or(DEFAULT_CLOCK))
}

/// Applies `changes` in their order to `tree`.
///
/// Every kind of change but packages and growing the disk: those need the sandbox and belong to
/// `prepare`, which leaves them out of what it hands on.
pub fn apply(tree: &mut dyn Tree, changes: &[Change]) -> Result<()> {
    apply_each(tree, changes)
}

fn apply_each<'a>(
    tree: &mut dyn Tree,
    changes: impl IntoIterator<Item = &'a Change>,
) -> Result<()> {
    for change in changes {
        apply_one(tree, &change.action)
            .context(|| format!("{} (asked for by {})", title(&change.action), change.origin))?;
    }
    tree.flush()
}

/// Applies `changes` to a whole image: those of the disk itself come last, as they rewrite names
/// of partitions in files.
pub fn apply_to_image(image: &mut Image, changes: &[Change]) -> Result<()> {
    let is_disk_id = |change: &&Change| matches!(change.action, Action::DiskId { .. });
    let (disk, files): (Vec<&Change>, Vec<&Change>) = changes.iter().partition(is_disk_id);
    apply_each(image, files)?;
    for change in disk {
        let (Action::DiskId { id }, Some(table)) = (&change.action, image.table()) else {
            continue;
        };
        let id = match table.scheme {
            Scheme::Gpt { .. } => DiskId::Gpt(*id),
            Scheme::Mbr { .. } => DiskId::Mbr(id.as_fields().0),
        };
        image.set_disk_id(id).context(|| title(&change.action))?;
    }
    image.flush()
}

fn apply_one(tree: &mut dyn Tree, action: &Action) -> Result<()> {
    match action {
        Action::File { path, content, mode, owner } => {
            if !content.secrets.is_empty() && mode & 0o070 != 0 {
                accounts::check_no_people(tree, &owner.group)?;
            }
            let attributes = accounts::attributes(tree, *mode, owner)?;
            files::write(tree, Path::new(path), &content.bytes, attributes)
        }
        Action::Directory { path, mode, owner } => {
            let attributes = accounts::attributes(tree, *mode, owner)?;
            files::create_dir(tree, Path::new(path), attributes)
        }
        Action::Symlink { path, target } => {
            files::symlink(tree, Path::new(path), Path::new(target))
        }
        Action::Remove { path } => files::remove(tree, path),
        Action::Unit { name, state } => units::set(tree, name, *state),
        Action::User(user) => login_user::set_user(tree, user),
        Action::KernelArgument { argument } => command_line::add_argument(tree, argument),
        Action::KernelArgumentRemoved { argument } => command_line::remove_argument(tree, argument),
        Action::Hostname { name, domain, hosts } => {
            identity::set_hostname(tree, name, domain.as_deref(), hosts)
        }
        Action::MachineId { id } => identity::set_machine_id(tree, id),
        Action::Locale { name } => language::set_locale(tree, name),
        Action::Keyboard { layout, variant } => {
            language::set_keyboard(tree, layout, variant.as_deref())
        }
        Action::Timezone { name } => time_zone::set(tree, name),
        Action::ConfigTxt { line } => config_txt::add_line(tree, line),
        Action::Grow { .. }
        | Action::AptSource { .. }
        | Action::Package { .. }
        | Action::Download { .. }
        | Action::Images(_) => Err(Error::failure("only the prepare stage can do this")),
        Action::DiskId { .. } => Err(Error::failure("a tree has no disk")),
    }
}

/// What failed, for errors.
fn title(action: &Action) -> String {
    match action {
        Action::Grow { .. } => "cannot grow the disk".into(),
        Action::AptSource { name, .. } => format!("cannot add the apt source `{name}`"),
        Action::Package { name, .. } => format!("cannot bring the package `{name}` into its state"),
        Action::Download { path, .. } => format!("cannot download `{path}`"),
        Action::Images(archive) => format!("cannot pack `{}`", archive.path),
        Action::ConfigTxt { line } => format!("cannot add `{line}` to config.txt"),
        Action::File { path, .. } => format!("cannot write `{path}`"),
        Action::Directory { path, .. } => format!("cannot create the directory `{path}`"),
        Action::Symlink { path, .. } => format!("cannot link `{path}`"),
        Action::Remove { path } => format!("cannot remove `{path}`"),
        Action::Unit { name, state } => {
            let verb = match state {
                UnitState::Enabled => "enable",
                UnitState::Disabled => "disable",
                UnitState::Masked => "mask",
            };
            format!("cannot {verb} the unit `{name}`")
        }
        Action::User(user) => format!("cannot set up the user `{}`", user.name),
        Action::KernelArgument { argument } => {
            format!("cannot add the kernel argument `{argument}`")
        }
        Action::KernelArgumentRemoved { argument } => {
            format!("cannot remove the kernel argument `{argument}`")
        }
        Action::Hostname { name, .. } => format!("cannot set the host name `{name}`"),
        Action::MachineId { .. } => "cannot set the machine id".into(),
        Action::DiskId { .. } => "cannot set the disk id".into(),
        Action::Locale { name } => format!("cannot set the locale `{name}`"),
        Action::Keyboard { layout, .. } => format!("cannot set the keyboard layout `{layout}`"),
        Action::Timezone { name } => format!("cannot set the time zone `{name}`"),
    }
}
