//! What goes wrong, and what of it is whose.

use std::{fmt, io, path::PathBuf};

use tidegate_types::mutation::Sequence;

use crate::{disk::DiskError, identity::JournalId};

/// Why a journal does not open. Nothing was dropped.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has the directory.
    #[error("the journal in {} is in use by another process", path.display())]
    Locked {
        /// The directory.
        path: PathBuf,
    },
    /// The directory cannot be made or opened.
    #[error("the journal's directory {}: {source}", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The disk refuses.
    #[error("the journal {0}")]
    Disk(#[from] DiskError),
    /// Something that was durable once is not there any more.
    #[error(
        "the journal is damaged: {file}, byte {offset}: {damage}. Writes that were acknowledged may be in what cannot be \
         read, so nothing is skipped: bring the file back from a copy, or move the whole directory away to start with \
         an empty journal and without them"
    )]
    Damaged {
        /// The file's name in the journal's directory.
        file: String,
        /// Where in it, in bytes.
        offset: u64,
        /// What is wrong there.
        damage: Damage,
    },
    /// The settings contradict each other.
    #[error("the journal's settings: {0}")]
    Settings(&'static str),
}

impl OpenError {
    pub(crate) fn damaged(file: &str, offset: u64, damage: Damage) -> Self {
        Self::Damaged { file: file.to_owned(), offset, damage }
    }
}

/// What is wrong at a place of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// The file that says which journal this is cannot be read.
    #[error("neither copy of the journal's identity can be read")]
    Identity,
    /// There are segments and no identity.
    #[error("there are segments and no identity")]
    NoIdentity,
    /// The segment does not begin as one.
    #[error("this is not the beginning of a segment")]
    SegmentHead,
    /// Another version wrote it.
    #[error("format version {0} is not known to this build")]
    Version(u32),
    /// The segment is of another journal.
    #[error("this segment belongs to journal {0}")]
    Foreign(JournalId),
    /// The segment is shorter than it says.
    #[error("the file ends here and should have {0} bytes")]
    Short(u64),
    /// A record's head does not have its checksum.
    #[error("there is no readable record here, and records written later follow")]
    RecordHead,
    /// A record's payload does not have its checksum.
    #[error("the record's contents do not have their checksum, and records written later follow")]
    Payload,
    /// A record says that it is longer than it may be.
    #[error("a record's length is impossible")]
    Length,
    /// Records are missing.
    #[error("record {} is missing; the next one is {}", expected.0, found.0)]
    Gap {
        /// What should follow.
        expected: Sequence,
        /// What does.
        found: Sequence,
    },
    /// The record was written by a later owner than there was, or by an earlier one than the record before it.
    #[error("the record is of epoch {0}, which is not its turn")]
    Epoch(u64),
    /// The journal was longer when it was opened before.
    #[error("the journal reached record {} when it was opened before, and now ends at {}", reached.0, last.0)]
    Cut {
        /// The last record then.
        reached: Sequence,
        /// The last record now.
        last: Sequence,
    },
}

/// Why a record was not taken. It never comes back after a crash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// The journal may not become larger: release what is applied.
    #[error("the journal holds {bytes} of {max} bytes")]
    Full {
        /// What its segments take, in bytes.
        bytes: u64,
        /// What they may take, in bytes.
        max: u64,
    },
    /// The disk, or the database, is behind: too much waits for it.
    #[error("{bytes} of {max} bytes wait to be durable in the journal")]
    Behind {
        /// What waits, in bytes.
        bytes: u64,
        /// What may wait, in bytes.
        max: u64,
    },
    /// The file system is full. The journal looks again by itself.
    #[error("the journal's file system is full")]
    NoSpace,
    /// The record is larger than any may be.
    #[error("a record of {bytes} bytes; the most is {max}")]
    TooLarge {
        /// Of the record with its head.
        bytes: u64,
        /// The most.
        max: u64,
    },
    /// The journal was closed, or has failed.
    #[error("{0}")]
    Ended(#[from] Ended),
}

/// The journal takes and acknowledges nothing any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Ended {
    /// It was closed.
    #[error("the journal is closed")]
    Closed,
    /// Its disk has failed ([`Fatal`]), or its database, or somebody else has taken it over.
    #[error("the journal has failed")]
    Failed,
}

/// The disk failed under the journal: what is durable is unknown, and asking again does not tell.
#[derive(Debug)]
pub struct Fatal(pub DiskError);

impl fmt::Display for Fatal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the journal {}: what is durable is unknown, so this process ends", self.0)
    }
}
