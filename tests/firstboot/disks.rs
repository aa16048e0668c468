//! What first boot makes of the rest of a disk, with real partition tables and file systems.

use std::fs;

use super::super::support::{Node, Run, partitions, temporary_folder, tool};

const MIB: u64 = 1 << 20;
/// Where the root begins, and what is there before first boot.
const ROOT: u64 = 1 << 30;
const IMAGE: u64 = 512 * MIB;
/// As `plan` writes it.
const DISKS: &str = "# NAME DISK MIB KIND MOUNT\nroot - 1024 - -\netcd - 256 ext4 /var/lib/etcd\n\
                     ceph - rest raw -\n";

/// Tells what it was told, and has the kernel know the partition.
const PARTX: &str = "[ $1 = --update ] || { echo \"$4 $3\" >>$NODEFORGE_ROOT/told; n=$3
    dir=$NODEFORGE_ROOT/sys/devices/virtio/block/vda/vda$n; mkdir -p $dir; echo $n >$dir/partition
    [ -e $NODEFORGE_ROOT/dev/vda$n ] || truncate -s 256M $NODEFORGE_ROOT/dev/vda$n; }";

/// A node whose disk has a table of this kind, as its image was written to it.
fn node(label: &str, size: u64) -> Node {
    let node = Node::new("agent1");
    for name in ["sfdisk", "mkfs.ext4", "mkfs.xfs", "blkid", "wipefs"] {
        node.stand_in(name, &format!("PATH=/usr/sbin:/usr/bin exec {name} \"$@\""));
    }
    node.stand_in("partx", PARTX);
    node.stand_in("resize2fs", "exit 0");
    node.stand_in("mount", "exit 0");
    node.stand_in(
        "findmnt",
        "case $* in *MAJ*) echo 254:2 ;; *FSTYPE*) echo ext4 ;; *) exit 1 ;; esac",
    );
    let disk = "sys/devices/virtio/block/vda";
    fs::create_dir_all(node.path("sys/dev/block")).expect("a folder");
    fs::create_dir_all(node.path("dev")).expect("a folder");
    node.write(&format!("{disk}/size"), &format!("{}\n", size / 512));
    node.write(&format!("{disk}/queue/logical_block_size"), "512\n");
    for (name, value) in [("partition", 2), ("start", ROOT / 512), ("size", IMAGE / 512)] {
        node.write(&format!("{disk}/vda2/{name}"), &format!("{value}\n"));
    }
    let link = node.path("sys/dev/block/254:2");
    std::os::unix::fs::symlink(node.path(disk).join("vda2"), link).expect("linked");
    node.write("etc/fstab", "PARTUUID=1-02 / ext4 defaults 0 1\n");
    node.write("etc/nodeforge/disks", DISKS);
    write_image(&node, label, size);
    node
}

/// The table as the image has it, which is smaller than the disk.
fn write_image(node: &Node, label: &str, size: u64) {
    let disk = node.path("dev/vda");
    let file = fs::File::options().create(true).truncate(false).write(true).open(&disk);
    let file = file.expect("a disk");
    file.set_len(ROOT + IMAGE + MIB).expect("space");
    let table = format!(
        "label: {label}\nstart=2048, size=2048\nstart={}, size={}\n",
        ROOT >> 9,
        IMAGE >> 9
    );
    node.write("table", &table);
    let script = "exec /usr/sbin/sfdisk --quiet --wipe never --wipe-partitions never \
                  $NODEFORGE_ROOT/dev/vda <$NODEFORGE_ROOT/table";
    assert!(node.shell(script).status.success());
    file.set_len(size).expect("space");
}

#[track_caller]
fn run(node: &Node, step: &str, ends_well: bool) -> String {
    let output = node.run_step(step);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.success(), ends_well, "{said}{errors}");
    said
}

