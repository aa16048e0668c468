//! Real block devices, which only root can make.
//!
//! A loop device is a whole block device to nodeforge, so that everything but the hardware's own
//! faults is tested on one; those are injected in `src/flash/tests.rs`.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::{MIB, SIZE, image, noise};
use crate::support::{Run, Stop, require_root, temporary_folder, tool};

/// A file that the kernel shows as a block device, gone with the test.
pub(crate) struct LoopDevice {
    path: PathBuf,
    backing: PathBuf,
}

impl LoopDevice {
    /// `size` bytes of something that is on it already.
    pub(crate) fn new(folder: &Path, size: u64, options: &[&str]) -> Self {
        let backing = folder.join("device");
        fs::write(&backing, noise(usize::try_from(size).expect("small"), 99)).expect("a file");
        Self::over(&backing, options)
    }

    fn over(backing: &Path, options: &[&str]) -> Self {
        require_root();
        let mut arguments = vec!["--find", "--show"];
        arguments.extend(options);
        arguments.push(backing.to_str().expect("a plain name"));
        let path = PathBuf::from(tool("losetup", arguments).trim());
        Self { path, backing: backing.to_owned() }
    }

    /// As [`Self::new`], with a number that nobody else is given while the device is changed.
    fn at(number: &OwnNumber, folder: &Path, size: u64) -> Self {
        require_root();
        let (path, backing) = (number.path(), folder.join("device"));
        fs::write(&backing, noise(usize::try_from(size).expect("small"), 99)).expect("a file");
        tool("losetup", [&path, &backing]);
        Self { path, backing }
    }

    pub(crate) fn name(&self) -> String {
        self.path.display().to_string()
    }

    /// What is on the device, past every cache.
    pub(super) fn bytes(&self, length: u64) -> Vec<u8> {
        tool("blockdev", ["--flushbufs", &self.name()]);
        let mut bytes = vec![0; usize::try_from(length).expect("small")];
        File::open(&self.path).expect("there").read_exact(&mut bytes).expect("readable");
        bytes
    }
}

impl Drop for LoopDevice {
    fn drop(&mut self) {
        // A failure here must not hide that of the test.
        Command::new("losetup").arg("--detach").arg(&self.path).status().ok();
    }
}

/// The number of a loop device that the kernel made for us alone: whoever asks for a free device is given
/// the lowest one, and would be given ours between two of its files.
struct OwnNumber(u32);

impl OwnNumber {
    /// `LOOP_CTL_ADD` and `LOOP_CTL_REMOVE` of linux/loop.h.
    const ADD: u32 = 0x4C80;
    const REMOVE: u32 = 0x4C81;

    fn take() -> Self {
        let own = Self(90);
        assert!(own.control(Self::ADD), "loop device {} cannot be made", own.0);
        own
    }

    fn path(&self) -> PathBuf {
        format!("/dev/loop{}", self.0).into()
    }

    fn control(&self, request: u32) -> bool {
        let script = "import fcntl, sys; \
                      fcntl.ioctl(open('/dev/loop-control'), int(sys.argv[1]), int(sys.argv[2]))";
        let arguments = ["-c", script, &request.to_string(), &self.0.to_string()];
        Command::new("python3").args(arguments).status().expect("python3 starts").success()
    }
}

impl Drop for OwnNumber {
    fn drop(&mut self) {
        // A failure here must not hide that of the test.
        self.control(Self::REMOVE);
    }
}

/// Writes a disk image of one partition with something in it; gives its bytes.
fn noisy_disk(image: &Path, size: usize, seed: u64) -> Vec<u8> {
    fs::write(image, noise(size, seed)).expect("a file");
    let script = "printf 'label: dos\\nstart=64, type=83\\n' | sfdisk --quiet --wipe never \"$1\"";
    tool("sh", ["-c".as_ref(), script.as_ref(), "sh".as_ref(), image.as_os_str()]);
    fs::read(image).expect("there")
}

