//! The handle the pipelines call.

use std::sync::Arc;

use prometheus_client::registry::Registry;
use tidegate_types::{
    collection::Collection,
    request::Facts,
    route::{Access, Route, RouteSource, ShardSet, Topology},
    settings::PolicySettings,
};
use tokio_util::sync::CancellationToken;

use crate::{error::PolicyError, guard::PlacementProbe, status::PluginStatus};

/// What is to be routed.
#[derive(Debug, Clone, Copy)]
pub struct RouteQuery<'a> {
    /// The request, for the inputs a policy declared.
    pub facts: &'a Facts<'a>,
    /// The collection.
    pub collection: &'a Collection,
    /// Read or write.
    pub access: Access,
    /// The canonical text of the row's shard key ([`Collection::shard_key_text`]); `None` where it
    /// is unknown, as in a list without filters.
    pub shard_key: Option<&'a str>,
}

/// Decides where requests go. Cheap to clone.
#[derive(Clone)]
pub struct PolicyHost {
    topology: Arc<Topology>,
}

impl PolicyHost {
    /// Loads what is configured. Without a route hook, routing is built in.
    ///
    /// # Errors
    /// The configured plugin cannot be loaded.
    pub fn start(
        _settings: &PolicySettings,
        topology: Arc<Topology>,
        _probe: Arc<dyn PlacementProbe>,
        _registry: &mut Registry,
    ) -> Result<Self, PolicyError> {
        Ok(Self { topology })
    }

    /// Where a request goes. At least one shard, all of them known. Never blocks on anything but
    /// the policy itself, which has a deadline.
    ///
    /// # Errors
    /// The policy failed and the request is a write, or the operator's fallback is to refuse.
    pub fn route(&self, query: &RouteQuery<'_>) -> Result<Route, PolicyError> {
        Ok(Route { shards: built_in(&self.topology, query), source: RouteSource::BuiltIn, generation: 0 })
    }

    /// What is loaded.
    #[must_use]
    pub fn status(&self) -> Vec<PluginStatus> {
        Vec::new()
    }

    /// The generation in use; 0 is built-in routing.
    #[must_use]
    pub fn generation(&self) -> u64 {
        0
    }

    /// Follows the plugin folder until `shutdown`.
    pub async fn watch(&self, shutdown: CancellationToken) {
        shutdown.cancelled().await;
    }
}

/// Built-in routing: the hash of the shard key, or every shard where it is unknown.
fn built_in(topology: &Topology, query: &RouteQuery<'_>) -> ShardSet {
    match query.shard_key {
        Some(key) => ShardSet::from_slice(&[topology.shard_for_hash(Topology::hash_key(key))]),
        None => topology.all(),
    }
}