#[test]
fn partitions_follow_the_root_and_what_they_hold_survives_a_new_image() {
    for label in ["dos", "gpt"] {
        let size = 4 << 30;
        let node = node(label, size);
        run(&node, "05-grow-root", true);
        let root_end = ROOT + 1024 * MIB;
        let found = partitions(&node.path("dev/vda"));
        assert_eq!(found[1].1, ROOT..root_end, "{label}: the root takes what it may, and no more");

        let said = run(&node, "06-disks", true);
        assert!(said.contains("partition 3, etcd, has 256 MiB\n"), "{said}");
        let found = partitions(&node.path("dev/vda"));
        assert_eq!(found[2].1, root_end..root_end + 256 * MIB, "{label}");
        assert_eq!(found[3].1.start, root_end + 256 * MIB, "{label}");
        let tail = size - found[3].1.end;
        assert!(tail < 2 * MIB, "{label}: {tail} bytes are left");
        let fstab = node.read("etc/fstab");
        let line = fstab.lines().nth(1).expect("a second line");
        assert!(line.contains(" /var/lib/etcd ext4 defaults,noatime,nofail,"), "{fstab}");
        assert!(line.contains("x-systemd.required-by=kubelet.service"), "{fstab}");
        // systemd reads it so: nothing of the cluster starts without it, the machine does.
        let script = "SYSTEMD_FSTAB=$NODEFORGE_ROOT/etc/fstab; export SYSTEMD_FSTAB; d=$NODEFORGE_ROOT/units
            mkdir $d; /usr/lib/systemd/system-generators/systemd-fstab-generator $d $d $d
            grep -q ext4 $d/var-lib-etcd.mount && test -e $d/multi-user.target.wants/var-lib-etcd.mount &&
            test -e $d/kubelet.service.requires/var-lib-etcd.mount &&
            ! test -e $d/local-fs.target.requires/var-lib-etcd.mount";
        let read = node.shell(script);
        assert!(read.status.success(), "{}", String::from_utf8_lossy(&read.stderr));
        let made = node.calls().matches("mkfs.ext4 ").count();
        assert_eq!(made, 1);

        // A second try, and then the same image written anew: the data is where it was.
        run(&node, "06-disks", true);
        let before = fs::read(node.path("dev/vda3")).expect("readable");
        write_image(&node, label, size);
        run(&node, "05-grow-root", true);
        let said = run(&node, "06-disks", true);
        assert!(
            said.contains("etcd, /dev/vda3, has its ext4 already: it stays as it is\n"),
            "{said}"
        );
        assert_eq!(node.calls().matches("mkfs.ext4 ").count(), made);
        assert!(fs::read(node.path("dev/vda3")).expect("readable") == before);
        assert_eq!(partitions(&node.path("dev/vda")), found);
        assert_eq!(node.read("etc/fstab"), fstab);
    }
}

#[test]
fn nothing_that_holds_anything_is_formatted() {
    let node = node("gpt", 4 << 30);
    node.write("etc/nodeforge/disks", "etcd /dev/nvme0n1 rest ext4 /var/lib/etcd\n");
    let said = run(&node, "06-disks", false);
    assert!(said.ends_with("there is no /dev/nvme0n1, on which etcd should be\n"), "{said}");
    let disk = node.path("dev/nvme0n1");
    fs::File::create(&disk).and_then(|it| it.set_len(64 * MIB)).expect("a disk");
    let path = disk.display().to_string();
    tool("mkfs.vfat", [&path]);
    let said = run(&node, "06-disks", false);
    assert!(
        said.contains("/dev/nvme0n1 holds ")
            && said
                .ends_with("and is not touched: `wipefs --all /dev/nvme0n1` empties it for etcd\n"),
        "{said}"
    );
    assert!(!node.calls().contains("mkfs.ext4 "));
    tool("wipefs", ["--all", &path]);
    run(&node, "06-disks", true);
    tool("e2fsck", ["-fn", &path]);
    assert!(node.read("etc/fstab").contains(" /var/lib/etcd ext4 "));

    // Ceph wants it raw.
    node.write("etc/nodeforge/disks", "ceph /dev/nvme0n1 rest raw -\n");
    assert!(run(&node, "06-disks", false).contains("/dev/nvme0n1 holds ext4 and is not touched"));
    tool("wipefs", ["--all", &path]);
    run(&node, "06-disks", true);
}

