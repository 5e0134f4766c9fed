//! What the cache keeps.

use std::sync::Arc;

use bytes::Bytes;
use tidegate_types::{
    answer::RowBody,
    bucket::{BucketId, Buckets},
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
}

impl EntryKey {
    /// The buckets its entries depend on: the row itself, and the collection's sweep.
    #[must_use]
    pub fn buckets(&self) -> Buckets {
        Buckets::from_slice(&[
            BucketId::row(self.tenant, self.collection, &self.key),
            BucketId::sweep(self.tenant, self.collection),
        ])
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
    pub fetched: Instant,
    /// When it may no longer be served.
    pub expires: Instant,
}

/// Bytes of the map's own bookkeeping for an entry, measured: see `gateway/docs/PERFORMANCE.md`.
const MAP_OVERHEAD: usize = 96;

impl Entry {
    /// Bytes charged against the cache's bound: content, key and bookkeeping.
    #[must_use]
    pub fn charge(&self, key: &EntryKey) -> usize {
        let json = self.row.as_ref().map_or(0, |row| row.json.len());
        json + key.key.heap_bytes() + size_of::<EntryKey>() + size_of::<Self>() + MAP_OVERHEAD
    }
}
