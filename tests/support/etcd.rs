//! etcd of the series that kubeadm's images have, whatever the machine's own is.

use std::fs::{self, File};
use std::path::PathBuf;

use super::{User, tool};
use rustix::fs::{FlockOperation, flock};

/// apt verifies what it downloads; nothing is installed, and no service of the machine's begins or ends.
const UNPACK: &str = r#"
set -eu
cd "$0"
mkdir -p lists/partial archives/partial
echo 'deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian trixie main' >sources.list
: >status
apt() {
	apt-get -qq -o Dir::Etc::SourceList="$0/sources.list" -o Dir::Etc::SourceParts=/dev/null -o Dir::State::Lists="$0/lists" \
		-o Dir::State::Status="$0/status" -o Dir::Cache="$0" -o APT::Sandbox::User= -o Acquire::Languages=none "$@"
}
apt update
apt download etcd-server etcd-client
for package in *.deb; do dpkg-deb --extract "$package" .; done
"#;

/// The folder in the tests' cache with Debian 13's `etcd`, `etcdctl` and `etcdutl`, of version 3.5.
pub(crate) fn etcd_of_debian_13() -> PathBuf {
    let cache = User::current().cache();
    fs::create_dir_all(&cache).expect("a folder");
    let folder = cache.join("etcd-trixie");
    // Tests that run at once download once.
    let lock = File::create(cache.join("etcd-trixie.lock")).expect("a lock");
    flock(&lock, FlockOperation::LockExclusive).expect("locked");
    if !folder.exists() {
        let new = cache.join("etcd-trixie.new");
        if new.exists() {
            fs::remove_dir_all(&new).expect("removed");
        }
        fs::create_dir(&new).expect("a folder");
        tool("sh", ["-c".as_ref(), UNPACK.as_ref(), new.as_os_str()]);
        fs::rename(new.join("usr/bin"), &folder).expect("renamed");
        fs::remove_dir_all(new).expect("removed");
    }
    folder
}