#[test]
#[ignore = "needs root"]
fn a_device_holds_what_the_image_does() {
    let folder = temporary_folder();
    let raw = image(folder.path());
    let expected = fs::read(&raw).expect("there");
    let path = |name: &str| folder.path().join(name);
    let (qcow2, vmdk) = (path("a.qcow2"), path("a.vmdk"));
    for (format, to) in [("qcow2", &qcow2), ("vmdk", &vmdk)] {
        let arguments = ["convert", "-f", "raw", "-O", format].map(Path::new);
        tool("qemu-img", arguments.into_iter().chain([raw.as_path(), to]));
    }
    tool("xz", [Path::new("--keep"), Path::new("-0"), &raw]);
    tool("zstd", [Path::new("-q"), Path::new("-1"), &raw]);
    tool("gzip", [Path::new("--keep"), Path::new("-1"), &raw]);
    let packed = ["xz", "zst", "gz"].map(|it| path(&format!("node1.img.{it}")));
    for image in [raw, qcow2].into_iter().chain(packed) {
        let device = LoopDevice::new(folder.path(), 40 * MIB, &[]);
        let run = Run::new(
            ["flash", "--yes"].map(Path::new).into_iter().chain([image.as_path(), &device.path]),
        );
        let finished = run.succeeds().stdout("");
        let said = finished.stderr_text();
        let (stages, summary) = said.trim_end().rsplit_once('\n').expect("some lines");
        assert_eq!(stages, "writing\nreading back\nmaking it bootable");
        let begins = format!("{}: ", device.name());
        assert!(summary.starts_with(&begins), "{summary}");
        assert!(summary.contains(" of zeros skipped, read back and found right, in "), "{summary}");
        assert!(device.bytes(SIZE) == expected, "{}", image.display());
    }
}

#[test]
#[ignore = "needs root"]
fn the_kernel_looks_at_the_new_partitions() {
    let folder = temporary_folder();
    let image = image(folder.path());
    let seen = |device: &LoopDevice| {
        let name = device.path.file_name().expect("a name").to_string_lossy().into_owned();
        fs::read_to_string(format!("/sys/block/{name}/{name}p1/size")).ok()
    };
    // A kernel may be built without partition tables; then it sees none here either.
    let expected = seen(&LoopDevice::over(&image, &["--partscan"]));
    let device = LoopDevice::new(folder.path(), 40 * MIB, &["--partscan"]);
    assert_eq!(seen(&device), None);
    let _ = Run::new([Path::new("flash"), Path::new("-y"), &image, &device.path]).succeeds();
    assert_eq!(seen(&device), expected);
}

/// Every refusal, word for word, and nothing written.
#[test]
#[ignore = "needs root"]
fn targets_that_are_not_free_devices_are_refused() {
    let folder = temporary_folder();
    let image = image(folder.path());
    let device = LoopDevice::new(folder.path(), 40 * MIB, &[]);
    let before = device.bytes(40 * MIB);
    let name = device.name();
    let refused = |target: &str, expected: String| {
        let run = Run::new([Path::new("flash"), Path::new("--yes"), &image, Path::new(target)]);
        let _ = run.exits(2).stdout("").stderr(&expected);
    };

    refused(
        "/dev/nothing-here",
        "error: there is no device `/dev/nothing-here`\n\
         hint: `nodeforge flash --list` shows the devices there are\n"
            .to_owned(),
    );
    refused(
        "/dev/null",
        "error: `/dev/null` is not a block device\n\
         hint: `nodeforge flash --list` shows the devices there are\n"
            .to_owned(),
    );
    let backing = device.backing.display().to_string();
    refused(
        &backing,
        format!(
            "error: `{backing}` is a regular file, not a device\n\
             hint: `--to-file` replaces it\n"
        ),
    );

    let above = LoopDevice::over(&device.path, &[]);
    refused(
        &name,
        format!(
            "error: `{name}` is in use by `{}`\n\
             hint: `lsblk` shows what is made of it; take that apart first\n",
            above.path.file_name().expect("a name").to_string_lossy()
        ),
    );
    drop(above);
    assert!(device.bytes(40 * MIB) == before);
}

#[test]
#[ignore = "needs root"]
fn mounts_and_swap_are_refused() {
    let folder = temporary_folder();
    let image = image(folder.path());
    let device = LoopDevice::new(folder.path(), 40 * MIB, &["--partscan"]);
    let name = device.name();
    let refused = |arguments: &[&Path], expected: String| {
        let all = [Path::new("flash"), Path::new("--yes")];
        let run = Run::new(all.into_iter().chain(arguments.iter().copied()));
        let _ = run.exits(2).stdout("").stderr(&expected);
    };

    tool("sgdisk", ["--zap-all", "--new=1:2048:+16M", "--new=2::0", &name]);
    // Also where the kernel knows no partition tables.
    tool("partx", ["--update", &name]);
    let (first, second) = (format!("{name}p1"), format!("{name}p2"));
    refused(
        &[&image, Path::new(&first)],
        format!(
            "error: `{first}` is a partition, not a whole device\n\
             hint: it is on `{name}`: an image is written to all of it\n"
        ),
    );

    tool("mkfs.ext4", ["-q", &first]);
    let at = folder.path().join("mounted here");
    fs::create_dir(&at).expect("a folder");
    tool("mount", [first.as_ref(), at.as_path()]);
    refused(
        &[&image, &device.path],
        format!(
            "error: `{first}` is mounted at `{at}`\nhint: unmount it first: `umount {at}`\n",
            at = at.display()
        ),
    );
    let inside = at.join("node1.img");
    noisy_disk(&inside, 1 << 20, 3);
    refused(
        &[&inside, &device.path],
        format!("error: `{name}` holds the image\nhint: move it to another disk first\n"),
    );
    refused(
        &[Path::new("--output"), &at, &image, &device.path],
        format!("error: `{name}` holds the output folder\nhint: move it to another disk first\n"),
    );
    refused(
        &[&device.path, &device.path],
        format!("error: `{name}` holds the image\nhint: move it to another disk first\n"),
    );
    tool("umount", [&at]);

    tool("mkswap", [&second]);
    tool("swapon", [&second]);
    let run = Run::new([Path::new("flash"), Path::new("--yes"), &image, &device.path]);
    let finished = run.exits(2);
    tool("swapoff", [&second]);
    let _ = finished.stderr(&format!(
        "error: `{second}` is swap of this system\n\
         hint: `swapoff {second}` gives it free, if that is what you want\n"
    ));
}

