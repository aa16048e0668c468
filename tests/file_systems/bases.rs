//! What is wrong with a base is said of the user's file, not of a copy that is gone by then.

use super::patch;
use crate::support::{Arch, Machines, tool};

fn machines() -> Machines {
    Machines::new(Arch::Amd64, &["server1"], "formats = [\"raw\"]")
}

fn refused(machines: &Machines, sandbox: &str) -> String {
    machines.run(["prepare", "--sandbox", sandbox]).fails().stderr_text()
}

#[test]
fn a_base_that_was_not_unmounted_cleanly() {
    let machines = machines();
    let root = format!("{}?offset={}", machines.path("base.img").display(), 18 << 20);
    tool("debugfs", ["-w", "-R", "ssv state 0", &root]);
    let said = refused(&machines, "none");
    let hint = format!("hint: run `e2fsck -fp '{root}'` first\n");
    assert!(said.contains("it was not unmounted cleanly") && said.contains(&hint), "{said}");
    tool("sh", ["-c", &format!("e2fsck -fp '{root}' || [ $? = 1 ]")]);
    machines.run(["prepare", "--sandbox", "none"]).succeeds();
}

#[test]
fn a_base_that_is_ext3() {
    let machines = machines();
    let image = machines.path("base.img");
    let part = machines.path("part");
    std::fs::File::create(&part).expect("a file").set_len(80 << 20).expect("space");
    let tree = machines.path("tree");
    let root = format!("{}?offset={}", image.display(), 18 << 20);
    std::fs::create_dir(&tree).expect("a folder");
    tool("debugfs", ["-R", &format!("rdump / {}", tree.display()), &root]);
    std::fs::remove_dir_all(tree.join("lost+found")).expect("removed");
    tool(
        "mke2fs",
        ["-q", "-t", "ext3", "-d", tree.to_str().expect("UTF-8"), part.to_str().expect("UTF-8")],
    );
    patch(&image, 18 << 20, &std::fs::read(&part).expect("there"));
    let said = refused(&machines, "userns");
    let hint = format!(
        "hint: make it ext4: run `tune2fs -O extents '{root}'`, then `e2fsck -fy -E \
         bmap2extent '{root}'`\n"
    );
    assert!(said.contains("ext2 or ext3") && said.ends_with(&hint), "{said}");
}

#[test]
fn a_base_with_a_damaged_fat() {
    let machines = machines();
    let image = machines.path("base.img");
    machines.run(["prepare", "--sandbox", "none"]).succeeds();
    let at = format!("{}@@1M", image.display());
    tool("mcopy", ["-i", &at, machines.path("cluster.toml").to_str().expect("UTF-8"), "::/A.TXT"]);
    // Its cluster is free in both copies of the table.
    let boot = &std::fs::read(&image).expect("there")[1 << 20..(1 << 20) + 512];
    let short = |at: usize| u64::from(u16::from_le_bytes([boot[at], boot[at + 1]]));
    for copy in 0..2 {
        let entry = (short(14) + copy * short(22)) * 512 + 2 * 2;
        patch(&image, (1 << 20) + entry, &[0; 2]);
    }
    for sandbox in ["none", "userns"] {
        let said = refused(&machines, sandbox);
        assert!(said.contains("the FAT file system is damaged: `/A.TXT`: "), "{said}");
        let hint = format!("--offset 1048576 --sizelimit 16777216 {}` prints", image.display());
        assert!(said.contains(&hint), "{said}");
    }
}
