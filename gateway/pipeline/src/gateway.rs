//! The handle that the HTTP front and the admin API hold.

use std::sync::{Arc, OnceLock, Weak};

use parking_lot::Mutex;
use prometheus_client::registry::Registry;
use tidegate_cache::Cache;
use tidegate_cluster::Cluster;
use tidegate_policy::PolicyHost;
use tidegate_store::Store;
use tidegate_types::{
    answer::{ListAnswer, RowAnswer, WriteAnswer, WriteStatus},
    collection::{Collection, CollectionId, Collections},
    policy::Who,
    problem::Problem,
    purge::{PurgeError, PurgeTarget, Purged, Softness},
    request::{Facts, ListRead, RowRead, WriteRequest},
    route::Topology,
};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::{
    behind::Behind,
    bounded::Stretch,
    dialect::SharedDialect,
    feed::Feeds,
    metrics::Metrics,
    monitor::{Notes, Sample, metrics::Source},
    refresh::Refreshes,
    serving::{Live, Serving},
};

/// Runs every request's pipeline. Clones share everything.
#[derive(Clone)]
pub struct Gateway(pub(crate) Arc<Shared>);

/// What a gateway is made of.
pub struct GatewayParts {
    /// The served collections.
    pub collections: Arc<Collections>,
    /// The shards.
    pub topology: Arc<Topology>,
    /// The cache.
    pub cache: Cache,
    /// The shards' connections.
    pub store: Store,
    /// The policies.
    pub policies: PolicyHost,
    /// Reads query strings that name a list to be purged.
    pub dialect: SharedDialect,
    /// Counters; see [`Metrics::register`].
    pub metrics: Metrics,
}

/// What requests share.
pub(crate) struct Shared {
    pub(crate) live: Live,
    pub(crate) topology: Arc<Topology>,
    pub(crate) cache: Cache,
    pub(crate) store: Store,
    pub(crate) policies: PolicyHost,
    pub(crate) dialect: SharedDialect,
    pub(crate) metrics: Metrics,
    pub(crate) feeds: Feeds,
    /// Set before the first request, where there may be other gateways.
    pub(crate) cluster: OnceLock<Cluster>,
    /// Set before the first request, where there are write-behind collections.
    pub(crate) behind: OnceLock<Behind>,
    pub(crate) notes: Notes,
    pub(crate) stretch: Stretch,
    pub(crate) refreshes: Refreshes,
    /// Taken by whoever runs the monitor.
    noted: Mutex<Option<mpsc::Receiver<(Source, Sample)>>>,
}

/// A tenant and a class by their names, for logs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    /// The tenant; empty without tenancy.
    pub tenant: Arc<str>,
    /// The class, if there is one.
    pub class: Option<Arc<str>>,
}

/// A gateway, if it is still there: for what the gateway itself holds.
#[derive(Clone)]
pub struct WeakGateway(Weak<Shared>);

impl WeakGateway {
    /// The gateway.
    #[must_use]
    pub fn upgrade(&self) -> Option<Gateway> {
        self.0.upgrade().map(Gateway)
    }
}

impl Gateway {
    /// A reference that does not keep it.
    #[must_use]
    pub fn downgrade(&self) -> WeakGateway {
        WeakGateway(Arc::downgrade(&self.0))
    }

    /// A gateway of these parts.
    #[must_use]
    pub fn new(parts: GatewayParts) -> Self {
        let GatewayParts { collections, topology, cache, store, policies, dialect, metrics } = parts;
        let live = Live::new(Serving { collections });
        let (feeds, cluster) = (Feeds::new(topology.len()), OnceLock::new());
        let (notes, noted) = Notes::new();
        let noted = Mutex::new(Some(noted));
        Self(Arc::new(Shared {
            live,
            topology,
            cache,
            store,
            policies,
            dialect,
            metrics,
            feeds,
            cluster,
            behind: OnceLock::new(),
            notes,
            stretch: Stretch::default(),
            refreshes: Refreshes::default(),
            noted,
        }))
    }

    /// The pipelines' counters, registered.
    pub fn metrics(registry: &mut Registry) -> Metrics {
        Metrics::register(registry)
    }

    /// The served collections. They may be replaced at any time; who holds them keeps nothing from happening.
    #[must_use]
    pub fn collections(&self) -> Arc<Collections> {
        self.0.live.hold().collections.clone()
    }

