//! Keys lately routed, for the placement guard: what is in the cache was routed before it was cached.

use std::{collections::VecDeque, sync::Arc};

use parking_lot::Mutex;
use tidegate_types::{collection::CollectionId, policy::Who};

use crate::inputs::Subject;

/// Keys kept.
const KEYS: usize = 1 << 16;
/// Keys copied while requests that note one wait.
const AT_ONCE: usize = 1024;
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

    /// What is in it, the newest first. In pieces, because requests wait for the ring meanwhile: keys that
    /// are noted in between push others on, which may then be in the answer twice.
    pub fn keys(&self) -> Vec<RecentKey> {
        let mut keys = Vec::new();
        loop {
            let ring = self.0.lock();
            let so_far = keys.len();
            keys.extend(ring.iter().rev().skip(so_far).take(AT_ONCE).cloned());
            if keys.len() == so_far || keys.len() >= KEYS {
                return keys;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tidegate_types::tenant::{ClassId, TenantId};

    use super::*;

    #[test]
    fn every_key_is_copied_whatever_the_pieces() {
        let recent = Recent::default();
        let who = Who { tenant: TenantId(0), class: ClassId(0) };
        for count in [0, 1, AT_ONCE, 2 * AT_ONCE + 7, KEYS] {
            let key = |number: usize| RecentKey {
                collection: CollectionId(1),
                who,
                shard_key: number.to_string().into_boxed_str(),
            };
            *recent.0.lock() = (0..count).map(key).collect();
            assert_eq!(recent.keys(), (0..count).rev().map(key).collect::<Vec<_>>(), "{count}");
        }
    }
}
