//! Which database a shard's URL leads to, and whether it still is the same one.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use parking_lot::Mutex;
use tidegate_types::{
    epoch::{Epoch, Epochs, Lineage},
    route::ShardId,
    snapshot::Xid,
};

/// A point to judge a later look at the server by; taken before the server is asked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Before {
    epoch: Epoch,
    highest: u64,
}

/// What a shard last showed. Owns the decision to start a new epoch.
#[derive(Debug)]
pub(crate) struct Identity {
    shard: ShardId,
    name: Arc<str>,
    epochs: Epochs,
    /// The highest snapshot `xmax` of the current epoch.
    highest: AtomicU64,
    known: Mutex<Option<Lineage>>,
}

impl Identity {
    pub(crate) fn shard(&self) -> ShardId {
        self.shard
    }

    pub(crate) fn new(shard: ShardId, name: Arc<str>, epochs: Epochs) -> Self {
        Self { shard, name, epochs, highest: AtomicU64::new(0), known: Mutex::new(None) }
    }

    pub(crate) fn epoch(&self) -> Epoch {
        self.epochs.current(self.shard)
    }

    pub(crate) fn before(&self) -> Before {
        // The epoch first: a highest of a later epoch is then at worst ignored, never misjudged.
        let epoch = self.epoch();
        Before { epoch, highest: self.highest.load(Ordering::Acquire) }
    }

    /// Notes a snapshot that a connection of `epoch` returned.
    pub(crate) fn saw(&self, epoch: Epoch, xmax: Xid) {
        if epoch == self.epoch() {
            self.highest.fetch_max(xmax.0, Ordering::AcqRel);
        }
    }

    /// The base of an epoch, if it is known and the epoch is not over.
    pub(crate) fn base(&self, epoch: Epoch) -> Option<Xid> {
        self.epochs.base(self.shard, epoch)
    }

    /// Tells the base of an epoch: an xid of one's own, taken after it began.
    pub(crate) fn set_base(&self, epoch: Epoch, base: Xid) {
        self.epochs.set_base(self.shard, epoch, base);
    }

    /// What was last shown, and the epoch it belongs to. `None` before the first connection.
    pub(crate) fn lineage(&self) -> Option<(Epoch, Lineage)> {
        // Under the lock in which an epoch is started.
        let known = self.known.lock();
        known.clone().map(|lineage| (self.epoch(), lineage))
    }

    /// Judges a new connection; gives the epoch it belongs to and whether that epoch is new.
    ///
    /// # Errors
    /// [`Superseded`]: it leads to a primary in whose place another was promoted. What it answers is of the past,
    /// and what is written there is lost.
    pub(crate) fn observe(&self, shown: Lineage, xmax: Xid, before: Before) -> Result<(Epoch, Continuity), Superseded> {
        // Held over the whole judgement: two connections to different servers must not interleave.
        let mut known = self.known.lock();
        if let Some(last) = known.as_ref()
            && last.system.is_some()
            && last.system == shown.system
            && let (Some(newest), Some(timeline)) = (timeline(last), timeline(&shown))
            && timeline < newest
        {
            return Err(Superseded { timeline, newest });
        }
        let changed = match &*known {
            None => false,
            Some(last) => *last != shown || (before.epoch == self.epoch() && xmax.0 < before.highest),
        };
        if known.is_none() {
            self.epochs.set_lineage(self.shard, self.epoch(), &shown);
        }
        if !changed {
            *known = Some(shown);
            self.highest.fetch_max(xmax.0, Ordering::AcqRel);
            return Ok((self.epoch(), Continuity::Same));
        }
        tracing::warn!(
            shard = %self.name, before = ?*known, now = ?shown,
            "the shard shows another identity or older transactions: everything read from it before is void",
        );
        let epoch = self.epochs.advance(self.shard);
        if known.as_ref() != Some(&shown) {
            self.epochs.set_lineage(self.shard, epoch, &shown);
        }
        self.highest.store(xmax.0, Ordering::Release);
        *known = Some(shown);
        Ok((epoch, Continuity::Broken))
    }
}

/// PostgreSQL writes it as eight hexadecimal digits.
fn timeline(lineage: &Lineage) -> Option<u32> {
    lineage.timeline.as_deref().and_then(|digits| u32::from_str_radix(digits, 16).ok())
}

/// A server of an older timeline than was seen of the same system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "it is an old primary, on timeline {timeline}: timeline {newest} of the same system was seen. Shut it down, or \
     make it a standby"
)]
pub(crate) struct Superseded {
    timeline: u32,
    newest: u32,
}

