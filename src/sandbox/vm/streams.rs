//! Many streams over one port: frames of at most 32 KiB, each with its stream's number.
//!
//! The machine opens streams, with a frame that says what for. An empty frame is the end of what its
//! sender has to say in a stream. Frames of stream 0 are signs of life.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The most bytes of a frame, without its header.
pub(super) const LARGEST: usize = 32 << 10;
/// Number and length, as little-endian numbers.
const HEADER: usize = 8;
/// Frames that wait for a slow reader; then the port waits, too.
const WAITING: usize = 64;
/// The stream of signs of life.
pub(super) const LIFE: u32 = 0;

/// One side of the port.
pub(super) struct Streams {
    port: Mutex<Box<dyn Write + Send>>,
    /// An empty one is the end.
    open: Mutex<BTreeMap<u32, SyncSender<Vec<u8>>>>,
}

impl Streams {
    pub(super) fn new(port: impl Write + Send + 'static) -> Arc<Self> {
        Arc::new(Self { port: Mutex::new(Box::new(port)), open: Mutex::default() })
    }

    /// Begins a stream: number and purpose are the caller's.
    pub(super) fn open(
        self: &Arc<Self>,
        number: u32,
        purpose: &str,
    ) -> io::Result<(StreamReader, StreamWriter)> {
        let ends = self.ends(number);
        self.send(number, purpose.as_bytes())?;
        Ok(ends)
    }

    /// Says that this side lives.
    pub(super) fn beat(&self) -> io::Result<()> {
        self.send(LIFE, b".")
    }

    /// Passes on what comes until the port ends. `begin` gets streams that the other side opens, with
    /// what for; `beat` is called for every frame. Streams without an end fail then.
    pub(super) fn receive(
        self: &Arc<Self>,
        port: impl Read,
        begin: impl FnMut(String, StreamReader, StreamWriter),
        beat: impl FnMut(),
    ) -> io::Result<()> {
        let done = self.pass_on(port, begin, beat);
        lock(&self.open).clear();
        done
    }

    fn pass_on(
        self: &Arc<Self>,
        mut port: impl Read,
        mut begin: impl FnMut(String, StreamReader, StreamWriter),
        mut beat: impl FnMut(),
    ) -> io::Result<()> {
        while let Some((number, bytes)) = read_frame(&mut port)? {
            beat();
            if number == LIFE {
                continue;
            }
            let sender = lock(&self.open).get(&number).cloned();
            match sender {
                // Who does not listen any more misses the rest.
                Some(sender) => {
                    if bytes.is_empty() {
                        lock(&self.open).remove(&number);
                    }
                    drop(sender.send(bytes));
                }
                None if bytes.is_empty() => {}
                None => {
                    let (reader, writer) = self.ends(number);
                    begin(String::from_utf8_lossy(&bytes).into_owned(), reader, writer);
                }
            }
        }
        Ok(())
    }

    fn ends(self: &Arc<Self>, number: u32) -> (StreamReader, StreamWriter) {
        let (sender, receiver) = sync_channel(WAITING);
        lock(&self.open).insert(number, sender);
        let reader = StreamReader { receiver, bytes: Vec::new(), read: 0, is_over: false };
        (reader, StreamWriter { streams: Arc::clone(self), number })
    }

    fn send(&self, number: u32, bytes: &[u8]) -> io::Result<()> {
        let length = u32::try_from(bytes.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
        let mut frame = Vec::with_capacity(HEADER + bytes.len());
        frame.extend(number.to_le_bytes());
        frame.extend(length.to_le_bytes());
        frame.extend(bytes);
        let mut port = lock(&self.port);
        port.write_all(&frame)?;
        port.flush()
    }
}

/// What comes in a stream. Its end is what the sender said was the end; a port that is gone is an error.
pub(super) struct StreamReader {
    receiver: Receiver<Vec<u8>>,
    bytes: Vec<u8>,
    read: usize,
    is_over: bool,
}

impl Read for StreamReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.read == self.bytes.len() && !self.is_over {
            let bytes = self.receiver.recv().map_err(|_| io::ErrorKind::UnexpectedEof)?;
            self.is_over = bytes.is_empty();
            (self.bytes, self.read) = (bytes, 0);
        }
        let length = buffer.len().min(self.bytes.len() - self.read);
        buffer[..length].copy_from_slice(&self.bytes[self.read..self.read + length]);
        self.read += length;
        Ok(length)
    }
}

/// What goes into a stream; dropping it says that this was all.
pub(super) struct StreamWriter {
    streams: Arc<Streams>,
    number: u32,
}

