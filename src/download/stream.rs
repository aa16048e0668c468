//! The body of an answer as it comes: in pieces, with an eye on the user and on the clock.

use std::io::{self, Read};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::Instant;

use super::pace::Pace;
use super::retry::Fault;
use super::wanted::CHUNK;
use crate::util::error::{Error, Result};
use crate::util::interrupt;

/// Chunks that may wait between the network and everybody else.
const WAITING: usize = 8;

/// Why no more of a body comes.
pub(crate) enum StreamTrouble {
    /// The user asked to stop.
    Stopped(Error),
    /// The connection broke: another may do.
    Fault(Fault),
    /// The server sends next to nothing.
    Slow(Error),
}

/// A body.
pub(crate) struct BodyStream<'a> {
    chunks: Receiver<io::Result<Vec<u8>>>,
    pace: Pace,
    url: &'a str,
}

impl<'a> BodyStream<'a> {
    pub(crate) fn new(body: impl Read + Send + 'static, url: &'a str) -> Self {
        Self { chunks: pump(body), pace: Pace::default(), url }
    }

    /// The next piece; `None` at the end.
    pub(crate) fn next(&mut self) -> Result<Option<Vec<u8>>, StreamTrouble> {
        loop {
            interrupt::check().map_err(StreamTrouble::Stopped)?;
            let began = Instant::now();
            let came = self.chunks.recv_timeout(interrupt::POLL);
            let bytes = came.as_ref().map_or(0, |it| it.as_ref().map_or(0, Vec::len));
            match came {
                Ok(Err(error)) => return Err(StreamTrouble::Fault(broken(self.url, &error))),
                Err(RecvTimeoutError::Disconnected) => return Ok(None),
                Ok(Ok(_)) | Err(RecvTimeoutError::Timeout) => {}
            }
            let pace = self.pace.add(bytes, began.elapsed(), self.url);
            pace.map_err(StreamTrouble::Slow)?;
            if let Ok(Ok(chunk)) = came {
                return Ok(Some(chunk));
            }
        }
    }
}

/// What went wrong while a body was read.
fn broken(url: &str, error: &io::Error) -> Fault {
    let text = error.to_string();
    Fault::passing(Error::failure(text).context(format!("the connection to `{url}` broke")))
}

/// Reads a body in a thread of its own, which ends with the body or when its receiver is gone.
fn pump(mut body: impl Read + Send + 'static) -> Receiver<io::Result<Vec<u8>>> {
    let (sender, receiver) = sync_channel(WAITING);
    std::thread::spawn(move || {
        loop {
            let mut chunk = vec![0; CHUNK];
            // Short reads are passed on as they are: a slow line should show progress.
            let read = body.read(&mut chunk).map(|length| chunk.truncate(length));
            let is_error = read.is_err();
            if !is_error && chunk.is_empty() {
                break;
            }
            if sender.send(read.map(|()| chunk)).is_err() || is_error {
                break;
            }
        }
    });
    receiver
}
