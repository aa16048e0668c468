//! Programs of this machine in a root of another processor: what need not be emulated is not.
//!
//! apt itself, and the unpacking that dpkg leaves to others, take most of the time under qemu-user,
//! and do the same whatever they run on. dpkg stays the image's own: which architecture is the
//! native one is compiled into it. So are shells and whatever else packages' scripts call.

use std::collections::BTreeSet;
use std::env::consts;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::{fs, io};

use crate::config::Arch;
use crate::util::error::{Context, Result};
use crate::util::process::{self, Tool};

/// Where they are seen in the root; gone with its `/run`.
const FOLDER: &str = "/run/nodeforge";
const LIBRARIES: &str = "/run/nodeforge/lib";

/// Without any of these, all is emulated.
const NEEDED: [&str; 6] = ["apt-get", "apt-mark", "apt-config", "dpkg-deb", "rm", "tar"];
/// What those call, in some versions.
const CALLED: [&str; 8] = ["apt-key", "bzip2", "dpkg-split", "gpgv", "gzip", "lz4", "xz", "zstd"];
/// apt's ways of fetching and checking.
const METHODS: &str = "/usr/lib/apt/methods";

/// This machine's apt, and what unpacks packages, for a root of another processor.
pub(crate) struct HostApt {
    /// Copies of programs and libraries: nothing in the root reaches this machine's own.
    folder: PathBuf,
    /// Links that the root needs for a while: where, and to what.
    links: Vec<(PathBuf, PathBuf)>,
}

impl HostApt {
    /// Collects them in `folder`, for a root of `arch` whose dpkg knows the architectures `foreign`, a line
    /// each. `None` when this machine is not a Debian, or the root has something in their place.
    pub(crate) fn gather(
        arch: Arch,
        foreign: &str,
        root: &Path,
        folder: &Path,
    ) -> Result<Option<Self>> {
        let Some(libraries) = libraries() else { return Ok(None) };
        let links = links(&libraries);
        let is_free = |path: &Path| {
            path.strip_prefix("/").is_ok_and(|it| fs::symlink_metadata(root.join(it)).is_err())
        };
        let needed: Option<Vec<PathBuf>> = NEEDED.iter().map(|name| process::find(name)).collect();
        let Some(mut programs) = needed else { return Ok(None) };
        if !links.iter().all(|(path, _)| is_free(path)) || !Path::new(METHODS).is_dir() {
            return Ok(None);
        }
        programs.extend(CALLED.iter().filter_map(|name| process::find(name)));

        let methods: io::Result<Vec<_>> = fs::read_dir(METHODS)?.collect();
        let methods: Vec<PathBuf> = methods?.into_iter().map(|it| it.path()).collect();
        let needs = needs(programs.iter().chain(&methods), &libraries)?;
        let gather = || {
            copy(&programs, &folder.join("bin"))?;
            copy(&methods, &folder.join("methods"))?;
            copy(&needs, &folder.join("lib"))?;
            fs::write(folder.join("apt.conf"), configuration(arch, foreign))
        };
        gather().context(|| "cannot copy this machine's apt")?;
        Ok(Some(Self { folder: folder.to_owned(), links }))
    }

    /// The folder, and where the root is to see it.
    pub(crate) fn bind(&self) -> (&Path, &str) {
        (&self.folder, FOLDER)
    }

