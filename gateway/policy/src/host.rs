//! The handle the pipelines call.

use std::sync::{Arc, atomic::Ordering};

use prometheus_client::registry::Registry;
use tidegate_types::{
    collection::Collection,
    request::Facts,
    route::{Access, Route, RouteSource, ShardSet, Topology},
    settings::PolicySettings,
};
use tokio_util::sync::CancellationToken;

use crate::{
    bindings::WIT_VERSION,
    error::PolicyError,
    guard::{self, Placement, PlacementProbe},
    inputs::Declared,
    metrics::Metrics,
    plugin::{Plugin, Reload},
    status::{PluginState, PluginStatus},
    watch,
};

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
    inner: Arc<Inner>,
}

struct Inner {
    topology: Arc<Topology>,
    probe: Arc<dyn PlacementProbe>,
    metrics: Metrics,
    /// `None`: routing is built in.
    plugin: Option<Plugin>,
}

impl PolicyHost {
    /// Loads what is configured. Without a route hook, routing is built in. Compiling takes
    /// milliseconds to seconds, so call it before serving. Existing keys are not looked at yet:
    /// call [`PolicyHost::verify_placement`] once the shards can be asked.
    ///
    /// # Errors
    /// The configured plugin cannot be used.
    pub fn start(
        settings: &PolicySettings,
        topology: Arc<Topology>,
        probe: Arc<dyn PlacementProbe>,
        registry: &mut Registry,
    ) -> Result<Self, PolicyError> {
        let metrics = Metrics::register(registry);
        let plugin = match &settings.route {
            None => None,
            Some(hook) => Some(Plugin::start(settings, hook, topology.clone(), &metrics)?),
        };
        Ok(Self { inner: Arc::new(Inner { topology, probe, metrics, plugin }) })
    }

    /// Where a request goes. At least one shard, all of them known. Never waits for anything but
    /// the policy itself, which has a deadline.
    ///
    /// # Errors
    /// The policy failed, and the request is a write or the operator's fallback is to refuse.
    #[inline]
    pub fn route(&self, query: &RouteQuery<'_>) -> Result<Route, PolicyError> {
        let inner = &*self.inner;
        match &inner.plugin {
            Some(plugin) => plugin.route(query, &inner.topology, &inner.metrics),
            None => {
                inner.metrics.decided(RouteSource::BuiltIn);
                Ok(Route { shards: built_in(&inner.topology, query), source: RouteSource::BuiltIn, generation: 0 })
            }
        }
    }

    /// What is loaded, one item for each hook.
    #[must_use]
    pub fn status(&self) -> Vec<PluginStatus> {
        vec![
            self.inner
                .plugin
                .as_ref()
                .map_or_else(built_in_status, |plugin| plugin_status(plugin, &self.inner.metrics)),
        ]
    }

    /// The generation in use; 0 is built-in routing.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.inner.plugin.as_ref().map_or(0, |plugin| plugin.active().number)
    }

    /// Asks for existing keys and checks that routing finds them where they are.
    pub async fn verify_placement(&self) -> Placement {
        let keys = self.inner.probe.sample().await;
        let host = self.clone();
        let check = move || match &host.inner.plugin {
            Some(plugin) => {
                let generation = plugin.active();
                guard::check(&keys, &host.inner.topology, |query| generation.evaluate(query))
            }
            None => guard::check(&keys, &host.inner.topology, |query| {
                Ok::<_, std::convert::Infallible>(built_in(&host.inner.topology, query))
            }),
        };
        match tokio::task::spawn_blocking(check).await {
            Ok(placement) => placement,
            Err(stopped) => Placement::Moved { detail: format!("the check did not finish: {stopped}") },
        }
    }

    /// Looks at the plugin's file now, as [`PolicyHost::watch`] does when it changes.
    pub async fn reload(&self) -> Reload {
        match &self.inner.plugin {
            Some(plugin) => plugin.reload(&*self.inner.probe, &self.inner.metrics).await,
            None => Reload::Unchanged,
        }
    }

    /// Follows the plugin's file until `shutdown`: a replaced file becomes a new generation, a
    /// broken one is refused and the old one stays.
    pub async fn watch(&self, shutdown: CancellationToken) {
        match &self.inner.plugin {
            Some(plugin) => watch::follow(plugin.file(), watch::LOOK_EVERY, shutdown, || self.reload()).await,
            None => shutdown.cancelled().await,
        }
    }
}

/// Built-in routing: the hash of the shard key, or every shard where it is unknown.
#[inline]
pub(crate) fn built_in(topology: &Topology, query: &RouteQuery<'_>) -> ShardSet {
    match query.shard_key {
        Some(key) => ShardSet::from_slice(&[topology.shard_for_hash(Topology::hash_key(key))]),
        None => topology.all(),
    }
}

fn built_in_status() -> PluginStatus {
    PluginStatus {
        hook: "route".into(),
        name: "built-in".into(),
        title: "built-in hash routing".into(),
        version: env!("CARGO_PKG_VERSION").into(),
        wit: WIT_VERSION.into(),
        digest: String::new(),
        generation: 0,
        state: PluginState::None,
        inputs: vec![Declared::ShardKey.describe()],
        calls: 0,
        memo_hits: 0,
        errors: std::collections::BTreeMap::new(),
        p50_ns: None,
        p99_ns: None,
        last_error: None,
    }
}

fn plugin_status(plugin: &Plugin, metrics: &Metrics) -> PluginStatus {
    let (generation, state) = plugin.newest();
    let (description, stats) = (&generation.description, &generation.stats);
    let memo_hits = metrics.decisions(RouteSource::Memo).get();
    PluginStatus {
        hook: "route".into(),
        name: plugin.name().into(),
        title: description.name.clone(),
        version: description.version.clone(),
        wit: WIT_VERSION.into(),
        digest: description.digest.clone(),
        generation: generation.number,
        state,
        inputs: description.inputs.iter().map(Declared::describe).collect(),
        calls: stats.calls(),
        memo_hits: memo_hits.saturating_sub(stats.memo_hits_before.load(Ordering::Relaxed)),
        errors: stats.failures(),
        p50_ns: stats.quantile_ns(0.5),
        p99_ns: stats.quantile_ns(0.99),
        last_error: stats.last_error(),
    }
}
