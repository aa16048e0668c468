//! Keys, signatures and images as publishers make them: with gpg, xz and tar.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use super::{temporary_folder, tool};

/// A gpg of our own.
pub(crate) struct Gpg {
    home: tempfile::TempDir,
}

/// A key in it.
pub(crate) struct Key {
    pub(crate) fingerprint: String,
}

impl Gpg {
    pub(crate) fn new() -> Self {
        // Sockets have short paths.
        let home = temporary_folder();
        tool("chmod", [OsStr::new("700"), home.path().as_os_str()]);
        Self { home }
    }

    fn arguments(&self, arguments: &[&str]) -> Vec<String> {
        let home = self.home.path().display().to_string();
        let base = ["--homedir", &home, "--batch", "--yes", "--quiet", "--passphrase", ""];
        let base = base.into_iter().chain(["--pinentry-mode", "loopback", "--no-tty"]);
        base.chain(arguments.iter().copied()).map(str::to_owned).collect()
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> String {
        tool("gpg", self.arguments(arguments))
    }

    /// Whether gpg accepts a signature.
    pub(crate) fn verifies(&self, signature: &Path, file: &Path) -> bool {
        let paths = [signature.display().to_string(), file.display().to_string()];
        let status = Command::new("gpg")
            .args(self.arguments(&["--verify", &paths[0], &paths[1]]))
            .stderr(Stdio::null())
            .status();
        status.expect("gpg starts").success()
    }

    /// A new key; `algorithm` as gpg names it: `ed25519`, `rsa3072`.
    pub(crate) fn key(&self, algorithm: &str) -> Key {
        self.key_with(algorithm, &[], "never")
    }

    /// A key made on the first day of 2020 that lives for ever, or as long as `expires` says.
    pub(crate) fn old_key(&self, algorithm: &str, expires: &str) -> Key {
        self.key_with(algorithm, &["--faked-system-time", "20200101T000000"], expires)
    }

    fn key_with(&self, algorithm: &str, before: &[&str], expires: &str) -> Key {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("Publisher {count} <images@example.org>");
        let generate =
            ["--status-fd", "1", "--quick-generate-key", &name, algorithm, "sign", expires];
        let said = self.run(&before.iter().copied().chain(generate).collect::<Vec<_>>());
        let created = said.lines().find_map(|line| line.strip_prefix("[GNUPG:] KEY_CREATED P "));
        Key { fingerprint: created.expect("a key").trim().to_owned() }
    }

    /// The public key, armored.
    pub(crate) fn public(&self, key: &Key) -> Vec<u8> {
        self.run(&["--armor", "--export", &key.fingerprint]).into_bytes()
    }

    /// Revokes a key with the certificate that gpg made along with it.
    pub(crate) fn revoke(&self, key: &Key) {
        let name = format!("openpgp-revocs.d/{}.rev", key.fingerprint);
        let text = fs::read_to_string(self.home.path().join(name)).expect("a certificate");
        let path = self.home.path().join("revocation");
        // The colon keeps people from importing it by mistake.
        fs::write(&path, text.replace(":-----BEGIN", "-----BEGIN")).expect("written");
        self.run(&["--import", &path.display().to_string()]);
    }

    /// Adds a subkey that may sign.
    pub(crate) fn add_subkey(&self, key: &Key, algorithm: &str) {
        self.run(&["--quick-add-key", &key.fingerprint, algorithm, "sign", "never"]);
    }

    /// A detached signature of a file.
    pub(crate) fn sign(&self, key: &Key, file: &Path, armored: bool) -> Vec<u8> {
        self.sign_with(key, file, armored, &[])
    }

    pub(crate) fn sign_with(
        &self,
        key: &Key,
        file: &Path,
        armored: bool,
        more: &[&str],
    ) -> Vec<u8> {
        let output = self.home.path().join("signature").display().to_string();
        let file = file.display().to_string();
        let mut arguments = more.to_vec();
        arguments.extend(["--local-user", &key.fingerprint, "--output", &output]);
        arguments.extend(armored.then_some("--armor"));
        arguments.extend(["--detach-sign", &file]);
        self.run(&arguments);
        fs::read(&output).expect("a signature")
    }
}

impl Drop for Gpg {
    fn drop(&mut self) {
        let home = self.home.path().display().to_string();
        drop(Command::new("gpgconf").args(["--homedir", &home, "--kill", "all"]).status());
    }
}

/// Bytes that no compressor makes smaller, always the same for a seed.
pub(crate) fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend(state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// A raw disk of 8 MiB: noise between holes.
pub(crate) fn disk(folder: &Path, seed: u64) -> PathBuf {
    let path = folder.join("disk.raw");
    let mut bytes = vec![0; 8 << 20];
    bytes[..4096].copy_from_slice(&noise(seed, 4096));
    bytes[510..512].copy_from_slice(&[0x55, 0xaa]);
    bytes[1 << 20..3 << 20].copy_from_slice(&noise(seed + 1, 2 << 20));
    bytes[(8 << 20) - 512..].copy_from_slice(&noise(seed + 2, 512));
    fs::write(&path, bytes).expect("written");
    tool("fallocate", [OsStr::new("--dig-holes"), path.as_os_str()]);
    path
}

/// Compresses a file beside it: `program` makes `FILE.EXTENSION` and keeps `FILE`.
pub(crate) fn compress(program: &str, arguments: &[&str], file: &Path) -> PathBuf {
    let mut all: Vec<_> = arguments.iter().map(OsStr::new).collect();
    all.push(file.as_os_str());
    tool(program, all);
    let extension = match program {
        "xz" => "xz",
        "zstd" => "zst",
        "gzip" => "gz",
        other => panic!("{other} is no compressor"),
    };
    let mut name = file.as_os_str().to_owned();
    name.push(format!(".{extension}"));
    PathBuf::from(name)
}

/// The first word of what sha256sum, or another of its family, says of a file.
pub(crate) fn checksum(program: &str, file: &Path) -> String {
    tool(program, [file]).split(' ').next().expect("a hash").trim_start_matches('\\').to_owned()
}
