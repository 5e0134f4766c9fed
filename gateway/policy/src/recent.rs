//! Keys lately routed, for the placement guard: what is in the cache was routed before it was cached.

use std::{collections::VecDeque, sync::Arc};

use parking_lot::Mutex;
use tidegate_types::{collection::CollectionId, policy::Who};

use crate::inputs::Subject;

/// Keys kept.
const KEYS: usize = 1 << 16;
/// Bytes of a key that is kept.
const MAX_KEY_BYTES: usize = 256;

/// A key that was routed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecentKey {
    /// Of which collection.
    pub collection: CollectionId,
    /// For whom.
    pub who: Who,
    /// The canonical text of its shard key.
    pub shard_key: Box<str>,
}

/// A ring of the keys that a routing policy was lately asked about. Remembered answers do not add to
/// it: their keys are in it from when they were asked.
#[derive(Debug, Default)]
pub struct Recent(Mutex<VecDeque<RecentKey>>);

impl Recent {
    /// An empty ring.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Notes a key.
    pub fn note(&self, subject: &Subject<'_>) {
        let Some(key) = subject.shard_key.filter(|key| key.len() <= MAX_KEY_BYTES) else { return };
        let key = RecentKey { collection: subject.collection.id, who: subject.who, shard_key: key.into() };
        let mut ring = self.0.lock();
        if ring.len() == KEYS {
            ring.pop_front();
        }
        ring.push_back(key);
    }

    /// What is in it.
    pub fn keys(&self) -> Vec<RecentKey> {
        self.0.lock().iter().cloned().collect()
    }
}