/// XFS, on a disk of its own and behind the root, by the real mkfs.xfs; `xfs_repair` judges it.
#[test]
fn an_xfs_is_made_once_and_found_again() {
    let node = node("gpt", 4 << 30);
    let disk = node.path("dev/nvme0n1");
    fs::File::create(&disk).and_then(|it| it.set_len(320 * MIB)).expect("a disk");
    let path = disk.display().to_string();
    // The label that XFS has room for.
    node.write("etc/nodeforge/disks", "data-of-longhorn /dev/nvme0n1 rest xfs /var/lib/longhorn\n");
    tool("mkfs.ext4", ["-q", "-F", &path]);
    let said = run(&node, "06-disks", false);
    assert!(said.contains("/dev/nvme0n1 holds ext4 and is not touched: "), "{said}");
    assert!(!node.calls().contains("mkfs.xfs "));
    tool("wipefs", ["--all", &path]);
    run(&node, "06-disks", true);
    tool("xfs_repair", ["-n", "-f", &path]);
    let label = tool("blkid", ["-p", "-o", "value", "-s", "LABEL", &path]);
    assert_eq!(label, "data-of-long\n");
    let fstab = node.read("etc/fstab");
    assert!(fstab.contains(" /var/lib/longhorn xfs defaults,noatime,nofail,"), "{fstab}");
    let before = fs::read(&disk).expect("readable");
    let said = run(&node, "06-disks", true);
    let wanted = "data-of-longhorn, /dev/nvme0n1, has its xfs already: it stays as it is\n";
    assert!(said.contains(wanted), "{said}");
    assert!(fs::read(&disk).expect("readable") == before);
    assert_eq!(node.calls().matches("mkfs.xfs ").count(), 1);
    // ext4 was asked for meanwhile: another cluster file.
    node.write(
        "etc/nodeforge/disks",
        "data-of-longhorn /dev/nvme0n1 rest ext4 /var/lib/longhorn\n",
    );
    let said = run(&node, "06-disks", false);
    assert!(said.contains("/dev/nvme0n1 holds xfs and is not touched: "), "{said}");

    node.write("etc/nodeforge/disks", "root - 1024 - -\ndata - 320 xfs /srv\n");
    node.stand_in("partx", &PARTX.replace("256M", "320M"));
    run(&node, "05-grow-root", true);
    run(&node, "06-disks", true);
    let path = node.path("dev/vda3").display().to_string();
    tool("xfs_repair", ["-n", "-f", &path]);
    let said = run(&node, "06-disks", true);
    assert!(said.contains("data, /dev/vda3, has its xfs already: it stays as it is\n"), "{said}");
    // As much as is left may be too little for it.
    node.write("etc/nodeforge/disks", "root - 3800 - -\ndata - rest xfs /srv\n");
    write_image(&node, "gpt", 4 << 30);
    let said = run(&node, "06-disks", false);
    assert!(
        said.contains("the partition data does not fit: behind the root's 3800 MiB the disk has "),
        "{said}"
    );
}

/// A program that fails has not found that nothing is there.
#[test]
fn a_disk_that_cannot_be_probed_is_not_formatted() {
    let node = node("gpt", 4 << 30);
    node.write("etc/nodeforge/disks", "etcd /dev/nvme0n1 rest ext4 /var/lib/etcd\n");
    let disk = node.path("dev/nvme0n1");
    fs::File::create(&disk).and_then(|it| it.set_len(64 * MIB)).expect("a disk");
    let real = |name: &str| format!("PATH=/usr/sbin:/usr/bin exec {name} \"$@\"");
    let ambivalent =
        "blkid cannot tell what /dev/nvme0n1 holds (exit status 8), so it is not touched\n";
    for (name, body, wanted) in [
        ("wipefs", "exit 1", "wipefs cannot tell what /dev/nvme0n1 holds, so it is not touched\n"),
        ("blkid", "exit 8", ambivalent),
        ("blkid", "echo zfs_member", "/dev/nvme0n1 holds zfs_member and is not touched: "),
    ] {
        node.stand_in(name, body);
        let said = run(&node, "06-disks", false);
        assert!(said.contains(wanted), "{said}");
        assert!(!node.calls().contains("mkfs"), "{name}");
        node.stand_in(name, &real(name));
    }
    run(&node, "06-disks", true);
    assert_eq!(node.calls().matches("mkfs.ext4 ").count(), 1);
}

#[test]
fn the_file_system_of_somebody_else_is_not_adopted() {
    let node = node("gpt", 4 << 30);
    node.write("etc/nodeforge/disks", "etcd /dev/nvme0n1 rest ext4 /var/lib/etcd\n");
    let disk = node.path("dev/nvme0n1");
    fs::File::create(&disk).and_then(|it| it.set_len(64 * MIB)).expect("a disk");
    let path = disk.display().to_string();
    tool("mkfs.ext4", ["-q", "-L", "photos", &path]);
    let said = run(&node, "06-disks", false);
    let wanted = "the ext4 on /dev/nvme0n1 has the label `photos`, not `etcd`, and is not touched: \
                  `wipefs --all /dev/nvme0n1` empties it for etcd\n";
    assert!(said.ends_with(wanted), "{said}");
    assert!(!node.calls().contains("mount "));
    tool("e2label", [path.as_str(), "etcd"]);
    node.stand_in(
        "findmnt",
        "case $* in *--source*) echo /mnt ;; *MAJ*) echo 254:2 ;; *) exit 1 ;; esac",
    );
    let said = run(&node, "06-disks", false);
    assert!(
        said.ends_with("/dev/nvme0n1 is mounted at /mnt already and is not touched\n"),
        "{said}"
    );
    node.stand_in("findmnt", "case $* in *MAJ*) echo 254:2 ;; *) exit 1 ;; esac");
    run(&node, "06-disks", true);
    assert!(!node.calls().contains("mkfs"));
}

