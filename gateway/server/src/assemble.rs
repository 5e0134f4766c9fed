//! Settings in, gateway out.

use std::{collections::BTreeMap, sync::Arc};

use prometheus_client::registry::Registry;
use tidegate_cache::{
    Cache, L2,
    tier::{
        CacheTier, codec::Codec, guard::Guarded, key::Place, metrics::TierMetrics, queue::QueueBounds, redis::RedisTier,
    },
};
use tidegate_cluster::{Bound, Cluster, ClusterError, Leases, clock::Clock, lease::Terms, seal::SharedSecret};
use tidegate_http::RestDialect;
use tidegate_pipeline::{Gateway, GatewayParts, behind::Plans};
use tidegate_policy::{Keeping, Placement, PolicyHost, Setup};
use tidegate_store::Store;
use tidegate_types::{
    collection::{Collection, Collections},
    epoch::Epochs,
    route::{ShardId, Topology},
    settings::{CacheSettings, ClusterSettings, L2Settings, Settings},
    tenant::Tenants,
};

use crate::{behind, catalogs, directories::Directories, error::ServerError, probe::Sampler};

/// A gateway, and the shards that could not be asked for their catalog.
pub(crate) struct Assembled {
    pub(crate) gateway: Gateway,
    /// Where there may be other gateways: to be run.
    pub(crate) cluster: Option<Bound>,
    pub(crate) sampler: Arc<Sampler>,
    pub(crate) unread: Vec<ShardId>,
    /// How rows of write-behind collections are rendered.
    pub(crate) plans: Plans,
}

/// The shards: names, epochs, connections; and the cache of what is read from them.
pub(crate) struct Shards {
    pub(crate) topology: Arc<Topology>,
    pub(crate) store: Store,
    pub(crate) cache: Cache,
}

/// Makes the store. Does not connect.
pub(crate) fn shards(settings: &Settings, registry: &mut Registry) -> Result<Shards, ServerError> {
    let named = settings.shards.iter().map(|(name, shard)| (Arc::from(name.as_str()), shard.region.as_deref()));
    let topology = Arc::new(Topology::with_regions(named.map(|(name, region)| (name, region.map(Arc::from)))));
    let epochs = Epochs::new(topology.len());
    let store = Store::new(&settings.shards, &settings.pools, topology.clone(), epochs.clone(), registry)?;
    let store = if settings.cluster.is_some() { store.of_several_gateways() } else { store };
    let cache = Cache::new(&settings.cache, topology.len(), epochs, registry);
    Ok(Shards { topology, store, cache })
}

/// The tier shared with other gateways. Connects by itself, and is done without until it has.
fn shared_tier(l2: &L2Settings, cache: &CacheSettings, shards: &Shards, registry: &mut Registry) -> L2 {
    let Shards { topology, store, .. } = shards;
    let metrics = TierMetrics::register(registry);
    let redis = RedisTier::start(l2.servers.clone(), QueueBounds::default(), metrics.clone());
    let tier: Arc<dyn CacheTier> = Arc::new(Guarded::new(redis, l2.timeout));
    TierMetrics::watch(registry, &tier);
    let codec = Codec { compress_above: l2.compress_above, max_payload: cache.max_entry_bytes };
    let place = |shard| Place { name: topology.name(shard).into(), access: store.access(shard).unwrap_or_default() };
    L2::new(tier, codec, topology.all().into_iter().map(place).collect(), metrics)
}

/// Samples keys of these collections.
pub(crate) fn sampler(settings: &Settings, shards: &Shards, collections: &Arc<Collections>) -> Arc<Sampler> {
    let Shards { topology, store, cache } = shards;
    let keys = settings.policies.guard_keys;
    Arc::new(Sampler::new(store.clone(), topology.clone(), cache.clone(), collections.clone(), keys))
}

/// Loads the policies.
pub(crate) async fn policies(
    settings: &Settings,
    shards: &Shards,
    sampler: Arc<Sampler>,
    keeping: Keeping,
    registry: &mut Registry,
) -> Result<PolicyHost, ServerError> {
    let topology = shards.topology.clone();
    let setup = Setup {
        settings: &settings.policies,
        tenants: Arc::new(Tenants::resolve(&settings.tenants, &topology)?),
        directories: Arc::new(Directories::new(shards.store.clone(), topology.clone())),
        topology,
        probe: sampler,
        keeping,
        registry,
    };
    Ok(PolicyHost::start(setup).await?)
}

/// Builds everything behind the listeners. A shard that is down does not stop the others.
pub(crate) async fn assemble(settings: &Settings, registry: &mut Registry) -> Result<Assembled, ServerError> {
    crate::metrics::register(registry);
    let shards = shards(settings, registry)?;
    if let Some(l2) = &settings.cache.l2 {
        shards.cache.share(shared_tier(l2, &settings.cache, &shards, registry));
    }
    let catalogs = catalogs::read(&shards.store, &shards.topology).await;
    if catalogs.read.is_empty() {
        return Err(ServerError::NoShard(catalogs.unread.into_iter().map(|(_, error)| error).collect()));
    }
    for (shard, error) in &catalogs.unread {
        tracing::warn!(shard = shards.topology.name(*shard), %error,
            "a shard is down; the others are served, and its collections are compared once it is back");
    }
    let unread = catalogs.unread.into_iter().map(|(shard, _)| shard).collect();
    let all = catalogs::agree(&settings.collections, &catalogs.read).map_err(ServerError::Mismatch)?;
    let plans = behind::plans(&all, &catalogs.read).map_err(ServerError::Mismatch)?;
    let collections = collections(all);
    let sampler = sampler(settings, &shards, &collections);
    let policies = policies(settings, &shards, sampler.clone(), Keeping::Kept, registry).await?;
    warn_of_shared_shards(policies.session().tenants(), &shards.topology);
    shards.store.warm().await;
    if let Placement::Moved { detail, .. } = policies.verify_placement().await {
        warn_of_placement(&detail);
    }
    let metrics = Gateway::metrics(registry);
    let Shards { topology, store, cache } = shards;
    let dialect = Arc::new(RestDialect);
    let gateway = Gateway::new(GatewayParts { collections, topology, cache, store, policies, dialect, metrics });
    sampler.watch_over(&gateway);
    let cluster = match &settings.cluster {
        Some(cluster) => Some(clustered(cluster, &gateway, registry).await?),
        None => None,
    };
    Ok(Assembled { gateway, cluster, sampler, unread, plans })
}

