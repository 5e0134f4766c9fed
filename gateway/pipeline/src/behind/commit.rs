//! The end of a flush: floors here and in other gateways, COMMIT, voids on other shards.

use std::{collections::BTreeSet, sync::Arc};

use tidegate_cache::Raised;
use tidegate_store::{
    PreparedWrite, StoreError,
    flush::{PreparedFlush, Touched},
};
use tidegate_types::{bucket::BucketId, policy::Who, problem::Problem, tenant::TenantId};

use super::lane::Lane;
use crate::{
    feed::{Asked, remembered},
    gateway::Shared,
    gateways,
    invalidate::{self, About, Purges},
    serving::Edition,
    touch, write,
};

/// Floors, then COMMIT, then voids on other shards; as for every write.
pub(super) async fn commit(
    shared: &Arc<Shared>,
    lane: &Lane,
    prepared: PreparedFlush,
    edition: &Arc<Edition>,
    tenants: &BTreeSet<TenantId>,
) -> Result<(), StoreError> {
    let PreparedFlush { transaction, touched, .. } = prepared;
    let purged = purged(shared, edition, &touched, tenants);
    let told = match raise_floors(shared, lane, &transaction, edition, &touched, &purged.hard) {
        Ok(buckets) => gateways::tell(shared, lane.shard, edition.digest, &transaction, buckets).await,
        Err(problem) => Err(problem),
    };
    if let Err(problem) = told {
        transaction.rollback().await;
        return Err(StoreError::Unavailable { shard: lane.name.clone(), reason: problem.message.into() });
    }
    let (epoch, xid) = (transaction.epoch, transaction.xid);
    let outcome = transaction.commit().await;
    let unknown = matches!(outcome, Err(StoreError::OutcomeUnknown { .. }));
    if outcome.is_ok() || unknown {
        write::void(shared, lane.shard, edition.digest, &purged).await;
    }
    if let (true, Some(xid)) = (unknown, xid) {
        // The transaction may still be under way, and ending the edition says that it is not.
        let now = shared.live.hold();
        if !Arc::ptr_eq(&now, edition) {
            let all: Vec<BucketId> = touch::all(&now.collections).collect();
            // An epoch that began since the floors were raised before COMMIT has a base above the transaction.
            let (Raised::Held | Raised::EpochOver) = shared.cache.raise(lane.shard, epoch, xid, &all);
        }
    }
    outcome
}

/// What an invalidation policy wants purged: everything it might, because what the rows held before is not known.
fn purged(shared: &Shared, edition: &Edition, touched: &[Touched], tenants: &BTreeSet<TenantId>) -> Purges {
    let session = shared.policies.session();
    let mut purged = Purges::default();
    if session.invalidation().is_none() {
        return purged;
    }
    for tenant in tenants {
        let Some(known) = session.tenants().get(*tenant) else { continue };
        let who = Who { tenant: *tenant, class: known.class };
        for Touched { collection, keys } in touched {
            let about = About {
                collections: &edition.collections,
                dialect: &*shared.dialect,
                collection,
                who,
                changes: &[],
                unread: Some(keys.len()),
            };
            let wanted = invalidate::asked(about, &shared.metrics, |changes| session.invalidate(who, changes));
            purged.hard.extend(wanted.hard);
        }
    }
    purged
}

/// # Errors
/// The connection's epoch is over: the transaction must be rolled back.
fn raise_floors(
    shared: &Shared,
    lane: &Lane,
    transaction: &PreparedWrite,
    edition: &Edition,
    touched: &[Touched],
    purged: &[BucketId],
) -> Result<Vec<BucketId>, Problem> {
    let Some(xid) = transaction.xid else { return Ok(Vec::new()) };
    let mut buckets = purged.to_vec();
    for Touched { collection, keys } in touched {
        let seed = collection.seed();
        // The relation and what the database changes along with it; each row by itself, however many there are: a
        // sweep would empty the cache at every flush.
        buckets.extend(touch::buckets(&edition.collections, collection, &[]));
        buckets.push(BucketId::columns(seed));
        buckets.extend(keys.iter().map(|key| BucketId::row(seed, key)));
    }
    let asked = if shared.policies.session().invalidation().is_some() { Asked::Policy } else { Asked::Nobody };
    shared.feeds.made(lane.shard, transaction.epoch, xid, asked, || remembered(&edition.collections, &buckets));
    match shared.cache.raise(lane.shard, transaction.epoch, xid, &buckets) {
        Raised::Held => Ok(buckets),
        Raised::EpochOver => Err(write::epoch_over(&lane.name)),
    }
}
