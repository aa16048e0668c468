//! A machine seen from outside: QEMU is started, given its job, watched, and ended.

use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use super::forwarder::Mirrors;
use super::qemu;
use super::spec::{
    GET, GIVE, IMAGE_SERIAL, JOB_PORT, LOG, LOG_PORT, MachineJob, PROXY, PUT, STREAM_PORT, WORK,
    WORK_SERIAL,
};
use super::streams::{StreamReader, StreamWriter, Streams, pour};
use crate::config::Arch;
use crate::sandbox::job::{JobRequest, json_error};
use crate::sandbox::protocol::{self, JobSpec};
use crate::sandbox::start;
use crate::util::error::{Context as _, Error, Result};
use crate::util::interrupt;
use crate::util::progress::Progress;
use crate::util::{clock, new_files};

/// Megabytes of memory: apt and dpkg in an image need most of it.
const MEMORY_MIB: u32 = 1024;
/// Bytes of the scratch disk, which takes only what is written to it.
const WORK_SIZE: u64 = 64 << 30;
/// How long a machine may take until its first sign of life: emulated, and with the processor's own help.
const START: Duration = Duration::from_secs(120);
const QUICK_START: Duration = Duration::from_secs(20);
/// How long it may then be silent.
const SILENCE: Duration = Duration::from_secs(120);
/// How long it may take to switch itself off when all is done.
const END: Duration = Duration::from_secs(20);
/// How many lines of its console an error shows, and in how many bytes they are looked for.
const SHOWN: usize = 12;
const LOOKED_AT: u64 = 64 << 10;
/// The most bytes of a file that the machine fills as it likes: its log, which nodeforge in there keeps
/// below half of it, its console, and what QEMU complains of.
const LARGEST: u64 = 128 << 20;
/// The most packages that a machine hands back, and their bytes together.
const MOST_PACKAGES: u64 = 10_000;
const MOST_BYTES: u64 = 32 << 30;
/// What KVM says where it cannot run a guest after all; QEMU then stands still.
const KVM_FAILED: &str = "KVM internal error";

/// A machine for one job.
pub(crate) struct JobMachine<'a> {
    pub(crate) arch: Arch,
    pub(crate) kernel: &'a Path,
    /// What the kernel unpacks, with the worker in it.
    pub(crate) initramfs: &'a Path,
    /// The path of the worker in that.
    pub(crate) init: &'a str,
    /// The raw image that is worked on.
    pub(crate) image: &'a Path,
    /// A folder for what is gone with the machine.
    pub(crate) folder: &'a Path,
    /// Where the job's log goes.
    pub(crate) log: &'a Path,
    /// Files that the job needs: here, and in there.
    pub(crate) inputs: Vec<(PathBuf, PathBuf)>,
    /// An archive among these, by its name in there, that becomes the job's root.
    pub(crate) root: Option<PathBuf>,
    /// Files that the job makes besides: here, and in there.
    pub(crate) outputs: Vec<(PathBuf, PathBuf)>,
    /// What the time is for programs that ask `SOURCE_DATE_EPOCH`, in seconds since 1970; this process's
    /// when nothing is said.
    pub(crate) epoch: Option<i64>,
    /// Where the .deb files go that the job hands back.
    pub(crate) packages: PathBuf,
    /// Whether a file is a whole package.
    pub(crate) is_package: fn(&File) -> bool,
    /// What can be reached; `None` for no network at all.
    pub(crate) mirrors: Option<Mirrors>,
}

/// Does a job in a machine, and returns what it hands back. The machine is gone afterwards, however it went.
pub(crate) fn run<J: JobRequest>(
    machine: JobMachine<'_>,
    job: &J,
    progress: &dyn Progress,
) -> Result<J::Output> {
    let log = machine.log.display().to_string();
    // In there the log has another name.
    run_inside(machine, job, progress).map_err(|error| error.renaming(LOG, &log))
}

