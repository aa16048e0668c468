//! The full output of apt and its like, in a file; its last lines, for errors.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, PipeReader, Read, Write};
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::retry_on_intr;
use rustix::process::{Pid, Signal, kill_process};

use crate::sandbox;
use crate::util::error::{Context, Error, Result};
use crate::util::new_files;

/// How many lines an error shows.
const SHOWN: usize = 12;

/// How many are kept to look for the reason in.
const KEPT: usize = 400;

/// The most bytes of a line, and of a log.
const LONGEST_LINE: u64 = 64 << 10;
const LARGEST: u64 = 64 << 20;

/// The end of a pipe that is read with patience, or without end.
struct Patient {
    pipe: PipeReader,
    patience: Option<Duration>,
}

impl Read for Patient {
    /// `TimedOut` when nothing comes.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if let Some(patience) = self.patience {
            let limit = Timespec::try_from(patience).map_err(io::Error::other)?;
            let mut pipe = [PollFd::new(&self.pipe, PollFlags::IN)];
            if retry_on_intr(|| poll(&mut pipe, Some(&limit)))? == 0 {
                return Err(io::ErrorKind::TimedOut.into());
            }
        }
        self.pipe.read(buffer)
    }
}

/// A log file being written.
pub(crate) struct Log {
    file: File,
    path: PathBuf,
    /// How many bytes it may still grow by.
    left: u64,
    last: VecDeque<String>,
}

impl Log {
    /// Starts an empty log.
    pub(crate) fn create(path: &Path) -> Result<Self> {
        // Of a machine's worker it is a port, which ends in a file outside.
        let is_port = fs::metadata(path).is_ok_and(|it| it.file_type().is_char_device());
        let file = if is_port {
            File::options().write(true).open(path)
        } else {
            new_files::make_anew(path)
        };
        let file = file.context(|| format!("cannot create the log `{}`", path.display()))?;
        Ok(Self { file, path: path.to_owned(), left: LARGEST, last: VecDeque::new() })
    }

    /// Runs a program to its end; everything it writes goes to the log, and by line to `watch`. In a
    /// sandbox, what it has left running ends then too.
    pub(crate) fn follow(
        &mut self,
        command: Command,
        watch: impl FnMut(&str),
    ) -> Result<ExitStatus> {
        self.follow_within(None, command, watch)
    }

    /// As [`Self::follow`]; a program that says nothing for `patience` is killed, which is an error.
    pub(crate) fn follow_within(
        &mut self,
        patience: Option<Duration>,
        mut command: Command,
        mut watch: impl FnMut(&str),
    ) -> Result<ExitStatus> {
        self.last.clear();
        let name = command.get_program().to_string_lossy().into_owned();
        let (reader, writer) = io::pipe()?;
        command.stdin(Stdio::null()).stdout(writer.try_clone()?).stderr(writer);
        let (sender, started) = mpsc::channel();
        thread::scope(|scope| -> Result<ExitStatus> {
            let name = &name;
            let running = scope.spawn(move || {
                sandbox::suppress_sync();
                let child = command.spawn().context(|| format!("cannot start `{name}`"));
                // It holds this process's ends of the pipe, which would then never end.
                drop(command);
                let mut child = child?;
                // Nobody listens any more where the log could not be written.
                let _ = sender.send(Pid::from_child(&child));
                let status = child.wait()?;
                // What it leaves running has the pipe as well: a daemon would keep it for ever.
                sandbox::end_others();
                Ok(status)
            });
            let kept = self.keep(Patient { pipe: reader, patience }, &mut watch);
            let is_silent = kept.as_ref().is_err_and(|it| it.kind() == io::ErrorKind::TimedOut);
            if is_silent && let Ok(pid) = started.recv() {
                // It may have ended this moment.
                let _ = kill_process(pid, Signal::KILL);
            }
            let status = running
                .join()
                .map_err(|_| Error::failure("the thread that waits for a program ended early"))?;
            if let (true, Some(patience)) = (is_silent, patience) {
                let minutes = patience.as_secs() / 60;
                return Err(Error::failure(format!(
                    "`{name}` said nothing for {minutes} minutes, and was ended"
                )));
            }
            kept.context(|| format!("cannot write `{}`", self.path.display()))?;
            status
        })
    }

    /// Keeps all that is said.
    fn keep(&mut self, reader: impl Read, watch: &mut impl FnMut(&str)) -> io::Result<()> {
        let mut reader = BufReader::new(reader);
        let mut bytes = Vec::new();
        while reader.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut bytes)? > 0 {
            // Programs of an image may say as much as they like.
            self.left = self.left.saturating_sub(bytes.len() as u64);
            if self.left > 0 {
                self.file.write_all(&bytes)?;
            }
            let line = String::from_utf8_lossy(&bytes);
            let line = line.trim_end();
            watch(line);
            if !line.is_empty() {
                if self.last.len() == KEPT {
                    self.last.pop_front();
                }
                self.last.push_back(line.to_owned());
            }
            bytes.clear();
        }
        Ok(())
    }

    /// The last program's last lines, oldest first.
    pub(crate) fn last_lines(&self) -> impl Iterator<Item = &str> {
        self.last.iter().map(String::as_str)
    }

    /// Adds to an error what the program said last, and where all of it is.
    pub(crate) fn blame(&self, error: Error) -> Error {
        let skip = self.last.len().saturating_sub(SHOWN);
        let tail: Vec<&str> = self.last_lines().skip(skip).collect();
        let error = if tail.is_empty() {
            error
        } else {
            error.hint(format!("the last it said:\n{}", tail.join("\n")))
        };
        error.hint(format!("the full log is `{}`", self.path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_reaches_file_and_watcher() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let mut log = Log::create(&path).unwrap();
        let mut seen = Vec::new();
        let mut command = Command::new("sh");
        command.args(["-c", "echo one; echo two >&2; printf three; exit 4"]);
        let status = log.follow(command, |line| seen.push(line.to_owned())).unwrap();
        assert_eq!(status.code(), Some(4));
        assert_eq!(seen, ["one", "two", "three"]);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "one\ntwo\nthree");
        let error = log.blame(Error::failure("it failed"));
        assert_eq!(error.problems()[0].hints[0], "the last it said:\none\ntwo\nthree");
    }

    #[test]
    fn who_is_silent_for_too_long_is_ended() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = Log::create(&folder.path().join("log")).unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "echo one; exec sleep 600"]);
        let patience = Some(Duration::from_millis(300));
        let error = log.follow_within(patience, command, |_| {}).unwrap_err();
        assert_eq!(error.problems()[0].message, "`sh` said nothing for 0 minutes, and was ended");
        assert_eq!(log.last_lines().collect::<Vec<_>>(), ["one"]);
    }
}
