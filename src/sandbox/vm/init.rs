//! The machine's first process: makes the machine fit for a worker, runs it, and switches the machine off.
//!
//! Its standard output and error are the console, whose last lines nodeforge shows when the machine ends
//! without a word.

use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use rustix::mount::{MountFlags, mount, mount_bind, mount_move};
use rustix::system::RebootCommand;
use rustix::time::{ClockId, Timespec};

use super::spec::{
    ARCHIVES, DISK, GET, GIVE, IMAGE_SERIAL, JOB_PORT, LOG, LOG_PORT, MachineJob, PROXY,
    PROXY_PORT, PUT, STREAM_PORT, WAY_OUT, WORK, WORK_SERIAL,
};
use super::streams::{Streams, pour};
use crate::sandbox::job::json_error;
use crate::sandbox::protocol::{Failure, Message};
use crate::sandbox::{loopback, start};
use crate::util::error::{Context as _, Error, Result};
use crate::util::process::Tool;

/// Where the kernel's modules are, in the order in which they are loaded.
const MODULES: [&str; 1] = ["/usr/lib/modules/virtio_blk.ko"];
/// How long devices may take to appear.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(5);
/// How often it says that it lives.
const BEAT: Duration = Duration::from_secs(2);
/// A clock that is as far off is set.
const CLOCK_ERROR: u64 = 2;

/// Does the one job, and ends the machine.
pub(in crate::sandbox) fn main() -> ExitCode {
    if std::process::id() != 1 {
        eprintln!("nodeforge: the sandbox is nodeforge's own and not a command");
        return ExitCode::FAILURE;
    }
    if let Err(error) = run() {
        eprintln!("nodeforge: {error}");
    }
    power_off();
    ExitCode::FAILURE
}

fn power_off() {
    rustix::fs::sync();
    // When it does not work, the watchdog outside ends the machine.
    let _ = rustix::system::reboot(RebootCommand::PowerOff);
}

fn run() -> Result<()> {
    leave_initramfs().context(|| "cannot set up the machine's root")?;
    mount_systems().context(|| "cannot set up the machine")?;
    for path in MODULES {
        let load = || rustix::system::finit_module(File::open(path)?, c"", 0).map_err(Into::into);
        let load: io::Result<()> = load();
        load.context(|| format!("cannot load `{path}`"))?;
    }
    let job_port = open_port(JOB_PORT)?;
    let mut answers = job_port.try_clone()?;
    let done = do_job(job_port);
    let last = match done {
        Ok(line) => line,
        Err(error) => {
            eprintln!("nodeforge: {error}");
            let line = serde_json::to_string(&Message::Failed(Failure::from(&error)));
            line.map_err(|error| json_error(&error))?
        }
    };
    // All of it is on the disk: this is the end record.
    writeln!(answers, "{last}")?;
    Ok(())
}

/// The kernel lets nobody put another root in place of an initramfs's, which sandboxes in here must do: a
/// second sight of the same files can be replaced.
fn leave_initramfs() -> io::Result<()> {
    mount_bind("/", WORK)?;
    enter(Path::new(WORK))
}

/// Puts what is mounted there in place of the root.
fn enter(root: &Path) -> io::Result<()> {
    std::env::set_current_dir(root)?;
    mount_move(".", "/")?;
    std::os::unix::fs::chroot(".")?;
    std::env::set_current_dir("/")
}

/// Puts the root that came as an archive in place of the machine's own, with its devices and file systems.
fn enter_archive(archive: &Path, program: &Path) -> io::Result<()> {
    let root = Path::new(WORK).join("root");
    fs::create_dir(&root)?;
    mount_bind(&root, &root)?;
    let mut files = tar::Archive::new(File::open(archive)?);
    files.set_preserve_permissions(true);
    files.unpack(&root)?;
    fs::remove_file(archive)?;
    let inside = |path: &Path| root.join(path.strip_prefix("/").unwrap_or(path));
    fs::copy(program, inside(program))?;
    for name in ["/dev", "/proc", "/run", "/sys", "/tmp"] {
        let to = inside(Path::new(name));
        fs::create_dir_all(&to)?;
        mount_move(name, &to)?;
    }
    let work = inside(Path::new(WORK));
    fs::create_dir_all(&work)?;
    mount_bind(WORK, &work)?;
    enter(&root)
}

fn mount_systems() -> io::Result<()> {
    let strict = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount("proc", "/proc", "proc", strict, None)?;
    mount("sysfs", "/sys", "sysfs", strict, None)?;
    mount("devtmpfs", "/dev", "devtmpfs", MountFlags::NOSUID, None)?;
    mount("tmpfs", "/run", "tmpfs", strict, None)?;
    mount("tmpfs", "/tmp", "tmpfs", MountFlags::NOSUID | MountFlags::NODEV, None)?;
    fs::write("/etc/mtab", "")?;
    loopback::bring_up()
}

