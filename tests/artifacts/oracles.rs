//! Every format of a node of either architecture, read by the programs that must accept it.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use crate::support::{
    Arch, Machines, checksum, noise, partitions, python_tool, temporary_folder, tool,
};

const FORMATS: &str = r#"formats = ["raw", "raw.xz", "raw.zst", "raw.gz", "qcow2", "vmdk", "vmwarevm", "ova"]
[vm]
memory = "1G"
cpus = 3
network = "vmnet7"
hardware_version = 21"#;

/// One node of each architecture, in every format.
fn built() -> &'static [(Arch, Machines)] {
    static BUILT: OnceLock<Vec<(Arch, Machines)>> = OnceLock::new();
    BUILT.get_or_init(|| {
        let build = |arch| {
            let machines = Machines::new(arch, &["server1"], FORMATS);
            let _ = machines.run(["build"]).succeeds();
            (arch, machines)
        };
        [Arch::Amd64, Arch::Arm64].map(build).into()
    })
}

/// Programs that read what nodeforge writes, and share no code with it.
fn independent_reader(program: &str) -> PathBuf {
    python_tool(&["libvmdk-python==20260714", "pyzstd==0.20.0", "spdx-tools==0.8.5"], program)
}

fn qemu_img<const N: usize>(arguments: [&str; N], paths: &[&Path]) -> String {
    let arguments = arguments.iter().map(OsStr::new);
    tool("qemu-img", arguments.chain(paths.iter().map(|it| it.as_os_str())))
}

fn same(format: &str, path: &Path, raw: &Path) {
    let said = qemu_img(["compare", "-f", format, "-F", "raw"], &[path, raw]);
    assert_eq!(said, "Images are identical.\n", "{}", path.display());
}

#[test]
fn disks_hold_what_the_raw_image_does() {
    for (_, machines) in built() {
        let raw = machines.artifact("server1.img");
        for (format, name) in [
            ("qcow2", "server1.qcow2"),
            ("vmdk", "server1.vmdk"),
            ("vmdk", "server1.vmwarevm/disk.vmdk"),
        ] {
            let path = machines.artifact(name);
            qemu_img(["check", "-f", format], &[&path]);
            same(format, &path, &raw);
            let converted = machines.path("converted");
            qemu_img(["convert", "-f", format, "-O", "raw"], &[&path, &converted]);
            assert_eq!(checksum("sha256sum", &converted), checksum("sha256sum", &raw), "{name}");
        }
    }
}

#[test]
fn compressed_images_are_whole_and_seekable() {
    for (_, machines) in built() {
        let raw = machines.artifact("server1.img");
        let sum = checksum("sha256sum", &raw);
        let (xz, zst) = (machines.artifact("server1.img.xz"), machines.artifact("server1.img.zst"));
        let gz = machines.artifact("server1.img.gz");
        let unpacked = machines.path("unpacked");
        for (program, packed) in [("xz", &xz), ("zstd", &zst), ("gzip", &gz)] {
            tool(program, [OsStr::new("-q"), OsStr::new("-t"), packed.as_os_str()]);
            let script = format!("{program} -dc \"$1\" >\"$2\"");
            let arguments = ["-c", &script, "sh"].map(OsStr::new);
            tool("sh", arguments.into_iter().chain([packed.as_os_str(), unpacked.as_os_str()]));
            assert_eq!(checksum("sha256sum", &unpacked), sum, "{program}");
        }
        // 512 MiB in blocks of 8.
        let list = tool("xz", [OsStr::new("--robot"), OsStr::new("--list"), xz.as_os_str()]);
        let file = list.lines().find(|line| line.starts_with("file")).expect("a line");
        let fields: Vec<_> = file.split('\t').collect();
        assert_eq!(fields[1..3], ["1", "64"], "{list}");

        // One member without a name or a time: what unpackers that stop after the first one need.
        let script = "import sys, zlib\n\
            packed, unpacker, size = open(sys.argv[1], 'rb'), zlib.decompressobj(31), 0\n\
            assert packed.read(10) == b'\\x1f\\x8b\\x08' + bytes(6) + b'\\xff'\n\
            packed.seek(0)\n\
            while part := packed.read(1 << 20):\n\
            \x20   assert not unpacker.eof\n\
            \x20   size += len(unpacker.decompress(part))\n\
            assert unpacker.eof and not unpacker.unused_data and size == 512 << 20\n";
        tool("python3", [OsStr::new("-c"), OsStr::new(script), gz.as_os_str()]);

        // From the middle, by a reader of the seekable format.
        let script = "import pyzstd, sys\n\
            packed, raw = pyzstd.SeekableZstdFile(sys.argv[1]), open(sys.argv[2], 'rb')\n\
            assert packed.seek(0, 2) == raw.seek(0, 2)\n\
            for at in (0, 18 << 20, 511 << 20, (30 << 20) - 7):\n\
            \x20   packed.seek(at); raw.seek(at)\n\
            \x20   assert packed.read(1 << 20) == raw.read(1 << 20), at\n";
        let python = independent_reader("python3");
        let arguments = [OsStr::new("-c"), OsStr::new(script), zst.as_os_str(), raw.as_os_str()];
        tool(python.to_str().expect("plain"), arguments);
    }
}

