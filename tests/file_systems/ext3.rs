//! ext2 and ext3, and ext4 that was made from them.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;

use super::Bench;

/// Files of every length of block map: direct, and over one, two and three levels of pointers.
fn tree(bench: &Bench) {
    bench.write("tree/a", b"hi\n");
    bench.write("tree/d/b", b"ho\n");
    bench.write("tree/empty", b"");
    bench
        .write("tree/two-levels", &(0..700_000_u32).flat_map(u32::to_le_bytes).collect::<Vec<_>>());
    // 12, 256 and 65,536 blocks of 1 KiB come before the third level.
    let sparse = File::create(bench.path("tree/three-levels")).expect("a file");
    sparse.write_all_at(b"beginning", 0).expect("written");
    sparse.write_all_at(b"in the middle", 40 << 20).expect("written");
    sparse.write_all_at(b"behind the second level", 70 << 20).expect("written");
    sparse.set_len(80 << 20).expect("longer");
    for number in 0..400 {
        bench.write(&format!("tree/many/file-with-a-long-name-{number:04}"), b"x");
    }
    std::os::unix::fs::symlink("x".repeat(100), bench.path("tree/link")).expect("a link");
}

/// What the folder `tree` holds, as `ls -R` prints it.
fn listing(bench: &Bench, image: &str) -> String {
    let listed = bench.run(&format!("ls -R {image}:/")).succeeds().stdout_text();
    let mut lines: Vec<_> = listed.lines().filter(|it| !it.contains("lost+found")).collect();
    lines.sort_unstable();
    lines.join("\n")
}

#[test]
fn ext2_and_ext3_are_read_and_become_ext4_as_the_hint_says() {
    let bench = Bench::new();
    tree(&bench);
    for (kind, block) in [("ext2", 1024), ("ext3", 1024), ("ext3", 4096)] {
        bench.mke2fs("x.img", 64, &format!("-t {kind} -b {block}"));
        assert!(bench.is_clean("e2fsck -fn x.img"));
        let listed = listing(&bench, "x.img");
        assert_eq!(listed.matches("file-with-a-long-name-").count(), 400);
        for file in ["a", "d/b", "empty", "two-levels", "three-levels"] {
            let found = bench.run(&format!("cat x.img:/{file}")).succeeds().output.stdout;
            assert!(found == fs::read(bench.path("tree").join(file)).expect("there"), "{file}");
        }
        let image = bench.path("x.img").display().to_string();
        let refused = bench.run("cp tree/a x.img:/new").exits(2).stderr(&format!(
            "error: opening the file system of the disk (at byte 0)\n  cause: the file system is \
             ext2 or ext3, which nodeforge reads and does not change\nhint: make it ext4: run \
             `tune2fs -O extents {image}`, then `e2fsck -fy -E bmap2extent {image}`\n"
        ));
        bench.follow(&refused.stderr_text());
        assert_eq!(listing(&bench, "x.img"), listed);
        bench.run("cp --fsck always tree/a x.img:/d/new").succeeds();
        bench.run("cp --fsck always tree/a x.img:/many/new").succeeds();
        assert!(bench.is_clean("e2fsck -fn x.img"));
        bench.run("cat x.img:/d/new").succeeds().stdout("hi\n");
    }
}

/// In a partition, the commands name the place in the image.
#[test]
fn a_hint_for_a_partition_does_what_it_says() {
    let bench = Bench::new();
    bench.write("tree/a", b"hi\n");
    bench.mke2fs("x.img", 16, "-t ext3");
    bench.shell(
        "truncate -s 18M disk.img && echo 'start=2048, size=32768, type=83' | sfdisk -q disk.img &&
         dd if=x.img of=disk.img bs=1M seek=1 conv=notrunc status=none",
    );
    let refused = bench.run("cp tree/a disk.img:/new").exits(2).stderr_text();
    assert!(refused.contains("disk.img?offset=1048576'`, then `"), "{refused}");
    bench.follow(&refused);
    bench.run("cp --fsck always tree/a disk.img:/new").succeeds();
    bench.run("cat disk.img:/new").succeeds().stdout("hi\n");
}

/// tune2fs alone leaves all directories and files mapped by pointers: they can be changed all the same.
#[test]
fn an_upgraded_ext3_is_changed() {
    let bench = Bench::new();
    tree(&bench);
    bench.mke2fs("x.img", 64, "-t ext3 -b 1024");
    bench.shell("tune2fs -O extents x.img && e2fsck -fp x.img");
    for number in 0..120 {
        bench.write(&format!("more/another-file-with-a-name-{number:04}"), b"more\n");
    }
    bench.run("cp -r --fsck always more x.img:/d").succeeds();
    bench.run("rm --fsck always x.img:/two-levels").succeeds();
    bench.run("rm --fsck always x.img:/three-levels").succeeds();
    bench.run("rm -r --fsck always x.img:/many").succeeds();
    assert!(bench.is_clean("e2fsck -fn x.img"));
    bench.run("cat x.img:/d/more/another-file-with-a-name-0119").succeeds().stdout("more\n");
    let refused = bench.run("cp more/another-file-with-a-name-0001 x.img:/a").exits(1);
    refused.stderr(
        "error: writing `/a`\n  cause: the file is mapped block by block, as ext3 did it\nhint: \
         remove it first: it is then made with extents\n",
    );
}
