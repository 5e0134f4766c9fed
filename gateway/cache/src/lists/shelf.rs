//! The byte-bounded map of lists, and what each collection has in it.
//!
//! A collection over its own cap loses its oldest lists; all of them together over theirs, whichever the map's
//! eviction (S3-FIFO) chooses.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use foldhash::quality::RandomState;
use foyer_memory::{Cache as Foyer, CacheBuilder, S3FifoConfig};
use parking_lot::Mutex;
use smallvec::SmallVec;
use tidegate_types::{
    answer::{ListBody, NotStored},
    collection::CollectionId,
    epoch::Epoch,
    route::ShardId,
};

use super::ListKey;
use crate::{entry::Moment, floors::Stamp};

/// A kept list.
#[derive(Debug)]
pub(super) struct ListEntry {
    pub(super) body: ListBody,
    /// One for each shard it was read from.
    pub(super) parts: SmallVec<[Part; 1]>,
    /// When it was read.
    pub(super) fetched: Moment,
    /// When it may no longer be served.
    pub(super) expires: Moment,
}

/// What a list depends on at one shard.
#[derive(Debug, Clone)]
pub(super) struct Part {
    pub(super) shard: ShardId,
    pub(super) epoch: Epoch,
    pub(super) stamp: Stamp,
}

/// Bytes of an entry beyond key, value and content: map records, allocator, its line in the ledger.
const OVERHEAD: usize = 320;

impl ListEntry {
    /// Bytes charged against the bounds.
    fn charge(&self, key: &ListKey) -> usize {
        let variant = key.variant.as_ref().map_or(0, |variant| variant.len());
        let stamps: usize = self.parts.iter().map(|part| part.stamp.heap_bytes()).sum();
        let parts = if self.parts.spilled() { self.parts.len() * size_of::<Part>() } else { 0 };
        self.body.json.len()
            + key.query.len()
            + variant
            + stamps
            + parts
            // The ledger has a copy.
            + 2 * size_of::<ListKey>()
            + size_of::<Self>()
            + OVERHEAD
    }
}

/// Each partition has its own lock and its share of the bytes.
const MAX_PARTITIONS: usize = 16;
/// A partition must hold many lists of the largest size.
const MIN_PARTITION_BYTES: usize = 8 << 20;

/// A list with its line in the ledger.
#[derive(Debug)]
struct Shelved {
    entry: ListEntry,
    charge: usize,
    // Struck out when the map lets go of the list, whatever for.
    _line: Line,
}

/// The map. Clones share it.
#[derive(Clone)]
pub(super) struct Shelf {
    map: Foyer<ListKey, Shelved, RandomState>,
    ledger: Arc<Ledger>,
    max_bytes: u64,
}

impl Shelf {
    pub(super) fn new(max_bytes: u64) -> Self {
        let capacity = usize::try_from(max_bytes).unwrap_or(usize::MAX);
        let ledger = Arc::new(Ledger::default());
        let map = CacheBuilder::new(capacity.max(1))
            .with_shards((capacity / MIN_PARTITION_BYTES).clamp(1, MAX_PARTITIONS))
            .with_eviction_config(S3FifoConfig::default())
            .with_hash_builder(RandomState::default())
            .with_weighter(|_: &ListKey, shelved: &Shelved| shelved.charge)
            .build();
        Self { map, ledger, max_bytes }
    }

    /// What `judge` makes of the entry, whatever its freshness.
    pub(super) fn with<R>(&self, key: &ListKey, judge: impl FnOnce(&ListEntry) -> R) -> Option<R> {
        self.map.get(key).map(|entry| judge(&entry.value().entry))
    }

    /// Whether there is an entry, whatever its freshness.
    pub(super) fn contains(&self, key: &ListKey) -> bool {
        self.map.contains(key)
    }

    /// Keeps a list, and drops the collection's oldest ones where they are more than `cap` bytes then.
    pub(super) fn insert(&self, key: ListKey, entry: ListEntry, cap: Option<u64>) -> Result<(), NotStored> {
        let cap = cap.map_or(self.max_bytes, |cap| cap.min(self.max_bytes));
        let charge = entry.charge(&key);
        if charge as u64 > cap {
            return Err(NotStored::TooLarge);
        }
        let (line, outdone) = Ledger::enter(&self.ledger, &key, charge as u64, cap);
        self.map.insert(key, Shelved { entry, charge, _line: line });
        for oldest in outdone {
            self.map.remove(&oldest);
        }
        Ok(())
    }

    /// Lists held.
    pub(super) fn entries(&self) -> usize {
        self.map.entries()
    }

    /// Bytes charged.
    pub(super) fn bytes(&self) -> usize {
        self.map.usage()
    }
}

impl std::fmt::Debug for Shelf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shelf").field("entries", &self.entries()).field("bytes", &self.bytes()).finish()
    }
}

