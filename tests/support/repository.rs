//! Signed apt repositories in the three styles that publishers use, made with Debian's own tools.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Gpg, Key, Server, temporary_folder, tool};

/// How a repository is laid out.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    /// All in one folder, as Kubernetes publishes it: `deb URI /`.
    Flat,
    /// `dists` and `pool`: `deb URI trixie main`.
    Debian,
    /// Packages below `dists`: `deb URI trixie stable`.
    Docker,
}

/// A repository being made.
pub(crate) struct Repository {
    folder: tempfile::TempDir,
    style: Style,
}

impl Style {
    fn packages(self) -> &'static str {
        match self {
            Self::Flat => "all",
            Self::Debian => "pool/main",
            Self::Docker => "dists/trixie/pool/stable",
        }
    }

    /// Where its index of packages and its `Release` are.
    fn index(self) -> (&'static str, &'static str) {
        match self {
            Self::Flat => (".", "."),
            Self::Debian => ("dists/trixie/main/binary-amd64", "dists/trixie"),
            Self::Docker => ("dists/trixie/stable/binary-amd64", "dists/trixie"),
        }
    }

    /// `suites` and `components` of a profile.
    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::Flat => "suites = [\"/\"]",
            Self::Debian => "suites = [\"trixie\"]\ncomponents = [\"main\"]",
            Self::Docker => "suites = [\"trixie\"]\ncomponents = [\"stable\"]",
        }
    }
}

impl Repository {
    pub(crate) fn new(style: Style) -> Self {
        let folder = temporary_folder();
        fs::create_dir_all(folder.path().join(style.packages())).expect("a folder");
        Self { folder, style }
    }

    /// Adds a package that leaves its name in `/usr/share/NAME`.
    pub(crate) fn add(&self, name: &str, version: &str) -> &Self {
        self.add_with(name, version, "")
    }

    /// The same, with a script that runs after it is unpacked.
    pub(crate) fn add_with(&self, name: &str, version: &str, script: &str) -> &Self {
        let tree = temporary_folder();
        let write = |path: &str, text: &str, mode: &str| {
            let path = tree.path().join(path);
            fs::create_dir_all(path.parent().expect("a folder")).expect("made");
            fs::write(&path, text).expect("written");
            tool("chmod", [mode.as_ref(), path.as_os_str()]);
        };
        let control = format!(
            "Package: {name}\nVersion: {version}\nArchitecture: all\nSection: misc\nPriority: optional\n\
             Maintainer: Publisher <packages@example.org>\nDescription: made by a test\n"
        );
        write("DEBIAN/control", &control, "644");
        write(&format!("usr/share/{name}"), version, "644");
        if !script.is_empty() {
            write("DEBIAN/postinst", &format!("#!/bin/sh\nset -e\n{script}\n"), "755");
        }
        tool("chmod", ["755".as_ref(), tree.path().as_os_str()]);
        let file = format!("{name}_{version}_all.deb");
        let file = self.folder.path().join(self.style.packages()).join(file);
        let arguments = ["--root-owner-group".as_ref(), "--build".as_ref()];
        tool("dpkg-deb", arguments.into_iter().chain([tree.path().as_os_str(), file.as_os_str()]));
        self
    }

    /// Adds a package of files: where each goes, what is in it, its mode. `depends` as in a control
    /// file.
    pub(crate) fn add_files(
        &self,
        name: &str,
        version: &str,
        depends: &str,
        files: &[(&str, &str, &str)],
    ) -> &Self {
        let tree = temporary_folder();
        let depends =
            if depends.is_empty() { String::new() } else { format!("Depends: {depends}\n") };
        let control = format!(
            "Package: {name}\nVersion: {version}\nArchitecture: all\nSection: misc\nPriority: optional\n\
             {depends}Maintainer: Publisher <packages@example.org>\nDescription: made by a test\n"
        );
        let control = ("DEBIAN/control", control.as_str(), "644");
        for (path, text, mode) in files.iter().chain([&control]) {
            let path = tree.path().join(path.trim_start_matches('/'));
            fs::create_dir_all(path.parent().expect("a folder")).expect("made");
            fs::write(&path, text).expect("written");
            tool("chmod", [mode.as_ref(), path.as_os_str()]);
        }
        tool("chmod", ["755".as_ref(), tree.path().as_os_str()]);
        // An epoch is no part of a file's name.
        let (_, without) = version.split_once(':').unwrap_or(("", version));
        let file = format!("{name}_{without}_all.deb");
        let file = self.folder.path().join(self.style.packages()).join(file);
        let arguments = ["--root-owner-group".as_ref(), "--build".as_ref()];
        tool("dpkg-deb", arguments.into_iter().chain([tree.path().as_os_str(), file.as_os_str()]));
        self
    }

    /// Writes and signs its index, and serves all of it below `prefix`.
    pub(crate) fn publish(&self, gpg: &Gpg, key: &Key, server: &Server, prefix: &str) {
        let (index, release) = self.style.index();
        fs::create_dir_all(self.path(index)).expect("made");
        fs::write(
            self.path(index).join("Packages"),
            self.archive(&["packages", self.style.packages()]),
        )
        .expect("written");
        let gzip = ["-9", "-k", "-f", "Packages"];
        let status = Command::new("gzip").args(gzip).current_dir(self.path(index)).status();
        assert!(status.expect("gzip starts").success());

        let names = ["InRelease", "Release", "Release.gpg"].map(|it| self.path(release).join(it));
        for name in &names {
            drop(fs::remove_file(name));
        }
        let text =
            self.archive(&["-o", "APT::FTPArchive::Release::Suite=trixie", "release", release]);
        fs::write(&names[1], text).expect("written");
        let [clear, plain, detached] = names.each_ref().map(|it| it.display().to_string());
        let sign = ["--local-user", &key.fingerprint, "--output"];
        let sign = |rest: &[&str]| gpg.run(&sign.iter().chain(rest).copied().collect::<Vec<_>>());
        sign(&[&clear, "--clearsign", &plain]);
        sign(&[&detached, "--armor", "--detach-sign", &plain]);

        let listed = tool("find", [self.folder.path().as_os_str(), "-type".as_ref(), "f".as_ref()]);
        for line in listed.lines() {
            let path = Path::new(line);
            let name = path.strip_prefix(self.folder.path()).expect("below").display();
            server.put_file(&format!("{prefix}/{name}"), path);
        }
    }

    /// The file of a package.
    pub(crate) fn package(&self, file: &str) -> PathBuf {
        self.path(self.style.packages()).join(file)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// apt-ftparchive, in the repository.
    fn archive(&self, arguments: &[&str]) -> Vec<u8> {
        let mut command = Command::new("apt-ftparchive");
        let output = command.args(arguments).current_dir(self.folder.path()).output();
        let output = output.expect("apt-ftparchive starts");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    }
}