fn run_inside<J: JobRequest>(
    machine: JobMachine<'_>,
    job: &J,
    progress: &dyn Progress,
) -> Result<J::Output> {
    qemu::check_version(machine.arch)?;
    let line = line(&machine, job)?;
    drop(
        new_files::make_anew(machine.log)
            .context(|| format!("cannot create the log `{}`", machine.log.display()))?,
    );
    let outside = Arc::new(Outside {
        inputs: machine.inputs.iter().map(|it| it.0.clone()).collect(),
        outputs: machine.outputs.iter().map(|it| it.0.clone()).collect(),
        output_bytes_left: AtomicU64::new(LARGEST),
        packages: machine.packages.clone(),
        is_package: machine.is_package,
        packages_left: AtomicU64::new(MOST_PACKAGES),
        bytes_left: AtomicU64::new(MOST_BYTES),
        mirrors: machine.mirrors,
    });
    let machine = JobMachine { mirrors: None, ..machine };
    let accelerators = qemu::accelerators(machine.arch);
    for (at, accelerator) in accelerators.iter().enumerate() {
        progress.stage(&if at == 0 {
            "starting the machine".to_owned()
        } else {
            format!("starting the machine without {}", accelerators[at - 1])
        });
        let is_last = at + 1 == accelerators.len();
        let attempt = Attempt::start(&machine, accelerator, &line, &outside)?;
        let limit = if is_last { START } else { QUICK_START };
        match attempt.follow(limit, machine.log, progress)? {
            Ok(done) => {
                return serde_json::from_value(done?)
                    .map_err(|error| json_error(&error))
                    .context(|| "cannot read the sandbox's answer");
            }
            Err(trouble) if trouble.has_begun || is_last => return Err(trouble.error),
            // The next one is slower, and works everywhere.
            Err(_) => {}
        }
    }
    Err(Error::failure("QEMU has no accelerator"))
}

/// The line that the machine's first process reads.
fn line<J: JobRequest>(machine: &JobMachine<'_>, job: &J) -> Result<String> {
    let mut inputs = Vec::new();
    for (here, there) in &machine.inputs {
        let size = fs::metadata(here).context(|| format!("cannot read `{}`", here.display()))?;
        inputs.push((there.clone(), size.len()));
    }
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let job = MachineJob {
        job: JobSpec {
            name: J::NAME.to_owned(),
            payload: serde_json::to_value(job)
                .map_err(|error| json_error(&error))
                .context(|| format!("cannot write the job `{}`", J::NAME))?,
            scratch: Path::new(WORK).join("scratch"),
            temporary: WORK.into(),
            emulator: None,
        },
        variables: variables(machine.epoch),
        inputs,
        root: machine.root.clone(),
        outputs: machine.outputs.iter().map(|it| it.1.clone()).collect(),
        has_network: machine.mirrors.is_some(),
        now: i64::try_from(now.as_secs()).unwrap_or(i64::MAX),
    };
    serde_json::to_string(&job).map_err(|error| json_error(&error))
}

fn variables(epoch: Option<i64>) -> Vec<(String, String)> {
    let fixed = [
        ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
        ("HOME", "/root"),
        ("LC_ALL", "C.UTF-8"),
        // As in the other sandboxes: systemd's container interface.
        ("container", "nodeforge"),
    ];
    let fixed = fixed.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let own = |name: &str| std::env::var(name).ok();
    let epoch = epoch.map(|it| it.to_string()).or_else(|| own(clock::EPOCH));
    let own = [(clock::EPOCH, epoch), ("TERM", own("TERM"))];
    let own = own.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
    fixed.into_iter().chain(own).collect()
}

/// What the machine can have of this side.
struct Outside {
    inputs: Vec<PathBuf>,
    outputs: Vec<PathBuf>,
    output_bytes_left: AtomicU64,
    packages: PathBuf,
    is_package: fn(&File) -> bool,
    packages_left: AtomicU64,
    bytes_left: AtomicU64,
    mirrors: Option<Mirrors>,
}

impl Outside {
    /// Does what a stream was opened for.
    fn serve(&self, purpose: &str, mut reader: StreamReader, mut writer: StreamWriter) {
        if purpose == PROXY {
            if let Some(mirrors) = &self.mirrors {
                mirrors.serve(reader, writer);
            }
        } else if let Some(input) = purpose.strip_prefix(GET) {
            let path = input.parse().ok().and_then(|it: usize| self.inputs.get(it));
            // What is missing shows inside, where the length is known.
            if let Some(mut file) = path.and_then(|it| File::open(it).ok()) {
                drop(pour(&mut file, &mut writer));
            }
        } else if let Some(output) = purpose.strip_prefix(GIVE) {
            let path = output.parse().ok().and_then(|it: usize| self.outputs.get(it));
            // What did not come is missed by who asked for it.
            drop(path.map(|it| self.take(it, &mut reader)));
        } else if let Some(name) = purpose.strip_prefix(PUT) {
            // Without it the next build fetches the package again.
            drop(self.keep(name, &mut reader));
        }
    }

