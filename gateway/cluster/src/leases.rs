//! The leases of all shards, as requests ask for them: one atomic load and a look at the clock.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tidegate_types::route::ShardId;

use crate::clock::{Clock, Moment};

/// Until when each shard's lease holds. Clones share it.
#[derive(Debug, Clone)]
pub struct Leases(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    clock: Clock,
    shards: Box<[OfShard]>,
}

#[derive(Debug, Default)]
struct OfShard {
    /// A [`Moment`]. Compared with the clock in the request itself: a flag that a timer clears would outlive its
    /// lease in a process that stood still.
    until: AtomicU64,
    // Orders publishing and suspending; requests do not take it.
    suspensions: Mutex<u64>,
}

/// How often a lease had been suspended when its holder joined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Suspensions(u64);

/// Whether a lease was published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Published {
    Yes,
    /// It was suspended meanwhile: join again.
    Suspended,
}

impl Leases {
    /// No leases at this many shards.
    #[must_use]
    pub fn new(shards: usize, clock: Clock) -> Self {
        Self(Arc::new(Inner { clock, shards: (0..shards).map(|_| OfShard::default()).collect() }))
    }

    /// Whether writers wait for this process before they commit, now. To be asked in the request itself, and
    /// before the kept value is looked at: between the two a lease may end and another begin.
    #[must_use]
    pub fn holds(&self, shard: ShardId) -> bool {
        self.0.clock.now().to_nanos() < self.until(shard)
    }

    /// The time that the lease still has.
    #[must_use]
    pub fn remaining(&self, shard: ShardId) -> Duration {
        Moment::from_nanos(self.until(shard)).since(self.0.clock.now())
    }

    fn until(&self, shard: ShardId) -> u64 {
        self.of(shard).map_or(0, |of| of.until.load(Ordering::Acquire))
    }

    fn of(&self, shard: ShardId) -> Option<&OfShard> {
        self.0.shards.get(usize::from(shard.0))
    }

    /// To be noted before joining.
    pub(crate) fn suspensions(&self, shard: ShardId) -> Suspensions {
        Suspensions(self.of(shard).map_or(0, |of| *of.suspensions.lock()))
    }

    /// Holds until then, unless it was suspended since the holder joined. After a join everything kept must be
    /// void before.
    pub(crate) fn publish(&self, shard: ShardId, until: Moment, joined: Suspensions) -> Published {
        let Some(of) = self.of(shard) else { return Published::Suspended };
        let suspensions = of.suspensions.lock();
        if *suspensions != joined.0 {
            return Published::Suspended;
        }
        of.until.store(until.to_nanos(), Ordering::Release);
        Published::Yes
    }

    /// Ends a lease until its holder has joined again.
    pub(crate) fn suspend(&self, shard: ShardId) {
        if let Some(of) = self.of(shard) {
            let mut suspensions = of.suspensions.lock();
            *suspensions += 1;
            of.until.store(0, Ordering::Release);
        }
    }

    /// Ends every lease until its holder has joined again, and does something that no lease may outlive: none is
    /// published before it is done.
    pub(crate) fn suspended<T>(&self, change: impl FnOnce() -> T) -> T {
        // In the order of shards, as nobody else takes more than one.
        let mut held: Vec<_> = self.0.shards.iter().map(|of| of.suspensions.lock()).collect();
        for (of, suspensions) in self.0.shards.iter().zip(&mut held) {
            **suspensions += 1;
            of.until.store(0, Ordering::Release);
        }
        change()
    }

    pub(crate) fn clock(&self) -> &Clock {
        &self.0.clock
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHARD: ShardId = ShardId(0);

    #[test]
    fn a_lease_ends_by_the_clock_alone() {
        let clock = Clock::by_hand();
        let leases = Leases::new(1, clock.clone());
        assert!(!leases.holds(SHARD));
        leases.publish(SHARD, clock.now().after(Duration::from_secs(1)), leases.suspensions(SHARD));
        assert!(leases.holds(SHARD) && !leases.holds(ShardId(1)));
        clock.advance(Duration::from_secs(1));
        assert!(!leases.holds(SHARD), "nobody had to run for that");
    }

    #[test]
    fn a_renewal_that_was_under_way_does_not_undo_a_suspension() {
        let clock = Clock::by_hand();
        let leases = Leases::new(1, clock.clone());
        let joined = leases.suspensions(SHARD);
        leases.suspend(SHARD);
        assert_eq!(leases.publish(SHARD, clock.now().after(Duration::from_secs(1)), joined), Published::Suspended);
        assert!(!leases.holds(SHARD));
    }
}