/// On a medium that held other things, as most do.
#[test]
fn bmaptool_writes_all_that_matters() {
    for (arch, machines) in built() {
        let folder = temporary_folder();
        let map = machines.artifact("server1.bmap");
        for name in ["server1.img", "server1.img.xz", "server1.img.zst", "server1.img.gz"] {
            let medium = folder.path().join("medium");
            let old = noise(99, 1 << 20);
            let old: Vec<u8> = old.iter().copied().cycle().take(512 << 20).collect();
            fs::write(&medium, old).expect("written");
            let arguments = ["--quiet", "copy", "--bmap"].map(OsStr::new);
            let image = machines.artifact(name);
            let paths = [map.as_os_str(), image.as_os_str(), medium.as_os_str()];
            tool("bmaptool", arguments.into_iter().chain(paths));

            let (_, root) = partitions(&medium).into_iter().find(|(it, _)| *it == 1).expect("it");
            let at = format!("{}?offset={}", medium.display(), root.start);
            tool("e2fsck", ["-fn", &at]);
            tool("sgdisk", ["-v".as_ref(), medium.as_os_str()]);
            // Zeros of a file arrive as zeros.
            let zeros = folder.path().join("zeros");
            let request = format!("dump /usr/lib/zeros {}", zeros.display());
            tool("debugfs", ["-R", &request, &at]);
            assert!(fs::read(&zeros).expect("there") == vec![0; 3 << 20], "{arch:?} {name}");
        }
        // A map that is not the image's is refused.
        let text = fs::read_to_string(&map).expect("there");
        let wrong = folder.path().join("wrong.bmap");
        fs::write(&wrong, text.replacen("<Range chksum=\"", "<Range chksum=\"0", 1))
            .expect("written");
        let said = std::process::Command::new("bmaptool")
            .arg("--quiet")
            .arg("copy")
            .arg("--bmap")
            .arg(&wrong)
            .arg(machines.artifact("server1.img"))
            .arg(folder.path().join("medium"))
            .output()
            .expect("bmaptool starts");
        assert!(!said.status.success());
    }
}

