//! What first boot made behind the root stays when a node is flashed anew.

use std::fs;
use std::path::Path;

use super::devices::LoopDevice;
use super::{MIB, SIZE, image};
use crate::support::{Run, temporary_folder, tool};

#[test]
#[ignore = "needs root"]
fn what_is_behind_the_root_is_kept_unless_it_is_to_be_erased() {
    let folder = temporary_folder();
    let image = image(folder.path());
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/quickstart");
    tool("cp", ["-r", &format!("{example}/."), &folder.path().display().to_string()]);
    let file = folder.path().join("cluster.toml");
    let text = fs::read_to_string(&file).expect("there");
    let device = LoopDevice::new(folder.path(), 40 * MIB, &[]);
    let path = device.name();
    let before = device.bytes(40 * MIB);
    let expected = fs::read(&image).expect("there");
    let behind = usize::try_from(SIZE).expect("small")..;
    let flash = |options: &[&str]| {
        let arguments = [Path::new("flash"), Path::new("--yes"), &image, Path::new(&path)];
        let options = options.iter().map(Path::new);
        Run::new(arguments.into_iter().chain(options)).folder(folder.path()).succeeds()
    };

    // Without `root_size` it is asked for.
    let _ = flash(&["--keep"]);
    let now = device.bytes(40 * MIB);
    assert!(now[..behind.start] == expected && now[behind.clone()] == before[behind.clone()]);
    fs::write(&file, text.replace("[disk]\n", "[disk]\nroot_size = \"8G\"\n")).expect("written");
    let said = flash(&["--dry-run"]).stdout_text();
    assert!(said.ends_with(" (24.00 MiB); what is behind that is kept\n"), "{said}");
    let _ = flash(&[]);
    let now = device.bytes(40 * MIB);
    assert!(now[..behind.start] == expected && now[behind.clone()] == before[behind.clone()]);
    let _ = flash(&["--erase"]);
    let now = device.bytes(40 * MIB);
    assert!(now[..behind.start] == expected && now[behind.clone()] != before[behind]);
}
