//! What is free is what the block groups say, as for the kernel.

use super::Bench;

#[test]
fn the_superblocks_own_count_is_not_believed() {
    for count in ["4294968254", "0"] {
        let bench = Bench::new();
        bench.write("tree/f", &vec![1; 50_000]);
        bench.write("a", b"a\n");
        bench.mke2fs("x.img", 16, "-t ext4");
        let free = || {
            let said = bench.run("inspect --json x.img").succeeds().stdout_text();
            let report: serde_json::Value = serde_json::from_str(&said).expect("JSON");
            report["partitions"][0]["free"].as_u64().expect("a number")
        };
        let before = free();
        assert!(before > 1 << 20 && before < 16 << 20, "{before}");
        bench.shell(&format!("debugfs -w -R 'ssv free_blocks_count {count}' x.img 2>&1"));
        assert_eq!(free(), before);
        // As the kernel does when it unmounts, the sum is written down with the first change.
        bench.run("cp --fsck always a x.img:/a").succeeds();
        assert!(bench.is_clean("e2fsck -fn x.img"));
        let said = bench.shell("dumpe2fs -h x.img 2>/dev/null");
        let field = |name: &str| -> u64 {
            let line = said.lines().find_map(|line| line.strip_prefix(name)).expect("said");
            line.trim().parse().expect("a number")
        };
        assert_eq!(field("Free blocks:") * field("Block size:"), free());
        bench.run("cat x.img:/a").succeeds().stdout("a\n");
    }
}