#[test]
fn the_ova_is_what_importers_expect() {
    for (arch, machines) in built() {
        let ova = machines.artifact("small.ova");
        // POSIX's ustar, without extensions of anybody's.
        let mut header = [0; 512];
        File::open(&ova).expect("there").read_exact(&mut header).expect("read");
        assert_eq!(&header[257..265], b"ustar\x0000");
        let list = tool("tar", [OsStr::new("--list"), OsStr::new("--file"), ova.as_os_str()]);
        assert_eq!(list, "small.ovf\nsmall.mf\nsmall-disk1.vmdk\n");
        let folder = temporary_folder();
        let path = |name: &str| folder.path().join(name);
        let arguments = ["--extract".as_ref(), "--file".as_ref(), ova.as_os_str()];
        tool(
            "tar",
            arguments.into_iter().chain(["--directory".as_ref(), folder.path().as_os_str()]),
        );

        let manifest = fs::read_to_string(path("small.mf")).expect("there");
        let sum = |name: &str| format!("SHA256({name})= {}\n", checksum("sha256sum", &path(name)));
        assert_eq!(manifest, sum("small.ovf") + &sum("small-disk1.vmdk"));

        let disk = path("small-disk1.vmdk");
        qemu_img(["check", "-f", "vmdk"], &[&disk]);
        let info: serde_json::Value =
            serde_json::from_str(&qemu_img(["info", "--output=json"], &[&disk])).expect("JSON");
        assert_eq!(info["format-specific"]["data"]["create-type"], "streamOptimized");
        let raw = path("template.raw");
        let template = machines.artifact("small-template.vmwarevm/disk.vmdk");
        qemu_img(["convert", "-f", "vmdk", "-O", "raw"], &[&template, &raw]);
        same("vmdk", &disk, &raw);

        let ovf = path("small.ovf");
        tool("xmllint", [OsStr::new("--noout"), ovf.as_os_str()]);
        let find = |xpath: &str| {
            tool("xmllint", [OsStr::new("--xpath"), OsStr::new(xpath), ovf.as_os_str()])
                .trim_end()
                .to_owned()
        };
        let attribute = |element: &str, name: &str| {
            find(&format!("string(//*[local-name()='{element}']/@*[local-name()='{name}'])"))
        };
        let size = fs::metadata(&disk).expect("there").len();
        assert_eq!(attribute("File", "size"), size.to_string());
        assert_eq!(attribute("Disk", "capacity"), (512_u64 << 20).to_string());
        let guest = if *arch == Arch::Amd64 { "debian12_64Guest" } else { "armDebian12_64Guest" };
        assert_eq!(attribute("OperatingSystemSection", "osType"), guest);
        assert_eq!(find("string(//*[local-name()='VirtualSystemType'])"), "vmx-21");
        let quantity = |kind: u32| {
            find(&format!(
                "string(//*[local-name()='Item'][*[local-name()='ResourceType']='{kind}']\
                 /*[local-name()='VirtualQuantity'])"
            ))
        };
        assert_eq!((quantity(3).as_str(), quantity(4).as_str()), ("3", "1024"));
    }
}

/// Numbers of a sparse VMDK, as the specification names them.
struct Sparse(Vec<u8>);

impl Sparse {
    fn word(&self, at: u64) -> u64 {
        let at = usize::try_from(at).expect("in memory");
        u32::from_le_bytes(self.0[at..at + 4].try_into().expect("4 bytes")).into()
    }

    /// The entries of all grain tables of the directory at a sector.
    fn entries(&self, directory: u64) -> Vec<u64> {
        let tables = self.word(12).div_ceil(128).div_ceil(512);
        let table = |number: u64| self.word(directory * 512 + number * 4) * 512;
        (0..tables)
            .flat_map(|it| (0..512).map(move |entry| (it, entry)))
            .map(|(it, entry)| self.word(table(it) + entry * 4))
            .collect()
    }
}

#[test]
fn grains_are_where_vmware_wants_them() {
    for (_, machines) in built() {
        for name in [
            "server1.vmdk",
            "server1.vmwarevm/disk.vmdk",
            "small-template.vmwarevm/base.vmdk",
            "small-template.vmwarevm/disk.vmdk",
        ] {
            let disk = Sparse(fs::read(machines.artifact(name)).expect("there"));
            let (redundant, primary, overhead) = (disk.word(48), disk.word(56), disk.word(64));
            let entries = disk.entries(primary);
            assert_eq!(disk.entries(redundant), entries, "{name}");
            let mut grains: Vec<_> = entries.into_iter().filter(|it| *it > 0).collect();
            assert!(!grains.is_empty());
            assert!(grains.iter().all(|it| it % 128 == 0 && *it >= overhead), "{name}");
            let count = grains.len();
            grains.sort_unstable();
            grains.dedup();
            assert_eq!(grains.len(), count, "{name}");
            let end = (grains[count - 1] + 128) * 512;
            assert_eq!(end, disk.0.len() as u64, "{name}");
        }
    }
}

