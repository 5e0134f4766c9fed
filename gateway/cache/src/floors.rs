//! The floor table of one shard: a fixed number of slots, each with its own lock and version.
//!
//! A raise changes the floor and then the version, both under the slot's lock, before the writer
//! sends COMMIT. An insert checks the floor and reads the version under the same lock. A hit
//! compares the version it was stored with: equal means that no raise came in between, so the
//! check made at insert still holds. That replaces dropping entries under the lock, and works for
//! any number of entries per bucket.

use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use tidegate_types::{
    bucket::BucketId,
    epoch::Epoch,
    floor::Floor,
    snapshot::{Snapshot, Xid},
};

/// The floors of a shard.
#[derive(Debug)]
pub struct FloorTable {
    slots: Box<[Slot]>,
    mask: u64,
}

#[derive(Debug, Default)]
struct Slot {
    version: AtomicU64,
    // The floor's epoch is part of it: xids of different epochs are never compared.
    state: Mutex<SlotState>,
}

#[derive(Debug, Default)]
struct SlotState {
    epoch: Option<Epoch>,
    floor: Floor,
}

impl SlotState {
    /// Voids the floor if it is of an older epoch. `false` if `epoch` itself is the older one.
    fn align(&mut self, epoch: Epoch) -> EpochOrder {
        match self.epoch {
            Some(current) if current > epoch => return EpochOrder::Older,
            Some(current) if current == epoch => {}
            _ => *self = Self { epoch: Some(epoch), floor: Floor::default() },
        }
        EpochOrder::Current
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum EpochOrder {
    Current,
    Older,
}

/// The slots an entry depends on, with the versions they had when its snapshot passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp<const N: usize> {
    slots: [u32; N],
    versions: [u64; N],
}

/// Why a snapshot did not pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// A floor holds a transaction that the snapshot does not see.
    Floor,
    /// The snapshot is of an older epoch than the floor.
    Epoch,
}

impl FloorTable {
    /// A table of `slots` slots, rounded up to a power of two, at most 2^24.
    #[must_use]
    pub fn new(slots: usize) -> Self {
        let slots = slots.clamp(1, 1 << 24).next_power_of_two();
        Self { slots: (0..slots).map(|_| Slot::default()).collect(), mask: slots as u64 - 1 }
    }

    #[expect(clippy::cast_possible_truncation, reason = "the mask is below 2^24")]
    fn index(&self, bucket: BucketId) -> u32 {
        (bucket.0 & self.mask) as u32
    }

    /// Raises the floor of a bucket. When this returns, no entry that depends on the bucket and was
    /// read before is served, and fills whose snapshot does not see `xid` are refused.
    pub fn raise(&self, bucket: BucketId, epoch: Epoch, xid: Xid) {
        let slot = &self.slots[self.index(bucket) as usize];
        let mut state = slot.state.lock();
        if state.align(epoch) == EpochOrder::Current {
            state.floor.raise(xid);
        }
        // Also for a write of an older epoch: it can only end in failure, but dropping is safe.
        slot.version.fetch_add(1, Ordering::Release);
    }

    /// Checks a snapshot against the floors of all `buckets` and gives the stamp to store with the entry.
    ///
    /// # Errors
    /// [`Refusal`] of the first bucket that refuses.
    pub fn pass<const N: usize>(
        &self,
        buckets: &[BucketId; N],
        epoch: Epoch,
        snapshot: &Snapshot,
    ) -> Result<Stamp<N>, Refusal> {
        let mut stamp = Stamp { slots: [0; N], versions: [0; N] };
        for (at, bucket) in buckets.iter().enumerate() {
            let index = self.index(*bucket);
            let slot = &self.slots[index as usize];
            let mut state = slot.state.lock();
            if state.align(epoch) == EpochOrder::Older {
                return Err(Refusal::Epoch);
            }
            if !state.floor.admits(snapshot) {
                return Err(Refusal::Floor);
            }
            state.floor.witness(snapshot);
            stamp.slots[at] = index;
            stamp.versions[at] = slot.version.load(Ordering::Relaxed);
        }
        Ok(stamp)
    }

    /// Whether no floor of the stamp's buckets rose since it was given.
    #[must_use]
    pub fn holds<const N: usize>(&self, stamp: &Stamp<N>) -> bool {
        let now = stamp.slots.iter().map(|slot| self.slots[*slot as usize].version.load(Ordering::Acquire));
        now.eq(stamp.versions)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snap(text: &str) -> Snapshot {
        Snapshot::parse(text).expect("valid")
    }

    const EPOCH: Epoch = Epoch(1);

    #[test]
    fn a_raise_ends_every_stamp_of_its_bucket_and_no_other() {
        let table = FloorTable::new(1024);
        let (row, other, sweep) = (BucketId(1), BucketId(2), BucketId(3));
        let stamp = table.pass(&[row, sweep], EPOCH, &snap("10:10:")).expect("empty floors admit");
        let other = table.pass(&[other, sweep], EPOCH, &snap("10:10:")).expect("empty floors admit");
        table.raise(row, EPOCH, Xid(10));
        assert!(!table.holds(&stamp));
        assert!(table.holds(&other));
        table.raise(sweep, EPOCH, Xid(11));
        assert!(!table.holds(&other));
    }

    #[test]
    fn a_collision_refuses_a_fill_and_never_serves_stale() {
        let table = FloorTable::new(1);
        let stamp = table.pass(&[BucketId(7)], EPOCH, &snap("10:10:")).expect("admitted");
        table.raise(BucketId(8), EPOCH, Xid(10));
        assert!(!table.holds(&stamp));
        assert_eq!(table.pass(&[BucketId(7)], EPOCH, &snap("10:11:10")), Err(Refusal::Floor));
        assert!(table.pass(&[BucketId(7)], EPOCH, &snap("11:11:")).is_ok());
    }

    #[test]
    fn a_new_epoch_voids_floors_and_refuses_the_old() {
        let table = FloorTable::new(16);
        table.raise(BucketId(1), Epoch(1), Xid(1_000));
        assert!(table.pass(&[BucketId(1)], Epoch(2), &snap("50:50:")).is_ok(), "xids may restart lower");
        assert_eq!(table.pass(&[BucketId(1)], Epoch(1), &snap("2000:2000:")), Err(Refusal::Epoch));
    }
}