/// Where the cluster file has other sizes than the one that the data was made with, nothing is written
/// over it: the root does not grow over it, and no partition is made of its middle.
#[test]
fn another_layout_overwrites_no_data() {
    let node = node("gpt", 4 << 30);
    run(&node, "05-grow-root", true);
    run(&node, "06-disks", true);
    // What is in the partition of etcd lies on the disk, for whoever knows where.
    let script = "dd status=none if=$NODEFORGE_ROOT/dev/vda3 of=$NODEFORGE_ROOT/dev/vda bs=1M seek=2048 conv=notrunc";
    write_image(&node, "gpt", 4 << 30);
    assert!(node.shell(script).status.success());
    node.forget_calls();
    let table = |node: &Node| partitions(&node.path("dev/vda"));

    let before = table(&node);
    node.write("etc/nodeforge/disks", &DISKS.replace("root - 1024", "root - 1280"));
    let said = run(&node, "05-grow-root", false);
    let wanted = "the root does not grow: at MiB 2048 of /dev/vda begins a partition that was there before \
                  (ext); where it is not needed, `dd if=/dev/zero of=/dev/vda bs=1M count=1 conv=notrunc \
                  seek=2048` ends that\n";
    assert!(said.ends_with(wanted), "{said}");
    assert_eq!(table(&node), before);
    assert!(!node.calls().contains("resize2fs"));

    // Another size for etcd.
    write_image(&node, "gpt", 4 << 30);
    node.write("etc/nodeforge/disks", &DISKS.replace("etcd - 256", "etcd - 128"));
    run(&node, "05-grow-root", true);
    let said = run(&node, "06-disks", false);
    assert!(said.contains("the ext4 of etcd has 256 MiB and its partition 128 MiB: "), "{said}");
    write_image(&node, "gpt", 4 << 30);
    node.write("etc/nodeforge/disks", &DISKS.replace("etcd - 256", "etcd - 512"));
    run(&node, "05-grow-root", true);
    let said = run(&node, "06-disks", false);
    assert!(said.contains("the ext4 of etcd has 256 MiB and its partition 512 MiB: "), "{said}");

    // A smaller root: what is now etcd's begins in what was the root's, and contains what was etcd's.
    let script = "cd $NODEFORGE_ROOT/dev; rm -f part; truncate -s 256M part
        dd status=none if=vda3 of=part bs=1M seek=128 count=64 conv=notrunc; mv part vda3";
    assert!(node.shell(script).status.success());
    write_image(&node, "gpt", 4 << 30);
    for kind in ["ext4 /var/lib/etcd", "xfs /var/lib/etcd", "raw -"] {
        let disks = format!("root - 896 - -\netcd - 256 {kind}\n");
        node.write("etc/nodeforge/disks", &disks);
        let said = run(&node, "06-disks", false);
        let wanted =
            "nothing is made of /dev/vda3 for etcd: at MiB 128 of /dev/vda3 begins a partition";
        assert!(said.contains(wanted), "{said}");
    }
    assert!(!node.calls().contains("mkfs"));
    let script = "dd status=none if=/dev/zero of=$NODEFORGE_ROOT/dev/vda3 bs=1M count=1 conv=notrunc seek=128";
    assert!(node.shell(script).status.success());
    node.write("etc/nodeforge/disks", "root - 896 - -\netcd - 256 ext4 /var/lib/etcd\n");

    // An XFS begins there, and then only its copies do: as mkfs.xfs 6.1 writes them.
    let xfs = |in_progress: u8| {
        let script = format!(
            "{{ printf XFSB; head -c 122 /dev/zero; printf '\\00{in_progress}'; }} |
             dd status=none of=$NODEFORGE_ROOT/dev/vda3 bs=1M conv=notrunc seek=64"
        );
        assert!(node.shell(&script).status.success());
    };
    xfs(0);
    let said = run(&node, "06-disks", false);
    assert!(said.contains("at MiB 64 of /dev/vda3 begins a partition that was there before (xfs)"));
    assert!(!node.calls().contains("mkfs"));
    xfs(1);
    run(&node, "06-disks", true);
    assert_eq!(node.calls().matches("mkfs.ext4 ").count(), 1);
}

