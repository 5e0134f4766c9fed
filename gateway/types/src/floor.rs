//! Floors: the transactions that changed what a bucket covers. Floors only rise.

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
}

impl Floor {
    /// Whether an entry read in `snapshot` may be served: it sees every transaction of the floor.
    #[must_use]
    pub fn admits(&self, snapshot: &Snapshot) -> bool {
        self.folded_max.is_none_or(|max| max < snapshot.xmin) && self.recent.iter().all(|xid| snapshot.sees(*xid))
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

    /// Folds every transaction up to `base` into the maximum (a member joining, a relation-wide sweep).
    pub fn fold(&mut self, base: Xid) {
        self.folded_max = Some(self.folded_max.map_or(base, |max| max.max(base)));
        self.recent.retain(|xid| *xid > base);
    }

    /// Whether anything was ever raised here.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.recent.is_empty() && self.folded_max.is_none()
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
