use std::fs::File;
use std::path::PathBuf;
use std::process::Command;

use rustix::fs::{FlockOperation, flock};

use super::Person;

/// A program of a Python package, `name==version`, installed into the cache folder by the first
/// test that wants it.
pub(crate) fn python_tool(package: &str, program: &str) -> PathBuf {
    let home = Person::me().home;
    let cache =
        std::env::var_os("XDG_CACHE_HOME").map_or_else(|| home.join(".cache"), PathBuf::from);
    let folder = cache.join("nodeforge-tests");
    std::fs::create_dir_all(&folder).expect("a folder");
    // Tests that run at once install once.
    let lock = File::create(folder.join("lock")).expect("a lock");
    flock(&lock, FlockOperation::LockExclusive).expect("locked");
    let environment = folder.join(package);
    let done = environment.join("installed");
    if !done.exists() {
        let run = |program: PathBuf, arguments: &[&str]| {
            let output = Command::new(&program).args(arguments).output();
            let output = output.unwrap_or_else(|error| panic!("{}: {error}", program.display()));
            let stderr = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{} {arguments:?}: {stderr}", program.display());
        };
        let path = environment.to_str().expect("UTF-8");
        run("python3".into(), &["-m", "venv", "--clear", path]);
        run(environment.join("bin/pip"), &["install", "--quiet", package]);
        File::create(done).expect("marked");
    }
    environment.join("bin").join(program)
}
