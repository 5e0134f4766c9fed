//! The model of one shard's primary: transaction ids in order, snapshots, row locks, a commit record before
//! visibility, a standby that lags, promotion. Only what caches can go wrong by.
//!
//! Values of strict keys are unique, so a key's history names every version.

use std::collections::{BTreeMap, BTreeSet};

use tidegate_types::{
    snapshot::{Snapshot, Xid},
    standby::Lsn,
};

/// What is in a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum RowId {
    /// A row that clients read and write.
    Data(u32),
    /// A gateway's row in the member table.
    Member(u8),
}

/// A row's content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cell {
    /// Of a data row.
    Value(Written),
    /// Of a member row.
    Member(Member),
}

/// What a write left in a data row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Written {
    /// The value; `None` if the row is not there.
    pub value: Option<u64>,
    /// Which write it was: deletes are told apart by it.
    pub tag: u64,
}

/// A gateway as writers see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member {
    /// Which life of the gateway, and which join within it.
    pub incarnation: u64,
    /// When others may fence it, in the database's time (nanoseconds).
    pub expires: u64,
    /// Whether writers go on without it.
    pub fenced: bool,
}

/// A version of a data row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Version {
    /// What was written.
    pub written: Written,
    /// When it became visible (nanoseconds).
    pub since: u64,
}

/// A record of the write-ahead log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    /// A commit, with what it changed.
    Commit {
        /// Its transaction.
        xid: u64,
        /// The rows as it leaves them.
        changes: Vec<(RowId, Cell)>,
    },
    /// A message of a gateway to itself through the log.
    Heartbeat {
        /// Whose.
        gateway: u8,
        /// Its number.
        nonce: u64,
    },
}

/// The connection is of another life of the server, or the transaction is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lost;

/// A primary.
#[derive(Debug)]
pub struct Server {
    /// Changes with every promotion.
    pub timeline: u64,
    /// When the promotion was (nanoseconds).
    pub promoted: u64,
    /// How it shows itself to those who connect. It may change while the server lives on.
    pub shown: u64,
    next: u64,
    latest_completed: u64,
    running: BTreeMap<u64, Vec<(RowId, Cell)>>,
    rows: BTreeMap<RowId, (Cell, u64)>,
    locks: BTreeMap<RowId, u64>,
    /// Transactions whose commit record is in the log.
    logged: BTreeSet<u64>,
    /// The write-ahead log.
    pub log: Vec<Record>,
    /// Every version of every data row, in the order of commits.
    pub history: BTreeMap<u32, Vec<Version>>,
    /// How much of the log was there when a row's commit was last shown: a promotion keeps that. It may lose what
    /// gateways wrote for themselves.
    kept: usize,
    /// How much of the log the standby has replayed that is read from. Another one takes over at promotions.
    replayed: usize,
}

/// The first xid given out.
const FIRST_XID: u64 = 10;

impl Server {
    /// A server on its first timeline in which no row is there.
    #[must_use]
    pub fn new() -> Self {
        Self {
            timeline: 1,
            promoted: 0,
            shown: 0,
            next: FIRST_XID,
            latest_completed: FIRST_XID - 1,
            running: BTreeMap::new(),
            rows: BTreeMap::new(),
            locks: BTreeMap::new(),
            logged: BTreeSet::new(),
            log: Vec::new(),
            history: BTreeMap::new(),
            kept: 0,
            replayed: 0,
        }
    }

    /// Gives out an xid.
    pub fn begin(&mut self) -> u64 {
        let xid = self.next;
        self.next += 1;
        self.running.insert(xid, Vec::new());
        xid
    }

    /// Whether the transaction is under way.
    #[must_use]
    pub fn is_running(&self, xid: u64) -> bool {
        self.running.contains_key(&xid)
    }

