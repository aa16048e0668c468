//! Our disks as the FAT crate wants them, and its errors in our words.

use std::io;
use std::sync::Arc;

use hadris_fs::ErrorKind;
use hadris_storage::sync::BlockDevice;
use hadris_storage::{BlockIndex, BlockSize};

use crate::disk::Disk;
use crate::util::error::{Error, Result};

/// The unit of reading and writing in bytes; FAT's own sectors may be larger.
const BLOCK: u32 = 512;

pub(super) type FatError = hadris_fs::Error<io::Error>;

/// Says it as a user would understand it; damage comes with `mending`, the command against it.
pub(super) fn explain(error: FatError, mending: &str) -> Error {
    let message = error.message();
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the library adds errors; its own words do for the others"
    )]
    match error.kind() {
        ErrorKind::NotFound => Error::failure("no such file or directory"),
        ErrorKind::NotADirectory => Error::input("not a directory"),
        ErrorKind::IsADirectory => Error::input("is a directory"),
        ErrorKind::AlreadyExists => Error::input("something is there already"),
        ErrorKind::ReadOnly => Error::failure("the file system is open for reading only"),
        ErrorKind::NoSpace => Error::failure("no space left on the FAT file system"),
        ErrorKind::NameTooLong => Error::input("the name is too long for FAT"),
        ErrorKind::InvalidInput => Error::input("the name cannot be stored on FAT"),
        ErrorKind::FileTooLarge => Error::input("FAT holds no files of 4 GiB or more"),
        ErrorKind::Corrupt => Error::failure("the FAT file system is damaged")
            .hint(format!("{mending}, or start from a fresh image")),
        _ => match error.into_device_error() {
            Some(error) => error.into(),
            None => Error::failure(format!("FAT: {message}")),
        },
    }
}

/// Our disks as the FAT crate wants them. It never flushes, as ours do nothing until the end.
pub(super) struct FatDevice(pub(super) Arc<dyn Disk>);

impl hadris_io::ErrorType for FatDevice {
    type Error = io::Error;
}

impl BlockDevice for FatDevice {
    fn block_size(&self) -> BlockSize {
        BlockSize::new(BLOCK).expect("512 is not zero")
    }

    fn block_count(&self) -> u64 {
        self.0.size() / u64::from(BLOCK)
    }

    fn writable(&self) -> bool {
        self.0.is_writable()
    }

    fn read_blocks(&mut self, first: BlockIndex, buffer: &mut [u8]) -> Result<(), FatError> {
        self.0
            .read_at(buffer, offset(first)?)
            .map_err(|error| FatError::device(error, "reading failed"))
    }

    fn write_blocks(&mut self, first: BlockIndex, data: &[u8]) -> Result<(), FatError> {
        self.0
            .write_at(data, offset(first)?)
            .map_err(|error| FatError::device(error, "writing failed"))
    }
}

fn offset(block: BlockIndex) -> Result<u64, FatError> {
    block
        .get()
        .checked_mul(u64::from(BLOCK))
        .ok_or(FatError::new(ErrorKind::Corrupt, "a block beyond any disk"))
}