#[test]
fn a_disk_without_room_is_told() {
    let node = node("dos", 2 << 30);
    let said = run(&node, "05-grow-root", true);
    assert!(
        said.contains("the disk has no room for a root of 1024 MiB: the root takes all of it\n")
    );
    let said = run(&node, "06-disks", false);
    let wanted = "the partition etcd does not fit: behind the root's 1024 MiB the disk has 0 MiB\n";
    assert!(said.ends_with(wanted), "{said}");
}

/// The cluster file's own rules, to the letter.
#[test]
fn a_layout_that_cannot_be_is_refused_before_anything_is_built() {
    let folder = temporary_folder();
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/quickstart");
    tool("cp", ["-r", &format!("{example}/."), &folder.path().display().to_string()]);
    let file = folder.path().join("cluster.toml");
    let text = fs::read_to_string(&file).expect("there");
    let (before, after) = text.split_once("[disk]\n").expect("it has a disk");
    let (_, after) = after.split_once('\n').expect("and its size");
    let with = |disk: &str| {
        fs::write(&file, format!("{before}[disk]\nsize = \"3G\"\n{disk}\n{after}"))
            .expect("written");
    };
    let part = |keys: &str| format!("root_size = \"8G\"\n[[disk.partition]]\n{keys}");
    for (disk, wanted) in [
        ("root_size = \"2G\"".to_owned(), "`root_size` is smaller than `size`"),
        (part("mount = \"/srv\""), "[[disk.partition]] needs `name`"),
        (part("name = \"a\""), "the partition `a` needs `mount`"),
        (
            part("name = \"a\"\nmount = \"/srv\"\nfilesystem = \"xfs\"\nsize = \"299M\""),
            "this is too small for an XFS",
        ),
        (part("name = \"A b\"\nmount = \"/srv\""), "`A b` is not a name of a partition"),
        (part("name = \"a\"\nmount = \"/etc\""), "nothing can be mounted at `/etc`"),
        (part("name = \"a\"\nmount = \"/srv/../x\""), "nothing can be mounted at `/srv/../x`"),
        (
            part("name = \"a\"\nmount = \"/srv\"\nfilesystem = \"raw\""),
            "a raw partition has no file system that could be mounted",
        ),
        (part("name = \"a\"\nmount = \"/srv\"\ndisk = \"sda\""), "`sda` is not a device"),
        (
            part("name = \"a\"\nmount = \"/srv\"\ndisk = \"/dev/sda\"\nsize = \"1G\""),
            "`/dev/sda` is used as a whole",
        ),
        (
            part("name = \"a\"\nmount = \"/srv\"\nroles = [\"king\"]"),
            "a partition is for the role `king`, which there is not",
        ),
        (
            part("name = \"a\"\nmount = \"/a\"\n[[disk.partition]]\nname = \"b\"\nmount = \"/b\""),
            "`a` takes all that is left, and another follows",
        ),
        (
            part(
                "name = \"a\"\nsize = \"1G\"\nfilesystem = \"raw\"\n[[disk.partition]]\nname = \"b\"\n\
                 mount = \"/b\"",
            ),
            "`b` follows `a`, which is raw",
        ),
        (
            "[[disk.partition]]\nname = \"a\"\nmount = \"/srv\"".to_owned(),
            "[disk] needs `root_size` when other partitions follow the root",
        ),
    ] {
        with(&disk);
        let said = Run::new(["check"]).folder(folder.path()).exits(2).stderr_text();
        assert!(said.contains(&format!("error: {wanted}\n")), "{disk}: {said}");
    }
    with(
        "nvme = \"gen3\"\nroot_size = \"8G\"\n[[disk.partition]]\nname = \"etcd\"\nsize = \"4G\"\n\
         mount = \"/var/lib/etcd\"\nroles = [\"server\"]\n[[disk.partition]]\nname = \"ceph\"\n\
         filesystem = \"raw\"\ndisk = \"/dev/nvme0n1\"",
    );
    let said = Run::new(["check"]).folder(folder.path()).succeeds().stderr_text();
    let warning = "warning: `/dev/nvme0n1`, for `ceph`, may be another disk at the next boot\nhint: a link of ";
    assert!(said.contains(warning), "{said}");
    let said = Run::new(["plan", "-v"]).folder(folder.path()).succeeds().stdout_text();
    for line in
        ["dtparam=pciex1_gen=3", "/usr/lib/nodeforge/firstboot.d/06-disks", "/etc/nodeforge/disks"]
    {
        assert!(said.contains(line), "{line}: {said}");
    }
}
