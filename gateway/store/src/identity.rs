//! Which database a shard's URL leads to, and whether it still is the same one.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use parking_lot::Mutex;
use tidegate_types::{
    epoch::{Epoch, Epochs},
    route::ShardId,
    snapshot::Xid,
};

/// What a connection showed of its server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fingerprint {
    /// `pg_control_system()`, where the role may call it.
    pub(crate) system: Option<String>,
    /// The timeline, where the role may ask for it.
    pub(crate) timeline: Option<String>,
    /// When the server last started or recovered from a crash. A crash can give the xids of transactions
    /// that never reached the disk to others, so snapshots of before and after must not be compared.
    pub(crate) started: String,
}

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
    known: Mutex<Option<Fingerprint>>,
}

impl Identity {
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

    /// Judges a new connection; gives the epoch it belongs to and whether that epoch is new.
    pub(crate) fn observe(&self, shown: Fingerprint, xmax: Xid, before: Before) -> (Epoch, Continuity) {
        // Held over the whole judgement: two connections to different servers must not interleave.
        let mut known = self.known.lock();
        let changed = match &*known {
            None => false,
            Some(last) => *last != shown || (before.epoch == self.epoch() && xmax.0 < before.highest),
        };
        if !changed {
            *known = Some(shown);
            self.highest.fetch_max(xmax.0, Ordering::AcqRel);
            return (self.epoch(), Continuity::Same);
        }
        tracing::warn!(
            shard = %self.name, before = ?*known, now = ?shown,
            "the shard shows another identity or older transactions: everything read from it before is void",
        );
        let epoch = self.epochs.advance(self.shard);
        self.highest.store(xmax.0, Ordering::Release);
        *known = Some(shown);
        (epoch, Continuity::Broken)
    }
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

    fn shown(system: &str, timeline: &str, started: &str) -> Fingerprint {
        Fingerprint { system: Some(system.into()), timeline: Some(timeline.into()), started: started.into() }
    }

    fn identity() -> Identity {
        Identity::new(ShardId(0), Arc::from("a"), Epochs::new(1))
    }

    #[test]
    fn the_same_server_stays_in_its_epoch() {
        let id = identity();
        for xmax in [10, 10, 12] {
            let (epoch, continuity) = id.observe(shown("1", "1", "x"), Xid(xmax), id.before());
            assert_eq!((epoch, continuity), (Epoch(1), Continuity::Same));
        }
    }

    #[test]
    fn another_system_timeline_or_start_is_a_new_epoch() {
        for other in [shown("2", "1", "x"), shown("1", "2", "x"), shown("1", "1", "y")] {
            let id = identity();
            id.observe(shown("1", "1", "x"), Xid(10), id.before());
            let (epoch, continuity) = id.observe(other, Xid(20), id.before());
            assert_eq!((epoch, continuity), (Epoch(2), Continuity::Broken));
        }
    }

    #[test]
    fn xids_that_went_backwards_are_a_new_epoch() {
        let id = identity();
        id.observe(shown("1", "1", "x"), Xid(10), id.before());
        id.saw(Epoch(1), Xid(50));
        let (epoch, _) = id.observe(shown("1", "1", "x"), Xid(49), id.before());
        assert_eq!(epoch, Epoch(2));
        id.saw(Epoch(1), Xid(90));
        let (epoch, _) = id.observe(shown("1", "1", "x"), Xid(60), id.before());
        assert_eq!(epoch, Epoch(2), "a straggler of the old epoch does not count");
    }

    #[test]
    fn snapshots_taken_meanwhile_do_not_look_like_going_backwards() {
        let id = identity();
        id.observe(shown("1", "1", "x"), Xid(10), id.before());
        let before = id.before();
        id.saw(Epoch(1), Xid(50));
        assert_eq!(id.observe(shown("1", "1", "x"), Xid(11), before).0, Epoch(1));
    }
}
