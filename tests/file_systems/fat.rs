//! FAT that contradicts itself is not made worse.

use std::fs;

use super::{Bench, patch};

/// Sets the first cluster of `A.TXT` in the root directory, which is at `root`.
fn start(bench: &Bench, root: usize, cluster: u16) {
    let image = bench.path("x.img");
    let bytes = fs::read(&image).expect("the image");
    let directory = &bytes[root..root + 4096];
    let index = directory.chunks(32).position(|entry| entry.starts_with(b"A       TXT"));
    let at = root + 32 * index.expect("it is there");
    patch(&image, at as u64 + 26, &cluster.to_le_bytes());
}

/// Where the root directory is.
fn root(bench: &Bench) -> usize {
    let boot = fs::read(bench.path("x.img")).expect("the image");
    let short = |at: usize| usize::from(u16::from_le_bytes([boot[at], boot[at + 1]]));
    let table = if short(22) == 0 { short(36) } else { short(22) };
    (short(14) + usize::from(boot[16]) * table) * 512
}

#[track_caller]
fn is_refused(bench: &Bench, what: &str) {
    assert!(!bench.is_clean("fsck.fat -n x.img"));
    let before = fs::read(bench.path("x.img")).expect("the image");
    let path = bench.path("x.img").display().to_string();
    let expected = format!(
        "error: opening the file system of the disk (at byte 0)\n  cause: the FAT file system is \
         damaged: {what}\nhint: run `fsck.fat -a {path}`, or start from a fresh image\n"
    );
    for command in ["cp --fsck never big x.img:/BIG.BIN", "rm --fsck never x.img:/A.TXT"] {
        bench.run(command).exits(1).stderr(&expected);
    }
    assert!(before == fs::read(bench.path("x.img")).expect("the image"));
    // What there is can still be saved.
    bench.run("cat x.img:/OTHER.BIN").succeeds();
    bench.follow(&expected);
    bench.run("cp --fsck always big x.img:/BIG.BIN").succeeds();
    assert!(bench.is_clean("fsck.fat -n x.img"));
    let big = bench.run("cat x.img:/BIG.BIN").succeeds().output.stdout;
    assert!(big == fs::read(bench.path("big")).expect("there"));
}

fn bench(options: &str) -> Bench {
    let bench = Bench::new();
    bench.write("hello", b"hello\n");
    bench.write("big", &vec![7; 3 << 20]);
    bench.shell(&format!(
        "truncate -s 64M x.img && mkfs.fat {options} x.img && mcopy -i x.img hello ::/A.TXT &&
         mcopy -i x.img big ::/OTHER.BIN && fsck.fat -n x.img"
    ));
    bench
}

/// The next file would be written into its cluster.
#[test]
fn a_file_in_a_free_cluster() {
    let bench = bench("-F 16 -s 4");
    start(&bench, root(&bench), 20_000);
    is_refused(
        &bench,
        "`/A.TXT`: chain links to a free, reserved or out-of-range cluster (cluster 20000)",
    );
}

/// Removing it would free the root directory.
#[test]
fn a_file_that_shares_the_root_directorys_cluster() {
    let bench = bench("-F 32 -s 1");
    start(&bench, root(&bench), 2);
    is_refused(&bench, "`/A.TXT`: chain starts at an invalid cluster (cluster 2)");
}

/// Clusters that nothing leads to do no harm, and are fsck.fat's to judge, where it is asked.
#[test]
fn lost_clusters_are_a_matter_of_policy() {
    let bench = bench("-F 16 -s 4");
    let boot = fs::read(bench.path("x.img")).expect("the image");
    let table = u64::from(u16::from_le_bytes([boot[22], boot[23]])) * 512;
    for copy in 0..2 {
        patch(&bench.path("x.img"), 4 * 512 + copy * table + 2 * 20_000, &[0xff; 2]);
    }
    let said = bench.run("cp --fsck always hello x.img:/new").exits(1).stderr_text();
    assert!(said.contains("fsck.fat finds the file system damaged, before any change: "), "{said}");
    bench.run("cp --fsck never hello x.img:/new").succeeds();
    bench.follow(&said);
    bench.run("cp --fsck always hello x.img:/newer").succeeds();
    assert!(bench.is_clean("fsck.fat -n x.img"));
}