/// Makes the gateway one of several. From here on it keeps nothing that other gateways have not agreed to.
async fn clustered(
    settings: &ClusterSettings,
    gateway: &Gateway,
    registry: &mut Registry,
) -> Result<Bound, ServerError> {
    let topology = gateway.topology().clone();
    let leases = Leases::new(topology.len(), Clock::of_machine());
    let metrics = tidegate_cluster::metrics::Metrics::register(registry, &topology, &leases);
    gateway.guard(leases.clone());
    let bound = Cluster::bind(tidegate_cluster::Setup {
        id: Cluster::unique_id(&settings.id).map_err(ClusterError::from)?,
        listen: settings.listen,
        advertise: settings.advertise.clone(),
        secret: SharedSecret::new(&settings.secret),
        terms: Terms::of(settings.lease),
        topology,
        leases,
        table: gateway.member_table(),
        sink: gateway.floor_sink(),
        metrics,
    });
    let bound = bound.await?;
    bound.handle().on_relay(gateway.relay_sink());
    gateway.join_cluster(bound.handle());
    Ok(bound)
}

/// The served set of these collections.
pub(crate) fn collections(all: Vec<Collection>) -> Arc<Collections> {
    Arc::new(Collections::new(all.into_iter().map(Arc::new).collect()))
}

/// Tells that rows are elsewhere than routing looks for them.
pub(crate) fn warn_of_placement(detail: &str) {
    tracing::warn!(
        detail,
        "rows are not where routing looks for them: they will not be found by key, and a write may make \
         them twice. Move them, or change the routing policy"
    );
}

/// Tells that tenants can see each other's rows.
pub(crate) fn warn_of_shared_shards(tenants: &Tenants, topology: &Topology) {
    for Shared { shard, tenants } in shared_shards(tenants, topology) {
        tracing::warn!(
            shard,
            tenants,
            "tenants share this shard: each of them sees and changes the rows of the others, because rows are not \
             told apart yet. Give each its own in [tenants.known.NAME] shards"
        );
    }
}

/// A shard that is not one tenant's alone.
pub(crate) struct Shared {
    pub(crate) shard: String,
    /// The first few names.
    pub(crate) tenants: String,
}

/// Names shown of the tenants on one shard.
const NAMES: usize = 5;

/// The shards where more than one tenant may have rows.
pub(crate) fn shared_shards(tenants: &Tenants, topology: &Topology) -> Vec<Shared> {
    let mut placed: BTreeMap<ShardId, Vec<&str>> = BTreeMap::new();
    for tenant in tenants.iter() {
        for shard in &tenant.placement {
            placed.entry(*shard).or_default().push(&tenant.name);
        }
    }
    let shared = placed.into_iter().filter(|(_, names)| names.len() > 1).map(|(shard, names)| {
        let more = names.len().saturating_sub(NAMES);
        let mut tenants = names[..names.len().min(NAMES)].join(", ");
        if more > 0 {
            tenants.push_str(&format!(" and {more} more"));
        }
        Shared { shard: topology.name(shard).to_owned(), tenants }
    });
    shared.collect()
}

#[cfg(test)]
mod tests {
    use tidegate_types::settings::{TenantSettings, TenantsSettings};

    use super::*;

    #[test]
    fn shards_of_several_tenants_are_named_with_them() {
        let topology = Topology::new(["a", "b", "c"].map(Arc::from));
        let tenant = |name: &str, shards: &[&str]| {
            let shards = shards.iter().map(|shard| (*shard).to_owned()).collect();
            (name.to_owned(), TenantSettings { class: "free".to_owned(), shards, residency: Vec::new() })
        };
        let known = |all: Vec<(String, TenantSettings)>| {
            let settings = TenantsSettings { classes: vec!["free".to_owned()], known: all.into_iter().collect() };
            let tenants = Tenants::resolve(&settings, &topology).expect("placed");
            shared_shards(&tenants, &topology).into_iter().map(|s| (s.shard, s.tenants)).collect::<Vec<_>>()
        };
        assert_eq!(known(vec![tenant("acme", &["a"]), tenant("globex", &["b", "c"])]), []);
        let told = known(vec![tenant("acme", &["a"]), tenant("globex", &[])]);
        assert_eq!(told, [("a".to_owned(), "acme, globex".to_owned())]);
        let many = known((1..=7).map(|n| tenant(&format!("t{n}"), &["b"])).collect());
        assert_eq!(many, [("b".to_owned(), "t1, t2, t3, t4, t5 and 2 more".to_owned())]);
    }
}
