//! Image files: qcow2, VMDK, compressed ones, told apart and read.
#![no_main]

use std::io::Write as _;

use libfuzzer_sys::fuzz_target;
use nodeforge::disk::{Scratch, open_with};
use nodeforge::fuzzing::read_some;

fuzz_target!(|bytes: &[u8]| {
    let Ok(folder) = tempfile() else { return };
    let path = folder.join("image");
    let written = std::fs::File::create(&path).and_then(|mut file| file.write_all(bytes));
    let scratch = Scratch { folder, limit: 16 << 20 };
    let (Ok(()), Ok(disk)) = (written, open_with(&path, &scratch)) else { return };
    read_some(&*disk);
});

/// One folder for this process: images lie in the page cache and are overwritten each time.
fn tempfile() -> std::io::Result<std::path::PathBuf> {
    let folder = std::env::temp_dir().join(format!("nodeforge-fuzz-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    Ok(folder)
}
