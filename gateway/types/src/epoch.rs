//! Epochs: one number per shard that changes whenever xids of before and after must not be compared
//! (another timeline, another system identifier, xids that went backwards).

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use parking_lot::Mutex;
use xxhash_rust::xxh3::Xxh3Default;

use crate::{route::ShardId, snapshot::Xid};

/// The epoch of a shard as this process counts it. Starts at 1. Means nothing to another process: what
/// travels between processes names the [`Lineage`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Epoch(pub u64);

/// What a connection shows of its server. Transaction ids of two connections may be compared only where
/// these are equal.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Lineage {
    /// `pg_control_system()`, where the role may call it.
    pub system: Option<String>,
    /// The timeline, where the role may ask for it.
    pub timeline: Option<String>,
    /// When the server last started or recovered from a crash. A crash can give the xids of transactions
    /// that never reached the disk to others, so snapshots of before and after must not be compared.
    pub started: String,
}

impl Lineage {
    /// A number for it that is the same in every process, for what travels between them.
    #[must_use]
    pub fn digest(&self) -> u64 {
        let mut hash = Xxh3Default::new();
        for text in [self.system.as_deref(), self.timeline.as_deref(), Some(&*self.started)] {
            // A length of its own for what is missing, so that no two lineages give the same bytes.
            hash.update(&text.map_or(u64::MAX, |text| text.len() as u64).to_le_bytes());
            hash.update(text.unwrap_or_default().as_bytes());
        }
        hash.digest()
    }
}

/// How an epoch stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It is the shard's.
    Current,
    /// Another one has begun.
    Over,
}

/// The current epoch of every shard: raised by the store, obeyed by the cache.
#[derive(Debug, Clone)]
pub struct Epochs(Arc<[OfShard]>);

#[derive(Debug)]
struct OfShard {
    epoch: AtomicU64,
    /// The epoch it belongs to, and the base. Also orders the starts of epochs.
    base: Mutex<Option<(Epoch, Xid)>>,
    /// The epoch it belongs to, and the digest of its lineage.
    lineage: Mutex<Option<(Epoch, u64)>>,
}

impl Default for OfShard {
    fn default() -> Self {
        Self { epoch: AtomicU64::new(1), base: Mutex::new(None), lineage: Mutex::new(None) }
    }
}

impl Epochs {
    /// Every shard in its first epoch, without a base.
    #[must_use]
    pub fn new(shards: usize) -> Self {
        Self((0..shards).map(|_| OfShard::default()).collect())
    }

    /// The current epoch. A shard that does not exist is forever in epoch 0.
    #[must_use]
    pub fn current(&self, shard: ShardId) -> Epoch {
        Epoch(self.of(shard).map_or(0, |of| of.epoch.load(Ordering::Acquire)))
    }

    /// Whether an epoch goes on. If it does, a base of the next one is taken after this call: it is above every
    /// transaction that has its id by now.
    #[must_use]
    pub fn standing(&self, shard: ShardId, epoch: Epoch) -> Standing {
        let Some(of) = self.of(shard) else { return Standing::Over };
        // Under the lock in which an epoch is started: it was started before, and is seen, or will be later.
        let _starts = of.base.lock();
        if of.epoch.load(Ordering::Acquire) == epoch.0 { Standing::Current } else { Standing::Over }
    }

    /// Starts a new epoch, without a base: everything read or raised before is void. Must happen before the
    /// connection that showed the change is used.
    pub fn advance(&self, shard: ShardId) -> Epoch {
        let Some(of) = self.of(shard) else { return Epoch(0) };
        let mut known = of.base.lock();
        let epoch = Epoch(of.epoch.load(Ordering::Acquire) + 1);
        *known = None;
        of.epoch.store(epoch.0, Ordering::Release);
        epoch
    }

    /// Raises the base of an epoch: of transactions up to it this process may have missed the floors. What was
    /// kept before is not void by that alone. `Err` if another epoch has begun: the xid means nothing in it.
    ///
    /// # Errors
    /// The epoch that has begun.
    pub fn raise_base(&self, shard: ShardId, epoch: Epoch, base: Xid) -> Result<(), Epoch> {
        let Some(of) = self.of(shard) else { return Err(Epoch(0)) };
        let mut known = of.base.lock();
        let current = Epoch(of.epoch.load(Ordering::Acquire));
        if current != epoch {
            return Err(current);
        }
        let before = known.map_or(base, |(_, before)| before);
        *known = Some((epoch, before.max(base)));
        Ok(())
    }