#[test]
#[ignore = "needs root"]
fn unfit_devices_are_refused() {
    let folder = temporary_folder();
    let image = image(folder.path());
    let refused = |device: &LoopDevice, expected: &str| {
        let before = device.bytes(MIB);
        let run = Run::new([Path::new("flash"), Path::new("--yes"), &image, &device.path]);
        let _ = run.exits(2).stdout("").stderr(&expected.replace("DEVICE", &device.name()));
        assert!(device.bytes(MIB) == before);
    };
    refused(
        &LoopDevice::new(folder.path(), 40 * MIB, &["--read-only"]),
        "error: `DEVICE` is read-only\n\
         hint: a card, or the adapter it is in, may have a switch on its side\n",
    );
    refused(
        &LoopDevice::new(folder.path(), 24 * MIB, &[]),
        "error: `DEVICE` is smaller than the image: 25165824 bytes, and it needs 25169408\n\
         hint: use a larger device, or make the image smaller: `size` under `[disk]`\n",
    );
    refused(
        &LoopDevice::new(folder.path(), 40 * MIB, &["--sector-size", "4096"]),
        "error: `DEVICE` has sectors of 4096 bytes, and the image's partition table counts 512\n\
         hint: no firmware would find its partitions; some drives can be set to 512 bytes\n",
    );
}

