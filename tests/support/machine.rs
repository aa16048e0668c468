//! A base made by hand, and a cluster on it: all that the emission of artifacts needs, without
//! programs that could run.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{FileExt as _, symlink};
use std::path::{Path, PathBuf};

use super::{Run, Stop, noise, temporary_folder, tool};

/// A processor architecture under Debian's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arch {
    Amd64,
    Arm64,
}

impl Arch {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
        }
    }

    /// ELF's number of it.
    fn machine(self) -> u8 {
        match self {
            Self::Amd64 => 62,
            Self::Arm64 => 183,
        }
    }
}

const ROOT: &str = "11111111-2222-3333-4444-555555555555";
const ESP: &str = "66666666-7777-8888-9999-aaaaaaaaaaaa";
const MIB: u64 = 1 << 20;

/// A folder with a cluster file whose base is made by hand, and a cache of its own.
pub(crate) struct Machines {
    pub(crate) folder: tempfile::TempDir,
}

impl Machines {
    /// Servers and agents, as many as `nodes` says: `server1`, `agent[1-2]`. `output` is what stands
    /// in `[output]`, and what follows it.
    pub(crate) fn new(arch: Arch, nodes: &[&str], output: &str) -> Self {
        let folder = temporary_folder();
        tiny_base(folder.path(), arch);
        let profile = folder.path().join("profile");
        fs::create_dir(&profile).expect("a folder");
        let roles = "description = \"two roles\"\n\
            [[role]]\nname = \"server\"\npattern = \"server[0-9]+\"\nkind = \"control-plane\"\n\
            first = \"server1\"\n\
            [[role]]\nname = \"agent\"\npattern = \"agent[0-9]+\"\nkind = \"worker\"\n";
        fs::write(profile.join("profile.toml"), roles).expect("written");
        let mut text = format!(
            "[cluster]\nname = \"small\"\nprofile = \"./profile\"\n[base]\npath = \"base.img\"\n\
             [disk]\nsize = \"512M\"\n[access]\nuser = \"admin\"\nssh_authorized_keys = \
             [\"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFbX6cBl3wUzVbVrV5Wmu5wZ1yqQ3C9r0C9K8oXqVn3T a@b\"]\n\
             [output]\n{output}\n"
        );
        for node in nodes {
            text.push_str(&format!("[[node]]\nhostname = \"{node}\"\n"));
        }
        fs::write(folder.path().join("cluster.toml"), text).expect("written");
        Self { folder }
    }

    /// A run of nodeforge in the folder.
    pub(crate) fn run<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Run {
        Run::new(arguments)
            .folder(self.folder.path())
            .env("XDG_CACHE_HOME", self.folder.path().join("cache"))
    }

