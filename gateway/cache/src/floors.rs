//! The floor table of one shard: a fixed number of slots, each with its own lock and version.
//!
//! A raise changes the floor and then the version, both under the slot's lock, before the writer
//! sends COMMIT. An insert checks the floor and reads the version under the same lock. A hit
//! compares the version it was stored with: equal means that no raise came in between, so the
//! check made at insert still holds. That replaces dropping entries under the lock, and works for
//! any number of entries per bucket.
//!
//! A void is a raise without a transaction: for what changed elsewhere (another shard's rows, a
//! policy's idea of where rows are). There is no xid that a snapshot could be asked for, so order is
//! told by a counter instead. A void first takes the next number and then marks its slots with it; a
//! fetch notes the newest number before its query is sent. A slot marked with a higher number than the
//! fetch noted was voided after the fetch began, so its result may be too old: it is refused. A fetch
//! that noted the number was sent after the void's caller had seen its change done, so it is kept.

use std::{
    num::NonZeroU32,
    sync::atomic::{AtomicU64, Ordering},
};

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
    /// The newest void.
    voids: AtomicU64,
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
    /// The newest void of it. Outlives epochs.
    voided: Voids,
}

impl SlotState {
    /// Voids the floor if it is of an older epoch. `false` if `epoch` itself is the older one.
    fn align(&mut self, epoch: Epoch) -> EpochOrder {
        match self.epoch {
            Some(current) if current > epoch => return EpochOrder::Older,
            Some(current) if current == epoch => {}
            _ => *self = Self { epoch: Some(epoch), floor: Floor::default(), voided: self.voided },
        }
        EpochOrder::Current
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum EpochOrder {
    Current,
    Older,
}

/// A place in the order of a shard's voids.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Voids(u64);

/// When something was read.
#[derive(Debug, Clone, Copy)]
pub struct Sight<'a> {
    /// The newest void before its query was sent ([`FloorTable::voids`]).
    pub began: Voids,
    /// The epoch of the connection that read it.
    pub epoch: Epoch,
    /// The snapshot of the statement that read it.
    pub snapshot: &'a Snapshot,
}

/// A slot's index, counted from 1: the free value keeps [`Stamp`] at the size of its larger half.
type Index = NonZeroU32;

/// A slot with the version it had when a snapshot passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    slot: Index,
    version: u64,
}

/// The slots an entry depends on, with the versions they had when its snapshot passed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stamp {
    /// Of an entry without tags: its own two buckets.
    Own {
        /// The slots.
        slots: [Index; 2],
        /// Their versions.
        versions: [u64; 2],
    },
    /// Of an entry with tags.
    Tagged(Box<[Mark]>),
}

impl Stamp {
    /// Bytes on the heap beyond `size_of::<Stamp>()`.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        match self {
            Self::Own { .. } => 0,
            Self::Tagged(marks) => size_of_val(&**marks),
        }
    }
}

/// Why a snapshot did not pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// A floor holds a transaction that the snapshot does not see.
    Floor,
    /// The snapshot is of an older epoch than the floor.
    Epoch,
    /// A bucket was voided after the query was sent.
    Void,
}

impl FloorTable {
    /// A table of `slots` slots, rounded up to a power of two, at most 2^24.
    #[must_use]
    pub fn new(slots: usize) -> Self {
        let slots = slots.clamp(1, 1 << 24).next_power_of_two();
        let mask = slots as u64 - 1;
        Self { slots: (0..slots).map(|_| Slot::default()).collect(), mask, voids: AtomicU64::new(0) }
    }

    #[expect(clippy::cast_possible_truncation, reason = "the mask is below 2^24")]
    fn index(&self, bucket: BucketId) -> Index {
        Index::MIN.saturating_add((bucket.0 & self.mask) as u32)
    }

    fn slot(&self, index: Index) -> &Slot {
        &self.slots[index.get() as usize - 1]
    }

