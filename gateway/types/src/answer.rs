//! What the pipelines answer. Data only: the HTTP front chooses status and headers.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use smallvec::SmallVec;
use xxhash_rust::xxh3::xxh3_64;

use crate::{
    key::RowKey,
    policy::{Narrowed, Who},
    route::ShardId,
};

/// The version of a representation: a hash of its bytes. Equal bytes, equal tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ETag(pub u64);

impl ETag {
    /// The tag of these bytes.
    #[must_use]
    pub fn of(body: &[u8]) -> Self {
        Self(xxh3_64(body))
    }

    /// The 18 characters that stand in an `ETag` field: a strong tag of 16 hex digits, quoted.
    #[must_use]
    pub fn to_field(self) -> [u8; 18] {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut field = [b'"'; 18];
        for (i, slot) in field[1..17].iter_mut().enumerate() {
            *slot = DIGITS[((self.0 >> (60 - 4 * i)) & 0xf) as usize];
        }
        field
    }

    /// Parses one tag as [`ETag::to_field`] writes it. Weak and foreign tags give `None`.
    #[must_use]
    pub fn parse(field: &str) -> Option<Self> {
        let digits = field.strip_prefix('"')?.strip_suffix('"')?;
        if digits.len() != 16 || !digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return None;
        }
        u64::from_str_radix(digits, 16).ok().map(Self)
    }
}

/// A row's representation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowBody {
    /// JSON as PostgreSQL rendered it.
    pub json: Bytes,
    /// Its version.
    pub etag: ETag,
}

impl RowBody {
    /// A representation and its version.
    #[must_use]
    pub fn new(json: Bytes) -> Self {
        let etag = ETag::of(&json);
        Self { json, etag }
    }
}

/// Why a fetched row was not stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NotStored {
    /// A write is in flight or younger than the snapshot: the floor refused it.
    Floor,
    /// The row is larger than the cache admits.
    TooLarge,
    /// The shard's epoch changed while it was read.
    Epoch,
    /// Something purged it while it was read.
    Purged,
}

/// Why the cache was not asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BypassReason {
    /// The collection's mode is `bypass`.
    Mode,
    /// The request is a list query; those are not cached yet.
    List,
    /// The cache policy says so.
    Policy,
    /// The cache policy failed.
    PolicyFailed,
    /// The collection was configured anew a moment ago, and writes are under way that do not know it.
    Settling,
}

/// Whether a miss led its own fetch or shared another's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Collapse {
    /// This request fetched.
    Led,
    /// Another request's fetch served it (`collapsed`, RFC 9211).
    Joined,
}

/// What the cache had to do with an answer; becomes `Cache-Status` (RFC 9211).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CacheStatus {
    /// Served from the cache.
    Hit {
        /// Time since it was read from the shard.
        age: Duration,
        /// Time it may still be served.
        ttl: Duration,
    },
    /// Fetched from the shard and stored.
    MissStored {
        /// Led or joined.
        collapse: Collapse,
        /// Time it may be served.
        ttl: Duration,
    },
    /// Fetched from the shard, not stored.
    MissNotStored {
        /// Led or joined.
        collapse: Collapse,
        /// Why.
        reason: NotStored,
    },
    /// The cache was not asked.
    Bypass(BypassReason),
}

/// Who answered: for logs and `Cache-Status`, never for decisions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Trace {
    /// The shards the request was routed to.
    pub shards: SmallVec<[ShardId; 4]>,
    /// The policy generation that decided about it; 0 is what is built in.
    pub generation: u64,
    /// Whose request it was.
    pub who: Who,
}

/// The answer to a keyed read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowAnswer {
    /// The row, or `None` where there is none.
    pub row: Option<RowBody>,
    /// What the cache did.
    pub status: CacheStatus,
    /// The bounds it is kept in, whose header fields belong to `Vary`.
    pub bounds: Option<Arc<Narrowed>>,
    /// Who answered.
    pub trace: Trace,
}

/// The answer to a list read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListAnswer {
    /// A JSON array.
    pub json: Bytes,
    /// How many rows it holds.
    pub rows: u64,
    /// The total, where it was asked for.
    pub total: Option<u64>,
    /// What the cache did.
    pub status: CacheStatus,
    /// The bounds it is kept in, whose header fields belong to `Vary`.
    pub bounds: Option<Arc<Narrowed>>,
    /// Who answered.
    pub trace: Trace,
}

/// What became of a row that a write touched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RowChange {
    /// New.
    Inserted,
    /// Changed in place.
    Updated,
    /// Gone.
    Deleted,
}

/// One row that a write touched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrittenRow {
    /// Its key, as the database returned it.
    pub key: RowKey,
    /// What became of it.
    pub change: RowChange,
    /// Its representation in the asked projection (the last one, for a deleted row).
    pub body: RowBody,
}

/// The answer to a committed write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WriteAnswer {
    /// The rows touched, in the order the database returned them.
    pub rows: Vec<WrittenRow>,
    /// Who answered.
    pub trace: Trace,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_survives_its_field() {
        for tag in [ETag(0), ETag(u64::MAX), ETag::of(b"{}")] {
            let field = tag.to_field();
            assert_eq!(ETag::parse(std::str::from_utf8(&field).expect("ascii")), Some(tag));
        }
        for foreign in ["W/\"0000000000000000\"", "\"00\"", "*", "", "\"zzzzzzzzzzzzzzzz\""] {
            assert_eq!(ETag::parse(foreign), None, "{foreign}");
        }
    }
}
