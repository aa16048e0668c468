//! What a node costs before it is an artifact: an overlay of its own on one open base, and a
//! hundred files written through it, in memory.
//!
//! usage: cargo bench --bench deltas -- IMAGE [NODES]

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use nodeforge::disk::{self, Delta, Disk, Overlay};
use nodeforge::fs::{Attributes, Tree as _};
use nodeforge::image::Image;

const FILES: usize = 100;
const CLOCK: i64 = 1_767_225_600;

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

fn main() -> Result<()> {
    // cargo adds `--bench`.
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    let image = arguments.next().ok_or("usage: cargo bench --bench deltas -- IMAGE [NODES]")?;
    let nodes: usize = arguments.next().map_or(Ok(1000), |number| number.parse())?;
    let base = disk::open(Path::new(&image))?;

    // The first of all reads the base's blocks from the drive.
    node(&base, 0)?;
    let (opening, writing, delta) = node(&base, 1)?;
    row("open an overlay on an open base", opening);
    row(&format!("write {FILES} files through it"), writing);
    println!("{:<46} {:>8} KiB", "its delta", bytes(&delta) / 1024);

    let before = peak_memory();
    let started = Instant::now();
    let deltas = many(&base, nodes)?;
    row(&format!("{nodes} such deltas, on all cores"), started.elapsed());
    let sum: usize = deltas.iter().map(bytes).sum();
    println!("{:<46} {:>8} MiB", "all of them", sum >> 20);
    if let (Some(before), Some(after)) = (before, peak_memory()) {
        println!("{:<46} {:>8} MiB", "memory they took at most", (after - before) >> 20);
    }
    Ok(())
}

/// One node's delta, and how long opening and writing took.
fn node(base: &Arc<dyn Disk>, number: usize) -> Result<(Duration, Duration, Delta)> {
    let started = Instant::now();
    let overlay = Arc::new(Overlay::new(Arc::clone(base)));
    let mut image = Image::open(Arc::clone(&overlay) as _, CLOCK)?;
    let opening = started.elapsed();
    let started = Instant::now();
    let folder = PathBuf::from("/etc/bench");
    image.create_dir(&folder, Attributes { mode: 0o755, uid: 0, gid: 0 })?;
    for file in 0..FILES {
        let content = format!("file {file} of node {number}\n").repeat(40);
        image.write(&folder.join(format!("file-{file}")), content.as_bytes(), None)?;
    }
    image.flush()?;
    drop(image);
    let overlay = Arc::into_inner(overlay).ok_or("the overlay is still in use")?;
    let delta = overlay.into_delta()?;
    Ok((opening, started.elapsed(), delta))
}

fn many(base: &Arc<dyn Disk>, nodes: usize) -> Result<Vec<Delta>> {
    let next = AtomicUsize::new(0);
    let work = || -> Result<Vec<Delta>> {
        let mut deltas = Vec::new();
        loop {
            match next.fetch_add(1, Ordering::Relaxed) {
                number if number < nodes => deltas.push(node(base, number)?.2),
                _ => return Ok(deltas),
            }
        }
    };
    let threads = std::thread::available_parallelism()?.get();
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let mut deltas = Vec::new();
        for worker in workers {
            deltas.extend(worker.join().map_err(|_| "a thread panicked")??);
        }
        Ok(deltas)
    })
}

fn bytes(delta: &Delta) -> usize {
    delta.values().map(|cluster| cluster.len()).sum()
}

fn row(what: &str, time: Duration) {
    println!("{what:<46} {:>8.2} ms", time.as_secs_f64() * 1000.0);
}

/// The most memory this process ever had, in bytes; `None` where `/proc` does not tell.
fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kibibytes * 1024)
}
