//! Epochs: one number per shard that changes whenever xids of before and after must not be compared
//! (another timeline, another system identifier, xids that went backwards).

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use crate::route::ShardId;

/// The epoch of a shard as this process counts it. Starts at 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Epoch(pub u64);

/// The current epoch of every shard: raised by the store, obeyed by the cache.
#[derive(Debug, Clone)]
pub struct Epochs(Arc<[AtomicU64]>);

impl Epochs {
    /// Every shard in its first epoch.
    #[must_use]
    pub fn new(shards: usize) -> Self {
        Self((0..shards).map(|_| AtomicU64::new(1)).collect())
    }

    /// The current epoch. A shard that does not exist is forever in epoch 0.
    #[must_use]
    pub fn current(&self, shard: ShardId) -> Epoch {
        Epoch(self.0.get(usize::from(shard.0)).map_or(0, |e| e.load(Ordering::Acquire)))
    }

    /// Starts a new epoch: everything read or raised before is void. Must happen before the
    /// connection that showed the change is used.
    pub fn advance(&self, shard: ShardId) -> Epoch {
        Epoch(self.0.get(usize::from(shard.0)).map_or(0, |e| e.fetch_add(1, Ordering::AcqRel) + 1))
    }
}
