//! Keyed reads and lists.

use futures_util::future::try_join_all;
use tidegate_cache::{EntryKey, Fetched, FillPlan, Served};
use tidegate_types::{
    answer::{BypassReason, CacheStatus, ListAnswer, RowAnswer, RowBody, Trace},
    collection::Mode,
    problem::Problem,
    request::{Facts, ListRead, RowRead, TenantId},
    route::{Access, ShardId},
};

use crate::{gateway::GatewayParts, route};

/// A keyed read: cache, then the shard, one fetch for all who ask.
pub(crate) async fn row(parts: &GatewayParts, facts: &Facts<'_>, read: &RowRead) -> Result<RowAnswer, Problem> {
    let shard_key = read.collection.shard_key_text(&read.key);
    let route = route::resolve(parts, facts, &read.collection, Access::Read, Some(&shard_key))?;
    let served = match *route.shards {
        [shard] => on_shard(parts, read, shard).await?,
        _ => {
            let answers = try_join_all(route.shards.iter().map(|shard| on_shard(parts, read, *shard))).await?;
            one_of(answers)
        }
    };
    let trace = Trace { shards: route.shards, generation: route.generation };
    Ok(RowAnswer { row: served.row, status: served.status, trace })
}

/// The row wherever it was found. Keys are unique across shards, so at most one shard has it.
fn one_of(mut answers: Vec<Served>) -> Served {
    let found = answers.iter().position(|answer| answer.row.is_some()).unwrap_or(0);
    answers.swap_remove(found)
}

async fn on_shard(parts: &GatewayParts, read: &RowRead, shard: ShardId) -> Result<Served, Problem> {
    let RowRead { collection, key, projection } = read;
    if collection.mode == Mode::Bypass {
        let loaded = load(parts, read, shard).await?;
        let status = CacheStatus::Bypass(BypassReason::Mode);
        return Ok(Served { row: loaded.json.map(RowBody::new), status });
    }
    let entry = EntryKey {
        tenant: TenantId::SHARED,
        collection: collection.id,
        shard,
        key: key.clone(),
        projection: projection.clone(),
    };
    if let Some(served) = parts.cache.get(&entry) {
        return Ok(served);
    }
    let plan = FillPlan { ttl: collection.ttl, negative_ttl: collection.negative_ttl };
    parts.cache.fetch(&entry, plan, || load(parts, read, shard)).await
}

async fn load(parts: &GatewayParts, read: &RowRead, shard: ShardId) -> Result<Fetched, Problem> {
    let loaded = parts.store.load_row(shard, &read.collection, &read.projection, &read.key).await;
    let loaded = loaded.map_err(|error| error.into_problem())?;
    Ok(Fetched { json: loaded.json, snapshot: loaded.snapshot, epoch: loaded.epoch })
}

/// A list: always from the shards, merged in order.
pub(crate) async fn list(parts: &GatewayParts, facts: &Facts<'_>, read: &ListRead) -> Result<ListAnswer, Problem> {
    let route = route::list(parts, facts, &read.collection, &read.query)?;
    let rows = parts.store.list(&route.shards, &read.collection, &read.query).await;
    let rows = rows.map_err(|error| error.into_problem())?;
    let reason = match read.collection.mode {
        Mode::Bypass => BypassReason::Mode,
        Mode::CacheAside => BypassReason::List,
    };
    Ok(ListAnswer {
        json: rows.json,
        rows: rows.rows,
        total: rows.total,
        status: CacheStatus::Bypass(reason),
        trace: Trace { shards: route.shards, generation: route.generation },
    })
}
