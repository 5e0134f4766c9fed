//! The byte-bounded map of entries. Holds what it is given; freshness is judged elsewhere.

use foldhash::quality::RandomState;
use foyer_memory::{Cache as Foyer, CacheBuilder, S3FifoConfig};

use crate::entry::{Entry, EntryKey};

/// The in-process tier. Eviction is S3-FIFO (Yang et al., SOSP 2023): a hit takes no exclusive lock.
#[derive(Clone)]
pub struct L1(Foyer<EntryKey, Entry, RandomState>);

/// Each partition has its own lock and its share of the bytes.
const MAX_PARTITIONS: usize = 16;
/// A partition must hold many entries of the largest size.
const MIN_PARTITION_BYTES: usize = 8 << 20;

impl L1 {
    /// A map that evicts when its entries' charges exceed `max_bytes`.
    #[must_use]
    pub fn new(max_bytes: u64) -> Self {
        let capacity = usize::try_from(max_bytes).unwrap_or(usize::MAX);
        let map = CacheBuilder::new(capacity)
            .with_shards((capacity / MIN_PARTITION_BYTES).clamp(1, MAX_PARTITIONS))
            .with_eviction_config(S3FifoConfig::default())
            .with_hash_builder(RandomState::default())
            .with_weighter(|key: &EntryKey, entry: &Entry| entry.charge(key))
            .build();
        Self(map)
    }

    /// What `judge` makes of the entry, whatever its freshness.
    pub fn with<R>(&self, key: &EntryKey, judge: impl FnOnce(&Entry) -> R) -> Option<R> {
        self.0.get(key).map(|entry| judge(entry.value()))
    }

    /// Keeps an entry, as long as the eviction policy agrees.
    pub fn insert(&self, key: EntryKey, entry: Entry) {
        self.0.insert(key, entry);
    }

    /// Entries held.
    #[must_use]
    pub fn entries(&self) -> usize {
        self.0.entries()
    }

    /// Bytes charged.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.0.usage()
    }
}

impl std::fmt::Debug for L1 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("L1").field("entries", &self.entries()).field("bytes", &self.bytes()).finish()
    }
}