#[test]
fn a_chain_is_read_by_libvmdk() {
    let script = "import hashlib, pyvmdk, sys\n\
        def opened(path):\n\
        \x20   disk = pyvmdk.handle(); disk.open(path); disk.open_extent_data_files(); return disk\n\
        child, base = opened(sys.argv[1]), opened(sys.argv[2])\n\
        assert child.parent_content_identifier == base.content_identifier\n\
        child.set_parent(base)\n\
        hash, left = hashlib.sha256(), child.get_media_size()\n\
        while left:\n\
        \x20   data = child.read_buffer(min(left, 1 << 24)); hash.update(data); left -= len(data)\n\
        print(hash.hexdigest())\n";
    for (_, machines) in built() {
        let child = machines.artifact("server1.vmwarevm/disk.vmdk");
        let base = machines.artifact("small-template.vmwarevm/base.vmdk");
        let python = independent_reader("python3");
        let arguments = [OsStr::new("-c"), OsStr::new(script), child.as_os_str(), base.as_os_str()];
        let found = tool(python.to_str().expect("plain"), arguments);
        let raw = machines.artifact("server1.img");
        assert_eq!(found.trim_end(), checksum("sha256sum", &raw));
    }
}

#[test]
fn the_sbom_is_valid_and_names_every_package() {
    for (arch, machines) in built() {
        let path = machines.artifact("sbom.spdx.json");
        let validator = independent_reader("pyspdxtools");
        let arguments = [OsStr::new("--infile"), path.as_os_str()];
        tool(validator.to_str().expect("plain"), arguments);
        let sbom: serde_json::Value =
            serde_json::from_slice(&fs::read(&path).expect("there")).expect("JSON");
        let packages = sbom["packages"].as_array().expect("packages");
        let package = |name: &str| {
            packages.iter().find(|it| it["name"] == name).unwrap_or_else(|| panic!("no {name}"))
        };
        let arch = arch.name();
        assert_eq!(packages.len(), 3);
        assert_eq!(package("libc6")["licenseDeclared"], "LGPL-2.1-or-later");
        assert_eq!(package("libstdc++6")["sourceInfo"], "built from gcc-14 14.2.0-19");
        assert_eq!(package("libstdc++6")["licenseDeclared"], "NOASSERTION");
        let purl = &package("libstdc++6")["externalRefs"][0]["referenceLocator"];
        let wanted = format!(
            "pkg:deb/debian/libstdc%2B%2B6@1:14.2.0-19%2Bb1~x?arch={arch}&distro=debian-13"
        );
        assert_eq!(*purl, wanted);
        let manifest: serde_json::Value =
            serde_json::from_slice(&fs::read(machines.artifact("manifest.json")).expect("there"))
                .expect("JSON");
        let inputs = manifest["inputs"].as_array().expect("inputs");
        let base = inputs.iter().find(|it| it["name"] == "prepared base").expect("it");
        assert_eq!(package("small")["checksums"][0]["checksumValue"], base["sha256"]);
    }
}

