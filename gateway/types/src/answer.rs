//! What the pipelines answer. Data only: the HTTP front chooses status and headers.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use smallvec::SmallVec;
use xxhash_rust::xxh3::{Xxh3Default, xxh3_64};

use crate::{
    key::RowKey,
    mutation::Sequence,
    policy::{Narrowed, Who},
    route::ShardId,
    settings::DurabilityClass,
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

/// A list's representation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListBody {
    /// A JSON array.
    pub json: Bytes,
    /// How many rows it holds.
    pub rows: u64,
    /// The total, where it was asked for.
    pub total: Option<u64>,
    /// The tag of `json`.
    content: ETag,
}

impl ListBody {
    /// A representation; hashes it.
    #[must_use]
    pub fn new(json: Bytes, rows: u64, total: Option<u64>) -> Self {
        let content = ETag::of(&json);
        Self { json, rows, total, content }
    }

    /// The version of an answer that begins at `offset`: of its bytes, and of what `Content-Range` says.
    #[must_use]
    pub fn etag(&self, offset: u64) -> ETag {
        let mut state = Xxh3Default::new();
        // A total is at least 0, so that none is told apart by one bit.
        let total = self.total.map_or([0; 9], |total| {
            let mut known = [1; 9];
            known[1..].copy_from_slice(&total.to_le_bytes());
            known
        });
        for part in [&self.content.0.to_le_bytes()[..], &self.rows.to_le_bytes(), &offset.to_le_bytes(), &total] {
            state.update(part);
        }
        ETag(state.digest())
    }
}

/// Why what was fetched was not stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NotStored {
    /// A write is in flight or younger than the snapshot: the floor refused it.
    Floor,
    /// It is larger than the cache admits.
    TooLarge,
    /// The shard's epoch changed while it was read.
    Epoch,
    /// Something purged it while it was read.
    Purged,
    /// Nobody else has asked for this list lately; it is stored when it is asked for again.
    FirstAsked,
}

/// Why the cache was not asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BypassReason {
    /// The collection's mode is `bypass`.
    Mode,
    /// The answer depends on the time at which it is asked for.
    Timely,
    /// The cache policy says so.
    Policy,
    /// The cache policy failed.
    PolicyFailed,
    /// The change feed is behind: rows may have changed that nobody told of yet.
    Behind,
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

/// Why a row is served after its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StaleReason {
    /// It is being fetched again.
    Revalidating,
    /// Its shard does not answer.
    Error,
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
    /// Served from the cache after its time, under bounded consistency.
    Stale {
        /// Time since it was read from the shard.
        age: Duration,
        /// Time since it should no longer be served.
        late: Duration,
        /// Why it is.
        reason: StaleReason,
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
    /// Served from what was acknowledged and is not on its shard yet.
    Dirty,
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
    /// The rows.
    pub body: ListBody,
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

/// What a write did for the reads after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Refill {
    /// Nothing: the next read fetches.
    #[default]
    None,
    /// Every row it touched is in the cache as it is now.
    Stored,
}

/// Where a write is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Landed {
    /// On its shard.
    #[default]
    Shard,
    /// In the journal: acknowledged, and brought to its shard afterwards.
    Journal(Acknowledged),
}

/// A write that was acknowledged before its shard has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acknowledged {
    /// What the acknowledgement survives.
    pub class: DurabilityClass,
    /// Its place in the order of everything acknowledged.
    pub sequence: Sequence,
    /// The last segment of its status URL.
    pub token: Arc<str>,
}

/// What became of an acknowledged write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WriteFate {
    /// Its shard does not have it yet.
    Pending,
    /// Its shard has it, or a later write of the same row.
    Applied,
    /// Its shard refuses it: it is a dead letter.
    Failed {
        /// SQLSTATE.
        code: Arc<str>,
        /// What the database said.
        reason: Arc<str>,
    },
}

/// What a status URL says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WriteStatus {
    /// The write.
    pub sequence: Sequence,
    /// What became of it.
    pub fate: WriteFate,
}

/// The answer to a committed or acknowledged write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WriteAnswer {
    /// The rows touched, in the order the database returned them.
    pub rows: Vec<WrittenRow>,
    /// What became of them in the cache.
    pub refill: Refill,
    /// Where it is.
    pub landed: Landed,
    /// Who answered.
    pub trace: Trace,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lists_tag_is_of_all_that_its_answer_says() {
        let tag = |json: &'static str, rows, total, offset| {
            ListBody::new(Bytes::from_static(json.as_bytes()), rows, total).etag(offset)
        };
        let all = [
            tag("[]", 0, None, 0),
            tag("[ ]", 0, None, 0),
            tag("[]", 0, Some(0), 0),
            tag("[]", 0, Some(1), 0),
            tag("[]", 0, Some(1), 1),
            tag("[]", 1, Some(1), 0),
        ];
        let distinct: std::collections::HashSet<_> = all.iter().collect();
        assert_eq!(distinct.len(), all.len());
        assert_eq!(tag("[]", 0, Some(1), 1), all[4]);
    }

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