/// Waits for what `find` looks for.
fn wait_for<T>(what: &str, find: impl Fn() -> Option<T>) -> Result<T> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = find() {
            return Ok(found);
        }
        if Instant::now() > deadline {
            return Err(Error::failure(format!("the machine has no {what}")));
        }
        thread::sleep(PAUSE);
    }
}

/// Opens the port of that name, never a file that only looks like one.
fn open_port(name: &str) -> Result<File> {
    let path = wait_for(&format!("port `{name}`"), || {
        let ports = fs::read_dir("/sys/class/virtio-ports").ok()?;
        ports.filter_map(std::result::Result::ok).find_map(|port| {
            let is_it = fs::read_to_string(port.path().join("name")).ok()?.trim() == name;
            let path = Path::new("/dev").join(port.file_name());
            (is_it && path.exists()).then_some(path)
        })
    })?;
    let open = File::options().read(true).write(true).open(&path);
    open.context(|| format!("cannot open `{}`", path.display()))
}

/// The device of the disk with that serial number.
fn disk(serial: &str) -> Result<PathBuf> {
    wait_for(&format!("disk `{serial}`"), || {
        let disks = fs::read_dir("/sys/block").ok()?;
        disks.filter_map(std::result::Result::ok).find_map(|disk| {
            let is_it = fs::read_to_string(disk.path().join("serial")).ok()?.trim() == serial;
            let path = Path::new("/dev").join(disk.file_name());
            (is_it && path.exists()).then_some(path)
        })
    })
}

/// Does the job that comes through the port, and gives the worker's last line. The end of what comes is the
/// end of nodeforge outside: then the machine is switched off at once.
fn do_job(port: File) -> Result<String> {
    let mut answers = port.try_clone()?;
    let mut port = BufReader::new(port);
    let mut line = String::new();
    let deadline = Instant::now() + PATIENCE;
    // A port says that it is at its end until its other side is told of it.
    while port.read_line(&mut line)? == 0 {
        if Instant::now() > deadline {
            return Err(Error::failure("the machine was given no job"));
        }
        thread::sleep(PAUSE);
    }
    let job: MachineJob = serde_json::from_str(&line).map_err(|error| json_error(&error))?;
    thread::spawn(move || {
        // Nothing follows the job: whatever this is, it is the end.
        drop(port.read(&mut [0]));
        let _ = rustix::system::reboot(RebootCommand::PowerOff);
    });
    set_clock(job.now).context(|| "cannot set the clock")?;
    symlink(disk(IMAGE_SERIAL)?, DISK)?;
    // Open from the beginning: it is told of every error since then.
    let image = File::open(DISK).context(|| format!("cannot open `{DISK}`"))?;
    let log = wait_for("log", || {
        let ports = fs::read_dir("/sys/class/virtio-ports").ok()?;
        ports.filter_map(std::result::Result::ok).find_map(|port| {
            let is_it = fs::read_to_string(port.path().join("name")).ok()?.trim() == LOG_PORT;
            is_it.then(|| Path::new("/dev").join(port.file_name()))
        })
    })?;
    symlink(log, LOG)?;
    make_work_disk(&disk(WORK_SERIAL)?)?;

    let stream_port = open_port(STREAM_PORT)?;
    let streams = Streams::new(stream_port.try_clone()?);
    let receiving = Arc::clone(&streams);
    // The other side opens none.
    thread::spawn(move || receiving.receive(stream_port, |_, _, _| (), || ()));
    let beating = Arc::clone(&streams);
    thread::spawn(move || {
        while beating.beat().is_ok() {
            thread::sleep(BEAT);
        }
    });
    let numbers = Arc::new(AtomicU32::new(1));
    for (at, (path, size)) in job.inputs.iter().enumerate() {
        let number = numbers.fetch_add(1, Ordering::Relaxed);
        fetch(&streams, number, at, path, *size)
            .context(|| format!("cannot get `{}` into the machine", path.display()))?;
    }
    let program = start::program()?;
    if let Some(archive) = &job.root {
        enter_archive(archive, &program).context(|| "cannot enter the job's root")?;
    }
    let before = names(Path::new(ARCHIVES))?;
    let mut variables = job.variables.clone();
    if job.has_network {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, PROXY_PORT))?;
        let (streams, numbers) = (Arc::clone(&streams), Arc::clone(&numbers));
        thread::spawn(move || accept(&listener, &streams, &numbers));
        let names = ["http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"];
        variables.extend(names.map(|name| (name.to_owned(), WAY_OUT.to_owned())));
    }
    for path in job.outputs.iter().filter_map(|it| it.parent()) {
        fs::create_dir_all(path)?;
    }
    let last = work(&program, &job, &variables, &mut answers);
    // However it went, the next run finds what came.
    let hand_back = |purpose: &str, path: &Path| -> io::Result<()> {
        let number = numbers.fetch_add(1, Ordering::Relaxed);
        let (mut reader, mut writer) = streams.open(number, purpose)?;
        pour(&mut File::open(path)?, &mut writer)?;
        drop(writer);
        // Its end says that it is there.
        pour(&mut reader, &mut io::sink()).map(drop)
    };
    for name in names(Path::new(ARCHIVES))?.into_iter().filter(|it| !before.contains(it)) {
        hand_back(&format!("{PUT}{name}"), &Path::new(ARCHIVES).join(&name))?;
    }
    for (number, path) in job.outputs.iter().enumerate().filter(|it| it.1.exists()) {
        hand_back(&format!("{GIVE}{number}"), path)?;
    }
    let last = last?;
    if matches!(serde_json::from_str(&last), Ok(Message::Done(_))) {
        image.sync_all().context(|| "cannot write the image")?;
    }
    Ok(last)
}

