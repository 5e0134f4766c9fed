//! The handle that the HTTP front and the admin API hold.

use std::sync::Arc;

use prometheus_client::registry::Registry;
use tidegate_cache::Cache;
use tidegate_policy::PolicyHost;
use tidegate_store::Store;
use tidegate_types::{
    answer::{ListAnswer, RowAnswer, WriteAnswer},
    collection::Collections,
    problem::Problem,
    request::{Facts, ListRead, RowRead, WriteRequest},
    route::Topology,
};

use crate::metrics::Metrics;

/// Runs every request's pipeline. Clones share everything.
#[derive(Clone)]
pub struct Gateway(pub(crate) Arc<GatewayParts>);

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
    /// Counters; see [`Metrics::register`].
    pub metrics: Metrics,
}

impl Gateway {
    /// A gateway of these parts.
    #[must_use]
    pub fn new(parts: GatewayParts) -> Self {
        Self(Arc::new(parts))
    }

    /// The pipelines' counters, registered.
    pub fn metrics(registry: &mut Registry) -> Metrics {
        Metrics::register(registry)
    }

    /// The served collections.
    #[must_use]
    pub fn collections(&self) -> &Arc<Collections> {
        &self.0.collections
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
    /// Routing failed closed, or the shard cannot answer.
    pub async fn read_row(&self, facts: &Facts<'_>, read: &RowRead) -> Result<RowAnswer, Problem> {
        crate::read::row(&self.0, facts, read).await
    }

    /// Reads rows by a query.
    ///
    /// # Errors
    /// Routing failed closed, the query does not fit the collection, or a shard cannot answer.
    pub async fn read_list(&self, facts: &Facts<'_>, read: &ListRead) -> Result<ListAnswer, Problem> {
        crate::read::list(&self.0, facts, read).await
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
        f.debug_struct("Gateway").field("collections", &self.0.collections.iter().len()).finish_non_exhaustive()
    }
}
