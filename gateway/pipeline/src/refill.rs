//! Write-through: the rows that a write touched, read again right behind its COMMIT and kept.
//!
//! Never what the write itself returned: another transaction may have changed the row between the statement and
//! COMMIT became visible, and a snapshot taken inside the transaction "sees" its own xid. What is kept is read by a
//! statement that runs after the transaction has ended, and passes the floors like every other fill.

use std::sync::Arc;

use tidegate_cache::{EntryKey, Fetched, FillPlan, Voids};
use tidegate_store::{LoadedRow, Reread, Rows};
use tidegate_types::{
    answer::{Refill, WrittenRow},
    collection::Collection,
    policy::{Keep, Narrowed},
    query::Projection,
    request::TenantId,
    route::ShardId,
};

use crate::gateway::Shared;

/// What is read behind COMMIT, and how it may be kept.
pub(crate) struct Refilling<'a> {
    pub(crate) reread: Reread<'a>,
    collection: &'a Arc<Collection>,
    shard: ShardId,
    bounds: Option<&'a Narrowed>,
    rows: &'a [WrittenRow],
    /// The newest void before the rows are asked for.
    began: Voids,
}

impl<'a> Refilling<'a> {
    /// Whether and what to read behind COMMIT. To be called before COMMIT is sent.
    pub(crate) fn prepare(
        shared: &Shared,
        shard: ShardId,
        collection: &'a Arc<Collection>,
        keep: &'a Keep,
        rows: &'a [WrittenRow],
    ) -> Option<Self> {
        let bounds = match keep {
            Keep::AsConfigured => None,
            Keep::Narrowed(bounds) => Some(&**bounds),
            Keep::Bypass | Keep::BypassFailed => return None,
        };
        if !shared.live.is_settled(collection.id) {
            return None;
        }
        let reread = Reread::of(collection, rows)?;
        Some(Self { reread, collection, shard, bounds, rows, began: shared.cache.voids(shard) })
    }

    /// Keeps what was read. What the floors refuse, because another write is under way already, the next read
    /// fetches.
    pub(crate) fn keep(&self, shared: &Shared, tenant: TenantId, read: &Rows) -> Refill {
        let Self { collection, bounds, .. } = *self;
        let (ttl, negative_ttl) = (collection.ttl, collection.negative_ttl);
        let definition = shared.cache.is_shared().then(|| collection.definition());
        let plan = FillPlan { seed: collection.seed(), shared: definition, ttl, negative_ttl, bounds };
        let mut refill = Refill::Stored;
        for row in self.rows {
            let key = EntryKey {
                tenant,
                collection: collection.id,
                shard: self.shard,
                key: row.key.clone(),
                projection: Projection::Whole,
                variant: bounds.and_then(|bounds| bounds.variant.clone()),
            };
            let LoadedRow { json, snapshot, epoch } = read.row(&row.key);
            if shared.cache.keep(&key, plan, self.began, Fetched { json, snapshot, epoch }).is_err() {
                refill = Refill::None;
            }
        }
        refill
    }
}
