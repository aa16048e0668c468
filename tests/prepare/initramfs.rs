//! The initramfs of an image that wants it made for the machine at hand, as Raspberry Pi OS does: in a
//! sandbox there is no such machine.

use std::fs;
use std::path::Path;

use super::{Stand, base, bootstrapped, cat, image, root};
use crate::support::{Run, User, tool};

/// pi-gen's export-image/05-finalise: `MODULES=dep`. Nothing says of which type the root is.
const CONFIG: &str = "MODULES=dep\nBUSYBOX=auto\nCOMPRESS=zstd\nFSTYPE=auto\n";

/// A base of this user's own with those settings.
fn with_dep(user: &User) -> Stand {
    let original = base(user);
    let folder = user.folder();
    let copy = folder.path().join("base.img");
    let mut cp = user.command("cp");
    cp.args(["--sparse=always"]).arg(&original).arg(&copy);
    assert!(cp.status().expect("cp starts").success());
    let config = folder.path().join("initramfs.conf");
    fs::write(&config, CONFIG).expect("written");
    let place = |path: &str| format!("{}:/etc/initramfs-tools/{path}", copy.display());
    Run::by(user, ["cp", &config.display().to_string(), &place("initramfs.conf")]).succeeds();
    Run::by(user, ["rm", &place("conf.d/root")]).succeeds();
    let mut stand = Stand::on(user.clone(), copy);
    stand.keep(folder);
    stand
}

/// Wants lvm2 in the initramfs of the prepared image, with all that a root may need, and the image's own
/// settings where they were.
fn check(made: &Path, config: &str, modules: &[&str]) {
    tool("e2fsck", ["-fn", &root(made)]);
    assert_eq!(cat(made, "/etc/initramfs-tools/initramfs.conf"), config);
    for (folder, left) in
        [("/etc/initramfs-tools/conf.d", "zz-nodeforge"), ("/usr/sbin", "nodeforge-aside")]
    {
        let names = tool("debugfs", ["-R", &format!("ls -p {folder}"), &root(made)]);
        assert!(!names.contains(left), "{names}");
    }
    let boot = tool("debugfs", ["-R", "ls -p /boot", &root(made)]);
    let name = boot.split('/').find(|it| it.starts_with("initrd.img-")).expect("an initramfs");
    let file = tempfile::NamedTempFile::new().expect("a file");
    let path = file.path().display().to_string();
    tool("debugfs", ["-R", &format!("dump /boot/{name} {path}"), &root(made)]);
    let list = tool("lsinitramfs", [&path]);
    for wanted in ["usr/sbin/lvm", "usr/sbin/fsck.ext4"].iter().chain(modules) {
        let is_there =
            |line: &str| line.ends_with(wanted) || line.contains(&format!("{wanted}.ko"));
        assert!(list.lines().any(is_there), "{wanted} is not in {name}:\n{list}");
    }
}

const LVM2: &str = "[packages]\ninstall = [\"lvm2\"]\n";
const MODULES: [&str; 5] = ["/ext4", "/virtio_blk", "/nvme", "/sdhci", "/dm-mod"];

#[test]
fn modules_of_a_machine_that_is_not_there_are_not_asked_for() {
    let stand = with_dep(&User::ordinary());
    stand.profile(LVM2);
    check(&image(&stand.prepare(&[])), CONFIG, &MODULES);
}

mod long {
    use super::*;

    /// The stand-in for Raspberry Pi OS has those settings from its beginning.
    #[test]
    #[ignore = "long: makes an initramfs with another processor's programs"]
    fn an_arm64_image_of_raspberry_pi_os_layout_gets_its_initramfs() {
        let bootstrap = "suite = \"trixie\", arch = \"arm64\", layout = \"raspberry-pi\"";
        let base = bootstrapped(&User::current(), bootstrap);
        let config = cat(&base, "/etc/initramfs-tools/initramfs.conf");
        assert!(config.starts_with("MODULES=dep\n"), "{config}");
        let stand = Stand::on(User::current(), base);
        stand.profile(LVM2);
        check(&image(&stand.prepare(&[])), &config, &MODULES);
    }

    mod as_root {
        use super::*;

        #[test]
        #[ignore = "long: the other sandbox; needs root"]
        fn modules_of_a_machine_that_is_not_there_are_not_asked_for() {
            let stand = with_dep(&User::root());
            stand.profile(LVM2);
            check(&image(&stand.prepare(&["--sandbox", "loop"])), CONFIG, &MODULES);
        }
    }
}
