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
//! that noted the number was sent after the void's caller had seen its change done, so it is kept. From
//! then on whatever was read in a snapshot that is not older than that fetch's is kept too, whenever it
//! was asked for and by whom: an entry of the shared tier, of which nobody here knows when it was.
//!
//! A soft void refuses what was sent before it as a void does, and leaves what was stored: that counts as late from
//! then on, so only who may serve what is late still may. The version tells the two apart by its lower bits. A raise
//! or a void is a step of the upper ones, and ends what is soft too.

use std::{
    num::NonZeroU32,
    sync::atomic::{AtomicU64, Ordering},
};

use parking_lot::Mutex;
use tidegate_types::{
    bucket::BucketId,
    epoch::Epoch,
    floor::{Floor, Witness},
    purge::Softness,
    snapshot::{Snapshot, Xid},
    tenant::TenantId,
};

use crate::{
    entry::Moment,
    tenants::{Ended, Tenants},
};

/// The floors of a shard.
#[derive(Debug)]
pub struct FloorTable {
    slots: Box<[Slot]>,
    mask: u64,
    /// The newest void.
    voids: AtomicU64,
    pub(crate) tenants: Tenants,
    #[cfg(feature = "bug-bank")]
    bug: crate::bugs::Chosen,
}

/// A version's step where everything stamped before is over. The bits below count soft voids; if ever they overflow,
/// that is such a step.
const ENDED: u64 = 1 << 16;
/// A version's step where it is late.
const SOFTENED: u64 = 1;

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
    /// The newest void of it, soft ones included. Outlives epochs.
    voided: Voids,
    /// When the newest soft one was.
    softened: Option<Moment>,
    /// The oldest snapshot that passed after a void, and which void that was. Of this epoch.
    cleared: Option<(Voids, Witness)>,
    #[cfg(feature = "bug-bank")]
    raised: Vec<Xid>,
}

impl SlotState {
    #[cfg(feature = "bug-bank")]
    fn raise_wrongly(&mut self, xid: Xid, bug: &crate::bugs::Chosen) -> bool {
        use crate::bugs::Bug;
        if bug.is(Bug::LowerXidIgnored) {
            let lower = self.raised.iter().any(|raised| *raised > xid);
            self.raised = vec![xid.max(self.raised.first().copied().unwrap_or(xid))];
            return lower;
        }
        if bug.is(Bug::FoldingDropped) {
            self.raised.push(xid);
            self.raised.sort_unstable();
            let forgotten = self.raised.len().saturating_sub(tidegate_types::floor::RECENT);
            self.raised.drain(..forgotten);
            self.floor = Floor::default();
            self.raised.iter().for_each(|raised| self.floor.raise(*raised));
            return true;
        }
        false
    }

    /// Voids the floor if it is of an older epoch. Tells if `epoch` itself is the older one.
    fn align(&mut self, epoch: Epoch) -> EpochOrder {
        match self.epoch {
            Some(current) if current > epoch => return EpochOrder::Older,
            Some(current) if current == epoch => {}
            _ => *self = Self { epoch: Some(epoch), voided: self.voided, softened: self.softened, ..Self::default() },
        }
        EpochOrder::Current
    }

    /// Whether what was read is known to be from after the newest void.
    fn is_after_void(&self, sight: Sight<'_>) -> bool {
        let not_older = |(void, witness)| void == self.voided && witness <= Witness::of(sight.snapshot);
        self.voided <= sight.began || self.cleared.is_some_and(not_older)
    }

