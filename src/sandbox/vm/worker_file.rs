//! Which file is the worker in a machine: this version of nodeforge, for Linux on the machine's processor.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use crate::config::Arch;
use crate::util::error::{Context as _, Error, Result};

/// Names the folder with the workers.
const VARIABLE: &str = "NODEFORGE_WORKERS";

/// The worker for machines of `arch`: this program itself where it can be, else one that was installed
/// with it.
pub(crate) fn find(arch: Arch) -> Result<PathBuf> {
    let own = std::env::current_exe().context(|| "cannot find nodeforge's own program")?;
    if cfg!(target_os = "linux") && is_for(&own, arch)? {
        return Ok(own);
    }
    let name = name(arch);
    let beside = own.parent().unwrap_or(Path::new("/"));
    let folders = std::env::var_os(VARIABLE)
        .map(PathBuf::from)
        .into_iter()
        .chain([beside.to_owned(), beside.join("../lib/nodeforge")]);
    let mut files = folders.map(|folder| folder.join(&name)).filter(|it| it.is_file());
    let Some(found) = files.next() else {
        return Err(Error::failure(format!(
            "the sandbox `vm` needs nodeforge's program for Linux on {}, and there is no `{name}`",
            arch.name()
        ))
        .hint(format!(
            "it belongs beside `{}`, into `../lib/nodeforge` from there, or into the folder that {VARIABLE} names: \
             `make dist` builds it",
            own.display()
        )));
    };
    if is_for(&found, arch)? {
        return Ok(found);
    }
    let message = format!("`{}` is no program for Linux on {}", found.display(), arch.name());
    Err(Error::failure(message).hint("`make dist` builds it"))
}

fn name(arch: Arch) -> String {
    match arch {
        Arch::Amd64 => "nodeforge-worker-x86_64".into(),
        Arch::Arm64 => "nodeforge-worker-aarch64".into(),
    }
}

/// Whether a file is a 64-bit little-endian ELF program for that processor (elf(5)).
fn is_for(path: &Path, arch: Arch) -> Result<bool> {
    let mut head = Vec::new();
    File::open(path)
        .and_then(|file| file.take(20).read_to_end(&mut head))
        .context(|| format!("cannot read `{}`", path.display()))?;
    let machine: u8 = match arch {
        Arch::Amd64 => 62,
        Arch::Arm64 => 183,
    };
    Ok(head.starts_with(b"\x7fELF\x02\x01") && head.get(18..20) == Some(&[machine, 0]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn this_program_is_for_one_processor() {
        let own = std::env::current_exe().unwrap();
        let is = [Arch::Amd64, Arch::Arm64].map(|arch| is_for(&own, arch).unwrap());
        assert_ne!(is[0], is[1]);
        assert!(!is_for(Path::new("/etc/passwd"), Arch::Amd64).unwrap());
    }
}
