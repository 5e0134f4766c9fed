//! The store's handle.

use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;
use indexmap::IndexMap;
use prometheus_client::registry::Registry;
use serde::Serialize;
use tidegate_types::{
    collection::Collection,
    epoch::{Epoch, Epochs},
    key::RowKey,
    query::{ListQuery, Projection},
    request::WriteRequest,
    route::{ShardId, Topology},
    settings::{DirectorySettings, PoolsSettings, ShardSettings},
    snapshot::Snapshot,
};

use crate::{
    catalog::{self, ShardCatalog},
    directory::{self, DirectoryError, DirectoryQuery},
    error::StoreError,
    list,
    metrics::Metrics,
    shard::Shard,
    write::{self, PreparedWrite},
};

/// A keyed read's result, found or not.
#[derive(Debug, Clone)]
pub struct LoadedRow {
    /// The row as PostgreSQL rendered it; `None` if there is no such row.
    pub json: Option<Bytes>,
    /// The snapshot of the statement that looked for it.
    pub snapshot: Arc<Snapshot>,
    /// The shard's epoch when the connection used was verified.
    pub epoch: Epoch,
}

/// A list's result.
#[derive(Debug, Clone)]
pub struct ListRows {
    /// A JSON array.
    pub json: Bytes,
    /// How many rows it holds.
    pub rows: u64,
    /// The total where it was asked for.
    pub total: Option<u64>,
}

/// Whether a shard answered when last asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Reachable {
    /// Not asked yet.
    Unknown,
    /// It answered.
    Yes,
    /// It did not.
    No,
}

/// A pool at one moment.
#[derive(Debug, Clone, Serialize)]
pub struct PoolState {
    /// `point`, `scan` or `write`.
    pub class: &'static str,
    /// Connections open.
    pub size: usize,
    /// Most connections.
    pub max: usize,
    /// Connections idle.
    pub idle: usize,
    /// Requests waiting for one.
    pub waiting: usize,
}

/// A shard at one moment.
#[derive(Debug, Clone, Serialize)]
pub struct ShardState {
    /// Its name.
    pub name: String,
    /// Whether it answered when last asked.
    pub reachable: Reachable,
    /// Its epoch.
    pub epoch: u64,
    /// Why it was not reachable, the last time it was not. For operators; holds no secrets.
    pub last_error: Option<String>,
    /// Its pools.
    pub pools: Vec<PoolState>,
}

/// A handle to every shard. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Store {
    shards: Arc<[Shard]>,
}

impl Store {
    /// Pools for every shard. Does not connect.
    ///
    /// # Errors
    /// [`StoreError::Setup`] for a URL that cannot be used; it is not repeated in the error.
    pub fn new(
        shards: &IndexMap<String, ShardSettings>,
        pools: &PoolsSettings,
        topology: Arc<Topology>,
        epochs: Epochs,
        registry: &mut Registry,
    ) -> Result<Self, StoreError> {
        let metrics = Metrics::register(registry);
        let shards = topology.all().into_iter().map(|id| {
            let name = topology.name(id);
            let missing = || StoreError::Setup { shard: name.into(), reason: "it is not configured".into() };
            let settings = shards.get(name).ok_or_else(missing)?;
            Shard::new(id, name, settings, pools, epochs.clone(), &metrics)
        });
        Ok(Self { shards: shards.collect::<Result<_, _>>()? })
    }

    /// Opens every pool's `min` connections. Unreachable shards are reported by [`Store::shards`], not here.
    pub async fn warm(&self) {
        futures_util::future::join_all(self.shards.iter().map(Shard::warm)).await;
    }

    /// Changes sizes and times of every pool. Nothing under way is disturbed: connections beyond a new `max` are
    /// closed as they come free.
    pub fn resize(&self, pools: &PoolsSettings) {
        for shard in &*self.shards {
            shard.resize(pools);
        }
    }

    /// Reads a row by its key, together with the others asked for meanwhile.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn load_row(
        &self,
        shard: ShardId,
        collection: &Arc<Collection>,
        projection: &Projection,
        key: &RowKey,
    ) -> Result<LoadedRow, StoreError> {
        self.shard(shard)?.loader.load(collection, projection, key).await
    }

    /// Reads a list from these shards, merged in order.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn list(
        &self,
        shards: &[ShardId],
        collection: &Arc<Collection>,
        query: &ListQuery,
    ) -> Result<ListRows, StoreError> {
        let shards = shards.iter().map(|id| self.shard(*id)).collect::<Result<Vec<_>, _>>()?;
        list::read(&shards, collection, query).await
    }

    /// Does a write up to, not including, its COMMIT. With `declared`, the values of these columns before and
    /// after it come along; a name that the collection does not have gives `None`.
    ///
    /// # Errors
    /// See [`StoreError`]. Nothing was committed.
    pub async fn begin_write(
        &self,
        shard: ShardId,
        request: &WriteRequest,
        declared: Option<&[Arc<str>]>,
    ) -> Result<PreparedWrite, StoreError> {
        write::begin(self.shard(shard)?, request, declared).await
    }

    /// Reads a shard's catalog.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn catalog(&self, shard: ShardId) -> Result<ShardCatalog, StoreError> {
        catalog::read(self.shard(shard)?).await
    }

    /// Some keys of a collection that live on this shard: from both ends of the table and all over it.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn sample_keys(
        &self,
        shard: ShardId,
        collection: &Arc<Collection>,
        limit: usize,
    ) -> Result<Vec<RowKey>, StoreError> {
        list::sample_keys(self.shard(shard)?, collection, limit).await
    }

    /// Finds a directory's table and columns in this shard's catalog.
    ///
    /// # Errors
    /// See [`DirectoryError`].
    pub async fn find_directory(
        &self,
        shard: ShardId,
        settings: &DirectorySettings,
    ) -> Result<DirectoryQuery, DirectoryError> {
        let catalog = self.catalog(shard).await?;
        DirectoryQuery::find(&catalog, settings)
    }

    /// Reads a directory.
    ///
    /// # Errors
    /// See [`DirectoryError`].
    pub async fn read_directory(
        &self,
        shard: ShardId,
        query: &DirectoryQuery,
    ) -> Result<HashMap<String, String>, DirectoryError> {
        directory::read(self.shard(shard)?, query).await
    }

    /// Every shard as it is now.
    #[must_use]
    pub fn shards(&self) -> Vec<ShardState> {
        self.shards.iter().map(Shard::state).collect()
    }

    fn shard(&self, id: ShardId) -> Result<&Shard, StoreError> {
        self.shards.get(usize::from(id.0)).ok_or_else(|| StoreError::Setup {
            shard: format!("#{}", id.0).into(),
            reason: "there is no such shard".into(),
        })
    }
}