/// A flash that asks on a terminal, which script(1) makes of the pipes it is given.
fn on_a_terminal(image: &Path, device: &str) -> Child {
    let program = env!("CARGO_BIN_EXE_nodeforge");
    let command = format!("{program} --color never flash {} {device}", image.display());
    Command::new("script")
        .args(["--quiet", "--return", "--command", &command, "/dev/null"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("script starts")
}

#[test]
#[ignore = "needs root"]
fn a_device_is_overwritten_only_after_a_yes() {
    let folder = temporary_folder();
    let image = image(folder.path());
    let device = LoopDevice::new(folder.path(), 40 * MIB, &[]);
    let before = device.bytes(40 * MIB);
    let name = device.name();
    let _ = Run::new([Path::new("flash"), &image, &device.path]).exits(2).stderr(&format!(
        "error: cannot ask whether to overwrite `{name}`: \
         standard input is not a terminal\n\
         hint: `--yes` goes ahead without asking; `--dry-run` shows what would be lost\n"
    ));

    let asked = |answer: &str| {
        let mut child = on_a_terminal(&image, &name);
        child.stdin.take().expect("a pipe").write_all(answer.as_bytes()).expect("written");
        let output = child.wait_with_output().expect("it ends");
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let (code, said) = asked("n\n");
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains(&format!("{name}: 40.00 MiB, loop\r\n  holds unknown data\r\n")),
        "{said}"
    );
    assert!(said.contains("All of it will be lost. Write "), "{said}");
    assert!(said.contains(&format!("error: `{name}` was not changed")), "{said}");
    let _ = Run::new([Path::new("flash"), Path::new("--dry-run"), &image, &device.path])
        .succeeds()
        .stderr("")
        .stdout(&format!(
            "{name}: 40.00 MiB, loop\n  holds unknown data\nwould be replaced by {} (24.00 MiB)\n",
            image.display()
        ));
    assert!(device.bytes(40 * MIB) == before);

    let (code, said) = asked("y\n");
    assert_eq!(code, Some(0), "{said}");
    assert!(device.bytes(SIZE) == fs::read(&image).expect("there"));
    let dry = Run::new([Path::new("flash"), Path::new("-n"), &image, &device.path]).succeeds();
    assert!(dry.stdout_text().contains("  holds GPT\n    1: 16.00 MiB, nothing `root`\n"));
}

/// One card out of the reader and another into it, while the question stands.
#[test]
#[ignore = "needs root"]
fn another_device_by_the_time_of_the_answer_is_refused() {
    let folder = temporary_folder();
    let image = image(folder.path());
    let number = OwnNumber::take();
    let device = LoopDevice::at(&number, folder.path(), 40 * MIB);
    let other = folder.path().join("other");
    fs::write(&other, noise(50 << 20, 5)).expect("written");
    let name = device.name();
    let mut child = on_a_terminal(&image, &name);
    let (mut answer, mut said) = (child.stdin.take().expect("piped"), Vec::new());
    let mut screen = child.stdout.take().expect("piped");
    while !said.ends_with(b"[y/N] ") {
        let mut byte = [0];
        screen.read_exact(&mut byte).expect("a question");
        said.extend(byte);
    }
    tool("losetup", ["--detach", &name]);
    tool("losetup", [name.as_str(), other.to_str().expect("plain")]);
    answer.write_all(b"y\n").expect("written");
    screen.read_to_end(&mut said).expect("readable");
    assert_eq!(child.wait().expect("it ends").code(), Some(1));
    let said = String::from_utf8_lossy(&said);
    assert!(said.contains(&format!("error: `{name}` is another device by now")), "{said}");
    assert!(fs::read(&other).expect("there") == noise(50 << 20, 5));
}

#[test]
#[ignore = "needs root"]
fn devices_are_listed_with_what_they_hold() {
    let folder = temporary_folder();
    let backing = image(folder.path());
    let device = LoopDevice::over(&backing, &[]);
    let finished = Run::new(["flash", "--list", "--json"]).succeeds();
    let list: serde_json::Value = serde_json::from_str(&finished.stdout_text()).expect("JSON");
    let found = list.as_array().expect("a list").iter().find(|it| it["path"] == device.name());
    let found = found.expect("the loop device");
    assert_eq!(found["size"], SIZE);
    assert_eq!(found["sector_size"], 512);
    assert_eq!(found["transport"], "loop");
    assert_eq!(found["read_only"], false);
    assert_eq!(found["contents"]["kind"], "GPT");
    assert_eq!(found["contents"]["partitions"][0]["label"], "root");
    let text = Run::new(["flash", "--list"]).succeeds().stdout_text();
    assert!(text.starts_with("DEVICE "), "{text}");
    let line = text.lines().find(|it| it.starts_with(&format!("{} ", device.name())));
    assert!(line.expect("its line").ends_with("GPT: root (nothing)"), "{text}");
}

/// A device whose medium fails half-way: a loop device over a file system that runs full.
#[test]
#[ignore = "needs root"]
fn a_failing_medium_is_told_by_its_sector() {
    let folder = temporary_folder();
    let small = folder.path().join("small");
    fs::create_dir(&small).expect("a folder");
    tool("mount", ["-t", "tmpfs", "-o", "size=8m", "none", small.to_str().expect("plain")]);
    let image = folder.path().join("full.img");
    noisy_disk(&image, 24 << 20, 5);
    let backing = small.join("device");
    File::create(&backing).expect("a file").set_len(32 * MIB).expect("a size");
    let device = LoopDevice::over(&backing, &[]);
    let run = Run::new([Path::new("flash"), Path::new("-y"), &image, &device.path]);
    let finished = run.exits(1);
    let head = device.bytes(MIB);
    drop(device);
    tool("umount", [&small]);
    let said = finished.stderr_text();
    assert!(said.contains("the device cannot be written to at byte "), "{said}");
    assert!(said.contains("(sector "), "{said}");
    assert!(
        said.contains("hint: what is on the device now does not boot: flash it again"),
        "{said}"
    );
    assert!(head.iter().all(|byte| *byte == 0));
}

/// Stopped at any moment, the device holds everything or begins with zeros.
#[test]
#[ignore = "needs root"]
fn an_interrupted_flash_leaves_nothing_that_boots() {
    let folder = temporary_folder();
    let image = folder.path().join("large.img");
    let bytes = noisy_disk(&image, 96 << 20, 7);
    let mut stopped = 0;
    for (signal, step) in [("KILL", 1), ("INT", 2), ("KILL", 3), ("TERM", 8), ("KILL", 40)] {
        let device = LoopDevice::new(folder.path(), 100 * MIB, &[]);
        let before = device.bytes(MIB);
        let stop = Stop { signal, calls: "pwrite64,fsync", step };
        let arguments = [Path::new("flash"), Path::new("-y"), &image, &device.path];
        let status = stop.during(folder.path(), arguments);
        stopped += u32::from(!status.success());
        if signal != "KILL" && !status.success() {
            assert_eq!(status.code(), Some(130));
        }
        let after = device.bytes(bytes.len() as u64);
        let head = &after[..1 << 20];
        assert!(
            head.iter().all(|byte| *byte == 0) || *head == before || after == bytes,
            "after {signal} at step {step}"
        );
    }
    assert!(stopped >= 4, "{stopped} flashes were stopped");
}
