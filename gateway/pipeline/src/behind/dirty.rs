//! Rows that were acknowledged, or are about to be, and are not on their shard yet. What readers see first.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    sync::Arc,
};

use parking_lot::Mutex;
use tidegate_types::{
    key::RowKey,
    mutation::{Image, Sequence},
};

/// Locks of a map: writers of different rows seldom meet.
const SLOTS: usize = 64;

/// A row of one shard, by names that outlive a configuration.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct RowName {
    pub(super) collection: Arc<str>,
    pub(super) key: RowKey,
}

/// The newest image of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Dirty {
    /// Of the write that made it. May not be durable yet.
    pub(super) sequence: Sequence,
    pub(super) image: Image,
}

/// The newest images of one shard's rows.
#[derive(Debug)]
pub(super) struct DirtyRows {
    slots: Box<[Mutex<HashMap<RowName, Dirty>>]>,
    hasher: RandomState,
}

impl DirtyRows {
    pub(super) fn new() -> Self {
        Self { slots: (0..SLOTS).map(|_| Mutex::default()).collect(), hasher: RandomState::new() }
    }

    fn slot(&self, row: &RowName) -> &Mutex<HashMap<RowName, Dirty>> {
        let hash = self.hasher.hash_one(row);
        // The remainder is below the number of slots.
        let at = usize::try_from(hash % self.slots.len() as u64).unwrap_or(0);
        &self.slots[at]
    }

    pub(super) fn get(&self, row: &RowName) -> Option<Dirty> {
        self.slot(row).lock().get(row).cloned()
    }

    /// The row's newest image. To be called in the order of sequences for each row.
    pub(super) fn put(&self, row: RowName, dirty: Dirty) {
        let replaced = self.slot(&row).lock().insert(row, dirty.clone());
        debug_assert!(replaced.is_none_or(|before| before.sequence < dirty.sequence), "images of a row come in order");
    }

    /// Lets go of a row's image unless a write after `up_to` made it.
    pub(super) fn release(&self, row: &RowName, up_to: Sequence) {
        let mut slot = self.slot(row).lock();
        if slot.get(row).is_some_and(|dirty| dirty.sequence <= up_to) {
            slot.remove(row);
        }
    }

    /// How many rows there are.
    pub(super) fn len(&self) -> usize {
        self.slots.iter().map(|slot| slot.lock().len()).sum()
    }
}

#[cfg(test)]
mod tests {
    use tidegate_types::key::KeyValue;

    use super::*;

    #[test]
    fn an_image_stays_until_its_own_write_is_flushed() {
        let rows = DirtyRows::new();
        let row = RowName { collection: "carts".into(), key: RowKey::single(KeyValue::Int(1)) };
        let at = |sequence| Dirty { sequence: Sequence(sequence), image: Image::Gone };
        rows.put(row.clone(), at(3));
        rows.put(row.clone(), at(5));
        rows.release(&row, Sequence(4));
        assert_eq!(rows.get(&row), Some(at(5)), "a batch that ended before it");
        rows.release(&row, Sequence(5));
        assert_eq!((rows.get(&row), rows.len()), (None, 0));
    }
}
