//! File systems and whole images: everything is read, and some of it changed.
#![no_main]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use nodeforge::disk::{Disk, Overlay};
use nodeforge::fs::{FileType, Tree};
use nodeforge::image::Image;
use nodeforge_fuzz::Memory;

fuzz_target!(|bytes: &[u8]| {
    let base: Arc<dyn Disk> = Arc::new(Memory::new(bytes));
    let Ok(mut image) = Image::open(Arc::new(Overlay::new(base)), 0) else { return };
    let mut directories = vec![PathBuf::from("/")];
    let mut files = Vec::new();
    let mut buffer = vec![0; 65_536];
    while let Some(directory) = directories.pop() {
        if directory.components().count() > 8 || files.len() > 500 {
            break;
        }
        for entry in image.read_dir(&directory).unwrap_or_default() {
            let path = directory.join(entry.name);
            let _ = (image.metadata(&path), image.xattrs(&path), image.resolve(&path));
            match entry.file_type {
                FileType::Directory => directories.push(path.clone()),
                FileType::Symlink => drop(image.read_link(&path)),
                _ => drop(image.read_at(&path, 0, &mut buffer)),
            }
            files.push(path);
        }
    }
    for path in files.iter().step_by(3) {
        let _ = image.write(path, b"changed", None);
        let _ = image.remove(path);
    }
    let _ = image.write(Path::new("/etc/hostname"), b"node0\n", None);
    let _ = image.verify();
});
