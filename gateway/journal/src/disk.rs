//! What the journal needs of a disk. The same code runs on [`RealDisk`] and on the simulated one of the tests.

mod real;

use std::{fmt, io};

pub use real::RealDisk;

/// One directory. Names are plain file names. Errors keep their kind and number: whether space has run out or the device
/// has failed is told apart by them.
pub trait Disk: fmt::Debug + Send + Sync + 'static {
    /// The names of all files, in no order.
    ///
    /// # Errors
    /// What the system says.
    fn list(&self) -> io::Result<Vec<String>>;

    /// A file of this many zero bytes, whose space is taken now; what had the name before is gone. Neither the name nor
    /// the length is durable yet.
    ///
    /// # Errors
    /// [`io::ErrorKind::StorageFull`] where there is not that much space; else what the system says.
    fn create(&self, name: &str, bytes: u64) -> io::Result<Box<dyn DiskFile>>;

    /// A file that exists.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`]; else what the system says.
    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>>;

    /// Gives a file another name, at once for whoever looks, durably after [`Disk::sync_directory`].
    ///
    /// # Errors
    /// What the system says.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a name, durably after [`Disk::sync_directory`].
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`]; else what the system says.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Returns when every name that was given or removed before is durable.
    ///
    /// # Errors
    /// What the system says. What is durable is unknown then.
    fn sync_directory(&self) -> io::Result<()>;
}

/// An open file.
pub trait DiskFile: fmt::Debug + Send + Sync {
    /// Writes from this offset on, and says how many bytes it took: fewer than given where it likes.
    ///
    /// # Errors
    /// What the system says.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<usize>;

    /// Reads from this offset on: fewer bytes than asked for where it likes, none at the end.
    ///
    /// # Errors
    /// What the system says.
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize>;

    /// Returns when everything that was written before is durable, the length too.
    ///
    /// # Errors
    /// What the system says. What is durable is unknown then, and asking again does not tell.
    fn sync_data(&self) -> io::Result<()>;

    /// How many bytes the file has.
    ///
    /// # Errors
    /// What the system says.
    fn length(&self) -> io::Result<u64>;
}

/// An order to the disk that failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {doing} {file}: {source}")]
pub struct DiskError {
    /// What was ordered, after "cannot".
    pub doing: &'static str,
    /// The file's name in the journal's directory.
    pub file: String,
    /// What the system said.
    #[source]
    pub source: io::Error,
}

impl DiskError {
    /// Makes one of what the system said.
    pub(crate) fn of<'a>(doing: &'static str, file: &'a str) -> impl FnOnce(io::Error) -> Self + use<'a> {
        move |source| Self { doing, file: file.to_owned(), source }
    }

    /// Whether there is no space, as opposed to a disk that does not work.
    #[must_use]
    pub fn is_lack_of_space(&self) -> bool {
        matches!(self.source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
    }
}

/// Writes all of it, however little the file takes at a time.
pub(crate) fn write_all(file: &dyn DiskFile, mut offset: u64, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match file.write_at(offset, bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(taken) => {
                bytes = &bytes[taken..];
                offset += taken as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Reads until `into` is full or the file ends, and says how much it was.
pub(crate) fn read_full(file: &dyn DiskFile, offset: u64, into: &mut [u8]) -> io::Result<usize> {
    let mut read = 0;
    while read < into.len() {
        match file.read_at(offset + read as u64, &mut into[read..]) {
            Ok(0) => break,
            Ok(more) => read += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(read)
}
