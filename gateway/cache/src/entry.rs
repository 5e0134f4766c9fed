//! What the cache keeps.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use tidegate_types::{
    answer::RowBody,
    bucket::{BucketId, RelationSeed},
    collection::CollectionId,
    epoch::Epoch,
    key::RowKey,
    query::Projection,
    request::TenantId,
    route::ShardId,
    snapshot::Snapshot,
};
use tokio::time::Instant;

use crate::floors::Stamp;

/// Everything a row response depends on. Equality of keys is equality of responses.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct EntryKey {
    /// Whose row.
    pub tenant: TenantId,
    /// Of which collection.
    pub collection: CollectionId,
    /// Where it was routed: a policy that sends a key elsewhere must not find the other shard's row.
    pub shard: ShardId,
    /// Which row.
    pub key: RowKey,
    /// In which representation.
    pub projection: Projection,
    /// For which values of the inputs that a cache policy tells answers apart by.
    pub variant: Option<Arc<[u8]>>,
}

impl EntryKey {
    /// The buckets its entries depend on: the row itself, and its table's sweep.
    #[must_use]
    pub fn buckets(&self, seed: RelationSeed) -> [BucketId; 2] {
        [BucketId::row(seed, &self.key), BucketId::sweep(seed)]
    }
}

/// What a loader read, in one statement.
#[derive(Debug, Clone)]
pub struct Fetched {
    /// The row's JSON, or `None` where there is no such row.
    pub json: Option<Bytes>,
    /// The snapshot of the statement that read it.
    pub snapshot: Arc<Snapshot>,
    /// The epoch of the connection that read it.
    pub epoch: Epoch,
}

/// Microseconds since the cache was made: half the size of an [`Instant`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(pub(crate) u64);

impl Moment {
    /// Now.
    #[must_use]
    pub fn now(start: Instant) -> Self {
        Self(u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX))
    }

    /// This long after.
    #[must_use]
    pub fn after(self, delay: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(delay.as_micros()).unwrap_or(u64::MAX)))
    }

    /// The one after it.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// This long before, at the earliest when the cache was made.
    #[must_use]
    pub fn before(self, age: Duration) -> Self {
        Self(self.0.saturating_sub(u64::try_from(age.as_micros()).unwrap_or(u64::MAX)))
    }

    /// The time from `earlier` to here, zero if it lies ahead.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

/// A kept row, or the knowledge that there is none.
#[derive(Debug, Clone)]
pub struct Entry {
    /// The row.
    pub row: Option<RowBody>,
    /// The epoch it was read in.
    pub epoch: Epoch,
    /// The floors it passed.
    pub stamp: Stamp,
    /// When it was read.
    pub fetched: Moment,
    /// When it may no longer be served.
    pub expires: Moment,
}

/// Bytes of an entry beyond key, value and content (map records, allocator), measured in ADR 0003.
const MAP_OVERHEAD: usize = 190;

impl Entry {
    /// Bytes charged against the cache's bound: content, key and bookkeeping.
    #[must_use]
    pub fn charge(&self, key: &EntryKey) -> usize {
        let json = self.row.as_ref().map_or(0, |row| row.json.len());
        // Several entries may share a variant's bytes; each is charged for them.
        let variant = key.variant.as_ref().map_or(0, |variant| variant.len());
        json + key.key.heap_bytes()
            + variant
            + self.stamp.heap_bytes()
            + size_of::<EntryKey>()
            + size_of::<Self>()
            + MAP_OVERHEAD
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_stay_small() {
        // Memory per cached row is a promise (PERFORMANCE.md); a field more is a decision.
        assert!(size_of::<Entry>() <= 88, "{}", size_of::<Entry>());
        // Of these, 16 are the variant, which most entries do not have: it must be told apart somewhere, and
        // behind the projection's pointer it would cost every hit of a varied answer an allocation.
        assert!(size_of::<EntryKey>() <= 80, "{}", size_of::<EntryKey>());
    }
}
