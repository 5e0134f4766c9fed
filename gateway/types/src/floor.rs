//! Floors: the transactions that changed what a bucket covers. Floors only rise.

use std::cmp::Reverse;

use smallvec::SmallVec;

use crate::snapshot::{Snapshot, Xid};

/// How many xids a floor keeps one by one before it folds the lowest into its maximum.
pub const RECENT: usize = 4;

/// A few recent xids and the maximum of the older ones.
///
/// Folding refuses more than it must (a snapshot's `xmin` has to pass the maximum), never less.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Floor {
    recent: SmallVec<[Xid; RECENT]>,
    folded_max: Option<Xid>,
    witness: Option<Witness>,
    /// Transactions that the witness sees, and `recent` until it came: the newest few.
    settled: SmallVec<[Xid; RECENT]>,
}

/// A snapshot's place among the snapshots of one primary, which are totally ordered:
/// `xmax` never falls, and between equal `xmax` running transactions only end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Witness {
    xmax: Xid,
    running: Reverse<usize>,
    /// Follows from the other two.
    xmin: Xid,
}

impl Witness {
    /// The place of this snapshot.
    #[must_use]
    pub fn of(snapshot: &Snapshot) -> Self {
        Self { xmax: snapshot.xmax, running: Reverse(snapshot.xip.len()), xmin: snapshot.xmin }
    }
}

impl Floor {
    /// Whether an entry read in `snapshot` may be served: it sees every transaction of the floor.
    #[must_use]
    pub fn admits(&self, snapshot: &Snapshot) -> bool {
        self.folded_max.is_none_or(|max| max < snapshot.xmin)
            && self.recent.iter().all(|xid| snapshot.sees(*xid))
            && self.witness.is_none_or(|witness| witness <= Witness::of(snapshot))
    }

    /// Replaces the transactions by a snapshot that sees them all: from here on a snapshot must not
    /// be older than this one. Keeps a long transaction elsewhere, which holds `xmin` back, from
    /// making a bucket with folded transactions uncacheable. Call only after [`Floor::admits`].
    pub fn witness(&mut self, snapshot: &Snapshot) {
        if !self.recent.is_empty() || self.folded_max.is_some() {
            // Newest last; those that were settled before are the first to be forgotten.
            let forgotten = (self.settled.len() + self.recent.len()).saturating_sub(RECENT).min(self.settled.len());
            self.settled.drain(..forgotten);
            self.settled.append(&mut self.recent);
            self.folded_max = None;
            self.witness = Some(Witness::of(snapshot));
        }
    }

    /// Whether raising by this transaction would change nothing: whatever passed since the last raise sees it, and
    /// so will whatever passes. May say no where yes is true.
    ///
    /// A transaction that is one of the floor's, or below the fold, was raised before or might as well have been,
    /// and nothing passed since, or the floor would have a witness in its place. A transaction that the witness
    /// sees is seen by everything that passed after the witness: snapshots of one primary are totally ordered, a
    /// later one sees what an earlier one sees, and none that is earlier than the witness passes.
    #[must_use]
    pub fn knows(&self, xid: Xid) -> bool {
        self.recent.contains(&xid)
            || self.folded_max.is_some_and(|max| xid <= max)
            || self.witness.is_some_and(|witness| xid < witness.xmin)
            || self.settled.contains(&xid)
    }

    /// Adds a transaction. Raising twice with the same xid changes nothing.
    pub fn raise(&mut self, xid: Xid) {
        if self.folded_max.is_some_and(|max| xid <= max) {
            return;
        }
        let Err(at) = self.recent.binary_search(&xid) else { return };
        if self.recent.len() < RECENT {
            self.recent.insert(at, xid);
            return;
        }
        // The lowest of the five is folded; it may be the new one.
        let lowest = if at == 0 {
            xid
        } else {
            let lowest = self.recent.remove(0);
            self.recent.insert(at - 1, xid);
            lowest
        };
        self.fold(lowest);
    }

    /// Folds every transaction up to `base` into the maximum.
    fn fold(&mut self, base: Xid) {
        self.folded_max = Some(self.folded_max.map_or(base, |max| max.max(base)));
        self.recent.retain(|xid| *xid > base);
    }

    /// Whether anything was ever raised here.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.recent.is_empty() && self.folded_max.is_none() && self.witness.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snap(text: &str) -> Snapshot {
        Snapshot::parse(text).expect("valid")
    }

    #[test]
    fn refuses_before_the_transaction_ends_and_admits_after() {
        let mut floor = Floor::default();
        floor.raise(Xid(10));
        assert!(!floor.admits(&snap("10:10:")), "not started, or latest-completed below it");
        assert!(!floor.admits(&snap("10:12:10")), "still running");
        assert!(floor.admits(&snap("11:11:")), "finished");
        assert!(floor.admits(&snap("9:12:9")), "an unrelated older transaction does not matter");
    }

    #[test]
    fn a_witness_outlives_a_long_transaction_elsewhere() {
        let mut floor = Floor::default();
        floor.raise(Xid(10));
        let long_elsewhere = snap("5:11:5");
        assert!(floor.admits(&long_elsewhere));
        floor.witness(&long_elsewhere);
        for xid in 11..20 {
            floor.raise(Xid(xid));
            let after = snap(&format!("5:{}:5", xid + 1));
            assert!(floor.admits(&after), "xid {xid}");
            floor.witness(&after);
        }
        assert!(!floor.admits(&long_elsewhere), "older than the witness");
        assert!(!floor.admits(&snap("5:20:5,19")), "more running than the witness saw");
    }

    #[test]
    fn it_knows_what_was_raised_and_what_its_witness_sees() {
        let mut floor = Floor::default();
        assert!(!floor.knows(Xid(10)), "nothing passed, nothing is known");
        floor.raise(Xid(10));
        assert!(floor.knows(Xid(10)) && !floor.knows(Xid(9)), "whoever passes need not see 9");
        floor.witness(&snap("8:14:8,9"));
        assert!(floor.knows(Xid(10)), "settled");
        assert!(floor.knows(Xid(7)), "everything before the witness had ended");
        for xid in [8, 9, 11, 14] {
            assert!(!floor.knows(Xid(xid)), "{xid}: unseen, or not known to be seen");
        }
        for xid in 20..25 {
            floor.raise(Xid(xid));
            floor.witness(&snap(&format!("8:{}:8,9", xid + 1)));
        }
        assert!(floor.knows(Xid(24)) && floor.knows(Xid(21)) && !floor.knows(Xid(20)), "the newest four");
        assert!(!floor.knows(Xid(10)), "forgotten, and the oldest under way is older");
    }

    #[test]
    fn a_lower_xid_raised_later_still_counts() {
        let mut floor = Floor::default();
        floor.raise(Xid(12));
        floor.raise(Xid(10));
        assert!(!floor.admits(&snap("10:13:10")));
        assert!(floor.admits(&snap("13:13:")));
    }

    #[test]
    fn folding_never_admits_what_single_xids_would_refuse() {
        let mut folded = Floor::default();
        let xids = [30, 11, 25, 17, 40, 12, 33, 29];
        for xid in xids {
            folded.raise(Xid(xid));
        }
        for text in ["11:50:11", "12:50:12", "13:50:17,25", "26:50:", "34:50:40", "18:41:", "41:41:"] {
            let s = snap(text);
            let all_seen = xids.iter().all(|x| s.sees(Xid(*x)));
            assert!(all_seen || !folded.admits(&s), "{text}");
        }
        assert!(folded.admits(&snap("41:41:")));
    }
}