    /// The served collection of this name. A request takes it once.
    #[must_use]
    pub fn collection(&self, name: &str) -> Option<Arc<Collection>> {
        self.0.live.look(|collections| collections.get(name).cloned())
    }

    /// Serves something else from now on; requests under way finish with what they began with. What is kept of
    /// a collection that stays as it is stays; nothing else is served again. Number the collections by
    /// [`tidegate_types::collection::renumber`] after those of [`Gateway::collections`]; where others were served
    /// meanwhile it is done here, and the result tells the numbers.
    pub fn replace(&self, serving: Serving) -> Arc<Collections> {
        let collections = match self.0.cluster.get() {
            // Writes of other gateways that are under way raised what was served before; they have lower
            // transaction ids than the base that is taken after this.
            Some(cluster) => cluster.rejoin_after(|| self.0.live.replace(serving)),
            None => {
                let before = self.collections();
                let collections = self.0.live.replace(serving);
                crate::feed::forget_values(&self.0, &before, &collections);
                collections
            }
        };
        self.0.feeds.follow(&collections, &self.0.policies.session());
        collections
    }

    /// Voids what is kept of these collections: their rows were moved.
    pub fn void(&self, collections: &[CollectionId]) {
        crate::touch::void_collections(&self.0.cache, &self.collections(), collections);
    }

    /// Forgets what is kept of these, in any representation. When this returns, nothing that was asked of a shard
    /// before the call is served to a request that comes after it, but as late as a soft purge allows.
    ///
    /// # Errors
    /// [`PurgeError`]; unless it is [`PurgeError::Unheard`] nothing was purged.
    pub async fn purge(&self, targets: &[PurgeTarget], softness: Softness) -> Result<Purged, PurgeError> {
        crate::purge::purge(&self.0, targets, softness).await
    }

    /// Compares the cache with the shards until it is stopped. One task does; others return at once.
    pub async fn monitor(&self, stop: CancellationToken) {
        let noted = self.0.noted.lock().take();
        if let Some(noted) = noted {
            crate::monitor::run(self.0.clone(), noted, stop).await;
        }
    }

    /// The names behind a request's numbers.
    #[must_use]
    pub fn names(&self, who: Who) -> Names {
        let session = self.0.policies.session();
        let tenants = session.tenants();
        Names {
            tenant: tenants.get(who.tenant).map_or_else(|| "?".into(), |tenant| tenant.name.clone()),
            class: tenants.class_name(who.class).cloned(),
        }
    }

    /// The shards.
    #[must_use]
    pub fn topology(&self) -> &Arc<Topology> {
        &self.0.topology
    }

    /// The shards' connections, for the admin API.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.0.store
    }

    /// The policies, for the admin API.
    #[must_use]
    pub fn policies(&self) -> &PolicyHost {
        &self.0.policies
    }

    /// Reads one row by its key.
    ///
    /// # Errors
    /// A policy failed closed or refused, or the shard cannot answer.
    pub async fn read_row(&self, facts: &Facts<'_>, read: &RowRead) -> Result<RowAnswer, Problem> {
        crate::read::row(&self.0, facts, read).await
    }

    /// Reads rows by a query.
    ///
    /// # Errors
    /// A policy failed closed or refused, the query does not fit the collection, or a shard cannot answer.
    pub async fn read_list(&self, facts: &Facts<'_>, read: &ListRead) -> Result<ListAnswer, Problem> {
        crate::read::list(&self.0, facts, read).await
    }

    /// What became of an acknowledged write, by its status token; `None` for one that names none.
    ///
    /// # Errors
    /// Its shard cannot be asked.
    pub async fn write_status(&self, token: &str) -> Result<Option<WriteStatus>, Problem> {
        crate::behind::status(&self.0, token).await
    }

    /// Writes, in a task of its own: a caller that goes away cancels nothing.
    ///
    /// # Errors
    /// Nothing was changed, unless the kind is `OutcomeUnknown`.
    pub async fn write(&self, facts: &Facts<'_>, write: WriteRequest) -> Result<WriteAnswer, Problem> {
        crate::write::write(self, facts, write).await
    }
}

impl std::fmt::Debug for Gateway {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gateway").field("collections", &self.collections().iter().len()).finish_non_exhaustive()
    }
}
