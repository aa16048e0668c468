//! Debian's docker-registry on loopback, started by a test and gone with it.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::{Authority, temporary_folder, wait_until};

/// A user of a registry that wants logins, and the password.
pub(crate) const LOGIN: (&str, &str) = ("forge", "open sesame");
/// The same as `htpasswd -nbB` writes it.
const HTPASSWD: &str = "forge:$2y$05$QWYUtsC2oF08fywXutcfpuBlkmUvo3g1RExdJsNZfyOGvERpVJahm\n";

/// The registry.
pub(crate) struct OciRegistry {
    folder: tempfile::TempDir,
    port: u16,
    child: Option<Child>,
}

impl OciRegistry {
    /// Without encryption, for everybody.
    pub(crate) fn plain() -> Self {
        Self::start("", "")
    }

    /// With a certificate of an authority of one's own, for those who log in.
    pub(crate) fn private(authority: &Authority) -> Self {
        let folder = authority.certificate();
        let folder = folder.parent().expect("a folder").display();
        let tls =
            format!("  tls:\n    certificate: {folder}/leaf.pem\n    key: {folder}/leaf.key\n");
        Self::start(&tls, "auth:\n  htpasswd:\n    realm: forge\n    path: htpasswd\n")
    }

    fn start(tls: &str, auth: &str) -> Self {
        let folder = temporary_folder();
        let port = {
            let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
            listener.local_addr().expect("an address").port()
        };
        let config = format!(
            "version: 0.1\nlog:\n  level: error\n  accesslog:\n    disabled: false\n\
             storage:\n  filesystem:\n    rootdirectory: data\n  delete:\n    enabled: true\n\
             http:\n  addr: 127.0.0.1:{port}\n  secret: forge\n{tls}{auth}"
        );
        fs::write(folder.path().join("config.yml"), config).expect("written");
        fs::write(folder.path().join("htpasswd"), HTPASSWD).expect("written");
        fs::create_dir(folder.path().join("data")).expect("made");
        let mut registry = Self { folder, port, child: None };
        registry.resume();
        registry
    }

    /// Starts it again where it is stopped.
    pub(crate) fn resume(&mut self) {
        let log =
            fs::File::options().create(true).append(true).open(self.log_path()).expect("a file");
        let child = Command::new("docker-registry")
            .args(["serve", "config.yml"])
            .current_dir(self.folder.path())
            .env("OTEL_TRACES_EXPORTER", "none")
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a handle"))
            .stderr(log)
            .spawn()
            .expect("docker-registry starts");
        self.child = Some(child);
        let port = self.port;
        wait_until(|| std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
    }

    /// Stops it: what it has stays.
    pub(crate) fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("it runs");
            child.wait().expect("it ends");
        }
    }

    /// `127.0.0.1:PORT`
    pub(crate) fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    fn log_path(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    /// What it was asked so far: `GET /v2/… 206 1234`, with the status and the bytes of the body.
    pub(crate) fn requests(&self) -> Vec<String> {
        // It writes them once it has answered.
        std::thread::sleep(Duration::from_millis(100));
        let log = fs::read_to_string(self.log_path()).expect("readable");
        let request = |line: &str| {
            let (_, rest) = line.split_once("] \"")?;
            let (request, rest) = rest.split_once(" HTTP/1.1\" ")?;
            let mut words = rest.split(' ');
            Some(format!("{request} {} {}", words.next()?, words.next()?))
        };
        log.lines().filter_map(request).collect()
    }

    /// Forgets what it was asked.
    pub(crate) fn forget_requests(&self) {
        fs::File::options()
            .write(true)
            .open(self.log_path())
            .and_then(|it| it.set_len(0))
            .expect("ours");
    }

    /// The file of a blob: `sha256:…`, or 64 digits.
    pub(crate) fn blob(&self, digest: &str) -> PathBuf {
        let digits = digest.trim_start_matches("sha256:");
        self.data().join(format!("blobs/sha256/{}/{digits}/data", &digits[..2]))
    }

    /// Puts something into its folders, as somebody could who may write to a repository. Returns the 64 digits.
    pub(crate) fn put_blob(&self, repository: &str, bytes: &[u8]) -> String {
        let new = self.folder.path().join("new");
        fs::write(&new, bytes).expect("written");
        let digits = super::checksum("sha256sum", &new);
        let write = |path: PathBuf, bytes: &[u8]| {
            fs::create_dir_all(path.parent().expect("a folder")).expect("made");
            fs::write(path, bytes).expect("written");
        };
        write(self.blob(&digits), bytes);
        let link = format!("repositories/{repository}/_layers/sha256/{digits}/link");
        write(self.data().join(link), format!("sha256:{digits}").as_bytes());
        digits
    }

    /// The same for a manifest, under a tag.
    pub(crate) fn put_manifest(&self, repository: &str, tag: &str, bytes: &[u8]) {
        let digits = self.put_blob(repository, bytes);
        let manifests = self.data().join(format!("repositories/{repository}/_manifests"));
        for path in [
            format!("revisions/sha256/{digits}"),
            format!("tags/{tag}/current"),
            format!("tags/{tag}/index/sha256/{digits}"),
        ] {
            let folder = manifests.join(path);
            fs::create_dir_all(&folder).expect("made");
            fs::write(folder.join("link"), format!("sha256:{digits}")).expect("written");
        }
    }

    /// Bytes of all blobs that it has.
    pub(crate) fn stored(&self) -> u64 {
        let mut folders = vec![self.data().join("blobs")];
        let mut bytes = 0;
        while let Some(folder) = folders.pop() {
            let Ok(entries) = fs::read_dir(folder) else { continue };
            for entry in entries {
                let entry = entry.expect("readable");
                let metadata = entry.metadata().expect("readable");
                if metadata.is_dir() {
                    folders.push(entry.path());
                } else {
                    bytes += metadata.len();
                }
            }
        }
        bytes
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data/docker/registry/v2")
    }

    /// Writes a file of logins, as `podman login` does.
    pub(crate) fn write_login(&self, path: &Path, (user, password): (&str, &str)) {
        use base64::Engine as _;
        let auth = base64::prelude::BASE64_STANDARD.encode(format!("{user}:{password}"));
        let text = format!("{{\"auths\": {{\"{}\": {{\"auth\": \"{auth}\"}}}}}}", self.host());
        fs::write(path, text).expect("written");
    }
}

impl Drop for OciRegistry {
    fn drop(&mut self) {
        self.stop();
    }
}