    /// The transaction up to which everything must have ended in the snapshot of what is kept in this epoch:
    /// of older transactions nobody here knows what they change. `None` while it is not known, or in another
    /// epoch: nothing may be kept.
    ///
    /// It is an xid of one's own, taken and ended after the epoch began. The snapshot's `xmax` would not do:
    /// a transaction under way may have a higher xid.
    #[must_use]
    pub fn base(&self, shard: ShardId, epoch: Epoch) -> Option<Xid> {
        let (of, base) = (*self.of(shard)?.base.lock())?;
        (of == epoch).then_some(base)
    }

    /// Tells the base of an epoch. The first one told stays, and one of an epoch that is over is dropped.
    pub fn set_base(&self, shard: ShardId, epoch: Epoch, base: Xid) {
        let Some(of) = self.of(shard) else { return };
        let mut known = of.base.lock();
        if known.is_none() && of.epoch.load(Ordering::Acquire) == epoch.0 {
            *known = Some((epoch, base));
        }
    }

    /// Tells what the server of an epoch shows, once for each. Of one where transaction ids went backwards without
    /// another lineage nothing is told: what others kept of it means nothing.
    pub fn set_lineage(&self, shard: ShardId, epoch: Epoch, lineage: &Lineage) {
        if let Some(of) = self.of(shard) {
            *of.lineage.lock() = Some((epoch, lineage.digest()));
        }
    }

    /// The digest of the lineage of an epoch ([`Lineage::digest`]): what names it to other processes.
    #[must_use]
    pub fn lineage(&self, shard: ShardId, epoch: Epoch) -> Option<u64> {
        let (of, digest) = (*self.of(shard)?.lineage.lock())?;
        (of == epoch).then_some(digest)
    }

    fn of(&self, shard: ShardId) -> Option<&OfShard> {
        self.0.get(usize::from(shard.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHARD: ShardId = ShardId(0);

    #[test]
    fn a_base_belongs_to_its_epoch() {
        let epochs = Epochs::new(1);
        let first = epochs.current(SHARD);
        assert_eq!(epochs.base(SHARD, first), None);
        epochs.set_base(SHARD, first, Xid(10));
        epochs.set_base(SHARD, first, Xid(8));
        assert_eq!(epochs.base(SHARD, first), Some(Xid(10)));
        let second = epochs.advance(SHARD);
        assert_eq!((epochs.base(SHARD, first), epochs.base(SHARD, second)), (None, None));
        epochs.set_base(SHARD, first, Xid(11));
        assert_eq!(epochs.base(SHARD, second), None, "a straggler of the old epoch");
        epochs.set_base(SHARD, second, Xid(5));
        assert_eq!(epochs.raise_base(SHARD, second, Xid(20)), Ok(()));
        assert_eq!(epochs.raise_base(SHARD, second, Xid(15)), Ok(()), "it only rises");
        assert_eq!(epochs.base(SHARD, second), Some(Xid(20)));
        assert_eq!(epochs.raise_base(SHARD, first, Xid(30)), Err(second));
    }

    #[test]
    fn an_epoch_is_over_when_another_has_begun() {
        let epochs = Epochs::new(1);
        let first = epochs.current(SHARD);
        assert_eq!(epochs.standing(SHARD, first), Standing::Current);
        let second = epochs.advance(SHARD);
        assert_eq!(epochs.standing(SHARD, first), Standing::Over);
        assert_eq!(epochs.standing(SHARD, second), Standing::Current);
        assert_eq!(epochs.standing(ShardId(7), Epoch(0)), Standing::Over, "a shard that does not exist");
    }

    #[test]
    fn a_lineage_belongs_to_its_epoch() {
        let epochs = Epochs::new(1);
        let lineage = Lineage { system: Some("1".into()), timeline: None, started: "x".into() };
        let first = epochs.current(SHARD);
        assert_eq!(epochs.lineage(SHARD, first), None);
        epochs.set_lineage(SHARD, first, &lineage);
        assert_eq!(epochs.lineage(SHARD, first), Some(lineage.digest()));
        let second = epochs.advance(SHARD);
        assert_eq!((epochs.lineage(SHARD, first), epochs.lineage(SHARD, second)), (Some(lineage.digest()), None));
    }

    #[test]
    fn a_shard_that_does_not_exist_keeps_nothing() {
        let epochs = Epochs::new(1);
        let none = ShardId(7);
        assert_eq!((epochs.advance(none), epochs.current(none)), (Epoch(0), Epoch(0)));
        epochs.set_base(none, Epoch(0), Xid(1));
        assert_eq!(epochs.base(none, Epoch(0)), None);
    }
}