    /// Runs nodeforge quietly, and kills it as it makes the `step`th of these system calls, counted
    /// from 1. Returns whether it was killed, and had not ended well before.
    pub(crate) fn is_killed_at(&self, calls: &str, step: u32, arguments: &[&str]) -> bool {
        let stop = Stop { signal: "KILL", calls, step };
        !stop.during(self.folder.path(), arguments).success()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A file of the output folder.
    pub(crate) fn artifact(&self, name: &str) -> PathBuf {
        self.path("out").join(name)
    }
}

/// Makes `base.img`: GPT, an EFI system partition, and an ext4 root with what every system has.
pub(crate) fn tiny_base(folder: &Path, arch: Arch) {
    let tree = folder.join("tree");
    let write = |path: &str, content: &[u8]| {
        let path = tree.join(path);
        fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        fs::write(path, content).expect("written");
    };
    for empty in ["boot/efi", "dev", "home", "proc", "root", "run", "sys", "tmp", "var/log"] {
        fs::create_dir_all(tree.join(empty)).expect("made");
    }
    for empty in ["var/cache/apt/archives/partial", "var/lib/apt/lists/partial", "etc/apt"] {
        fs::create_dir_all(tree.join(empty)).expect("made");
    }
    let mut program = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0".to_vec();
    program.extend([arch.machine(), 0]);
    write("usr/bin/true", &program);
    symlink("usr/bin", tree.join("bin")).expect("linked");
    write(
        "etc/os-release",
        b"ID=debian\nVERSION_ID=\"13\"\nPRETTY_NAME=\"Debian GNU/Linux 13 (trixie)\"\n",
    );
    write("etc/passwd", b"root:x:0:0:root:/root:/bin/sh\n");
    write("etc/group", b"root:x:0:\nsudo:x:27:\nsystemd-network:x:998:\n");
    write("etc/shadow", b"root:*:20000:0:99999:7:::\n");
    write("etc/gshadow", b"root:*::\nsudo:*::\nsystemd-network:!::\n");
    let fstab = format!(
        "PARTUUID={ROOT} / ext4 defaults 0 1\nPARTUUID={ESP} /boot/efi vfat defaults 0 2\n"
    );
    write("etc/fstab", fstab.as_bytes());
    write("var/lib/dpkg/status", packages(arch).as_bytes());
    write(
        "usr/share/doc/libc6/copyright",
        b"Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n\n\
          Files: *\nLicense: LGPL-2.1+\n",
    );
    write("usr/lib/noise", &noise(7, 9 << 20));
    // Zeros that belong to a file are not free space.
    write("usr/lib/zeros", &vec![0; 3 << 20]);

    let (root, esp, image) = (folder.join("root"), folder.join("esp"), folder.join("base.img"));
    let size = |path: &Path, size: u64| {
        fs::File::create(path).expect("a file").set_len(size).expect("a size");
    };
    size(&root, 80 * MIB);
    tool("mkfs.ext4", [OsStr::new("-q"), OsStr::new("-d"), tree.as_os_str(), root.as_os_str()]);
    size(&esp, 16 * MIB);
    tool("mkfs.fat", [OsStr::new("-F"), OsStr::new("16"), esp.as_os_str()]);
    size(&image, 100 * MIB);
    let kind = if arch == Arch::Amd64 { "8304" } else { "8305" };
    let table = [
        "--disk-guid=01234567-89ab-cdef-0123-456789abcdef".to_owned(),
        "--new=15:2048:+16M".to_owned(),
        "--typecode=15:ef00".to_owned(),
        format!("--partition-guid=15:{ESP}"),
        "--new=1:36864:+80M".to_owned(),
        format!("--typecode=1:{kind}"),
        format!("--partition-guid=1:{ROOT}"),
    ];
    tool("sgdisk", table.into_iter().chain([image.display().to_string()]));
    let disk = fs::File::options().write(true).open(&image).expect("there");
    for (part, at) in [(&esp, MIB), (&root, 18 * MIB)] {
        disk.write_all_at(&fs::read(part).expect("there"), at).expect("written");
        fs::remove_file(part).expect("removed");
    }
    tool("fallocate", [OsStr::new("--dig-holes"), image.as_os_str()]);
    fs::remove_dir_all(tree).expect("removed");
}

fn packages(arch: Arch) -> String {
    let arch = arch.name();
    format!(
        "Package: libc6\nStatus: install ok installed\nArchitecture: {arch}\n\
         Maintainer: GNU Libc Maintainers <debian-glibc@lists.debian.org>\nSource: glibc\n\
         Version: 2.41-12\nHomepage: https://www.gnu.org/software/libc/libc.html\n\n\
         Package: gone\nStatus: deinstall ok config-files\nArchitecture: {arch}\nVersion: 1\n\n\
         Package: libstdc++6\nStatus: install ok installed\nArchitecture: {arch}\n\
         Maintainer: Debian GCC Maintainers <debian-gcc@lists.debian.org>\n\
         Source: gcc-14 (14.2.0-19)\nVersion: 1:14.2.0-19+b1~x\n"
    )
}
