//! What an operator wants forgotten: resolved as a whole, then voided on every shard.

use std::collections::{BTreeSet, HashMap, HashSet};

use futures_util::future::join_all;
use tidegate_policy::Session;
use tidegate_types::{
    bucket::BucketId,
    collection::{Collection, Collections},
    normal,
    purge::{PurgeError, PurgeTarget, Purged, Softened, Softness},
    request::TenantId,
    route::ShardId,
    tenant::Tenant,
};

use crate::{
    bounded,
    gateway::Shared,
    gateways,
    touch::{self, all, lists, whole},
};

/// What is to be forgotten.
#[derive(Default)]
struct Plan {
    /// By shard.
    buckets: HashMap<ShardId, HashSet<BucketId>>,
    /// On every shard: they may have been elsewhere before.
    tenants: HashSet<TenantId>,
}

/// Forgets, here and in the other gateways. Nothing happens unless every target can be resolved.
pub(crate) async fn purge(shared: &Shared, targets: &[PurgeTarget], softness: Softness) -> Result<Purged, PurgeError> {
    let edition = shared.live.hold();
    let plan = plan(shared, targets, &edition.collections)?;
    let Plan { buckets, tenants } = plan;
    let everywhere = shared.topology.all();
    let (mut voided, mut elsewhere) = (tenants.len() * everywhere.len(), Vec::new());
    for (shard, tenant) in everywhere.iter().flat_map(|shard| tenants.iter().map(move |tenant| (*shard, *tenant))) {
        shared.cache.purge_tenant(shard, tenant, softness);
    }
    let of_tenants = gateways::purge_tenants(shared, edition.digest, tenants.into_iter().collect(), softness);
    for (shard, buckets) in buckets {
        let buckets: Vec<BucketId> = buckets.into_iter().collect();
        match softness {
            Softness::Hard => shared.cache.void(shard, &buckets),
            Softness::Soft => shared.cache.soften(shard, &buckets),
        }
        voided += buckets.len();
        elsewhere.push(gateways::void(shared, shard, edition.digest, buckets, softness));
    }
    let mut others = BTreeSet::new();
    let (of_tenants, elsewhere) = tokio::join!(of_tenants, join_all(elsewhere));
    for told in elsewhere.into_iter().chain([of_tenants]) {
        others.extend(told.map_err(|unheard| PurgeError::Unheard(unheard.to_string()))?);
    }
    let softened = (softness == Softness::Soft).then(|| softened(targets, &edition.collections));
    Ok(Purged { buckets: voided, gateways: 1 + others.len(), softened })
}

/// Which collections serve late what was purged softly. A row has its collection's lists purged too, which are never
/// served late.
fn softened(targets: &[PurgeTarget], collections: &Collections) -> Softened {
    let named = |name: &str| {
        let of = |target: &PurgeTarget| match target {
            PurgeTarget::Row { collection, .. } | PurgeTarget::Query { collection, .. } => collection == name,
            PurgeTarget::Collection(collection) => collection == name,
            PurgeTarget::Tag { .. } | PurgeTarget::Tenant(_) | PurgeTarget::Everything => true,
        };
        targets.iter().any(of)
    };
    let mut softened = Softened::default();
    for collection in collections.iter().filter(|collection| named(&collection.name)) {
        let late =
            bounded::while_revalidate(collection.consistency, None).max(bounded::if_error(collection.consistency));
        let list = if late.is_zero() { &mut softened.hard } else { &mut softened.soft };
        list.push(collection.name.to_string());
    }
    softened
}

fn plan(shared: &Shared, targets: &[PurgeTarget], collections: &Collections) -> Result<Plan, PurgeError> {
    let session = &shared.policies.session();
    let mut plan = Plan::default();
    let everywhere = shared.topology.all();
    let mut add = |buckets: &[BucketId]| {
        for shard in &everywhere {
            plan.buckets.entry(*shard).or_default().extend(buckets);
        }
    };
    for target in targets {
        match target {
            PurgeTarget::Row { collection, key } => {
                let collection = served(collections, collection)?;
                let bad = |reason| PurgeError::BadKey { collection: collection.name.to_string(), reason };
                let key = collection.parse_path_key(key).map_err(|error| bad(error.to_string()))?;
                let seed = collection.seed();
                let [relation, columns] = lists(seed);
                add(&[BucketId::row(seed, &key), relation, columns]);
            }
            PurgeTarget::Tag { tenant, tag } => {
                add(&[BucketId::tag(whose(session, tenant.as_deref())?, tag)]);
            }
            PurgeTarget::Query { tenant, collection, query } => {
                let (tenant, collection) = (whose(session, tenant.as_deref())?, served(collections, collection)?);
                let bad = |reason| PurgeError::BadQuery { collection: collection.name.to_string(), reason };
                let read = shared.dialect.list(collection, query).map_err(bad)?;
                let normal = normal::normal(collection, &read);
                add(&[touch::query(tenant, collection, &normal)]);
            }
            PurgeTarget::Collection(name) => add(&whole(served(collections, name)?.seed())),
            PurgeTarget::Tenant(name) => {
                plan.tenants.insert(known(session, name)?.id);
            }
            PurgeTarget::Everything => add(&all(collections).collect::<Vec<_>>()),
        }
    }
    Ok(plan)
}

fn served<'a>(collections: &'a Collections, name: &str) -> Result<&'a Collection, PurgeError> {
    collections.get(name).map(|collection| &**collection).ok_or_else(|| PurgeError::UnknownCollection(name.to_owned()))
}

fn whose(session: &Session, tenant: Option<&str>) -> Result<TenantId, PurgeError> {
    tenant.map_or(Ok(TenantId::SHARED), |name| known(session, name).map(|tenant| tenant.id))
}

fn known<'a>(session: &'a Session, name: &str) -> Result<&'a Tenant, PurgeError> {
    session.tenants().by_name(name).ok_or_else(|| PurgeError::UnknownTenant(name.to_owned()))
}
