//! Keyed reads and lists.

use std::sync::Arc;

use futures_util::future::try_join_all;
use tidegate_cache::{EntryKey, Fetched, FillPlan, Served};
use tidegate_types::{
    answer::{BypassReason, CacheStatus, ListAnswer, RowAnswer, RowBody, Trace},
    collection::Mode,
    policy::{Keep, Narrowed},
    problem::Problem,
    request::{Facts, ListRead, RowRead, TenantId},
    route::ShardId,
};

use crate::{
    gateway::Shared,
    route::{self, Decided},
};

/// How the cache takes part in a read.
#[derive(Debug, Clone, Copy)]
enum Caching<'a> {
    /// Within bounds, if a cache policy set any.
    Kept(Option<&'a Arc<Narrowed>>),
    Bypassed(BypassReason),
}

impl<'a> Caching<'a> {
    fn of(mode: Mode, keep: &'a Keep) -> Self {
        match (mode, keep) {
            (Mode::Bypass, _) => Self::Bypassed(BypassReason::Mode),
            (Mode::CacheAside, Keep::AsConfigured) => Self::Kept(None),
            (Mode::CacheAside, Keep::Narrowed(bounds)) => Self::Kept(Some(bounds)),
            (Mode::CacheAside, Keep::Bypass) => Self::Bypassed(BypassReason::Policy),
            (Mode::CacheAside, Keep::BypassFailed) => Self::Bypassed(BypassReason::PolicyFailed),
        }
    }
}

/// A keyed read: cache, then the shard, one fetch for all who ask.
pub(crate) async fn row(shared: &Shared, facts: &Facts<'_>, read: &RowRead) -> Result<RowAnswer, Problem> {
    let decided = {
        let shard_key = read.collection.shard_key_text(&read.key);
        route::read(&shared.policies.session(), facts, &read.collection, Some(&shard_key))?
    };
    let Decided { who, shards, keep, generation } = decided;
    let caching = Caching::of(read.collection.mode, &keep);
    let served = match *shards {
        [shard] => on_shard(shared, read, who.tenant, shard, caching).await?,
        _ => {
            let ask = |shard: &ShardId| on_shard(shared, read, who.tenant, *shard, caching);
            one_of(try_join_all(shards.iter().map(ask)).await?)
        }
    };
    let trace = Trace { shards, generation, who };
    Ok(RowAnswer { row: served.row, status: served.status, bounds: bounds(keep), trace })
}

fn bounds(keep: Keep) -> Option<Arc<Narrowed>> {
    match keep {
        Keep::Narrowed(bounds) => Some(bounds),
        Keep::AsConfigured | Keep::Bypass | Keep::BypassFailed => None,
    }
}

/// The row wherever it was found. Keys are unique across shards, so at most one shard has it.
fn one_of(mut answers: Vec<Served>) -> Served {
    let found = answers.iter().position(|answer| answer.row.is_some()).unwrap_or(0);
    answers.swap_remove(found)
}

async fn on_shard(
    shared: &Shared,
    read: &RowRead,
    tenant: TenantId,
    shard: ShardId,
    caching: Caching<'_>,
) -> Result<Served, Problem> {
    let RowRead { collection, key, projection } = read;
    let bounds = match caching {
        Caching::Kept(bounds) => bounds.map(|bounds| &**bounds),
        Caching::Bypassed(reason) => return bypass(shared, read, shard, reason).await,
    };
    let entry = EntryKey {
        tenant,
        collection: collection.id,
        shard,
        key: key.clone(),
        projection: projection.clone(),
        variant: bounds.and_then(|bounds| bounds.variant.clone()),
    };
    if let Some(served) = shared.cache.get(&entry, bounds) {
        return Ok(served);
    }
    // Before anything is sent: a write that does not know the collection would not void what is read now.
    if !shared.live.is_settled(collection.id) {
        return bypass(shared, read, shard, BypassReason::Settling).await;
    }
    let plan = FillPlan { ttl: collection.ttl, negative_ttl: collection.negative_ttl, bounds };
    shared.cache.fetch(&entry, plan, || load(shared, read, shard)).await
}

async fn bypass(shared: &Shared, read: &RowRead, shard: ShardId, reason: BypassReason) -> Result<Served, Problem> {
    let loaded = load(shared, read, shard).await?;
    Ok(Served { row: loaded.json.map(RowBody::new), status: CacheStatus::Bypass(reason) })
}

async fn load(shared: &Shared, read: &RowRead, shard: ShardId) -> Result<Fetched, Problem> {
    let loaded = shared.store.load_row(shard, &read.collection, &read.projection, &read.key).await;
    let loaded = loaded.map_err(|error| error.into_problem())?;
    Ok(Fetched { json: loaded.json, snapshot: loaded.snapshot, epoch: loaded.epoch })
}

/// A list: always from the shards, merged in order; of one shard where equality filters name the shard key.
pub(crate) async fn list(shared: &Shared, facts: &Facts<'_>, read: &ListRead) -> Result<ListAnswer, Problem> {
    let decided = {
        let shard_key = read.collection.shard_key_text_from(|column| read.query.equality(column));
        route::read(&shared.policies.session(), facts, &read.collection, shard_key.as_deref())?
    };
    let Decided { who, shards, keep, generation } = decided;
    let reason = match Caching::of(read.collection.mode, &keep) {
        Caching::Bypassed(reason) => reason,
        Caching::Kept(_) => BypassReason::List,
    };
    let rows = shared.store.list(&shards, &read.collection, &read.query).await;
    let rows = rows.map_err(|error| error.into_problem())?;
    Ok(ListAnswer {
        json: rows.json,
        rows: rows.rows,
        total: rows.total,
        status: CacheStatus::Bypass(reason),
        bounds: bounds(keep),
        trace: Trace { shards, generation, who },
    })
}
