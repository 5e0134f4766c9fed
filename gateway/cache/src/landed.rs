//! What a flight brought.

use std::{sync::Arc, time::Duration};

use tidegate_types::{
    answer::{CacheStatus, Collapse, NotStored, RowBody},
    bucket::BucketId,
    epoch::Epoch,
    problem::Problem,
    snapshot::Snapshot,
};

use crate::{
    cache::Served,
    floors::{Sight, Voids},
};

/// What a flight brings back, for its leader and for whoever waits.
pub(crate) type Landing = Result<Arc<Landed>, Problem>;

#[derive(Debug)]
pub(crate) struct Landed {
    pub(crate) row: Option<RowBody>,
    pub(crate) snapshot: Arc<Snapshot>,
    pub(crate) epoch: Epoch,
    /// The newest void before the query was sent.
    pub(crate) began: Voids,
    /// The tags' buckets, as its leader saw them.
    pub(crate) tags: Box<[BucketId]>,
    pub(crate) came: Came,
    #[cfg(feature = "bug-bank")]
    pub(crate) dispatched: Option<crate::floors::Stamp>,
}

/// Where a flight's result is from, and what became of it.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Came {
    /// Read from the shard, by a query sent after the flight began.
    FromShard(Result<Duration, NotStored>),
    /// Found in the shared tier, and stored: its age, and how long it may be served.
    FromTier { age: Duration, ttl: Duration },
}

/// Whether a reader was refused what another flight brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Patience {
    Fresh,
    Moved,
}

impl Landed {
    pub(crate) fn is_from_shard(&self) -> bool {
        matches!(self.came, Came::FromShard(_))
    }

    pub(crate) fn sight(&self) -> Sight<'_> {
        Sight { began: self.began, epoch: self.epoch, snapshot: &self.snapshot }
    }

    pub(crate) fn serve(&self, collapse: Collapse) -> Served {
        let status = match self.came {
            Came::FromShard(Ok(ttl)) => CacheStatus::MissStored { collapse, ttl },
            Came::FromShard(Err(reason)) => CacheStatus::MissNotStored { collapse, reason },
            Came::FromTier { age, ttl } => CacheStatus::Hit { age, ttl },
        };
        Served { row: self.row.clone(), status }
    }
}