impl Write for StreamWriter {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let length = buffer.len().min(LARGEST);
        if length > 0 {
            self.streams.send(self.number, &buffer[..length])?;
        }
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for StreamWriter {
    fn drop(&mut self) {
        // A port that is gone needs no ends of streams.
        drop(self.streams.send(self.number, &[]));
    }
}

/// Copies all that comes to a writer, as it comes.
pub(super) fn pour(from: &mut impl Read, to: &mut impl Write) -> io::Result<u64> {
    let mut buffer = vec![0; LARGEST];
    let mut all = 0;
    loop {
        let length = from.read(&mut buffer)?;
        if length == 0 {
            return Ok(all);
        }
        to.write_all(&buffer[..length])?;
        all += length as u64;
    }
}

fn read_frame(port: &mut impl Read) -> io::Result<Option<(u32, Vec<u8>)>> {
    let mut header = [0; HEADER];
    match port.read_exact(&mut header) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        done => done?,
    }
    let word = |at: usize| u32::from_le_bytes(header[at..at + 4].try_into().expect("four bytes"));
    let length = usize::try_from(word(4)).unwrap_or(usize::MAX);
    if length > LARGEST {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut bytes = vec![0; length];
    port.read_exact(&mut bytes)?;
    Ok(Some((word(0), bytes)))
}

fn lock<T>(it: &Mutex<T>) -> MutexGuard<'_, T> {
    it.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;
    use std::thread;

    use super::*;

    #[test]
    fn streams_do_not_mix_and_each_has_its_end() {
        let (here, there) = UnixStream::pair().unwrap();
        let ours = Streams::new(here.try_clone().unwrap());
        let theirs = Streams::new(there.try_clone().unwrap());
        let answering = Arc::clone(&theirs);
        thread::spawn(move || {
            let echo = |purpose: String, mut reader: StreamReader, mut writer: StreamWriter| {
                thread::spawn(move || {
                    writer.write_all(purpose.as_bytes()).unwrap();
                    pour(&mut reader, &mut writer).unwrap();
                });
            };
            answering.receive(there, echo, || ()).unwrap();
        });
        let receiving = Arc::clone(&ours);
        let reading = here.try_clone().unwrap();
        thread::spawn(move || receiving.receive(reading, |_, _, _| unreachable!(), || ()));
        let mut all: Vec<_> =
            (1..9).map(|number| ours.open(number, &format!("for {number}:")).unwrap()).collect();
        for (number, (_, writer)) in all.iter_mut().enumerate() {
            ours.beat().unwrap();
            writer.write_all(&vec![b'0' + u8::try_from(number).unwrap(); 100_000]).unwrap();
        }
        for (number, (mut reader, writer)) in all.into_iter().enumerate() {
            drop(writer);
            let mut text = String::new();
            reader.read_to_string(&mut text).unwrap();
            let said = format!("for {}:{}", number + 1, number.to_string().repeat(100_000));
            assert!(text == said, "{number}: {} bytes", text.len());
        }
        here.shutdown(std::net::Shutdown::Both).unwrap();
    }

    #[test]
    fn a_port_that_is_gone_is_no_end() {
        let frame = |number: u8, text: &str| {
            let length = u8::try_from(text.len()).unwrap();
            [&[number, 0, 0, 0, length, 0, 0, 0], text.as_bytes()].concat()
        };
        let opened = [frame(1, "x"), frame(1, "abc"), frame(2, "x"), frame(2, "abc"), frame(2, "")];
        // It ends between frames, within one, and with one that is none.
        for rest in [vec![], vec![1, 0], vec![1, 0, 0, 0, 1, 128, 0, 0, 0]] {
            let streams = Streams::new(io::sink());
            let mut readers = Vec::new();
            let port = [opened.concat(), rest.clone()].concat();
            let begin = |_, reader, _| readers.push(reader);
            drop(streams.receive(&*port, begin, || ()));
            let read: Vec<_> = readers
                .iter_mut()
                .map(|it| it.read_to_end(&mut Vec::new()).map_err(|error| error.kind()))
                .collect();
            assert_eq!(read, [Err(io::ErrorKind::UnexpectedEof), Ok(3)], "{rest:?}");
        }
    }

    #[test]
    fn a_frame_that_is_too_long_ends_it() {
        let bytes = [1, 0, 0, 0, 1, 128, 0, 0, 0];
        assert_eq!(read_frame(&mut &bytes[..]).unwrap_err().kind(), io::ErrorKind::InvalidData);
        assert!(read_frame(&mut &bytes[..3]).unwrap().is_none());
    }
}
