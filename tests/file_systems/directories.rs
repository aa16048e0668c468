//! Damage in directories and in maps of blocks is said, not read past.

use super::{Bench, patch};

/// Where the first block of a directory or file is, in bytes.
fn block(bench: &Bench, path: &str, index: usize) -> u64 {
    let said = bench.shell(&format!("debugfs -R 'blocks {path}' x.img 2>/dev/null"));
    let number: u64 = said.split_whitespace().nth(index).expect("a block").parse().expect("number");
    number * 4096
}

/// An image whose folder `/x` has two blocks, and whose other folder is sound.
fn image(options: &str) -> Bench {
    let bench = Bench::new();
    bench.write("tree/sound/file", b"here\n");
    for number in 0..100 {
        let name = format!("tree/x/file-{number:04}-{}", "n".repeat(30));
        bench.write(&name, b"");
    }
    bench.write("a", b"new\n");
    bench.mke2fs("x.img", 16, &format!("-t ext4 -b 4096 {options}"));
    assert!(bench.is_clean("e2fsck -fn x.img"));
    bench.run("ls x.img:/x").succeeds();
    bench
}

/// `/x` is damaged: neither listed, nor changed, whatever the policy. What is beside it is read.
#[track_caller]
fn is_refused(bench: &Bench, what: &str) {
    assert!(!bench.is_clean("e2fsck -fn x.img"), "{what}");
    let damage = format!("the ext4 file system is damaged: {what}\n");
    let listed = bench.run("ls x.img:/x").exits(1).stderr_text();
    assert!(listed.contains(&damage), "{listed}");
    let written = bench.run("cp --fsck never a x.img:/x/new").exits(1).stderr_text();
    assert!(written.contains(&damage), "{written}");
    let removed = bench.run("rm -r --fsck never x.img:/x").exits(1).stderr_text();
    assert!(removed.contains(&damage), "{removed}");
    let hint = |path: &str| format!("hint: run `e2fsck -fy {path}`, or start from a fresh image\n");
    let path = bench.path("x.img").display().to_string();
    assert!(listed.ends_with(&hint("x.img")), "{listed}");
    assert!(written.ends_with(&hint(&path)), "{written}");
    assert!(removed.ends_with(&hint(&path)), "{removed}");
    bench.run("cat x.img:/sound/file").succeeds().stdout("here\n");
    // Nothing is changed where e2fsck has a say, and it is not nodeforge that is blamed.
    let judged = bench.run("cp --fsck always a x.img:/sound/new").exits(1).stderr_text();
    assert!(
        judged.contains("e2fsck finds the file system damaged, before any change: "),
        "{judged}"
    );
    assert!(judged.ends_with(&hint(&path)), "{judged}");
    bench.follow(&judged);
    bench.run("ls x.img:/x").succeeds();
    bench.run("cp --fsck always a x.img:/x/new").succeeds();
}

#[test]
fn a_directory_with_a_wrong_checksum() {
    let bench = image("-O metadata_csum");
    let at = block(&bench, "/x", 1);
    patch(&bench.path("x.img"), at + 24 + 8, b"Z");
    is_refused(&bench, "a block of a directory has a wrong checksum");
}

/// The command that an error names mends what it speaks of, wherever on the disk that is.
#[test]
fn damage_in_a_partition_comes_with_what_mends_it() {
    let bench = image("-O metadata_csum");
    let at = block(&bench, "/x", 1);
    patch(&bench.path("x.img"), at + 24 + 8, b"Z");
    bench.shell(
        "truncate -s 18M disk.img; echo 2048,32768,L | sfdisk --quiet disk.img
        dd if=x.img of=disk.img bs=1M seek=1 conv=notrunc status=none; gzip -k disk.img",
    );
    let damaged = "error: listing `/x`\n  cause: the ext4 file system is damaged: a block of a directory \
                   has a wrong checksum\n";
    let packed = bench.run("ls disk.img.gz@1:/x").exits(1).stderr_text();
    let hint = "hint: make it a raw image, and run `e2fsck -fy` on the partition, or start from a fresh image\n";
    assert_eq!(packed, format!("{damaged}{hint}"));
    let listed = bench.run("ls disk.img@1:/x").exits(1).stderr_text();
    let hint = "hint: run `e2fsck -fy 'disk.img?offset=1048576'`, or start from a fresh image\n";
    assert_eq!(listed, format!("{damaged}{hint}"));
    bench.follow(&listed);
    bench.run("ls disk.img@1:/x").succeeds();
    bench.run("cp --fsck always a disk.img@1:/x/new").succeeds();
}

#[test]
fn a_directory_with_a_hole() {
    let bench = image("-O ^metadata_csum");
    bench.shell("debugfs -w -R 'punch /x 1 1' x.img 2>&1");
    is_refused(&bench, "a directory has a hole");
}

#[test]
fn an_entry_that_reaches_past_its_block() {
    let bench = image("-O ^metadata_csum");
    let at = block(&bench, "/x", 1);
    patch(&bench.path("x.img"), at + 4, &0xff0_u16.to_le_bytes());
    patch(&bench.path("x.img"), at + 0xff0, &[1, 0, 0, 0, 0x20, 0, 1, 1, b'p']);
    is_refused(&bench, "an entry of a directory reaches past its block");
}

#[test]
fn an_entry_of_an_inode_that_there_is_not() {
    let bench = image("-O ^metadata_csum");
    let at = block(&bench, "/x", 1);
    patch(&bench.path("x.img"), at, &0x00ff_ffff_u32.to_le_bytes());
    is_refused(&bench, "a directory names an inode that there is not");
}

/// Which data a file has must not depend on who reads it.
#[test]
fn an_index_of_extents_that_disagrees_with_what_is_below_it() {
    use std::os::unix::fs::FileExt as _;
    let bench = Bench::new();
    bench.write("tree/f", b"");
    let file = std::fs::File::options().write(true).open(bench.path("tree/f")).expect("opened");
    for piece in 0..12_u64 {
        file.write_all_at(&[7; 4096], piece * 8 * 4096).expect("written");
    }
    bench.mke2fs("x.img", 16, "-t ext4 -b 4096 -O ^metadata_csum");
    assert!(bench.is_clean("e2fsck -fn x.img"));
    bench.run("cat x.img:/f").succeeds();
    bench.shell("debugfs -w -R 'sif /f block[3] 8' x.img 2>&1");
    assert!(!bench.is_clean("e2fsck -fn x.img"));
    let read = bench.run("cat x.img:/f").exits(1).stderr_text();
    let damage =
        "the ext4 file system is damaged: an index of extents does not say what is below it\n";
    assert!(read.contains(damage), "{read}");
    let removed = bench.run("rm --fsck never x.img:/f").exits(1).stderr_text();
    assert!(removed.contains(damage), "{removed}");
}
