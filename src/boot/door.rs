//! A way into a machine by SSH, for one boot: keys that are thrown away, a card of its own, a port of
//! this host.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tempfile::TempDir;

use crate::config;
use crate::guest::{identity, visitor};
use crate::image::Image;
use crate::secrets::ssh_host_key;
use crate::util::error::{Context, Error, Result};
use crate::util::interrupt;
use crate::util::process::{self, Drain};
use crate::util::shell;

/// How long an answer of the machine's SSH server may take. An emulated one on a busy host is slow.
const ANSWER: Duration = Duration::from_secs(20);

/// Before the next try.
const PAUSE: Duration = Duration::from_millis(500);

/// A way into a machine that is about to boot. The keys go with it.
pub struct Door {
    /// The host's name in the configuration of `ssh`.
    name: String,
    port: u16,
    /// Readable for this user alone: key, `known_hosts`, configuration.
    folder: TempDir,
}

impl Door {
    /// Lets this host into the system of `image`, whose disk must be one that nobody keeps.
    pub(super) fn make(image: &mut Image) -> Result<Self> {
        process::require("ssh", "openssh-client")?;
        let name = identity::hostname(image)?.filter(|it| config::check_hostname(it).is_ok());
        let name = name.unwrap_or_else(|| "node".to_owned());
        let key = ssh_host_key("nodeforge boot --ssh")?;
        let welcome = visitor::let_in(image, &key.public, &ssh_host_key(&name)?)?;

        let folder = super::temporary_folder()?;
        let port = free_port()?;
        let door = Self { name, port, folder };
        door.write("key", &key.private)?;
        door.write("known_hosts", &format!("{} {}\n", door.name, welcome.host_key))?;
        door.write("config", &door.configuration(&welcome.user)?)?;
        Ok(door)
    }

    /// The card and the port, as `-nic` has them.
    pub(super) fn nic(&self) -> String {
        format!(
            "user,restrict=on,ipv6=off,net={},dhcpstart={},model=virtio-net-pci,mac={},\
             hostfwd=tcp:127.0.0.1:{}-{}:22",
            visitor::NETWORK,
            visitor::ADDRESS,
            visitor::CARD,
            self.port,
            visitor::ADDRESS
        )
    }

    /// The command that goes in, for a shell.
    pub fn command_line(&self) -> String {
        format!("ssh -F {} {}", shell::word(&self.file("config").display().to_string()), self.name)
    }

    /// Tries to come in until the machine lets this host in, or `stop` is set: then it is `false`.
    /// `said` gets what `ssh` said last.
    pub(super) fn wait(&self, stop: &AtomicBool, said: &Mutex<Option<String>>) -> Result<bool> {
        while !stop.load(Ordering::Relaxed) {
            std::thread::sleep(PAUSE);
            if !self.answers() {
                continue;
            }
            // An SSH server answers before it lets people in (pam_nologin(8)).
            let mut command = self.ssh();
            command.arg("true").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
            let mut child = command.spawn().context(|| "starting `ssh`")?;
            let stderr = Drain::start(child.stderr.take());
            if interrupt::wait(&mut child)?.success() {
                return Ok(true);
            }
            let stderr = stderr.text();
            if let Some(line) = stderr.lines().rfind(|line| !line.trim().is_empty()) {
                *said.lock().expect("no panic while it is set") = Some(line.trim().to_owned());
            }
        }
        Ok(false)
    }

    /// Runs words in the machine, as `ssh` does: joined by blanks, they are for its shell.
    pub(super) fn start(&self, words: &[String]) -> Result<Child> {
        // Words that begin with a dash are no options of `ssh`, which has the host's name by now.
        self.ssh().args(words).spawn().context(|| "starting `ssh`")
    }

    fn ssh(&self) -> Command {
        let mut command = Command::new("ssh");
        command.arg("-F").arg(self.file("config")).args(["--", &self.name]);
        command
    }

    /// Whether a server is there. QEMU takes the connection at once; it is the machine that says something.
    fn answers(&self) -> bool {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port));
        let mut greeting = [0; 4];
        let greeted = TcpStream::connect_timeout(&address, ANSWER).and_then(|mut stream| {
            stream.set_read_timeout(Some(ANSWER))?;
            stream.read_exact(&mut greeting)
        });
        greeted.is_ok() && &greeting == b"SSH-"
    }

    /// What `ssh` is told, and nothing of this user's or this host's configuration.
    fn configuration(&self, user: &str) -> Result<String> {
        let path = |name: &str| -> Result<String> {
            let path = self.file(name);
            let text = path.to_str().filter(|it| !it.contains(['"', '\n', '%', '$']));
            let text = text.ok_or_else(|| {
                Error::input(format!("`ssh` cannot be given `{}`", path.display()))
                    .hint("set TMPDIR to a folder with a simpler name")
            })?;
            Ok(format!("\"{text}\""))
        };
        Ok(format!(
            "Host {}\n  HostName 127.0.0.1\n  Port {}\n  User {user}\n  HostKeyAlias {}\n  \
             IdentityFile {}\n  IdentitiesOnly yes\n  IdentityAgent none\n  \
             UserKnownHostsFile {}\n  GlobalKnownHostsFile none\n  StrictHostKeyChecking yes\n  \
             UpdateHostKeys no\n  PreferredAuthentications publickey\n  BatchMode yes\n  \
             ControlMaster no\n  ControlPath none\n  ConnectTimeout {}\n  LogLevel ERROR\n",
            self.name,
            self.port,
            self.name,
            path("key")?,
            path("known_hosts")?,
            ANSWER.as_secs(),
        ))
    }

    fn write(&self, name: &str, text: &str) -> Result<()> {
        let path = self.file(name);
        let opened = fs::File::options().write(true).create_new(true).mode(0o600).open(&path);
        opened
            .and_then(|mut file| file.write_all(text.as_bytes()))
            .context(|| format!("writing `{}`", path.display()))
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

/// The exit code of `ssh`, which is the command's own; 255 where a signal ended it.
pub(super) fn code_of(status: ExitStatus) -> u8 {
    status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(255)
}

/// A port of this host that nobody listens on. Another program may take it before QEMU does; then QEMU
/// says so and ends.
fn free_port() -> Result<u16> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|listener| listener.local_addr())
        .map(|address| address.port())
        .context(|| "looking for a free port on 127.0.0.1")
}
