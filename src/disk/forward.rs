//! A compressed image that is decompressed while it is read: from front to back, once.

use std::io::{self, Read};
use std::sync::Mutex;

use super::Disk;
use crate::util::error::{Error, Result};

/// Bytes at the beginning that can be read again and again: partition tables are there.
const HEAD: u64 = 1 << 20;

/// An image as a stream. Its first MiB can be read at any time; what follows, only in rising
/// order.
pub(super) struct Forward {
    size: u64,
    head: Vec<u8>,
    stream: Mutex<Stream>,
}

struct Stream {
    reader: Box<dyn Read + Send>,
    position: u64,
}

impl Forward {
    /// An image of `size` bytes, which is what the stream is said to have.
    pub(super) fn new(mut reader: Box<dyn Read + Send>, size: u64) -> Result<Self> {
        let length = usize::try_from(size.min(HEAD)).expect("a MiB fits in memory");
        let mut head = vec![0; length];
        reader.read_exact(&mut head).map_err(cut_short)?;
        let mut stream = Stream { reader, position: length as u64 };
        stream.check_end(size)?;
        Ok(Self { size, head, stream: Mutex::new(stream) })
    }

    /// The beginning.
    pub(super) fn head(&self) -> &[u8] {
        &self.head
    }
}

fn cut_short(error: io::Error) -> io::Error {
    if error.kind() != io::ErrorKind::UnexpectedEof {
        return error;
    }
    Error::input("it unpacks to less than it says").hint("get it again").into()
}

impl Stream {
    fn read_at(&mut self, buffer: &mut [u8], offset: u64, size: u64) -> io::Result<()> {
        let skip = offset.checked_sub(self.position).ok_or_else(|| {
            io::Error::new(io::ErrorKind::NotSeekable, "it can only be read from front to back")
        })?;
        let skipped = io::copy(&mut (&mut self.reader).take(skip), &mut io::sink())?;
        self.position += skipped;
        if skipped < skip {
            return Err(cut_short(io::ErrorKind::UnexpectedEof.into()));
        }
        self.reader.read_exact(buffer).map_err(cut_short)?;
        self.position += buffer.len() as u64;
        self.check_end(size)
    }

    /// At its end only, a stream shows that it was whole: checksums come after the data.
    fn check_end(&mut self, size: u64) -> io::Result<()> {
        if self.position == size && self.reader.read(&mut [0])? > 0 {
            return Err(Error::input("it unpacks to more than it says")
                .hint("get it again")
                .into());
        }
        Ok(())
    }
}

impl Disk for Forward {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        super::check_bounds(self.size, offset, buffer.len())?;
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let head = self.head.get(start..).unwrap_or_default();
        let (first, rest) = buffer.split_at_mut(head.len().min(buffer.len()));
        first.copy_from_slice(&head[..first.len()]);
        if rest.is_empty() {
            return Ok(());
        }
        let offset = offset + first.len() as u64;
        self.stream.lock().expect("no reader panicked").read_at(rest, offset, self.size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forward(length: usize, size: u64) -> Result<Forward> {
        let bytes: Vec<u8> = (0..length).map(|at| u8::try_from(at % 251).unwrap()).collect();
        Forward::new(Box::new(io::Cursor::new(bytes)), size)
    }

    #[test]
    fn it_reads_forward_and_its_head_always() {
        let disk = forward(3 << 20, 3 << 20).unwrap();
        let byte = |offset: u64| {
            let mut buffer = [0; 3];
            disk.read_at(&mut buffer, offset).map(|()| u64::from(buffer[0]) == offset % 251)
        };
        for offset in [0, 1 << 20, 0, (1 << 20) - 1, 2 << 20, 5, (3 << 20) - 3, 77] {
            assert!(byte(offset).unwrap_or(offset == (1 << 20) - 1), "{offset}");
        }
        assert!(byte(2 << 20).is_err());
        assert!(byte((3 << 20) - 2).is_err());
    }

    #[test]
    fn a_stream_that_is_not_what_it_says_is_found_out() {
        assert!(forward(100, 200).is_err());
        assert!(forward(200, 100).is_err());
        assert!(forward(100, 100).is_ok());
        let mut buffer = vec![0; 1 << 20];
        let less = forward((2 << 20) - 1, 2 << 20).unwrap();
        let error = Error::from(less.read_at(&mut buffer, 1 << 20).unwrap_err());
        assert_eq!(error.to_string(), "it unpacks to less than it says");
        let more = forward((2 << 20) + 1, 2 << 20).unwrap();
        let error = Error::from(more.read_at(&mut buffer, 1 << 20).unwrap_err());
        assert_eq!(error.to_string(), "it unpacks to more than it says");
    }
}
