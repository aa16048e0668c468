//! Flashing: to real block devices as root, and to regular files as every user.

mod devices;
mod kept;

pub(crate) use devices::LoopDevice;

use std::fs::{self, File};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use super::support::{Run, User, for_every_user, tool};

const MIB: u64 = 1 << 20;
/// Not a number of whole chunks, nor of mebibytes.
const SIZE: u64 = 24 * MIB + 512 * 7;

/// An image with a partition table, data here and there, and holes.
fn image(folder: &Path) -> PathBuf {
    let path = folder.join("node1.img");
    let file = File::create(&path).expect("a file");
    file.set_len(SIZE).expect("a size");
    for (index, at) in [(1, 2 * MIB), (2, 9 * MIB + 4096), (3, 17 * MIB)] {
        file.write_all_at(&noise(300_000, index), at).expect("written");
    }
    let table = ["--clear", "--new=1:2048:+16M", "--change-name=1:root"].map(str::to_owned);
    tool("sgdisk", table.into_iter().chain([path.display().to_string()]));
    path
}

/// Bytes that compress badly, the same every time.
fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1 << 40;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    (0..length).map(|_| next()).collect()
}

fn a_file_stands_for_a_device(user: &User) {
    let folder = user.folder();
    let image = image(folder.path());
    let target = folder.path().join("card.img");
    let arguments = [Path::new("flash"), Path::new("--to-file"), &image, &target];
    let finished = Run::by(user, arguments).succeeds();
    assert!(finished.stderr_text().contains("read back and found right"));
    assert!(fs::read(&target).expect("there") == fs::read(&image).expect("there"));
    assert!(fs::metadata(&target).expect("there").blocks() * 512 < 8 * MIB, "holes stay holes");
    // Again, over what was there, which anybody could read.
    fs::set_permissions(&target, fs::Permissions::from_mode(0o644)).expect("set");
    let _ = Run::by(user, arguments).succeeds();
    assert!(fs::read(&target).expect("there") == fs::read(&image).expect("there"));
    assert_eq!(fs::metadata(&target).expect("there").permissions().mode() & 0o777, 0o600);

    let itself = [Path::new("flash"), Path::new("--to-file"), &image, &image];
    let name = image.display();
    let _ = Run::by(user, itself).exits(2).stderr(&format!("error: `{name}` is the image\n"));
    let _ = Run::by(user, [Path::new("flash"), &image, &target]).exits(2).stderr(&format!(
        "error: `{}` is a regular file, not a device\nhint: `--to-file` replaces it\n",
        target.display()
    ));
    let _ = Run::by(user, ["flash", "agent1", "/dev/null"]).folder(folder.path()).exits(2).stderr(
        "error: `out` has no image of `agent1`\n\
             hint: `nodeforge build` makes it; `-o` says where it is\n",
    );
    let _ = Run::by(user, ["flash", "--list"]).succeeds().stderr("");
}

for_every_user!(a_file_stands_for_a_device);
