//! File systems as others made, kept and damaged them, judged by their own tools.

mod bases;
mod directories;
mod ext3;
mod fat;
mod free_space;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::support::{Run, temporary_folder, tool};

/// A folder to work in, and a run of nodeforge in it.
struct Bench {
    folder: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        Self { folder: temporary_folder() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, content: &[u8]) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("below the folder")).expect("a folder");
        fs::write(path, content).expect("written");
    }

    fn run(&self, command: &str) -> Run {
        Run::new(command.split(' ')).folder(self.folder.path())
    }

    /// Runs a script, wants it to succeed, and returns what it printed.
    #[track_caller]
    fn shell(&self, script: &str) -> String {
        tool("sh", ["-ec", &format!("cd '{}' && {script}", self.folder.path().display())])
    }

    /// Whether a checker has nothing to say.
    fn is_clean(&self, checker: &str) -> bool {
        let mut command = Command::new("sh");
        command.args(["-c", &format!("PATH=$PATH:/usr/sbin:/sbin; {checker}")]);
        let output = command.current_dir(self.folder.path()).output().expect("sh starts");
        output.status.success()
    }

    /// An image of so many MiB made by mke2fs, with the folder `tree` in it.
    fn mke2fs(&self, image: &str, size: u64, options: &str) {
        let file = File::create(self.path(image)).expect("an image");
        file.set_len(size << 20).expect("space");
        self.shell(&format!("mke2fs -q -F -E root_owner=0:0 {options} -d tree {image}"));
    }

    /// Does what a message says to do: every command in it that stands in backticks.
    #[track_caller]
    fn follow(&self, message: &str) {
        let hint = message.split("hint: ").nth(1).unwrap_or_else(|| panic!("a hint: {message}"));
        let commands: Vec<&str> = hint.split('`').skip(1).step_by(2).collect();
        assert!(!commands.is_empty(), "{message}");
        for command in commands {
            // Checkers tell by their exit code that they mended something.
            self.shell(&format!("{command} || [ $? = 1 ]"));
        }
    }
}

/// Overwrites bytes of a file.
fn patch(path: &Path, at: u64, bytes: &[u8]) {
    use std::os::unix::fs::FileExt as _;
    let file = File::options().write(true).open(path).expect("opened");
    file.write_all_at(bytes, at).expect("written");
}
