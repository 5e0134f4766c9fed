//! Purges of tenants: entries say in their key whose they are, so nothing is added to them.
//!
//! A purge does two things, in this order. It voids the tenant in the table of a shard, as a bucket is voided, and
//! then takes the time. A fill takes the time at which it is stored, and then asks the table. So a fill that was sent
//! before the purge is either refused by the table or has a time that is not after the purge's; a hit is served only
//! if its time is. Where nothing was purged by tenant, a hit costs one load and a fill another.

use std::sync::{
    OnceLock,
    atomic::{AtomicU64, Ordering},
};

use parking_lot::Mutex;
use tidegate_types::{epoch::Epoch, floor::Witness, purge::Softness, tenant::TenantId};

use crate::{
    entry::Moment,
    floors::{Refusal, Sight, Voids},
};

/// Slots of a shard's table, a power of two. Two tenants that share one lose what they have together.
const SLOTS: usize = 1 << 13;

/// What was purged of tenants on one shard. Takes memory from the first purge on.
#[derive(Debug, Default)]
pub(crate) struct Tenants(OnceLock<Box<[Slot]>>);

#[derive(Debug, Default)]
struct Slot {
    /// Entries before this are late or over.
    purged: AtomicU64,
    /// Entries before this are over.
    ended: AtomicU64,
    state: Mutex<State>,
}

/// As of a floor's slot (see [`crate::floors`]).
#[derive(Debug, Default)]
struct State {
    voided: Voids,
    /// The oldest snapshot that passed after the newest void, and which void and epoch that was.
    cleared: Option<(Voids, Epoch, Witness)>,
}

impl Tenants {
    fn slot(&self, tenant: TenantId) -> Option<&Slot> {
        let slots = self.0.get()?;
        // A tenant's number is a hash.
        usize::try_from(tenant.0 % SLOTS as u64).ok().map(|at| &slots[at])
    }

    /// Purges a tenant. `number` is the shard's next void; `until` is asked for when the table refuses what was sent
    /// before it, and gives a time after that of everything stored so far, on whatever shard.
    pub(crate) fn purge(&self, tenant: TenantId, number: Voids, softness: Softness, until: impl FnOnce() -> Moment) {
        self.0.get_or_init(|| (0..SLOTS).map(|_| Slot::default()).collect());
        let Some(slot) = self.slot(tenant) else { return };
        let mut state = slot.state.lock();
        state.voided = state.voided.max(number);
        let until = until().0;
        if softness == Softness::Hard {
            slot.ended.fetch_max(until, Ordering::SeqCst);
        }
        slot.purged.fetch_max(until, Ordering::SeqCst);
    }

    /// What a purge left of an entry of this time: nothing, if it was not purged.
    pub(crate) fn since(&self, tenant: TenantId, fetched: Moment) -> Option<Ended> {
        let slot = self.slot(tenant)?;
        let purged = slot.purged.load(Ordering::Acquire);
        if fetched.0 >= purged {
            return None;
        }
        let over = fetched.0 < slot.ended.load(Ordering::Acquire);
        Some(if over { Ended::Over } else { Ended::LateSince(Moment(purged)) })
    }

    /// The time of an entry that is stored now, or was read then: not before that of a purge that is done. To be asked
    /// before [`Tenants::pass`].
    pub(crate) fn not_before(&self, tenant: TenantId, fetched: Moment) -> Moment {
        let purged = self.slot(tenant).map_or(0, |slot| slot.purged.load(Ordering::SeqCst));
        fetched.max(Moment(purged))
    }

    /// Whether what was read is known to be from after the newest purge of its tenant.
    pub(crate) fn pass(&self, tenant: TenantId, sight: Sight<'_>) -> Result<(), Refusal> {
        let Some(slot) = self.slot(tenant) else { return Ok(()) };
        let here = Witness::of(sight.snapshot);
        let mut state = slot.state.lock();
        let void = state.voided;
        let cleared = state.cleared.filter(|(of, epoch, _)| (*of, *epoch) == (void, sight.epoch));
        if void <= sight.began {
            let oldest = cleared.map_or(here, |(.., witness)| witness.min(here));
            state.cleared = Some((void, sight.epoch, oldest));
            return Ok(());
        }
        if cleared.is_some_and(|(.., witness)| witness <= here) { Ok(()) } else { Err(Refusal::Void) }
    }
}

/// What a purge of its tenant left of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// It may be served late, counted from then.
    LateSince(Moment),
    /// It is never served again.
    Over,
}
