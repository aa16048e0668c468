use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::{Run, temporary_folder, tool};

/// A machine that keeps what it writes, so that its power can be cut and come back. `nodeforge boot`
/// throws everything away.
pub(crate) struct Powered {
    folder: tempfile::TempDir,
    /// Names of further disks.
    further: Vec<String>,
}

impl Powered {
    /// On top of a raw image, which stays as it is. The kernel is taken from the image and started
    /// directly, which saves the firmware's time.
    pub(crate) fn on(image: &Path) -> Self {
        let folder = temporary_folder();
        for (link, name) in [("vmlinuz", "kernel"), ("initrd.img", "initrd")] {
            let list = Run::new(["ls".as_ref(), from(image, "/boot").as_os_str()]).succeeds();
            let list = list.stdout_text();
            let file = list
                .split_whitespace()
                .find(|word| word.starts_with(&format!("{link}-")))
                .unwrap_or_else(|| panic!("no {link} in /boot:\n{list}"));
            let target = folder.path().join(name);
            let file = from(image, &format!("/boot/{file}"));
            Run::new(["cp".as_ref(), file.as_os_str(), target.as_os_str()]).succeeds();
        }
        let disk = folder.path().join("disk.qcow2");
        let backing = fs::canonicalize(image).expect("there");
        tool(
            "qemu-img",
            ["create", "-q", "-f", "qcow2", "-F", "raw", "-b"]
                .map(std::ffi::OsStr::new)
                .into_iter()
                .chain([backing.as_os_str(), disk.as_os_str()]),
        );
        Self { folder, further: Vec::new() }
    }

    /// Gives it a further disk, which it finds as `/dev/disk/by-id/nvme-QEMU_NVMe_Ctrl_NAME`: not of the root's kind,
    /// of which either may be the first. Returns the disk's file.
    pub(crate) fn add_disk(&mut self, name: &str, size: u64) -> PathBuf {
        let file = self.folder.path().join(format!("{name}.img"));
        fs::File::create(&file).and_then(|it| it.set_len(size)).expect("a disk");
        self.further.push(name.to_owned());
        file
    }

    /// Switches it on, waits for `line` on its console, and pulls the plug that very moment. Gives
    /// what the console said.
    #[track_caller]
    pub(crate) fn run_until(&self, line: &str, timeout: Duration) -> String {
        let path = |name: &str| self.folder.path().join(name).display().to_string();
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "KILL", "--", "qemu-system-x86_64", "-machine", "q35"])
            .args(["-cpu", "max", "-accel", "tcg,thread=multi", "-smp", "2", "-m", "1024"])
            .args(["-kernel", &path("kernel"), "-initrd", &path("initrd"), "-append"])
            .arg("root=/dev/vda1 rw console=ttyS0")
            .args(["-drive", &format!("if=virtio,format=qcow2,file={}", path("disk.qcow2"))]);
        for name in &self.further {
            let file = path(&format!("{name}.img"));
            command
                .args(["-drive", &format!("if=none,id={name},format=raw,file={file}")])
                .args(["-device", &format!("nvme,drive={name},serial={name}")]);
        }
        command
            .args(["-device", "virtio-rng-pci", "-nic", "user,model=virtio-net-pci"])
            .args(["-display", "none", "-monitor", "none", "-serial", "stdio", "-no-reboot"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        let mut child = command.spawn().expect("QEMU starts");
        let said = listen(&mut child, line, timeout);
        child.kill().expect("it runs");
        child.wait().expect("it ends");
        assert!(said.contains(line), "`{line}` was not said in {timeout:?}:\n{said}");
        said
    }

    /// Its disk as a raw image.
    pub(crate) fn disk(&self) -> PathBuf {
        let raw = self.folder.path().join("disk.img");
        let qcow2 = self.folder.path().join("disk.qcow2");
        tool(
            "qemu-img",
            ["convert", "-O", "raw"]
                .map(std::ffi::OsStr::new)
                .into_iter()
                .chain([qcow2.as_os_str(), raw.as_os_str()]),
        );
        raw
    }
}

fn from(image: &Path, path: &str) -> PathBuf {
    PathBuf::from(format!("{}:{path}", image.display()))
}

/// The console up to `line`, or to the end of the time.
fn listen(child: &mut Child, line: &str, timeout: Duration) -> String {
    let mut stdout = child.stdout.take().expect("piped");
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(read @ 1..) = stdout.read(&mut buffer) {
            if sender.send(buffer[..read].to_vec()).is_err() {
                break;
            }
        }
    });
    let deadline = Instant::now() + timeout;
    let mut said = String::new();
    while !said.contains(line) {
        let left = deadline.saturating_duration_since(Instant::now());
        let Ok(bytes) = receiver.recv_timeout(left) else { break };
        said += &String::from_utf8_lossy(&bytes);
    }
    said
}