    /// Raises the floor of a bucket. When this returns, no entry that depends on the bucket and was
    /// read before is served, and fills whose snapshot does not see `xid` are refused.
    pub fn raise(&self, bucket: BucketId, epoch: Epoch, xid: Xid) {
        let slot = self.slot(self.index(bucket));
        let mut state = slot.state.lock();
        if state.align(epoch) == EpochOrder::Current {
            state.floor.raise(xid);
        }
        // Also for a write of an older epoch: it can only end in failure, but dropping is safe.
        slot.version.fetch_add(1, Ordering::Release);
    }

    /// Voids buckets. When this returns, no entry that depends on one of them and whose query was sent before
    /// the call is served or will be; whatever is sent from now on is kept.
    pub fn void(&self, buckets: &[BucketId]) {
        let number = Voids(self.voids.fetch_add(1, Ordering::SeqCst) + 1);
        for bucket in buckets {
            let slot = self.slot(self.index(*bucket));
            let mut state = slot.state.lock();
            state.voided = state.voided.max(number);
            slot.version.fetch_add(1, Ordering::Release);
        }
    }

    /// The newest void. To be noted before a query is sent.
    #[must_use]
    pub fn voids(&self) -> Voids {
        Voids(self.voids.load(Ordering::SeqCst))
    }

    /// Checks what was read against the floors of its own buckets and of its tags', and gives the stamp to
    /// store with the entry.
    ///
    /// # Errors
    /// [`Refusal`] of the first bucket that refuses.
    pub fn pass(&self, own: &[BucketId; 2], tags: &[BucketId], sight: Sight<'_>) -> Result<Stamp, Refusal> {
        if tags.is_empty() {
            let [row, sweep] = [self.mark(own[0], sight)?, self.mark(own[1], sight)?];
            return Ok(Stamp::Own { slots: [row.slot, sweep.slot], versions: [row.version, sweep.version] });
        }
        own.iter().chain(tags).map(|bucket| self.mark(*bucket, sight)).collect::<Result<_, _>>().map(Stamp::Tagged)
    }

    fn mark(&self, bucket: BucketId, sight: Sight<'_>) -> Result<Mark, Refusal> {
        let index = self.index(bucket);
        let slot = self.slot(index);
        let mut state = slot.state.lock();
        if state.align(sight.epoch) == EpochOrder::Older {
            return Err(Refusal::Epoch);
        }
        if state.voided > sight.began {
            return Err(Refusal::Void);
        }
        if !state.floor.admits(sight.snapshot) {
            return Err(Refusal::Floor);
        }
        state.floor.witness(sight.snapshot);
        Ok(Mark { slot: index, version: slot.version.load(Ordering::Relaxed) })
    }

    /// Whether no floor of the stamp's buckets rose since it was given.
    #[must_use]
    pub fn holds(&self, stamp: &Stamp) -> bool {
        let stands = |slot: Index, version: u64| self.slot(slot).version.load(Ordering::Acquire) == version;
        match stamp {
            Stamp::Own { slots, versions } => slots.iter().zip(versions).all(|(slot, v)| stands(*slot, *v)),
            Stamp::Tagged(marks) => marks.iter().all(|mark| stands(mark.slot, mark.version)),
        }
    }