    /// Remembers that what was read was sent after the newest void.
    fn clear(&mut self, sight: Sight<'_>) {
        if self.voided == Voids::default() || self.voided > sight.began {
            return;
        }
        let here = Witness::of(sight.snapshot);
        let oldest =
            self.cleared.filter(|(void, _)| *void == self.voided).map_or(here, |(_, witness)| witness.min(here));
        self.cleared = Some((self.voided, oldest));
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
    /// The newest void before its query was sent ([`FloorTable::voids`]); the default where nobody knows.
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
    /// Of an entry without tags that has two buckets of its own, as rows do.
    Two {
        /// The slots.
        slots: [Index; 2],
        /// Their versions.
        versions: [u64; 2],
    },
    /// Of any other: its own buckets, and those of its tags.
    Many(Box<[Mark]>),
}

impl Stamp {
    /// Bytes on the heap beyond `size_of::<Stamp>()`.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        match self {
            Self::Two { .. } => 0,
            Self::Many(marks) => size_of_val(&**marks),
        }
    }

    fn marks(&self) -> impl Iterator<Item = (Index, u64)> {
        let (two, many) = match self {
            Self::Two { slots, versions } => (Some([(slots[0], versions[0]), (slots[1], versions[1])]), None),
            Self::Many(marks) => (None, Some(marks.iter().map(|mark| (mark.slot, mark.version)))),
        };
        two.into_iter().flatten().chain(many.into_iter().flatten())
    }
}

/// What became of the buckets of a stamp.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Nothing.
    Fresh,
    /// Only soft voids: what depends on them is late since the first of their newest ones.
    LateSince(Moment),
    /// What was stored with the stamp is never served again.
    Over,
}

impl Standing {
    /// The same, and what a purge of its tenant left.
    #[must_use]
    pub(crate) fn with(self, purged: Option<Ended>) -> Self {
        match (self, purged) {
            (standing, None) => standing,
            (Self::Over, _) | (_, Some(Ended::Over)) => Self::Over,
            (Self::Fresh, Some(Ended::LateSince(at))) => Self::LateSince(at),
            (Self::LateSince(one), Some(Ended::LateSince(other))) => Self::LateSince(one.min(other)),
        }
    }
}

/// What raising the floors of a write came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "a write of an epoch that is over must not be committed"]
pub enum Raised {
    /// Nothing older is served or kept from here on, in this epoch and in those to come: COMMIT may be sent.
    Held,
    /// Another epoch has begun. Its floors do not hold the transaction, and its base may be below it, so a fill
    /// that does not see the write would be kept: COMMIT must not be sent.
    EpochOver,
}

/// What hearing of a transaction came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// The floor rose.
    Raised,
    /// It needed not.
    Known,
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
    /// Transactions that began before this process knew of any may not have ended.
    Base,
}

impl FloorTable {
    /// A table of `slots` slots, rounded up to a power of two, at most 2^24.
    #[must_use]
    pub fn new(slots: usize) -> Self {
        let slots = slots.clamp(1, 1 << 24).next_power_of_two();
        let mask = slots as u64 - 1;
        Self {
            slots: (0..slots).map(|_| Slot::default()).collect(),
            mask,
            voids: AtomicU64::new(0),
            tenants: Tenants::default(),
            #[cfg(feature = "bug-bank")]
            bug: crate::bugs::Chosen::default(),
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "the mask is below 2^24")]
    fn index(&self, bucket: BucketId) -> Index {
        Index::MIN.saturating_add((bucket.0 & self.mask) as u32)
    }

    fn slot(&self, index: Index) -> &Slot {
        &self.slots[index.get() as usize - 1]
    }

    /// Raises the floor of a bucket. When this returns, no entry that depends on the bucket and was
    /// read before is served, and fills whose snapshot does not see `xid` are refused, unless another epoch
    /// has begun: its floors know nothing of this one's transactions.
    pub fn raise(&self, bucket: BucketId, epoch: Epoch, xid: Xid) {
        let slot = self.slot(self.index(bucket));
        let mut state = slot.state.lock();
        let order = state.align(epoch);
        #[cfg(feature = "bug-bank")]
        if state.raise_wrongly(xid, &self.bug) {
            slot.version.fetch_add(ENDED, Ordering::Release);
            return;
        }
        if order == EpochOrder::Current {
            state.floor.raise(xid);
        }
        // Also for a write of an epoch that is over: `Cache::raise` refuses it, and dropping is safe.
        slot.version.fetch_add(ENDED, Ordering::Release);
    }

