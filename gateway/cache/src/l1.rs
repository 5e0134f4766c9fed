//! The byte-bounded map of entries. Holds what it is given; freshness is judged elsewhere.

use foldhash::quality::RandomState;
use moka::sync::Cache as Moka;

use crate::entry::{Entry, EntryKey};

/// The in-process tier.
#[derive(Clone)]
pub struct L1(Moka<EntryKey, Entry, RandomState>);

impl L1 {
    /// A map that evicts (TinyLFU) when its entries' charges exceed `max_bytes`.
    #[must_use]
    pub fn new(max_bytes: u64) -> Self {
        let weigh = |key: &EntryKey, entry: &Entry| u32::try_from(entry.charge(key)).unwrap_or(u32::MAX);
        let map = Moka::builder().max_capacity(max_bytes).weigher(weigh).build_with_hasher(RandomState::default());
        Self(map)
    }

    /// The entry, whatever its freshness.
    #[must_use]
    pub fn get(&self, key: &EntryKey) -> Option<Entry> {
        self.0.get(key)
    }

    /// Keeps an entry, if the eviction policy agrees.
    pub fn insert(&self, key: EntryKey, entry: Entry) {
        self.0.insert(key, entry);
    }

    /// Forgets an entry that can no longer be served.
    pub fn remove(&self, key: &EntryKey) {
        self.0.invalidate(key);
    }

    /// Entries held, approximately.
    #[must_use]
    pub fn entries(&self) -> u64 {
        self.0.entry_count()
    }

    /// Bytes charged, approximately.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.0.weighted_size()
    }
}

impl std::fmt::Debug for L1 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("L1").field("entries", &self.entries()).field("bytes", &self.bytes()).finish()
    }
}
