//! A fresh Debian 13 with what README installs, whatever the machine is that the tests run on.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Command, Output};

use super::user::require_root;
use super::{User, short_hash, temporary_folder, tool};
use rustix::fs::{FlockOperation, flock};

const README: &str = include_str!("../../README.md");

/// Who does something there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    /// Root, whose home is `/root`.
    Root,
    /// `user`, an ordinary user with subordinate ids, whose home is `/home/user`.
    Ordinary,
}

/// A root file system of its own, in which nodeforge is `/usr/local/bin/nodeforge` and this checkout
/// is `/src`, for reading. What is done there is gone with it, but for nodeforge's cache.
///
/// It is entered with `pivot_root(8)`: in a chroot, the kernel lets nobody make user namespaces.
pub(crate) struct Debian13 {
    root: tempfile::TempDir,
}

/// Runs a script inside. Devices are the few that every
/// container has, and the machine's for loops.
const ENTER: &str = r#"
set -e
root=$1 user=$2 script=$3 binary=$4 source=$5 cache=$6
mount --bind "$root" "$root"
mount -t proc proc "$root/proc"
mount -t sysfs -o ro sysfs "$root/sys"
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
mkdir "$root/dev/pts" "$root/dev/shm" "$root/dev/net"
chmod 1777 "$root/dev/shm"
mount -t devpts -o newinstance,ptmxmode=666,mode=620 devpts "$root/dev/pts"
ln -s pts/ptmx "$root/dev/ptmx"
ln -s /proc/self/fd "$root/dev/fd"
for name in stdin/0 stdout/1 stderr/2; do ln -s "/proc/self/fd/${name#*/}" "$root/dev/${name%/*}"; done
for device in null zero full random urandom tty fuse kvm net/tun loop-control /dev/loop[0-9]*; do
	device=${device#/dev/}
	[ -c "/dev/$device" ] || [ -b "/dev/$device" ] || continue
	: >"$root/dev/$device"
	mount --bind "/dev/$device" "$root/dev/$device"
done
: >"$root/usr/local/bin/nodeforge"
mount --bind "$binary" "$root/usr/local/bin/nodeforge"
mkdir -p "$root/src"
mount --bind "$source" "$root/src"
mount -o remount,bind,ro "$root/src"
if [ "$user" = root ]; then home=/root; else home=/home/user; fi
mkdir -p "$root$home/.cache/nodeforge"
mount --bind "$cache" "$root$home/.cache/nodeforge"
[ "$user" = root ] || chown 59999:59999 "$root$home/.cache" "$cache"
cp -L /etc/resolv.conf "$root/etc/resolv.conf"
cd "$root"
mkdir -p .host
pivot_root . .host
umount -l .host
cd "$home"
exec setpriv --reuid "$user" --regid "$user" --init-groups -- env -i HOME="$home" USER="$user" \
	LOGNAME="$user" PATH=/usr/local/bin:/usr/bin:/bin${admin:+:/usr/sbin:/sbin} LANG=C.UTF-8 sh -c "$script"
"#;

impl Debian13 {
    /// Takes root. The first one installs it, which takes a minute.
    #[track_caller]
    pub(crate) fn new() -> Self {
        require_root();
        let root = temporary_folder();
        tool(
            "cp",
            ["-a", "--reflink=auto", &format!("{}/.", installed().display())]
                .map(PathBuf::from)
                .iter()
                .chain([&root.path().to_owned()]),
        );
        Self { root }
    }

    /// Runs a script of sh(1) in the home of the one who runs it.
    pub(crate) fn output(&self, who: Who, script: &str) -> Output {
        let user = if who == Who::Root { "root" } else { "user" };
        let mut command = Command::new("unshare");
        command.args(["--mount", "--pid", "--fork", "--kill-child", "sh", "-c", ENTER, "sh"]);
        command.arg(self.root.path()).arg(user).arg(script);
        command.arg(env!("CARGO_BIN_EXE_nodeforge")).arg(env!("CARGO_MANIFEST_DIR"));
        command.arg(cache(who));
        if who == Who::Root {
            command.env("admin", "1");
        }
        command.current_dir("/").output().expect("unshare starts")
    }

    /// The same, wants it to succeed, and returns its stdout.
    #[track_caller]
    pub(crate) fn run(&self, who: Who, script: &str) -> String {
        let output = self.output(who, script);
        let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{script}: {}\n{stdout}\n{stderr}", output.status);
        stdout
    }
}

/// What nodeforge keeps there from run to run: downloads, and bases made from them.
fn cache(who: Who) -> PathBuf {
    let name = if who == Who::Root { "root" } else { "user" };
    let folder = User::current().cache().join("debian13-cache").join(name);
    fs::create_dir_all(&folder).expect("a folder");
    folder
}

/// The packages that README has users install for what nodeforge runs.
fn packages() -> String {
    let line =
        README.lines().find_map(|line| line.strip_prefix("sudo apt-get install mmdebstrap "));
    format!("mmdebstrap {}", line.expect("README says what to install")).replace(' ', ",")
}

/// The folder in the tests' cache, named by what it was made with.
fn installed() -> PathBuf {
    let cache = User::current().cache();
    fs::create_dir_all(&cache).expect("a folder");
    let include = packages();
    let accounts = "useradd --root \"$1\" --create-home --uid 59999 --shell /bin/sh user";
    let made_with = format!("{include}\n{accounts}");
    let folder = cache.join(format!("debian13-{}", short_hash(&made_with)));
    // Tests that run at once install once.
    let lock = File::create(cache.join("debian13.lock")).expect("a lock");
    flock(&lock, FlockOperation::LockExclusive).expect("locked");
    if !folder.exists() {
        let new = cache.join("debian13.new");
        if new.exists() {
            fs::remove_dir_all(&new).expect("removed");
        }
        let hook = format!("--customize-hook={accounts}");
        let include = format!("--include={include}");
        let arguments = [
            "--quiet",
            "--variant=minbase",
            "--aptopt=Apt::Install-Recommends \"false\"",
            &include,
            &hook,
            "trixie",
        ];
        tool(
            "mmdebstrap",
            arguments
                .into_iter()
                .chain([new.to_str().expect("UTF-8"), "http://deb.debian.org/debian"]),
        );
        fs::rename(new, &folder).expect("renamed");
    }
    folder
}
