//! Keyed reads; lists in `list`, rows after their time in `late`.

mod late;
mod list;

use std::{sync::Arc, time::Instant};

use futures_util::future::try_join_all;
use http::{HeaderMap, Method};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use tidegate_cache::{EntryKey, Fetched, FillPlan, Served};
use tidegate_types::{
    answer::{BypassReason, CacheStatus, RowAnswer, RowBody, Trace},
    collection::{Collection, Mode},
    policy::{Keep, Narrowed, Who},
    problem::Problem,
    request::{Facts, RowRead, TenantId},
    route::ShardId,
};

use crate::{
    behind,
    bounded::{self, Standing},
    gateway::Shared,
    route::{self, Decided},
};

pub(crate) use list::list;

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
            (Mode::CacheAside | Mode::WriteThrough | Mode::WriteBehind, Keep::AsConfigured) => Self::Kept(None),
            (Mode::CacheAside | Mode::WriteThrough | Mode::WriteBehind, Keep::Narrowed(bounds)) => {
                Self::Kept(Some(bounds))
            }
            (Mode::CacheAside | Mode::WriteThrough | Mode::WriteBehind, Keep::Bypass) => {
                Self::Bypassed(BypassReason::Policy)
            }
            (Mode::CacheAside | Mode::WriteThrough | Mode::WriteBehind, Keep::BypassFailed) => {
                Self::Bypassed(BypassReason::PolicyFailed)
            }
        }
    }
}

/// A keyed read: cache, then the shard, one fetch for all who ask.
pub(crate) async fn row(shared: &Arc<Shared>, facts: &Facts<'_>, read: &RowRead) -> Result<RowAnswer, Problem> {
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

/// [`row`] for somebody whose request is not at hand: what the cache did at each shard.
pub(crate) async fn row_for(shared: &Arc<Shared>, who: Who, read: &RowRead) -> Result<Vec<CacheStatus>, Problem> {
    let RowRead { collection, key, .. } = read;
    let (method, headers) = (Method::GET, HeaderMap::new());
    let encode = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    let path = format!("/v1/{}/{}", encode(&collection.name), encode(&key.path_text()));
    let facts = Facts { method: &method, path: &path, query: "", headers: &headers };
    let shard_key = collection.shard_key_text(key);
    let session = shared.policies.session();
    let Decided { who, shards, keep, .. } = route::read_as(&session, who, &facts, collection, Some(&shard_key))?;
    let caching = Caching::of(collection.mode, &keep);
    let ask = |shard: &ShardId| on_shard(shared, read, who.tenant, *shard, caching);
    Ok(try_join_all(shards.iter().map(ask)).await?.into_iter().map(|served| served.status).collect())
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
    shared: &Arc<Shared>,
    read: &RowRead,
    tenant: TenantId,
    shard: ShardId,
    caching: Caching<'_>,
) -> Result<Served, Problem> {
    let RowRead { collection, key, projection } = read;
    // Before the cache and whatever a policy says of it: nobody misses a write that was acknowledged.
    if let Some(served) = behind::read::row(shared, read, shard).await? {
        return Ok(served);
    }
    let held = match caching {
        Caching::Kept(bounds) => bounds,
        Caching::Bypassed(reason) => return bypass(shared, read, shard, reason).await,
    };
    let bounds = held.map(|bounds| &**bounds);
    let entry = EntryKey {
        tenant,
        collection: collection.id,
        shard,
        key: key.clone(),
        projection: projection.clone(),
        variant: bounds.and_then(|bounds| bounds.variant.clone()),
    };
    // Before the cache is asked, in the request itself.
    if bounded::standing(collection.consistency, || shared.feeds.age(shard)) == Standing::Behind {
        let passed = bypass(shared, read, shard, BypassReason::Behind).await;
        return passed.or_else(|problem| late::if_error(shared, read, &entry, bounds, problem));
    }
    if let Some(served) = shared.cache.get(&entry, bounds) {
        late::refresh_early(shared, read, &entry, held, &served);
        return Ok(served);
    }
    if let Some(served) = late::while_revalidating(shared, read, &entry, held) {
        return Ok(served);
    }
    // Before anything is sent: a write that does not know the collection would not void what is read now.
    if !shared.live.is_settled(collection.id) {
        return bypass(shared, read, shard, BypassReason::Settling).await;
    }
    let fetched = shared.cache.fetch(&entry, plan(shared, collection, bounds), || load(shared, read, shard)).await;
    fetched.or_else(|problem| late::if_error(shared, read, &entry, bounds, problem))
}

/// How a row that is fetched may be kept.
pub(crate) fn plan<'a>(shared: &Shared, collection: &Collection, bounds: Option<&'a Narrowed>) -> FillPlan<'a> {
    FillPlan {
        seed: collection.seed(),
        shared: shared.cache.is_shared().then(|| collection.definition()),
        ttl: collection.ttl,
        negative_ttl: collection.negative_ttl,
        bounds,
    }
}

async fn bypass(shared: &Shared, read: &RowRead, shard: ShardId, reason: BypassReason) -> Result<Served, Problem> {
    let loaded = load(shared, read, shard).await?;
    Ok(Served { row: loaded.json.map(RowBody::new), status: CacheStatus::Bypass(reason) })
}

async fn load(shared: &Shared, read: &RowRead, shard: ShardId) -> Result<Fetched, Problem> {
    let sent = Instant::now();
    let loaded = shared.store.load_row(shard, &read.collection, &read.projection, &read.key).await;
    shared.stretch.fetched(sent.elapsed());
    let loaded = loaded.map_err(|error| error.into_problem())?;
    Ok(Fetched { json: loaded.json, snapshot: loaded.snapshot, epoch: loaded.epoch })
}
