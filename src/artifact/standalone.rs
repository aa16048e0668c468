//! One disk as one file that needs no other.

use std::fs::File;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use super::format::FORMATS;
use super::format::definition::{ArtifactFormat, WholeImage};
use crate::disk::Disk;
use crate::util::error::{Context, Error, Result};
use crate::util::new_files;
use crate::util::room::{self, FolderUse};

/// What names of such files end in, in words: `.img, .img.xz or .qcow2`.
pub fn standalone_endings() -> String {
    let endings: Vec<_> = wholes().filter_map(|(_, it)| it.endings.first().copied()).collect();
    match endings.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        Some((last, _)) => (*last).to_owned(),
        None => String::new(),
    }
}

/// The format that a file's name asks for; `Input` when it asks for none.
pub fn standalone_format(path: &Path) -> Result<&'static ArtifactFormat> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let asked = wholes().find(|(_, it)| it.endings.iter().any(|ending| name.ends_with(ending)));
    asked.map(|(format, _)| format).ok_or_else(|| {
        Error::input(format!("cannot infer the format of `{name}`"))
            .hint(format!("let it end in {}", standalone_endings()))
    })
}

fn wholes() -> impl Iterator<Item = (&'static ArtifactFormat, &'static WholeImage)> {
    FORMATS.iter().filter_map(|it| Some((*it, it.whole.as_ref()?)))
}

/// Writes a disk to `path`, in place of what is there, whole or not at all, for its owner alone to
/// read. Returns how many bytes it occupies.
pub fn write_standalone(format: &ArtifactFormat, path: &Path, disk: &dyn Disk) -> Result<u64> {
    let context = || format!("cannot write `{}`", path.display());
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let Some(whole) = &format.whole else {
        return Err(Error::failure(format!("`{}` holds no single disk", format.name)))
            .context(context);
    };
    // What a killed run leaves behind says what it was.
    let temporary = tempfile::Builder::new()
        .prefix(&format!(".{name}."))
        .suffix(".part")
        .tempfile_in(folder)
        .context(context)?;
    (whole.write)(temporary.as_file(), &name, disk)
        .and_then(|()| Ok(temporary.as_file().sync_all()?))
        .context(context)
        .map_err(|error| room::explain(error, folder, FolderUse::Copy, None))?;
    let occupied = temporary.as_file().metadata().context(context)?.blocks() * 512;
    new_files::give_in_place_of(temporary.as_file(), path);
    temporary.persist(path).map_err(|error| error.error).context(context)?;
    File::open(folder).and_then(|folder| folder.sync_all()).context(context)?;
    Ok(occupied)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_the_format() {
        let format = |name: &str| standalone_format(Path::new(name)).ok().map(|it| it.name);
        assert_eq!(format("out/a.img"), Some("raw"));
        assert_eq!(format("a.img.xz"), Some("raw.xz"));
        assert_eq!(format("a.b.qcow2"), Some("qcow2"));
        assert_eq!(format("a.xz"), None);
        assert_eq!(format("img"), None);
        assert!(standalone_endings().ends_with(".qcow2 or .vmdk"));
    }
}