    /// `pg_current_snapshot()`: transactions at or above `xmax` are not listed, yet not visible either.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let xmax = self.latest_completed + 1;
        let xip: Vec<u64> = self.running.range(..xmax).map(|(xid, _)| *xid).collect();
        let xmin = xip.first().copied().unwrap_or(xmax);
        Snapshot { xmin: Xid(xmin), xmax: Xid(xmax), xip: xip.into_iter().map(Xid).collect() }
    }

    /// The snapshot that a fence by LSN amounts to: whatever has its commit record in the log counts as seen.
    #[must_use]
    pub fn snapshot_by_log(&self) -> Snapshot {
        let highest = self.logged.last().copied().unwrap_or(0);
        let xmax = (self.latest_completed + 1).max(highest + 1);
        let xip: Vec<u64> =
            self.running.range(..xmax).map(|(xid, _)| *xid).filter(|xid| !self.logged.contains(xid)).collect();
        let xmin = xip.first().copied().unwrap_or(xmax);
        Snapshot { xmin: Xid(xmin), xmax: Xid(xmax), xip: xip.into_iter().map(Xid).collect() }
    }

    /// The visible value of a data row, and the xid that wrote it.
    #[must_use]
    pub fn read(&self, key: u32) -> (Option<u64>, u64) {
        match self.rows.get(&RowId::Data(key)) {
            Some((Cell::Value(written), xmin)) => (written.value, *xmin),
            _ => (None, 0),
        }
    }

    /// The visible member rows.
    #[must_use]
    pub fn members(&self) -> Vec<(u8, Member)> {
        let member = |(id, (cell, _)): (&RowId, &(Cell, u64))| match (id, cell) {
            (RowId::Member(id), Cell::Member(member)) => Some((*id, *member)),
            _ => None,
        };
        self.rows.iter().filter_map(member).collect()
    }

    /// A gateway's visible member row.
    #[must_use]
    pub fn member(&self, gateway: u8) -> Option<Member> {
        match self.rows.get(&RowId::Member(gateway)) {
            Some((Cell::Member(member), _)) => Some(*member),
            _ => None,
        }
    }

    /// Takes the lock of a row, if it is free or one's own.
    pub fn try_lock(&mut self, row: RowId, xid: u64) -> Option<()> {
        (*self.locks.entry(row).or_insert(xid) == xid).then_some(())
    }

    /// Changes a row. The transaction holds its lock.
    pub fn change(&mut self, xid: u64, row: RowId, cell: Cell) {
        if let Some(changes) = self.running.get_mut(&xid) {
            changes.push((row, cell));
        }
    }

    /// A rollback to a savepoint set before `row` was changed. The sub-transaction had an xid of its own.
    pub fn roll_back_to_savepoint(&mut self, xid: u64, row: RowId) {
        if let Some(changes) = self.running.get_mut(&xid) {
            changes.retain(|(changed, _)| *changed != row);
        }
        self.locks.retain(|locked, holder| *locked != row || *holder != xid);
        let sub = self.next;
        self.next += 1;
        self.latest_completed = self.latest_completed.max(sub);
    }

    /// Writes the commit record. Nobody sees the changes yet.
    pub fn log_commit(&mut self, xid: u64) {
        let changes = self.running.get(&xid).cloned().unwrap_or_default();
        self.logged.insert(xid);
        self.log.push(Record::Commit { xid, changes });
    }

    /// The transaction leaves the running ones: its changes are visible, its locks free.
    pub fn show_commit(&mut self, xid: u64, now: u64) {
        let changes = self.running.remove(&xid).unwrap_or_default();
        self.apply(xid, &changes, now);
        self.complete(xid);
        if changes.iter().any(|(row, _)| matches!(row, RowId::Data(_))) {
            self.kept = self.log.len();
        }
    }

    /// Rolls back.
    pub fn abort(&mut self, xid: u64) {
        if self.running.remove(&xid).is_some() {
            self.complete(xid);
        }
    }

    /// Whether its commit can no longer be stopped.
    #[must_use]
    pub fn is_logged(&self, xid: u64) -> bool {
        self.logged.contains(&xid)
    }

    fn complete(&mut self, xid: u64) {
        self.latest_completed = self.latest_completed.max(xid);
        self.locks.retain(|_, holder| *holder != xid);
    }

    fn apply(&mut self, xid: u64, changes: &[(RowId, Cell)], now: u64) {
        for (row, cell) in changes {
            self.rows.insert(*row, (*cell, xid));
            if let (RowId::Data(key), Cell::Value(written)) = (row, cell) {
                self.history.entry(*key).or_default().push(Version { written: *written, since: now });
            }
        }
    }

    /// How much of the log a promotion may keep without losing what was acknowledged, and all there is.
    #[must_use]
    pub fn promotable(&self) -> (usize, usize) {
        (self.kept, self.log.len())
    }

    /// A standby that has this much of the log takes over. Transactions under way are gone, their xids given out
    /// again.
    pub fn promote(&mut self, kept: usize, now: u64, spare_xids: u64) {
        let lost = self.log.split_off(kept.min(self.log.len()));
        drop(lost);
        let mut promoted = Self { timeline: self.timeline + 1, promoted: now, shown: self.shown, ..Self::new() };
        let mut newest = FIRST_XID - 1;
        for record in &self.log {
            if let Record::Commit { xid, changes } = record {
                newest = newest.max(*xid);
                promoted.apply(*xid, changes, now);
            }
        }
        // Versions that were visible before stay as old as they were.
        for (key, versions) in &mut promoted.history {
            let before = self.history.get(key).map_or(&[][..], Vec::as_slice);
            versions.iter_mut().zip(before).for_each(|(version, known)| version.since = known.since);
        }
        promoted.next = newest + 1 + spare_xids;
        promoted.latest_completed = promoted.next - 1;
        promoted.log = std::mem::take(&mut self.log);
        promoted.kept = promoted.log.len();
        // Had it come further, it is rewound.
        promoted.replayed = self.replayed.min(promoted.log.len());
        *self = promoted;
    }

    /// Where the next record of the log will be: `pg_current_wal_insert_lsn()`.
    #[must_use]
    pub fn insert_lsn(&self) -> Lsn {
        Lsn(self.log.len() as u64)
    }

    /// The standby replays the next records, in order.
    pub fn replay(&mut self, records: usize) {
        self.replayed = self.log.len().min(self.replayed + records);
    }

    /// How much the standby has replayed: `pg_last_wal_replay_lsn()` there.
    #[must_use]
    pub fn replayed(&self) -> Lsn {
        Lsn(self.replayed as u64)
    }

    /// What the standby shows of a data row, and its `pg_current_snapshot()`: transactions that are under way on the
    /// primary are not in it.
    #[must_use]
    pub fn read_on_standby(&self, key: u32) -> (Option<u64>, Snapshot) {
        let (mut value, mut newest) = (None, FIRST_XID - 1);
        for record in &self.log[..self.replayed] {
            let Record::Commit { xid, changes } = record else { continue };
            newest = newest.max(*xid);
            for change in changes {
                if let (RowId::Data(changed), Cell::Value(written)) = change
                    && *changed == key
                {
                    value = written.value;
                }
            }
        }
        let next = Xid(newest + 1);
        (value, Snapshot { xmin: next, xmax: next, xip: Default::default() })
    }

    /// Every member row is gone: what a promotion may do that the standby had not followed.
    pub fn forget_members(&mut self) {
        self.rows.retain(|row, _| matches!(row, RowId::Data(_)));
    }
}

impl Default for Server {
    fn default() -> Self {
        Self::new()
    }
}