#[test]
fn a_bundle_says_what_the_cluster_file_does() {
    for (arch, machines) in built() {
        let text =
            fs::read_to_string(machines.artifact("server1.vmwarevm/server1.vmx")).expect("it");
        let guest = if *arch == Arch::Amd64 { "debian12-64" } else { "arm-debian12-64" };
        for (key, value) in [
            ("guestOS", guest),
            ("firmware", "efi"),
            ("memsize", "1024"),
            ("numvcpus", "3"),
            ("virtualHW.version", "21"),
            ("ethernet0.connectionType", "custom"),
            ("ethernet0.vnet", "vmnet7"),
            ("ethernet0.addressType", "static"),
            ("nvme0:0.fileName", "disk.vmdk"),
            ("uuid.action", "keep"),
        ] {
            let line = format!("{key} = \"{value}\"");
            assert!(text.lines().any(|it| it == line), "{line}");
        }
        let address =
            text.lines().find_map(|it| it.strip_prefix("ethernet0.address = \"00:50:56:"));
        let first = address.and_then(|it| u8::from_str_radix(&it[..2], 16).ok());
        assert!(first.is_some_and(|it| it <= 0x3f), "{address:?}");
    }
}

/// What a product goes by when it opens or deletes a clone.
#[test]
fn a_clone_names_its_template_which_is_read_only() {
    for (_, machines) in built() {
        let text = |name: &str| {
            String::from_utf8_lossy(&fs::read(machines.artifact(name)).expect(name)).into_owned()
        };
        assert_eq!(
            text("server1.vmwarevm/server1.vmsd"),
            ".encoding = \"UTF-8\"\n\
             cloneOf0 = \"../small-template.vmwarevm/small-template.vmx\"\n\
             numCloneOf = \"1\"\n\
             sentinel0 = \"disk.vmdk\"\n\
             numSentinels = \"1\"\n"
        );
        let base = machines.artifact("small-template.vmwarevm/base.vmdk");
        assert_eq!(fs::metadata(&base).expect("there").permissions().mode() & 0o777, 0o400);
        // Descriptors: the template's own machine runs on a child, too.
        let id = |name: &str, key: &str| {
            let text = text(name);
            let line = text.lines().find_map(|it| it.strip_prefix(key)).expect(key);
            line.to_owned()
        };
        let base_id = id("small-template.vmwarevm/base.vmdk", "CID=");
        for (disk, hint) in [
            ("server1.vmwarevm/disk.vmdk", "\"../small-template.vmwarevm/base.vmdk\""),
            ("small-template.vmwarevm/disk.vmdk", "\"base.vmdk\""),
        ] {
            assert_eq!(id(disk, "parentCID="), base_id);
            assert_eq!(id(disk, "parentFileNameHint="), hint);
        }
        let template = text("small-template.vmwarevm/small-template.vmx");
        for line in [
            "nvme0:0.fileName = \"disk.vmdk\"",
            "ethernet0.addressType = \"generated\"",
            "uuid.action = \"create\"",
        ] {
            assert!(template.lines().any(|it| it == line), "{line}");
        }
        assert!(!template.contains("uuid.bios"), "{template}");
    }
}

#[test]
fn checksums_cover_all_files() {
    for (_, machines) in built() {
        let script = "cd \"$1\" && sha256sum --check --strict --quiet SHA256SUMS";
        tool("sh", ["-c", script, "sh", machines.path("out").to_str().expect("plain")]);
        let sums = fs::read_to_string(machines.artifact("SHA256SUMS")).expect("there");
        for name in ["server1.bmap", "small.ova", "sbom.spdx.json", "server1.img.zst"] {
            assert!(sums.lines().any(|line| line.ends_with(&format!("  {name}"))), "{name}");
        }
    }
}

#[test]
fn a_standalone_qcow2_needs_no_other_file() {
    let output = "formats = [\"raw\", \"qcow2\"]\nqcow2 = \"standalone\"";
    let machines = Machines::new(Arch::Arm64, &["server1"], output);
    let _ = machines.run(["build"]).succeeds();
    let qcow2 = machines.artifact("server1.qcow2");
    let info: serde_json::Value =
        serde_json::from_str(&qemu_img(["info", "--output=json"], &[&qcow2])).expect("JSON");
    assert!(info.get("backing-filename").is_none(), "{info}");
    qemu_img(["check", "-f", "qcow2"], &[&qcow2]);
    same("qcow2", &qcow2, &machines.artifact("server1.img"));
    assert!(File::open(machines.artifact("small-base.qcow2")).is_err());
}
