use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;

use super::ui::{Ui, bytes};
use crate::artifact::disk_of;
use crate::change::User;
use crate::disk::{self, Disk, Overlay};
use crate::guest::accounts::accounts;
use crate::guest::roles::RoleTable;
use crate::guest::units;
use crate::guest::vendor_setup::{self, FirstUser};
use crate::image::{FsckPolicy, Image, edit};
use crate::plan::{self, Found, Single};
use crate::util::error::{Context, Error, Result};
use crate::util::progress::Progress as _;
use crate::{apply, artifact, config};

/// Make one node's image from any image, without a cluster file
///
/// IMAGE is a base as its publisher ships it, or a template or node that `build` made, in any format.
/// It is not changed: OUT becomes a whole image of its own, with its own host name, machine id and SSH
/// host keys (the last two on its first boot).
#[derive(Debug, Args)]
pub(super) struct StampCommand {
    /// The image to start from
    image: PathBuf,

    /// The node's host name
    #[arg(long, value_name = "NAME")]
    hostname: String,

    /// The node's role, one of those in the image's own table
    #[arg(long)]
    role: Option<String>,

    /// Who may log in; made when missing [default: the image's user number 1000]
    #[arg(long)]
    user: Option<String>,

    /// A public key of that user's, or a file of them; may be given several times
    #[arg(long = "ssh-key", value_name = "KEY|FILE")]
    ssh_keys: Vec<String>,

    /// Let that user use sudo without a password
    #[arg(long)]
    passwordless_sudo: bool,

    /// A file of this machine, and where it goes in the image; may be given several times
    #[arg(long = "file", value_name = "SRC:DST", value_parser = parse_file)]
    files: Vec<(PathBuf, String)>,

    #[arg(
        short,
        long,
        value_name = "OUT",
        help = format!("The image to write: {}", artifact::standalone_endings()),
    )]
    output: PathBuf,

    /// Whether e2fsck and fsck.fat must be content with the result
    #[arg(long, value_enum, value_name = "WHEN", default_value_t)]
    fsck: FsckPolicy,
}

impl StampCommand {
    pub(super) fn run(&self, ui: &Ui) -> Result<()> {
        config::check_hostname(&self.hostname)?;
        let format = artifact::standalone_format(&self.output)?;
        let image = disk_of(&self.image);
        if let Ok(output) = self.output.canonicalize()
            && disk::files(&image, &[])?
                .iter()
                .any(|it| it.canonicalize().is_ok_and(|it| it == output))
        {
            return Err(Error::input("OUT is a part of IMAGE, which must not be changed"));
        }
        let files = self.files.iter().map(read_file).collect::<Result<Vec<_>>>()?;

        ui.stage("stamping");
        let base = edit::open_to_read(&image, &[])?;
        let overlay: Arc<dyn Disk> = Arc::new(Overlay::new(Arc::clone(&base)));
        let mut image = Image::open(Arc::clone(&overlay), apply::clock()?)?;
        let node = Single {
            hostname: self.hostname.clone(),
            role: self.role.clone(),
            user: self.user(&image)?,
            files,
        };
        let changes = plan::single(&node, &look(&image)?)?;
        let first_user = match node.user {
            Some(_) => FirstUser::Made,
            None => FirstUser::Missing,
        };
        let vendor = vendor_setup::switch_off(&image, &changes, first_user)?;
        apply::apply(&mut image, &vendor)?;
        apply::apply_to_image(&mut image, &changes)?;
        image.verify()?;
        image.fsck(self.fsck, &base)?;
        drop(image);

        ui.stage("writing the image");
        let written = artifact::write_standalone(format, &self.output, &*overlay)?;
        ui.finish();
        ui.note(&format!(
            "`{}` is `{}`: {} on disk",
            self.output.display(),
            self.hostname,
            bytes(written)
        ));
        Ok(())
    }

    /// Who may log in, if anybody was named or given a key.
    fn user(&self, image: &Image) -> Result<Option<User>> {
        let keys = self.ssh_keys.iter().map(|key| config::authorized_keys(key));
        let ssh_authorized_keys: Vec<String> = keys.collect::<Result<Vec<_>>>()?.concat();
        let name = match &self.user {
            Some(name) => {
                config::check_user_name(name)?;
                name.clone()
            }
            None if ssh_authorized_keys.is_empty() && !self.passwordless_sudo => return Ok(None),
            None => {
                const FIRST: u32 = 1000;
                let accounts = accounts(image)?;
                let first = accounts.into_iter().find(|(_, user)| user.uid == FIRST);
                let hint = "name one with `--user`; it is made when missing";
                first.map(|(name, _)| name).ok_or_else(|| {
                    Error::input("the image has no user number 1000 to log in as").hint(hint)
                })?
            }
        };
        let (password_hash, passwordless_sudo) = (None, self.passwordless_sudo);
        Ok(Some(User { name, ssh_authorized_keys, password_hash, passwordless_sudo }))
    }
}

/// What the image is.
fn look(image: &Image) -> Result<Found> {
    Ok(Found { roles: RoleTable::read(image)?, ssh: units::exists(image, "ssh.service")? })
}

fn parse_file(text: &str) -> Result<(PathBuf, String), String> {
    match text.rsplit_once(":/") {
        Some((source, target)) if !source.is_empty() && !target.is_empty() => {
            Ok((source.into(), format!("/{target}")))
        }
        _ => Err("a file is written SRC:/PATH/IN/THE/IMAGE".into()),
    }
}

/// A file's place in the image, its bytes and its permission bits.
fn read_file((source, target): &(PathBuf, String)) -> Result<(String, Vec<u8>, u32)> {
    let context = || format!("reading `{}`", source.display());
    let bytes =
        fs::read(source).map_err(|error| Error::input(error.to_string())).context(context)?;
    let mode = fs::metadata(source).context(context)?.permissions().mode() & 0o7777;
    Ok((target.clone(), bytes, mode))
}