    /// Variables with which the root's programs find them.
    pub(crate) fn environment() -> [(&'static str, String); 2] {
        [
            ("PATH", format!("{FOLDER}/bin:{}", process::search_path())),
            ("APT_CONFIG", format!("{FOLDER}/apt.conf")),
        ]
    }

    /// Lets the root this process is in run them.
    pub(crate) fn install(&self) -> Result<()> {
        for (path, target) in &self.links {
            symlink(target, path).context(|| format!("cannot link `{}`", path.display()))?;
        }
        Ok(())
    }

    /// Leaves that root as if they had never been there.
    pub(crate) fn uninstall(&self) -> Result<()> {
        for (path, _) in &self.links {
            fs::remove_file(path).context(|| format!("cannot remove `{}`", path.display()))?;
        }
        Ok(())
    }
}

/// What loads this machine's programs, as its ABI has it.
const LOADER: &str = if cfg!(target_arch = "x86_64") {
    "/lib64/ld-linux-x86-64.so.2"
} else {
    "/lib/ld-linux-aarch64.so.1"
};

/// The one folder of all libraries, as Debian and its derivatives have it, together with the loader.
fn libraries() -> Option<PathBuf> {
    let loader = fs::canonicalize(LOADER).ok()?;
    let folder = loader.parent()?;
    let name = format!("{}-linux-gnu", consts::ARCH);
    (folder.file_name()?.to_str()? == name).then(|| folder.to_owned())
}

/// The loader's name and its libraries', in the root. On amd64 the loader has a folder of its own.
fn links(libraries: &Path) -> Vec<(PathBuf, PathBuf)> {
    let loader = if LOADER.starts_with("/lib64/") {
        ("/lib64".into(), LIBRARIES.into())
    } else {
        (
            LOADER.into(),
            Path::new(LIBRARIES).join(Path::new(LOADER).file_name().unwrap_or_default()),
        )
    };
    vec![(libraries.to_owned(), LIBRARIES.into()), loader]
}

/// What apt takes from what it is compiled for, unless it is told.
fn configuration(arch: Arch, foreign: &str) -> String {
    let mut all = vec![arch.name()];
    all.extend(foreign.lines().map(str::trim).filter(|it| !it.is_empty() && *it != arch.name()));
    format!(
        "APT::Architecture \"{}\";\nAPT::Architectures {{ \"{}\"; }};\n\
         Dir::Bin::methods \"{FOLDER}/methods\";\nDir::Bin::apt-key \"{FOLDER}/bin/apt-key\";\n",
        arch.name(),
        all.join("\"; \"")
    )
}

/// The libraries of programs, and those that the C library loads by itself to resolve names.
fn needs<'a>(
    programs: impl Iterator<Item = &'a PathBuf>,
    libraries: &Path,
) -> Result<BTreeSet<PathBuf>> {
    // It also fails when one of them is a script.
    let (output, _) = Tool::new("ldd", "libc-bin").args(programs).run_for_code()?;
    let mut needs: BTreeSet<PathBuf> = named(&output.stdout).map(PathBuf::from).collect();
    let resolvers = ["libnss_dns.so.2", "libnss_files.so.2"].map(|name| libraries.join(name));
    needs.extend(resolvers.into_iter().filter(|it| it.is_file()));
    Ok(needs)
}

/// The files that `ldd` names: `libz.so.1 => /lib/libz.so.1 (0x7f…)`, `/lib64/ld-linux.so.2 (0x7f…)`.
fn named(said: &str) -> impl Iterator<Item = &str> {
    said.lines().filter_map(|line| {
        let (rest, _) = line.trim().rsplit_once(" (0x")?;
        Some(rest.rsplit(" => ").next().unwrap_or(rest)).filter(|it| it.starts_with('/'))
    })
}

fn copy<'a>(files: impl IntoIterator<Item = &'a PathBuf>, folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    for file in files {
        if let Some(name) = file.file_name() {
            fs::copy(file, folder.join(name))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_read_from_what_ldd_says() {
        let said = "/usr/bin/tar:\n\tlinux-vdso.so.1 (0x00007ffd)\n\tlibc.so.6 => /lib/x/libc.so.6 (0x00007f)\n\
                    \t/lib64/ld-linux-x86-64.so.2 (0x00007f)\n/usr/bin/apt-key:\n\tnot a dynamic executable\n";
        let all: Vec<&str> = named(said).collect();
        assert_eq!(all, ["/lib/x/libc.so.6", "/lib64/ld-linux-x86-64.so.2"]);
    }

    #[test]
    fn apt_is_told_what_it_is_for() {
        let text = configuration(Arch::Arm64, "arm64\narmhf\n");
        assert!(text.contains("APT::Architecture \"arm64\";\n"), "{text}");
        assert!(text.contains("APT::Architectures { \"arm64\"; \"armhf\"; };\n"), "{text}");
    }
}
