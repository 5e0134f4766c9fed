//! Lists.

use std::sync::Arc;

use smallvec::SmallVec;
use tidegate_cache::{FetchedList, FetchedPart, ListKey, ListPlan, ServedList};
use tidegate_types::{
    answer::{BypassReason, CacheStatus, ListAnswer, ListBody, Trace},
    normal,
    problem::Problem,
    request::{Facts, ListRead, TenantId},
    route::ShardId,
};

use super::{Caching, bounds};
use crate::{
    behind,
    bounded::{self, Standing},
    gateway::Shared,
    route::{self, Decided},
    touch,
};

/// A list: cache, then the shards, merged in order; one shard where equality filters name the shard key.
pub(crate) async fn list(shared: &Shared, facts: &Facts<'_>, read: &ListRead) -> Result<ListAnswer, Problem> {
    let decided = {
        let shard_key = read.collection.shard_key_text_from(|column| read.query.equality(column));
        route::read(&shared.policies.session(), facts, &read.collection, shard_key.as_deref())?
    };
    let Decided { who, shards, keep, generation } = decided;
    let caching = Caching::of(read.collection.mode, &keep);
    let served = on_shards(shared, read, who.tenant, &shards, caching).await?;
    let trace = Trace { shards, generation, who };
    Ok(ListAnswer { body: served.body, status: served.status, bounds: bounds(keep), trace })
}

async fn on_shards(
    shared: &Shared,
    read: &ListRead,
    tenant: TenantId,
    shards: &[ShardId],
    caching: Caching<'_>,
) -> Result<ServedList, Problem> {
    let ListRead { collection, query } = read;
    behind::read::list(shared, collection, shards).await?;
    let bounds = match caching {
        Caching::Kept(_) if normal::is_timely(collection, query) => {
            return bypass(shared, read, shards, BypassReason::Timely).await;
        }
        Caching::Kept(bounds) => bounds.map(|bounds| &**bounds),
        Caching::Bypassed(reason) => return bypass(shared, read, shards, reason).await,
    };
    // Before the cache is asked, in the request itself.
    if shards
        .iter()
        .any(|shard| bounded::standing(collection.consistency, || shared.feeds.age(*shard)) == Standing::Behind)
    {
        return bypass(shared, read, shards, BypassReason::Behind).await;
    }
    let normal = normal::normal(collection, query);
    let mut ascending = SmallVec::from_slice(shards);
    ascending.sort_unstable();
    let key = ListKey {
        tenant,
        collection: collection.id,
        shards: ascending,
        query: normal::encode(&normal).into(),
        variant: bounds.and_then(|bounds| bounds.variant.clone()),
    };
    if let Some(served) = shared.cache.get_list(&key, bounds) {
        return Ok(served);
    }
    // Before anything is sent: a write that does not know the collection would not void what is read now.
    if !shared.live.is_settled(collection.id) {
        return bypass(shared, read, shards, BypassReason::Settling).await;
    }
    let mut buckets = touch::list(collection, &normal);
    buckets.push(touch::query(tenant, collection, &normal));
    let plan = ListPlan { buckets: &buckets, ttl: collection.ttl, cap: collection.list_bytes, bounds };
    shared.cache.fetch_list(&key, plan, || load(shared, read, shards)).await
}

async fn bypass(
    shared: &Shared,
    read: &ListRead,
    shards: &[ShardId],
    reason: BypassReason,
) -> Result<ServedList, Problem> {
    let loaded = load(shared, read, shards).await?;
    Ok(ServedList { body: loaded.body, status: CacheStatus::Bypass(reason) })
}

async fn load(shared: &Shared, read: &ListRead, shards: &[ShardId]) -> Result<FetchedList, Problem> {
    let rows = shared.store.list(shards, &read.collection, &read.query).await;
    let rows = rows.map_err(|error| error.into_problem())?;
    let part = |part: tidegate_store::ListPart| FetchedPart {
        shard: part.shard,
        snapshot: Arc::clone(&part.snapshot),
        epoch: part.epoch,
    };
    let parts = rows.parts.into_iter().map(part).collect();
    Ok(FetchedList { body: ListBody::new(rows.json, rows.rows, rows.total), parts })
}