/// What each collection has in the map.
#[derive(Debug, Default)]
struct Ledger {
    next: AtomicU64,
    // Held for a line. Taken where the map drops a list, perhaps under the map's own lock: nothing here calls the map.
    accounts: Mutex<HashMap<CollectionId, Account>>,
}

/// A list's line in the ledger, until it is dropped.
#[derive(Debug)]
struct Line {
    ledger: Arc<Ledger>,
    collection: CollectionId,
    serial: u64,
}

#[derive(Debug, Default)]
struct Account {
    bytes: u64,
    /// By serial number, so from the oldest to the newest.
    lists: BTreeMap<u64, (ListKey, u64)>,
}

impl Ledger {
    /// Enters a list; gives its line and the older lists that must go for it.
    fn enter(ledger: &Arc<Self>, key: &ListKey, charge: u64, cap: u64) -> (Line, Vec<ListKey>) {
        let serial = ledger.next.fetch_add(1, Ordering::Relaxed);
        let mut accounts = ledger.accounts.lock();
        let account = accounts.entry(key.collection).or_default();
        account.bytes += charge;
        account.lists.insert(serial, (key.clone(), charge));
        let mut excess = account.bytes.saturating_sub(cap);
        let mut outdone = Vec::new();
        for (oldest, freed) in account.lists.values() {
            if excess == 0 {
                break;
            }
            excess = excess.saturating_sub(*freed);
            // One under the same key goes anyway.
            if oldest != key {
                outdone.push(oldest.clone());
            }
        }
        drop(accounts);
        (Line { ledger: ledger.clone(), collection: key.collection, serial }, outdone)
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let mut accounts = self.ledger.accounts.lock();
        let Some(account) = accounts.get_mut(&self.collection) else { return };
        if let Some((_, charge)) = account.lists.remove(&self.serial) {
            account.bytes -= charge;
        }
        if account.lists.is_empty() {
            accounts.remove(&self.collection);
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use tidegate_types::request::TenantId;
    use tokio::time::Instant;

    use super::*;

    fn key(collection: u32, number: u64) -> ListKey {
        ListKey {
            tenant: TenantId::SHARED,
            collection: CollectionId(collection),
            shards: [ShardId(0)].into_iter().collect(),
            query: number.to_le_bytes().as_slice().into(),
            variant: None,
        }
    }

    fn entry(bytes: usize) -> ListEntry {
        let now = Moment::now(Instant::now());
        let body = ListBody::new(Bytes::from(vec![b' '; bytes]), 0, None);
        ListEntry { body, parts: SmallVec::new(), fetched: now, expires: now }
    }

    fn account(shelf: &Shelf, collection: u32) -> (u64, usize) {
        let accounts = shelf.ledger.accounts.lock();
        accounts.get(&CollectionId(collection)).map_or((0, 0), |account| (account.bytes, account.lists.len()))
    }

    #[test]
    fn a_collection_over_its_cap_loses_its_oldest_lists_and_no_others() {
        let shelf = Shelf::new(8 << 20);
        shelf.insert(key(1, 0), entry(10_000), Some(100_000)).expect("fits");
        for number in 0..100 {
            shelf.insert(key(0, number), entry(10_000), Some(100_000)).expect("fits");
            assert!(account(&shelf, 0).0 <= 100_000);
        }
        let kept: Vec<u64> = (0..100).filter(|number| shelf.contains(&key(0, *number))).collect();
        assert_eq!(kept, (91..100).collect::<Vec<_>>());
        assert!(shelf.contains(&key(1, 0)));
        assert_eq!(shelf.insert(key(0, 0), entry(100_000), Some(100_000)), Err(NotStored::TooLarge));
    }

    #[test]
    fn what_is_replaced_or_evicted_leaves_the_ledger() {
        let shelf = Shelf::new(1 << 20);
        for _ in 0..10 {
            shelf.insert(key(0, 1), entry(1_000), None).expect("fits");
        }
        assert_eq!(account(&shelf, 0).1, 1);
        for number in 0..5_000 {
            shelf.insert(key(0, number), entry(1_000), None).expect("fits");
        }
        let (bytes, lists) = account(&shelf, 0);
        assert_eq!((bytes, lists), (shelf.bytes() as u64, shelf.entries()));
        assert!(bytes <= 1 << 20, "{bytes}");
        shelf.map.clear();
        assert!(shelf.ledger.accounts.lock().is_empty());
    }

    #[test]
    fn a_replacement_at_the_cap_costs_no_other_list() {
        let shelf = Shelf::new(1 << 20);
        let cap = 2 * entry(1_000).charge(&key(0, 0)) as u64;
        for number in [0, 1, 0, 0] {
            shelf.insert(key(0, number), entry(1_000), Some(cap)).expect("fits");
        }
        // The oldest one goes where the new one's own predecessor is not the oldest.
        shelf.insert(key(0, 0), entry(1_000), Some(cap)).expect("fits");
        assert!(shelf.contains(&key(0, 0)));
        assert!(account(&shelf, 0).0 <= cap);
    }
}