    /// Whether an entry of this stamp depends on these tags, so that purging them reaches it.
    #[must_use]
    pub fn covers(&self, stamp: &Stamp, tags: &[BucketId]) -> bool {
        match stamp {
            Stamp::Own { .. } => tags.is_empty(),
            Stamp::Tagged(marks) => tags.iter().all(|tag| marks.iter().any(|mark| mark.slot == self.index(*tag))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snap(text: &str) -> Snapshot {
        Snapshot::parse(text).expect("valid")
    }

    const EPOCH: Epoch = Epoch(1);
    const SWEEP: BucketId = BucketId(3);

    /// A query sent now that saw this.
    fn pass(table: &FloorTable, row: u64, epoch: Epoch, snapshot: &str) -> Result<Stamp, Refusal> {
        let sight = Sight { began: table.voids(), epoch, snapshot: &snap(snapshot) };
        table.pass(&[BucketId(row), SWEEP], &[], sight)
    }

    #[test]
    fn a_raise_ends_every_stamp_of_its_bucket_and_no_other() {
        let table = FloorTable::new(1024);
        let stamp = pass(&table, 1, EPOCH, "10:10:").expect("empty floors admit");
        let other = pass(&table, 2, EPOCH, "10:10:").expect("empty floors admit");
        table.raise(BucketId(1), EPOCH, Xid(10));
        assert!(!table.holds(&stamp));
        assert!(table.holds(&other));
        table.raise(SWEEP, EPOCH, Xid(11));
        assert!(!table.holds(&other));
    }

    #[test]
    fn a_collision_refuses_a_fill_and_never_serves_stale() {
        let table = FloorTable::new(1);
        let stamp = pass(&table, 7, EPOCH, "10:10:").expect("admitted");
        table.raise(BucketId(8), EPOCH, Xid(10));
        assert!(!table.holds(&stamp));
        assert_eq!(pass(&table, 7, EPOCH, "10:11:10"), Err(Refusal::Floor));
        assert!(pass(&table, 7, EPOCH, "11:11:").is_ok());
    }

    #[test]
    fn a_new_epoch_voids_floors_and_refuses_the_old() {
        let table = FloorTable::new(16);
        table.raise(BucketId(1), Epoch(1), Xid(1_000));
        assert!(pass(&table, 1, Epoch(2), "50:50:").is_ok(), "xids may restart lower");
        assert_eq!(pass(&table, 1, Epoch(1), "2000:2000:"), Err(Refusal::Epoch));
    }

    #[test]
    fn a_void_ends_stamps_and_refuses_what_was_sent_before_it() {
        let table = FloorTable::new(1024);
        let stamp = pass(&table, 1, EPOCH, "10:10:").expect("admitted");
        let (began, snapshot) = (table.voids(), snap("10:10:"));
        let sent_before = Sight { began, epoch: EPOCH, snapshot: &snapshot };
        table.void(&[BucketId(1)]);
        assert!(!table.holds(&stamp));
        assert_eq!(table.pass(&[BucketId(1), SWEEP], &[], sent_before), Err(Refusal::Void));
        assert!(table.pass(&[BucketId(2), SWEEP], &[], sent_before).is_ok(), "another bucket");
        let sent_after = pass(&table, 1, EPOCH, "10:10:").expect("the same snapshot, sent after the void");
        table.void(&[BucketId(2)]);
        assert!(table.holds(&sent_after));
        let later_epoch = Sight { epoch: Epoch(2), ..sent_before };
        assert_eq!(table.pass(&[BucketId(1), SWEEP], &[], later_epoch), Err(Refusal::Void), "voids outlive epochs");
    }

    #[test]
    fn a_stamp_with_tags_depends_on_each_of_them() {
        let table = FloorTable::new(1024);
        let tags = [BucketId(20), BucketId(21)];
        let (own, snapshot) = ([BucketId(1), SWEEP], snap("10:10:"));
        for bucket in own.into_iter().chain(tags) {
            let sight = Sight { began: table.voids(), epoch: EPOCH, snapshot: &snapshot };
            let stamp = table.pass(&own, &tags, sight).expect("admitted");
            assert!(table.holds(&stamp) && table.covers(&stamp, &tags) && table.covers(&stamp, &[]));
            assert!(!table.covers(&stamp, &[BucketId(22)]), "purging another tag would not reach it");
            table.void(&[bucket]);
            assert!(!table.holds(&stamp), "{bucket:?}");
            assert_eq!(table.pass(&own, &tags, sight), Err(Refusal::Void), "{bucket:?}");
        }
        let untagged = pass(&table, 1, EPOCH, "10:10:").expect("admitted");
        assert!(table.covers(&untagged, &[]) && !table.covers(&untagged, &tags[..1]));
    }
}