    /// Raises the floor of a bucket for a transaction that was told late and may have been raised here before. If
    /// everything that is stored sees it ([`Floor::knows`]), nothing is: a gateway's own write, told again by
    /// the change feed, leaves what was read after it.
    pub fn hear(&self, bucket: BucketId, epoch: Epoch, xid: Xid) -> Heard {
        let slot = self.slot(self.index(bucket));
        let mut state = slot.state.lock();
        if state.align(epoch) == EpochOrder::Current {
            if state.floor.knows(xid) {
                return Heard::Known;
            }
            state.floor.raise(xid);
        }
        slot.version.fetch_add(ENDED, Ordering::Release);
        Heard::Raised
    }

    /// Voids buckets. When this returns, no entry that depends on one of them and whose query was sent before
    /// the call is served or will be; whatever is sent from now on is kept.
    pub fn void(&self, buckets: &[BucketId]) {
        let number = self.next_void();
        for bucket in buckets {
            let slot = self.slot(self.index(*bucket));
            let mut state = slot.state.lock();
            #[cfg(feature = "bug-bank")]
            if self.bug.is(crate::bugs::Bug::VoidOfEntriesOnly) {
                slot.version.fetch_add(ENDED, Ordering::Release);
                continue;
            }
            state.voided = state.voided.max(number);
            slot.version.fetch_add(ENDED, Ordering::Release);
        }
    }

    /// [`FloorTable::void`], but what is stored is late from `at` on, and not over.
    pub fn soften(&self, buckets: &[BucketId], at: Moment) {
        let number = self.next_void();
        for bucket in buckets {
            let slot = self.slot(self.index(*bucket));
            let mut state = slot.state.lock();
            state.voided = state.voided.max(number);
            state.softened = Some(at);
            slot.version.fetch_add(SOFTENED, Ordering::Release);
        }
    }

    /// [`FloorTable::raise`] for a transaction that committed, but what is stored is late from `at` on, and not over.
    /// It may be told before it is visible.
    pub fn hear_softly(&self, bucket: BucketId, epoch: Epoch, xid: Xid, at: Moment) {
        let slot = self.slot(self.index(bucket));
        let mut state = slot.state.lock();
        if state.align(epoch) == EpochOrder::Current {
            state.floor.raise(xid);
        }
        state.softened = Some(at);
        slot.version.fetch_add(SOFTENED, Ordering::Release);
    }

    /// Ends every stamp that was given. Floors and voids stay as they are, so what passes them is stamped again.
    pub fn void_all(&self) {
        #[cfg(feature = "bug-bank")]
        if self.bug.is(crate::bugs::Bug::RebaseKeepsEntries) {
            return;
        }
        for slot in &self.slots {
            let _state = slot.state.lock();
            slot.version.fetch_add(ENDED, Ordering::Release);
        }
    }

    /// [`FloorTable::void`] of every bucket.
    pub fn void_every_bucket(&self) {
        let number = self.next_void();
        for slot in &self.slots {
            let mut state = slot.state.lock();
            state.voided = state.voided.max(number);
            slot.version.fetch_add(ENDED, Ordering::Release);
        }
    }

    /// Purges a tenant, of whom nothing that was asked before the call is served or will be, or only late.
    pub(crate) fn purge_tenant(&self, tenant: TenantId, softness: Softness, until: impl FnOnce() -> Moment) {
        self.tenants.purge(tenant, self.next_void(), softness, until);
    }