fn set_clock(now: i64) -> io::Result<()> {
    let own = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    if own.as_secs().abs_diff(now.unsigned_abs()) > CLOCK_ERROR {
        rustix::time::clock_settime(ClockId::Realtime, Timespec { tv_sec: now, tv_nsec: 0 })?;
    }
    Ok(())
}

/// Files that are gone with the machine need no journal.
fn make_work_disk(device: &Path) -> Result<()> {
    Tool::new("mke2fs", "e2fsprogs")
        .args(["-q", "-F", "-t", "ext4", "-O", "^has_journal", "-m", "0"])
        .args(["-E", "nodiscard,lazy_itable_init=1"])
        .arg(device)
        .run()?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV;
    mount(device, WORK, "ext4", flags, None).map_err(io::Error::from)?;
    fs::create_dir_all(ARCHIVES)?;
    Ok(())
}

/// Gets a file from outside.
fn fetch(streams: &Arc<Streams>, number: u32, at: usize, path: &Path, size: u64) -> Result<()> {
    fs::create_dir_all(path.parent().unwrap_or(Path::new("/")))?;
    let (mut reader, writer) = streams.open(number, &format!("{GET}{at}"))?;
    let mut file = File::create_new(path)?;
    let came = pour(&mut reader, &mut file)?;
    drop(writer);
    if came != size {
        return Err(Error::failure(format!("{came} bytes of {size} came")));
    }
    Ok(())
}

fn names(folder: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)? {
        names.extend(entry?.file_name().into_string().ok());
    }
    Ok(names)
}

/// Connects whoever in here asks for a mirror.
fn accept(listener: &TcpListener, streams: &Arc<Streams>, numbers: &AtomicU32) {
    for connection in listener.incoming() {
        let number = numbers.fetch_add(1, Ordering::Relaxed);
        let connect = || -> io::Result<()> {
            let mut from = connection?;
            let mut to: TcpStream = from.try_clone()?;
            let (mut reader, mut writer) = streams.open(number, PROXY)?;
            thread::spawn(move || {
                drop(pour(&mut from, &mut writer));
            });
            thread::spawn(move || {
                drop(pour(&mut reader, &mut to));
                drop(to.shutdown(Shutdown::Write));
            });
            Ok(())
        };
        if let Err(error) = connect() {
            eprintln!("nodeforge: a connection failed: {error}");
        }
    }
}

/// Runs the worker, passes on what it says, and gives its last line, which is not passed on.
fn work(
    program: &Path,
    job: &MachineJob,
    variables: &[(String, String)],
    answers: &mut File,
) -> Result<String> {
    let mut worker = Command::new(program)
        .args([start::COMMAND, start::WORKER])
        .env_clear()
        .envs(variables.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context(|| "cannot start the sandbox's worker")?;
    if let Some(mut stdin) = worker.stdin.take() {
        // A worker that is gone already shows in what it did not say.
        drop(stdin.write_all(job.job.to_line()?.as_bytes()));
    }
    let mut last = None;
    if let Some(stdout) = worker.stdout.take() {
        for line in BufReader::new(stdout).lines() {
            if let Some(before) = last.replace(line?) {
                writeln!(answers, "{before}")?;
            }
        }
    }
    let status = worker.wait()?;
    last.ok_or_else(|| {
        Error::failure(format!("the sandbox's worker ended without a word: {status}"))
    })
}
