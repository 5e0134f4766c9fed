//! What was read on a standby, and when it may be kept: the side of a floor that is told in log positions.
//!
//! A standby shows transactions in the order of their commit records. How new a row is that it gives is told by how
//! much of the log it had replayed, and by nothing else: `pg_current_snapshot()` there lists no running transaction,
//! so one that is under way counts as ended. On a primary it is the other way round: a commit record is in the log
//! before the transaction is visible, so a position says nothing of a row.
//!
//! # The rule
//! - An entry carries what `pg_last_wal_replay_lsn()` gave in a statement *before* the one that read the row. What
//!   is replayed between the two makes the row newer than its position says, which does no harm. Asked after the
//!   row, the position may be that of a commit which the row does not show.
//! - A floor holds a position after the commit record of every transaction that changed its bucket. Where that record
//!   is nobody knows before COMMIT was answered. Until then the transaction is *unresolved* and nothing passes.
//! - Who commits tells where ([`StandbyFloor::resolve`]). It may die, or its message may be lost: then a snapshot of
//!   the primary that sees the transaction ended, and a position asked for in a later statement, do as well
//!   ([`StandbyFloor::settle`]).
//! - Of transactions up to the base of a gateway that joins ([`crate::epoch::Epochs::base`]) it heard nothing. They
//!   are unresolved ([`StandbyFloor::rebase`]) until a snapshot of the primary has a higher `xmin`. The position of
//!   the join itself would not do: such a transaction may be about to commit after it.
//! - An entry is never replaced by one of a lower position: what was seen once stays seen.
//! - Positions and xids are those of one epoch. Entries and floors end with it.
//!
//! For bounded collections only. Strict ones never ask a standby: its reader is promised nothing, only what is kept
//! of it is as fresh as what the primary gave.

use smallvec::SmallVec;

use crate::{
    floor::RECENT,
    snapshot::{Snapshot, Xid},
};

/// A position in the write-ahead log of one timeline (`pg_lsn`), in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Lsn(pub u64);

/// How a transaction ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It committed, and this position was asked for on the primary after COMMIT was answered: its commit record
    /// lies before.
    Committed(Lsn),
    /// Nothing of it is in the log that anybody will ever see.
    Aborted,
}

/// Why something read on a standby may not be kept or served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unfit {
    /// The standby had not replayed this much when it was asked.
    Behind(Lsn),
    /// A transaction changed the bucket, and where its commit record is, is not known yet.
    Unresolved,
}

/// What a standby must have replayed so that what it gave may be kept. Only rises.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StandbyFloor {
    /// After the commit record of everything that was resolved.
    lsn: Lsn,
    /// Ascending.
    unresolved: SmallVec<[Xid; RECENT]>,
    /// Every transaction up to this one is unresolved too: those that there was no room for, and the base.
    folded_max: Option<Xid>,
}

impl StandbyFloor {
    /// Adds a transaction, before its COMMIT. Nothing passes until it is resolved.
    pub fn raise(&mut self, xid: Xid) {
        if self.folded_max.is_some_and(|max| xid <= max) {
            return;
        }
        let Err(at) = self.unresolved.binary_search(&xid) else { return };
        self.unresolved.insert(at, xid);
        if self.unresolved.len() > RECENT {
            // What is folded can no longer be resolved one by one. It is settled by a snapshot.
            let lowest = self.unresolved.remove(0);
            self.rebase(lowest);
        }
    }

    /// Adds every transaction up to `base`.
    pub fn rebase(&mut self, base: Xid) {
        self.folded_max = Some(self.folded_max.map_or(base, |max| max.max(base)));
        self.unresolved.retain(|xid| *xid > base);
    }

    /// Learns how a transaction of the same epoch ended. One that is not unresolved here changes nothing.
    pub fn resolve(&mut self, xid: Xid, end: End) {
        let Ok(at) = self.unresolved.binary_search(&xid) else { return };
        self.unresolved.remove(at);
        if let End::Committed(lsn) = end {
            self.lsn = self.lsn.max(lsn);
        }
    }

    /// Resolves what a snapshot of the primary sees as ended, committed or not. `after` was asked for there in a
    /// statement after the snapshot's: the commit records of what it sees lie before.
    pub fn settle(&mut self, snapshot: &Snapshot, after: Lsn) {
        let (unresolved, folded) = (self.unresolved.len(), self.folded_max);
        self.unresolved.retain(|xid| !snapshot.sees(*xid));
        self.folded_max = folded.filter(|max| *max >= snapshot.xmin);
        if self.unresolved.len() < unresolved || self.folded_max != folded {
            self.lsn = self.lsn.max(after);
        }
    }

