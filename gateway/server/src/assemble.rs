//! Settings in, gateway out.

use std::sync::Arc;

use prometheus_client::registry::Registry;
use tidegate_cache::Cache;
use tidegate_pipeline::{Gateway, GatewayParts};
use tidegate_policy::{DirectorySource, Keeping, Placement, PolicyHost, Setup};
use tidegate_store::Store;
use tidegate_types::{
    collection::{Collection, Collections},
    epoch::Epochs,
    route::{ShardId, Topology},
    settings::{DirectorySettings, Settings},
    tenant::Tenants,
};

use crate::{catalogs, error::ServerError, probe::Sampler};

/// A gateway, and the shards that could not be asked for their catalog.
pub(crate) struct Assembled {
    pub(crate) gateway: Gateway,
    pub(crate) unread: Vec<ShardId>,
}

/// The shards: names, epochs, connections.
pub(crate) struct Shards {
    pub(crate) topology: Arc<Topology>,
    pub(crate) epochs: Epochs,
    pub(crate) store: Store,
}

/// Makes the store. Does not connect.
pub(crate) fn shards(settings: &Settings, registry: &mut Registry) -> Result<Shards, ServerError> {
    let topology = Arc::new(Topology::new(settings.shards.keys().map(|name| Arc::from(name.as_str()))));
    let epochs = Epochs::new(topology.len());
    let store = Store::new(&settings.shards, &settings.pools, topology.clone(), epochs.clone(), registry)?;
    Ok(Shards { topology, epochs, store })
}

/// Loads the policies for these collections.
pub(crate) async fn policies(
    settings: &Settings,
    shards: &Shards,
    collections: &Arc<Collections>,
    keeping: Keeping,
    registry: &mut Registry,
) -> Result<PolicyHost, ServerError> {
    let probe = Arc::new(Sampler {
        store: shards.store.clone(),
        topology: shards.topology.clone(),
        collections: collections.clone(),
    });
    let topology = shards.topology.clone();
    let setup = Setup {
        settings: &settings.policies,
        tenants: Arc::new(Tenants::none(&topology)),
        topology,
        probe,
        directories: Arc::new(NoDirectories),
        keeping,
        registry,
    };
    Ok(PolicyHost::start(setup).await?)
}

/// Builds everything behind the listeners. A shard that is down does not stop the others.
pub(crate) async fn assemble(settings: &Settings, registry: &mut Registry) -> Result<Assembled, ServerError> {
    crate::metrics::register(registry);
    let shards = shards(settings, registry)?;
    let catalogs = catalogs::read(&shards.store, &shards.topology).await;
    if catalogs.read.is_empty() {
        return Err(ServerError::NoShard(catalogs.unread.into_iter().map(|(_, error)| error).collect()));
    }
    for (shard, error) in &catalogs.unread {
        tracing::warn!(shard = shards.topology.name(*shard), %error,
            "a shard is down; the others are served, and its collections are compared once it is back");
    }
    let unread = catalogs.unread.into_iter().map(|(shard, _)| shard).collect();
    let collections =
        collections(catalogs::agree(&settings.collections, &catalogs.read).map_err(ServerError::Mismatch)?);
    let policies = policies(settings, &shards, &collections, Keeping::Kept, registry).await?;
    shards.store.warm().await;
    if let Placement::Moved { detail, .. } = policies.verify_placement().await {
        tracing::warn!(
            detail,
            "rows are not where routing looks for them: they will not be found by key, and a write may make \
             them twice. Move them, or change the routing policy"
        );
    }
    let cache = Cache::new(&settings.cache, shards.topology.len(), shards.epochs.clone(), registry);
    let metrics = Gateway::metrics(registry);
    let Shards { topology, store, .. } = shards;
    let gateway = Gateway::new(GatewayParts { collections, topology, cache, store, policies, metrics });
    Ok(Assembled { gateway, unread })
}

/// The served set of these collections.
pub(crate) fn collections(all: Vec<Collection>) -> Arc<Collections> {
    Arc::new(Collections::new(all.into_iter().map(Arc::new).collect()))
}

/// No directory can be read yet.
struct NoDirectories;

impl DirectorySource for NoDirectories {
    fn load<'a>(
        &'a self,
        name: &'a str,
        _: &'a DirectorySettings,
    ) -> futures_util::future::BoxFuture<'a, Result<std::collections::HashMap<String, String>, String>> {
        Box::pin(async move { Err(format!("this gateway cannot read the directory {name}")) })
    }
}
