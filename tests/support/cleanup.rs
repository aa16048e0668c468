use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;

/// Has a folder that a static holds removed when this process ends, however it ends: nobody drops
/// statics.
pub(crate) fn remove_at_exit(folder: &Path) {
    static REMOVERS: Mutex<Vec<Child>> = Mutex::new(Vec::new());
    let remover = Command::new("sh")
        // Nothing is ever written to it: it reads until this process is gone.
        .args(["-c", "cat; rm -rf \"$1\"", "sh"])
        .arg(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        // An interrupt ends the tests, not what tidies up after them.
        .process_group(0)
        .spawn()
        .expect("sh starts");
    REMOVERS.lock().expect("no panic").push(remover);
}