    /// Whether something may be kept, or served, that was read after the standby said it had replayed so much.
    ///
    /// # Errors
    /// Why not.
    pub fn admits(&self, replayed: Lsn) -> Result<(), Unfit> {
        if replayed < self.lsn {
            return Err(Unfit::Behind(self.lsn));
        }
        if self.is_resolved() { Ok(()) } else { Err(Unfit::Unresolved) }
    }

    /// Whether a snapshot of the primary is not needed.
    #[must_use]
    pub fn is_resolved(&self) -> bool {
        self.unresolved.is_empty() && self.folded_max.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snap(text: &str) -> Snapshot {
        Snapshot::parse(text).expect("valid")
    }

    fn raised(xids: impl IntoIterator<Item = u64>) -> StandbyFloor {
        let mut floor = StandbyFloor::default();
        xids.into_iter().for_each(|xid| floor.raise(Xid(xid)));
        floor
    }

    #[test]
    fn nothing_passes_until_the_commit_is_known_and_replayed() {
        let mut floor = raised([10]);
        assert_eq!(floor.admits(Lsn(u64::MAX)), Err(Unfit::Unresolved), "however much was replayed");
        floor.resolve(Xid(10), End::Committed(Lsn(70)));
        assert_eq!(floor.admits(Lsn(69)), Err(Unfit::Behind(Lsn(70))));
        assert_eq!(floor.admits(Lsn(70)), Ok(()));
    }

    #[test]
    fn an_abort_leaves_what_was_read_before() {
        let mut floor = raised([10, 11]);
        floor.resolve(Xid(11), End::Aborted);
        assert_eq!(floor.admits(Lsn(5)), Err(Unfit::Unresolved));
        floor.resolve(Xid(10), End::Aborted);
        assert_eq!(floor.admits(Lsn(5)), Ok(()));
    }

    #[test]
    fn positions_only_rise_and_are_told_in_any_order() {
        let mut floor = raised([12, 10]);
        floor.resolve(Xid(12), End::Committed(Lsn(90)));
        floor.resolve(Xid(10), End::Committed(Lsn(70)));
        assert_eq!(floor.admits(Lsn(89)), Err(Unfit::Behind(Lsn(90))));
        floor.resolve(Xid(10), End::Committed(Lsn(400)));
        assert_eq!(floor.admits(Lsn(90)), Ok(()), "told again");
    }

    #[test]
    fn what_nobody_tells_is_settled_by_a_snapshot_and_a_later_position() {
        let mut floor = raised([10, 12]);
        floor.settle(&snap("10:13:10"), Lsn(50));
        assert_eq!(floor.admits(Lsn(50)), Err(Unfit::Unresolved), "10 is under way");
        assert_eq!(floor.admits(Lsn(49)), Err(Unfit::Behind(Lsn(50))), "12 has ended by then");
        floor.settle(&snap("11:14:"), Lsn(60));
        assert_eq!((floor.admits(Lsn(59)), floor.admits(Lsn(60))), (Err(Unfit::Behind(Lsn(60))), Ok(())));
        floor.settle(&snap("20:20:"), Lsn(80));
        assert_eq!(floor.admits(Lsn(60)), Ok(()), "there was nothing to settle");
    }

    #[test]
    fn what_is_folded_stays_unresolved_until_a_snapshot_settles_it() {
        let mut floor = raised(10..16);
        assert_eq!(floor.unresolved.len(), RECENT);
        (10..16).for_each(|xid| floor.resolve(Xid(xid), End::Committed(Lsn(xid))));
        assert_eq!(floor.admits(Lsn(100)), Err(Unfit::Unresolved), "10 and 11 are folded");
        floor.raise(Xid(11));
        floor.settle(&snap("11:16:11"), Lsn(40));
        assert_eq!(floor.admits(Lsn(100)), Err(Unfit::Unresolved), "11 is under way");
        floor.settle(&snap("12:16:"), Lsn(50));
        assert_eq!((floor.admits(Lsn(49)), floor.admits(Lsn(50))), (Err(Unfit::Behind(Lsn(50))), Ok(())));
    }

    #[test]
    fn a_base_waits_for_every_transaction_up_to_it() {
        let mut floor = raised([8, 21]);
        floor.rebase(Xid(20));
        floor.resolve(Xid(8), End::Aborted);
        floor.resolve(Xid(21), End::Committed(Lsn(30)));
        floor.settle(&snap("20:25:20"), Lsn(60));
        assert_eq!(floor.admits(Lsn(60)), Err(Unfit::Unresolved), "its own transaction, or an older one, is under way");
        floor.settle(&snap("21:25:"), Lsn(70));
        assert_eq!((floor.admits(Lsn(69)), floor.admits(Lsn(70))), (Err(Unfit::Behind(Lsn(70))), Ok(())));
    }
}
