use std::fs::{self, File};
use std::path::PathBuf;

use rustix::fs::{FlockOperation, flock};

use super::{User, tool};

/// A program of Python packages, each `name==version`, installed into the tests' cache by the first
/// test that wants it.
pub(crate) fn python_tool(packages: &[&str], program: &str) -> PathBuf {
    let folder = User::current().cache();
    fs::create_dir_all(&folder).expect("a folder");
    // Tests that run at once install once.
    let lock = File::create(folder.join("lock")).expect("a lock");
    flock(&lock, FlockOperation::LockExclusive).expect("locked");
    let environment = folder.join(packages.join("+"));
    let done = environment.join("installed");
    if !done.exists() {
        let path = environment.to_str().expect("UTF-8");
        tool("python3", ["-m", "venv", "--clear", path]);
        let pip = format!("{path}/bin/pip");
        tool(&pip, ["install", "--quiet"].iter().chain(packages));
        // Written last: without it, the next run starts over.
        File::create(done).expect("marked");
    }
    environment.join("bin").join(program)
}
