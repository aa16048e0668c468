//! Bases made from Debian's packages: the same bits for every user.

use std::fs;
use std::path::{Path, PathBuf};

use super::support::{Run, User, partitions, tool};

const CLUSTER: &str = "[cluster]\nname = \"t\"\nprofile = \"quickstart\"\n[base]\n\
    bootstrap = { suite = \"trixie\", arch = \"amd64\", layout = \"bios-uefi\" }\n\
    [access]\nuser = \"pi\"\nssh_authorized_keys = \
    [\"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJqRRKt7qZ+7PAkXhbpA1tWiPCsw4oM/WAAYKXuoXMQS t\"]\n\
    [[node]]\nhostname = \"server1\"\n";

/// A run that gets a base into a cache of the folder's own.
fn fetch(user: &User, folder: &Path, zone: &str) -> Run {
    fs::write(folder.join("cluster.toml"), CLUSTER).expect("written");
    Run::by(user, ["fetch", "--json"])
        .folder(folder)
        .env("XDG_CACHE_HOME", folder.join("cache"))
        .env("TZ", zone)
}

/// Gives the image, its hash as nodeforge says it, and whether it was there already.
fn said(run: Run) -> (PathBuf, String, bool) {
    let said: serde_json::Value =
        serde_json::from_str(&run.succeeds().stdout_text()).expect("JSON");
    let text = |name: &str| said[name].as_str().expect("a text").to_owned();
    (PathBuf::from(text("path")), text("sha256"), said["cached"] == true)
}

/// In another time zone, at another moment, and by another user, who knows nothing of the first but
/// the lock.
fn check_reproducibility(first: &User, last: &User) {
    let folders = [first.folder(), last.folder()];
    let [folder, others] = [folders[0].path(), folders[1].path()];
    let run = || fetch(first, folder, "America/Lima");
    let (image, hash, cached) = said(run().env("SOURCE_DATE_EPOCH", "1700000000"));
    assert!(!cached);
    assert_eq!(said(run()), (image.clone(), hash.clone(), true));
    fs::copy(folder.join("nodeforge.lock"), others.join("nodeforge.lock")).expect("copied");
    let (other, other_hash, _) = said(fetch(last, others, "Asia/Tokyo").args(["--locked"]));
    tool("cmp", [&image, &other]);
    assert_eq!(hash, other_hash);

    let parts = partitions(&image);
    let range = |number| parts.iter().find(|it| it.0 == number).expect("a partition").1.clone();
    let root = format!("{}?offset={}", image.display(), range(1).start);
    tool("e2fsck", ["-fn", &root]);
    let esp = folder.join("esp");
    let [skip, count] = [range(15).start, range(15).end - range(15).start];
    let copy = format!(
        "dd if='{}' of='{}' bs=1M iflag=skip_bytes,count_bytes skip={skip} count={count}",
        image.display(),
        esp.display()
    );
    tool("sh", ["-c", &copy]);
    tool("fsck.fat", ["-n".as_ref(), esp.as_os_str()]);
    // systemd-resolved keeps the `resolv.conf` that it finds: the name servers of this machine.
    let names = tool("debugfs", ["-R", "ls -p /etc", &root]);
    assert!(names.contains("/resolv.conf/") && !names.contains("/.resolv.conf"), "{names}");
    // 2023-11-14 22:13:20 UTC, to the second.
    let said = tool("debugfs", ["-R", "stat /etc/hosts", &root]);
    assert_eq!(said.matches("time: 0x6553f100:00000000").count(), 4, "{said}");
}

#[test]
fn a_bootstrap_gives_the_same_bits_again() {
    check_reproducibility(&User::ordinary(), &User::ordinary());
}

mod long {
    mod as_root {
        use crate::support::User;

        #[test]
        #[ignore = "long: two further bootstraps, needs root"]
        fn a_bootstrap_gives_another_user_the_same_bits() {
            super::super::check_reproducibility(&User::root(), &User::ordinary());
        }
    }
}
