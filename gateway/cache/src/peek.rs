//! What the tiers would serve, for whoever compares them with the shards. Counts as no request and keeps nothing.

use bytes::Bytes;

use crate::{
    cache::{Cache, FillPlan, Inner},
    entry::EntryKey,
    metrics::MissReason,
    tier::key::TierKey,
};

/// What a tier would serve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Peeked {
    /// It has nothing, or does not answer.
    Absent,
    /// It has something that may not be served now.
    Refused,
    /// This: the row's JSON, or that there is no such row.
    Served(Option<Bytes>),
}

impl Cache {
    /// What [`Cache::get`] would serve.
    #[must_use]
    pub fn peek(&self, key: &EntryKey) -> Peeked {
        match self.0.look_up(key, None) {
            Ok(served) => Peeked::Served(served.row.map(|row| row.json)),
            Err(MissReason::Absent) => Peeked::Absent,
            Err(MissReason::Expired | MissReason::Outdated | MissReason::Unbounded | MissReason::Lapsed) => {
                Peeked::Refused
            }
        }
    }

    /// What [`Cache::fetch`] would serve from the shared tier, were there nothing in this process.
    pub async fn peek_shared(&self, key: &EntryKey, plan: FillPlan<'_>) -> Peeked {
        self.0.peek_shared(key, plan).await.unwrap_or(Peeked::Absent)
    }
}

impl Inner {
    async fn peek_shared(&self, key: &EntryKey, plan: FillPlan<'_>) -> Option<Peeked> {
        let (l2, definition) = (self.l2.get()?, plan.shared?);
        let epoch = self.epochs.current(key.shard);
        let lineage = self.epochs.lineage(key.shard, epoch)?;
        let kept = l2.look(&TierKey::row(definition, l2.place(key.shard)?, key)).await.ok()?;
        let landed = self.assess(key, plan, kept, epoch, lineage);
        let passed = landed.and_then(|landed| self.stamp(key, plan, &landed).map(|_| landed));
        Some(passed.map_or(Peeked::Refused, |landed| Peeked::Served(landed.row.map(|row| row.json))))
    }
}
