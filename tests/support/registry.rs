//! A registry of container images, and charts, as publishers have them. The images hold next to nothing.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use super::{Server, temporary_folder, tool};

const PROGRAM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/registry.py");

/// Has a server serve images as a registry does that mirrors all others: `docker.io/traefik/whoami:v1.11.0`.
pub(crate) fn serve_images(server: &Server, images: &[&str]) {
    let folder = temporary_folder();
    let first = [OsStr::new(PROGRAM), OsStr::new("serve"), folder.path().as_os_str()];
    tool("python3", first.into_iter().chain(images.iter().map(OsStr::new)));
    let mut folders = vec![folder.path().to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).expect("readable") {
            let path = entry.expect("readable").path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(folder.path()).expect("below it");
                server.put_file(&format!("/{}", name.display()), &path);
            }
        }
    }
}

/// Wants a file to be an archive of exactly these images, for this processor.
#[track_caller]
pub(crate) fn is_archive_of(archive: &Path, arch: &str, images: &[&str]) {
    let first = [PROGRAM.as_ref(), "check".as_ref(), archive.as_os_str(), arch.as_ref()];
    tool("python3", first.into_iter().chain(images.iter().map(OsStr::new)));
}

/// Writes a chart as `helm package` does.
pub(crate) fn chart(folder: &Path, name: &str, version: &str, values: &str) -> PathBuf {
    let inside = folder.join(name);
    fs::create_dir_all(&inside).expect("a folder");
    let about =
        format!("apiVersion: v2\nname: {name}\nversion: {version}\nappVersion: {version}\n");
    fs::write(inside.join("Chart.yaml"), about).expect("written");
    fs::write(inside.join("values.yaml"), values).expect("written");
    let path = folder.join(format!("{name}.tgz"));
    let arguments = ["-czf".as_ref(), path.as_os_str(), "-C".as_ref(), folder.as_os_str()];
    tool("tar", arguments.into_iter().chain([OsStr::new(name)]));
    path
}
