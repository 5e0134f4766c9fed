//! Transactions that gateways made. Their floors were raised before they committed, so what their feed does not tell
//! was known to whoever wrote, and the invalidation policy is not asked twice.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use parking_lot::Mutex;
use tidegate_types::{bucket::BucketId, epoch::Epoch, snapshot::Xid};

/// Transactions remembered, per shard: more than may be under way and untold at once.
const MOST: usize = 8192;
/// Buckets remembered of all of them.
const MOST_BUCKETS: usize = 1 << 16;

/// Who was asked about a transaction's changes before its COMMIT.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Asked {
    /// This gateway's invalidation policy.
    Policy,
    /// Nobody here: there is none, or another gateway made the transaction.
    #[default]
    Nobody,
}

/// What is remembered of a transaction.
#[derive(Debug, Clone, Default)]
pub(super) struct Known {
    pub(super) asked: Asked,
    /// What it raised, sorted.
    raised: Arc<[BucketId]>,
}

impl Known {
    /// Whether it raised this.
    pub(super) fn has_raised(&self, bucket: BucketId) -> bool {
        self.raised.binary_search_by_key(&bucket.0, |raised| raised.0).is_ok()
    }
}

/// The transactions of one shard. Forgetting one costs that more is voided than must be.
#[derive(Debug, Default)]
pub(super) struct Made(Mutex<Remembered>);

#[derive(Debug, Default)]
struct Remembered {
    known: HashMap<(Epoch, Xid), Known>,
    order: VecDeque<(Epoch, Xid)>,
    buckets: usize,
}

impl Made {
    pub(super) fn add(&self, epoch: Epoch, xid: Xid, asked: Asked, mut raised: Vec<BucketId>) {
        raised.sort_unstable_by_key(|bucket| bucket.0);
        let Remembered { known, order, buckets } = &mut *self.0.lock();
        *buckets += raised.len();
        match known.insert((epoch, xid), Known { asked, raised: raised.into() }) {
            Some(before) => *buckets -= before.raised.len(),
            None => order.push_back((epoch, xid)),
        }
        while order.len() > MOST || (*buckets > MOST_BUCKETS && order.len() > 1) {
            let Some(oldest) = order.pop_front() else { return };
            *buckets -= known.remove(&oldest).map_or(0, |gone| gone.raised.len());
        }
    }

    /// Nothing, of a transaction that nobody told of.
    pub(super) fn get(&self, epoch: Epoch, xid: Xid) -> Known {
        self.0.lock().known.get(&(epoch, xid)).cloned().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EPOCH: Epoch = Epoch(1);

    fn numbers(count: u64) -> Vec<BucketId> {
        (0..count).rev().map(BucketId).collect()
    }

    #[test]
    fn transactions_are_remembered_within_bounds() {
        let made = Made::default();
        for xid in 0..=MOST as u64 {
            made.add(EPOCH, Xid(xid), Asked::Policy, numbers(2));
        }
        let asked = |epoch, xid| made.get(epoch, Xid(xid)).asked;
        assert_eq!((asked(EPOCH, 0), asked(EPOCH, 1)), (Asked::Nobody, Asked::Policy));
        assert_eq!(asked(Epoch(2), 1), Asked::Nobody, "of another epoch");
        let state = made.0.lock();
        assert_eq!((state.known.len(), state.order.len(), state.buckets), (MOST, MOST, 2 * MOST));
    }

    #[test]
    fn many_buckets_take_the_place_of_many_transactions() {
        let made = Made::default();
        let half = MOST_BUCKETS as u64 / 2;
        for xid in [1, 2, 2, 3] {
            made.add(EPOCH, Xid(xid), Asked::Nobody, numbers(half));
        }
        let has = |xid, bucket| made.get(EPOCH, Xid(xid)).has_raised(BucketId(bucket));
        assert!(!has(1, 0) && has(2, 0) && has(3, half - 1) && !has(3, half));
        made.add(EPOCH, Xid(4), Asked::Nobody, numbers(3 * half));
        assert!(has(4, 0) && !has(3, 0), "the newest stays, whatever it takes");
        assert_eq!(made.0.lock().known.len(), 1);
    }
}