/// Whether a connection leads to what the former ones led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Continuity {
    /// Snapshots of before can be compared with those to come.
    Same,
    /// They cannot: a new epoch has begun.
    Broken,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(system: &str, timeline: &str, started: &str) -> Lineage {
        Lineage { system: Some(system.into()), timeline: Some(timeline.into()), started: started.into() }
    }

    fn identity() -> Identity {
        Identity::new(ShardId(0), Arc::from("a"), Epochs::new(1))
    }

    #[test]
    fn the_same_server_stays_in_its_epoch() {
        let id = identity();
        for xmax in [10, 10, 12] {
            assert_eq!(id.observe(shown("1", "1", "x"), Xid(xmax), id.before()), Ok((Epoch(1), Continuity::Same)));
        }
    }

    #[test]
    fn another_system_timeline_or_start_is_a_new_epoch() {
        for other in [shown("2", "1", "x"), shown("1", "2", "x"), shown("1", "1", "y")] {
            let id = identity();
            id.observe(shown("1", "1", "x"), Xid(10), id.before()).expect("the first");
            assert_eq!(id.observe(other, Xid(20), id.before()), Ok((Epoch(2), Continuity::Broken)));
        }
    }

    #[test]
    fn xids_that_went_backwards_are_a_new_epoch() {
        let id = identity();
        id.observe(shown("1", "1", "x"), Xid(10), id.before()).expect("the first");
        id.saw(Epoch(1), Xid(50));
        let (epoch, _) = id.observe(shown("1", "1", "x"), Xid(49), id.before()).expect("the same timeline");
        assert_eq!(epoch, Epoch(2));
        id.saw(Epoch(1), Xid(90));
        let (epoch, _) = id.observe(shown("1", "1", "x"), Xid(60), id.before()).expect("the same timeline");
        assert_eq!(epoch, Epoch(2), "a straggler of the old epoch does not count");
    }

    #[test]
    fn a_base_that_a_connection_of_an_older_epoch_took_is_dropped() {
        let id = identity();
        let (old, _) = id.observe(shown("1", "1", "x"), Xid(10), id.before()).expect("the first");
        let (new, _) = id.observe(shown("1", "2", "x"), Xid(10), id.before()).expect("a newer timeline");
        assert_eq!((id.base(old), id.base(new)), (None, None));
        id.set_base(old, Xid(11));
        assert_eq!(id.base(new), None, "an xid of another server");
        id.set_base(new, Xid(12));
        assert_eq!((id.base(old), id.base(new)), (None, Some(Xid(12))));
    }

    #[test]
    fn an_epoch_has_the_lineage_of_its_server_unless_xids_went_backwards() {
        let id = identity();
        let digest = |epoch| id.epochs.lineage(id.shard, epoch);
        id.observe(shown("1", "1", "x"), Xid(10), id.before()).expect("no older timeline");
        assert_eq!(digest(Epoch(1)), Some(shown("1", "1", "x").digest()));
        id.observe(shown("1", "2", "x"), Xid(10), id.before()).expect("no older timeline");
        assert_eq!(digest(Epoch(2)), Some(shown("1", "2", "x").digest()));
        id.observe(shown("1", "2", "x"), Xid(9), id.before()).expect("no older timeline");
        id.observe(shown("1", "2", "x"), Xid(12), id.before()).expect("no older timeline");
        assert_eq!((id.epoch(), digest(Epoch(3))), (Epoch(3), None), "what others kept may be of the xids before");
    }

    #[test]
    fn snapshots_taken_meanwhile_do_not_look_like_going_backwards() {
        let id = identity();
        id.observe(shown("1", "1", "x"), Xid(10), id.before()).expect("the first");
        let before = id.before();
        id.saw(Epoch(1), Xid(50));
        assert_eq!(id.observe(shown("1", "1", "x"), Xid(11), before), Ok((Epoch(1), Continuity::Same)));
    }

    #[test]
    fn an_old_primary_that_lives_on_is_refused() {
        let id = identity();
        id.observe(shown("1", "0000000A", "x"), Xid(10), id.before()).expect("the first");
        let old = id.observe(shown("1", "00000009", "w"), Xid(90), id.before());
        assert_eq!(old, Err(Superseded { timeline: 9, newest: 10 }));
        assert_eq!(id.epoch(), Epoch(1), "and nothing is void because of it");
        assert_eq!(id.observe(shown("1", "0000000B", "y"), Xid(5), id.before()), Ok((Epoch(2), Continuity::Broken)));
        let other_system = id.observe(shown("2", "00000001", "z"), Xid(5), id.before());
        assert_eq!(other_system, Ok((Epoch(3), Continuity::Broken)));
    }
}
