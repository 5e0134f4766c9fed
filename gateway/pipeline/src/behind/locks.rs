//! Who may write when: one writer of a row at a time, and either writers of single rows or one that may touch any.

use std::{
    collections::{BTreeSet, HashMap},
    hash::{BuildHasher, RandomState},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use tidegate_types::route::ShardId;
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard, OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};

use super::dirty::RowName;

/// Locks of rows. Two rows that share one wait for each other, which costs time and nothing else: nobody holds two.
const ROW_LOCKS: usize = 4096;
/// How long writers of a collection wait for each other.
const PATIENCE: Duration = Duration::from_secs(10);

/// One writer of a row at a time: from the look at the row as it is to the place of what it becomes.
#[derive(Debug)]
pub(super) struct RowLocks {
    locks: Box<[Arc<AsyncMutex<()>>]>,
    hasher: RandomState,
}

impl RowLocks {
    pub(super) fn new() -> Self {
        Self { locks: (0..ROW_LOCKS).map(|_| Arc::default()).collect(), hasher: RandomState::new() }
    }

    pub(super) async fn hold(&self, shard: ShardId, row: &RowName) -> OwnedMutexGuard<()> {
        let hash = self.hasher.hash_one((shard, row));
        // The remainder is below the number of locks.
        let at = usize::try_from(hash % self.locks.len() as u64).unwrap_or(0);
        self.locks[at].clone().lock_owned().await
    }
}

/// A collection's rows on one shard, by names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Place {
    pub(super) collection: Arc<str>,
    pub(super) shard: ShardId,
}

/// What a write that goes to the shard itself keeps others from, until it has ended.
#[derive(Debug, Default)]
#[expect(dead_code, reason = "guards are there to be dropped")]
pub(crate) struct Held {
    /// Whole collections.
    pub(super) alone: Vec<OwnedRwLockWriteGuard<()>>,
    /// Or a row, and its collection shared with writers of other rows.
    pub(super) row: Option<(OwnedRwLockReadGuard<()>, OwnedMutexGuard<()>)>,
}

/// Somebody else has written to the collection for too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Busy;

/// Writers of single rows share a collection; a write that goes to the shard itself and may touch any row has it alone,
/// because an image that was taken before such a write would hide what it wrote.
#[derive(Debug, Default)]
pub(super) struct Gates(Mutex<HashMap<Place, Arc<RwLock<()>>>>);

impl Gates {
    fn of(&self, place: &Place) -> Arc<RwLock<()>> {
        let mut gates = self.0.lock();
        match gates.get(place) {
            Some(gate) => gate.clone(),
            None => gates.entry(place.clone()).or_default().clone(),
        }
    }

    pub(super) async fn share(&self, place: &Place) -> Result<OwnedRwLockReadGuard<()>, Busy> {
        let gate = self.of(place);
        // Almost always free: no timer is made then.
        if let Ok(held) = gate.clone().try_read_owned() {
            return Ok(held);
        }
        tokio::time::timeout(PATIENCE, gate.read_owned()).await.map_err(|_| Busy)
    }

    /// Several at once, always in one order: two who want the same ones do not wait for each other for ever.
    pub(super) async fn alone(&self, places: BTreeSet<Place>) -> Result<Vec<OwnedRwLockWriteGuard<()>>, Busy> {
        let mut held = Vec::with_capacity(places.len());
        let all = async {
            for place in &places {
                held.push(self.of(place).write_owned().await);
            }
        };
        tokio::time::timeout(PATIENCE, all).await.map_err(|_| Busy)?;
        Ok(held)
    }
}