    fn next_void(&self) -> Voids {
        Voids(self.voids.fetch_add(1, Ordering::SeqCst) + 1)
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
    pub fn pass(&self, own: &[BucketId], tags: &[BucketId], sight: Sight<'_>) -> Result<Stamp, Refusal> {
        if let ([one, other], []) = (own, tags) {
            let [one, other] = [self.mark(*one, sight)?, self.mark(*other, sight)?];
            return Ok(Stamp::Two { slots: [one.slot, other.slot], versions: [one.version, other.version] });
        }
        own.iter().chain(tags).map(|bucket| self.mark(*bucket, sight)).collect::<Result<_, _>>().map(Stamp::Many)
    }

    fn mark(&self, bucket: BucketId, sight: Sight<'_>) -> Result<Mark, Refusal> {
        let index = self.index(bucket);
        let slot = self.slot(index);
        let mut state = slot.state.lock();
        if state.align(sight.epoch) == EpochOrder::Older {
            return Err(Refusal::Epoch);
        }
        if !state.is_after_void(sight) {
            return Err(Refusal::Void);
        }
        #[cfg(feature = "bug-bank")]
        if self.bug.is(crate::bugs::Bug::WitnessUnchecked) {
            state.floor.witness(sight.snapshot);
        }
        if !state.floor.admits(sight.snapshot) {
            return Err(Refusal::Floor);
        }
        state.floor.witness(sight.snapshot);
        state.clear(sight);
        Ok(Mark { slot: index, version: slot.version.load(Ordering::Relaxed) })
    }

    /// This table with an error.
    #[cfg(feature = "bug-bank")]
    pub(crate) fn having(mut self, bug: &crate::bugs::Chosen) -> Self {
        self.bug = bug.clone();
        self
    }

    /// The stamp that a snapshot would have that passes now.
    #[cfg(feature = "bug-bank")]
    pub(crate) fn unchecked(&self, own: &[BucketId; 2]) -> Stamp {
        let slots = own.map(|bucket| self.index(bucket));
        Stamp::Two { slots, versions: slots.map(|slot| self.slot(slot).version.load(Ordering::Relaxed)) }
    }

    /// What became of the stamp's buckets since it was given.
    #[must_use]
    pub fn standing(&self, stamp: &Stamp) -> Standing {
        if self.holds(stamp) { Standing::Fresh } else { self.standing_of_changed(stamp) }
    }

    #[cold]
    fn standing_of_changed(&self, stamp: &Stamp) -> Standing {
        let mut late: Option<Moment> = None;
        for (slot, stamped) in stamp.marks() {
            let slot = self.slot(slot);
            // The moment and the version of one void.
            let state = slot.state.lock();
            let version = slot.version.load(Ordering::Acquire);
            if version == stamped {
                continue;
            }
            match state.softened {
                Some(at) if version / ENDED == stamped / ENDED => late = Some(late.map_or(at, |before| before.min(at))),
                _ => return Standing::Over,
            }
        }
        late.map_or(Standing::Over, Standing::LateSince)
    }

    /// Whether no floor of the stamp's buckets rose since it was given, and none was voided, softly or not.
    #[must_use]
    pub fn holds(&self, stamp: &Stamp) -> bool {
        let stands = |slot: Index, version: u64| self.slot(slot).version.load(Ordering::Acquire) == version;
        match stamp {
            Stamp::Two { slots, versions } => slots.iter().zip(versions).all(|(slot, v)| stands(*slot, *v)),
            Stamp::Many(marks) => marks.iter().all(|mark| stands(mark.slot, mark.version)),
        }
    }

    /// Whether an entry of this stamp depends on these tags, so that purging them reaches it.
    #[must_use]
    pub fn covers(&self, stamp: &Stamp, tags: &[BucketId]) -> bool {
        match stamp {
            Stamp::Two { .. } => tags.is_empty(),
            Stamp::Many(marks) => tags.iter().all(|tag| marks.iter().any(|mark| mark.slot == self.index(*tag))),
        }
    }
}

#[cfg(test)]
mod tests;
