//! Which journal this is, how often it was opened, and how far it had come then.
//!
//! A file of two slots, written in turn and in place: an opening needs no space on the disk, and a slot that is torn leaves the
//! other.

use std::fmt;

use tidegate_types::mutation::Sequence;
use uuid::Uuid;

use crate::{
    disk::{Disk, DiskError, read_full, write_all},
    error::{Damage, OpenError},
    format::{VERSION, put, u32_at, u64_at, u128_at},
};

pub(crate) const IDENTITY: &str = "identity";
const IDENTITY_NEW: &str = "identity.new";
/// Slots are in sectors of their own, also where sectors have 4 KiB.
const SLOT_DISTANCE: u64 = 4096;
const SLOT: usize = 64;
const MAGIC: [u8; 8] = *b"TIDEGJNL";

/// Made at random when a journal is. Shown as 32 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct JournalId(pub u128);

impl fmt::Display for JournalId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// One opening of a journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) journal: JournalId,
    /// The opening's number, from 1.
    pub(crate) epoch: u64,
    /// The last record then. What is found later must reach it.
    pub(crate) reached: Sequence,
}

impl Identity {
    /// Of a journal that did not exist.
    pub(crate) fn new() -> Self {
        Self { journal: JournalId(Uuid::new_v4().as_u128()), epoch: 0, reached: Sequence(0) }
    }

    /// Magic; version, 4 bytes unused; journal; epoch; reached; 12 bytes unused; checksum.
    pub(crate) fn encode(&self) -> [u8; SLOT] {
        let mut out = [0; SLOT];
        put(&mut out, 0, &MAGIC);
        put(&mut out, 8, &VERSION.to_le_bytes());
        put(&mut out, 16, &self.journal.0.to_le_bytes());
        put(&mut out, 32, &self.epoch.to_le_bytes());
        put(&mut out, 40, &self.reached.0.to_le_bytes());
        let checksum = crc32c::crc32c(&out[..SLOT - 4]);
        put(&mut out, SLOT - 4, &checksum.to_le_bytes());
        out
    }

    fn decode(bytes: &[u8; SLOT]) -> Result<Self, Damage> {
        if bytes[..8] != MAGIC || u32_at(bytes, SLOT - 4) != crc32c::crc32c(&bytes[..SLOT - 4]) {
            return Err(Damage::Identity);
        }
        match u32_at(bytes, 8) {
            VERSION => Ok(Self {
                journal: JournalId(u128_at(bytes, 16)),
                epoch: u64_at(bytes, 32),
                reached: Sequence(u64_at(bytes, 40)),
            }),
            other => Err(Damage::Version(other)),
        }
    }

    /// As the opening before left it; `None` where there was none.
    pub(crate) fn read(disk: &dyn Disk) -> Result<Option<Self>, OpenError> {
        let file = match disk.open(IDENTITY) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(DiskError::of("open", IDENTITY)(error).into()),
        };
        let mut newest: Result<Self, Damage> = Err(Damage::Identity);
        for slot in 0..2 {
            let mut bytes = [0; SLOT];
            read_full(&*file, slot * SLOT_DISTANCE, &mut bytes).map_err(DiskError::of("read", IDENTITY))?;
            newest = match (newest, Self::decode(&bytes)) {
                (Ok(one), Ok(other)) => Ok(if other.epoch > one.epoch { other } else { one }),
                // A slot of another version says more than one that was torn, and forbids to go on by the other.
                (Err(Damage::Version(version)), _) | (_, Err(Damage::Version(version))) => {
                    Err(Damage::Version(version))
                }
                (Err(_), found) | (found, Err(_)) => found,
            };
        }
        newest.map(Some).map_err(|damage| OpenError::damaged(IDENTITY, 0, damage))
    }

    /// Makes it durable. Where there is no file yet, one appears whole or not at all.
    pub(crate) fn write(&self, disk: &dyn Disk, exists: Exists) -> Result<(), OpenError> {
        let (name, file) = match exists {
            Exists::Yes => (IDENTITY, disk.open(IDENTITY).map_err(DiskError::of("open", IDENTITY))?),
            Exists::No => {
                let file = disk.create(IDENTITY_NEW, 2 * SLOT_DISTANCE);
                (IDENTITY_NEW, file.map_err(DiskError::of("create", IDENTITY_NEW))?)
            }
        };
        write_all(&*file, self.epoch % 2 * SLOT_DISTANCE, &self.encode()).map_err(DiskError::of("write", name))?;
        file.sync_data().map_err(DiskError::of("sync", name))?;
        if exists == Exists::No {
            disk.rename(IDENTITY_NEW, IDENTITY).map_err(DiskError::of("name", IDENTITY))?;
            disk.sync_directory().map_err(DiskError::of("sync the directory of", IDENTITY))?;
        }
        Ok(())
    }
}

/// Whether the file is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exists {
    Yes,
    No,
}