    /// Takes a file that the job made: all of it, or nothing.
    fn take(&self, path: &Path, reader: &mut StreamReader) -> io::Result<()> {
        let folder = path.parent().unwrap_or(Path::new("/"));
        let mut new = tempfile::NamedTempFile::new_in(folder)?;
        pour(reader, &mut CappedFile { file: new.as_file_mut(), left: &self.output_bytes_left })?;
        new.persist_noclobber(path)?;
        Ok(())
    }

    /// Takes a package into the cache, if it is a whole one. Of two files with one name the newcomer stays.
    fn keep(&self, name: &str, reader: &mut StreamReader) -> io::Result<()> {
        if name.starts_with('.') || name.contains('/') || !name.ends_with(".deb") {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        take_from(&self.packages_left, 1)?;
        let mut new =
            tempfile::Builder::new().prefix(".").suffix(".new").tempfile_in(&self.packages)?;
        pour(reader, &mut CappedFile { file: new.as_file_mut(), left: &self.bytes_left })?;
        new.as_file_mut().rewind()?;
        if !(self.is_package)(new.as_file()) {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
        new.as_file().set_permissions(mode)?;
        new.persist(self.packages.join(name))?;
        Ok(())
    }
}

/// Takes so many from what is left, or fails.
fn take_from(left: &AtomicU64, count: u64) -> io::Result<()> {
    let less = |left: u64| left.checked_sub(count);
    let taken = left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
    taken.map(drop).map_err(|_| io::ErrorKind::FileTooLarge.into())
}

/// A file that takes no more bytes than are left, for all such files together.
struct CappedFile<'a> {
    file: &'a mut File,
    left: &'a AtomicU64,
}

impl io::Write for CappedFile<'_> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        take_from(self.left, buffer.len() as u64)?;
        self.file.write_all(buffer)?;
        Ok(buffer.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// The last bytes of a file, as text; nothing of one that cannot be read.
fn tail(path: &Path) -> String {
    let read = || -> io::Result<Vec<u8>> {
        let mut file = File::open(path)?;
        let size = file.metadata()?.len();
        file.seek(SeekFrom::Start(size.saturating_sub(LOOKED_AT)))?;
        let mut bytes = Vec::new();
        file.take(LOOKED_AT).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    String::from_utf8_lossy(&read().unwrap_or_default()).into_owned()
}

fn is_too_large(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|it| it.len() > LARGEST)
}

/// Why a machine said no last word.
struct NoLastWord {
    error: Error,
    /// Whether it lived at all.
    has_begun: bool,
}

/// QEMU running, until this is dropped.
struct Attempt {
    child: Child,
    port: UnixStream,
    console: PathBuf,
    complaints: PathBuf,
    begun: Instant,
    /// Milliseconds from then to the last sign of life; 0 for none.
    alive: Arc<AtomicU64>,
}

impl Drop for Attempt {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Attempt {
    fn start(
        machine: &JobMachine<'_>,
        accelerator: &str,
        line: &str,
        outside: &Arc<Outside>,
    ) -> Result<Self> {
        let (port, job_end) = UnixStream::pair()?;
        let (streams, streams_end) = UnixStream::pair()?;
        let console = machine.folder.join("console");
        let complaints = machine.folder.join("qemu");
        let work = machine.folder.join("work");
        let make =
            |path: &Path| File::create(path).context(|| format!("creating `{}`", path.display()));
        make(&console)?;
        make(&work)?.set_len(WORK_SIZE).context(|| format!("creating `{}`", work.display()))?;
        let said = make(&complaints)?;
        let mut command = command(machine, accelerator, &console, &work);
        command
            .stdin(Stdio::from(OwnedFd::from(job_end)))
            .stdout(Stdio::from(OwnedFd::from(streams_end)))
            .stderr(said);
        // The terminal's Ctrl-C is for us.
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let child = command.spawn().context(|| "cannot start QEMU")?;
        // It holds the other ends of the sockets, which would then never end.
        drop(command);
        let (begun, alive) = (Instant::now(), Arc::new(AtomicU64::new(0)));
        let attempt = Self { child, port, console, complaints, begun, alive: Arc::clone(&alive) };
        let (mut down, line) = (attempt.port.try_clone()?, format!("{line}\n"));
        thread::spawn(move || {
            // When it is not read, the machine's silence says so.
            drop(down.write_all(line.as_bytes()));
        });
        let ours = Streams::new(streams.try_clone()?);
        let outside = Arc::clone(outside);
        thread::spawn(move || {
            let serve = |purpose: String, reader: StreamReader, writer: StreamWriter| {
                let outside = Arc::clone(&outside);
                thread::spawn(move || outside.serve(&purpose, reader, writer));
            };
            let beat = || {
                let time = begun.elapsed().as_millis();
                alive.store(u64::try_from(time).unwrap_or(u64::MAX).max(1), Ordering::Relaxed);
            };
            drop(ours.receive(streams, serve, beat));
        });
        Ok(attempt)
    }

    /// Passes on what the machine says until its last word: what the job hands back, or how it failed.
    fn follow(
        mut self,
        limit: Duration,
        log: &Path,
        progress: &dyn Progress,
    ) -> Result<std::result::Result<Result<serde_json::Value>, NoLastWord>> {
        let (hung, flooding) = (AtomicBool::new(false), AtomicBool::new(false));
        let port = self.port.try_clone()?;
        let is_over = || {
            let alive = Duration::from_millis(self.alive.load(Ordering::Relaxed));
            let is_silent = match alive {
                Duration::ZERO => self.begun.elapsed() > limit || self.kvm_failed(),
                last => self.begun.elapsed() > last + SILENCE,
            };
            hung.fetch_or(is_silent, Ordering::Relaxed);
            let is_flood = [log, &self.console, &self.complaints].into_iter().any(is_too_large);
            flooding.fetch_or(is_flood, Ordering::Relaxed);
            is_silent || is_flood || !matches!(self.child.try_wait(), Ok(None))
        };
        let said = protocol::relay(Some(port), progress, is_over)?;
        if let Some(done) = said {
            self.wait_for_end()?;
            return Ok(Ok(done));
        }
        let has_begun = self.alive.load(Ordering::Relaxed) > 0;
        let error = Error::failure(if flooding.into_inner() {
            "the machine of the sandbox `vm` writes without end"
        } else if !hung.into_inner() {
            "the machine of the sandbox `vm` ended before its job"
        } else if has_begun {
            "the machine of the sandbox `vm` gives no sign of life any more"
        } else {
            "the machine of the sandbox `vm` does not start"
        });
        Ok(Err(NoLastWord { error: self.with_last_words(error), has_begun }))
    }

    fn wait_for_end(&mut self) -> Result<()> {
        let begun = Instant::now();
        // All that it did is on its disks already.
        while self.child.try_wait()?.is_none() && begun.elapsed() < END {
            interrupt::check()?;
            thread::sleep(interrupt::POLL);
        }
        Ok(())
    }

    fn kvm_failed(&self) -> bool {
        tail(&self.complaints).contains(KVM_FAILED)
    }

    /// Adds what the console and QEMU itself said last.
    fn with_last_words(&self, error: Error) -> Error {
        let mut error = error;
        for (path, whose) in
            [(&self.console, "the last on its console"), (&self.complaints, "QEMU")]
        {
            let text = tail(path);
            let lines: Vec<&str> =
                text.lines().map(str::trim_end).filter(|it| !it.is_empty()).collect();
            let last = &lines[lines.len().saturating_sub(SHOWN)..];
            if !last.is_empty() {
                error = error.hint(format!("{whose}:\n{}", last.join("\n")));
            }
        }
        error
    }
}

/// QEMU's command line, but for what its standard streams are: the first two ports.
fn command(machine: &JobMachine<'_>, accelerator: &str, console: &Path, work: &Path) -> Command {
    let mut command = qemu::command(machine.arch);
    let (board, console_name) = match machine.arch {
        Arch::Amd64 => ("q35", "ttyS0"),
        Arch::Arm64 => ("virt", "ttyAMA0"),
    };
    let cpus = thread::available_parallelism().map_or(1, |it| it.get().min(4));
    command
        .args(["-nodefaults", "-no-reboot", "-display", "none", "-machine", board])
        .args(["-accel", accelerator, "-cpu", "max"])
        .args(["-smp", &cpus.to_string(), "-m", &MEMORY_MIB.to_string()])
        .arg("-kernel")
        .arg(machine.kernel)
        .arg("-initrd")
        .arg(machine.initramfs)
        .arg("-append")
        .arg(format!(
            "console={console_name} quiet panic=-1 random.trust_cpu=on rdinit=/{} -- {} {}",
            machine.init,
            start::COMMAND,
            start::MACHINE
        ))
        .args(["-serial", "chardev:console"])
        .args(["-chardev", &format!("file,id=console,path={}", escaped(console))]);
    for (path, serial) in [(machine.image, IMAGE_SERIAL), (work, WORK_SERIAL)] {
        // What is written is made durable in the end, as a whole; an error is the guest's to see.
        command
            .args(["-drive", &format!(
                "file={},format=raw,if=none,id={serial},cache=unsafe,discard=unmap,werror=report,\
                 rerror=report",
                escaped(path)
            )])
            .args(["-device", &format!("virtio-blk-pci,drive={serial},serial={serial}")]);
    }
    command.args(["-device", "virtio-serial-pci"]);
    let ports = [
        (JOB_PORT, "socket,fd=0".to_owned()),
        (STREAM_PORT, "socket,fd=1".to_owned()),
        (LOG_PORT, format!("file,append=on,path={}", escaped(machine.log))),
    ];
    for (name, ends_in) in ports {
        command
            .args(["-chardev", &format!("{ends_in},id={name}")])
            .args(["-device", &format!("virtserialport,chardev={name},name={name}")]);
    }
    command
}

/// A path as a value of QEMU's options, where a comma ends it.
fn escaped(path: &Path) -> String {
    path.display().to_string().replace(',', ",,")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is kept of one package that a machine hands back, in whose stream all of these frames come.
    fn kept(outside: &Outside, bytes: &[u8], has_end: bool) -> bool {
        let mut port = Vec::new();
        let mut frame = |bytes: &[u8]| {
            port.extend(1_u32.to_le_bytes());
            port.extend(u32::try_from(bytes.len()).unwrap().to_le_bytes());
            port.extend(bytes);
        };
        frame(b"put a_1_all.deb");
        frame(bytes);
        if has_end {
            frame(b"");
        }
        let mut readers = Vec::new();
        let begin = |_, reader, _| readers.push(reader);
        drop(Streams::new(io::sink()).receive(&*port, begin, || ()));
        outside.keep("a_1_all.deb", &mut readers[0]).is_ok()
    }

    #[test]
    fn only_whole_packages_are_kept_and_not_without_end() {
        let folder = tempfile::tempdir().unwrap();
        let outside = Outside {
            inputs: Vec::new(),
            outputs: Vec::new(),
            output_bytes_left: AtomicU64::new(0),
            packages: folder.path().to_owned(),
            is_package: |mut file| {
                let mut text = String::new();
                file.read_to_string(&mut text).is_ok() && text.ends_with("whole")
            },
            packages_left: AtomicU64::new(5),
            bytes_left: AtomicU64::new(1000),
            mirrors: None,
        };
        let package = b"a package that is whole";
        let path = folder.path().join("a_1_all.deb");
        fs::write(&path, "of an earlier build").unwrap();
        assert!(!kept(&outside, package, false), "the port was gone before the end");
        assert!(!kept(&outside, &package[..20], true), "it is cut off");
        assert!(
            !kept(&outside, &[&[b'x'; 1001][..], &package[..]].concat(), true),
            "it is too large"
        );
        assert_eq!(fs::read_to_string(&path).unwrap(), "of an earlier build");
        assert!(kept(&outside, package, true));
        assert_eq!(fs::read(&path).unwrap(), package);
        assert!(kept(&outside, package, true));
        assert!(!kept(&outside, package, true), "they are too many");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn of_a_console_without_end_only_the_last_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("console");
        assert_eq!(tail(&path), "");
        fs::write(&path, "a".repeat(1 << 20) + "the last").unwrap();
        let text = tail(&path);
        assert!(text.len() == 64 << 10 && text.ends_with("the last"));
        File::create(&path).unwrap().set_len(LARGEST + 1).unwrap();
        assert!(is_too_large(&path));
    }
}
