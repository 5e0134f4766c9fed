//! The store's handle.

use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;
use indexmap::IndexMap;
use prometheus_client::registry::Registry;
use serde::Serialize;
use smallvec::SmallVec;
use tidegate_types::{
    collection::Collection,
    epoch::{Epoch, Epochs, Lineage},
    key::RowKey,
    query::{ListQuery, Projection},
    request::WriteRequest,
    route::{ShardId, Topology},
    settings::{DirectorySettings, FeedSettings, PoolsSettings, ShardSettings},
    snapshot::Snapshot,
};
use tokio::sync::watch;

use crate::{
    catalog::{self, ShardCatalog},
    directory::{self, DirectoryError, DirectoryQuery},
    error::StoreError,
    feed::{self, Feed, FeedTables},
    list,
    members::Members,
    metrics::Metrics,
    shard::{Shard, access},
    write::{self, JournalGuard, PreparedWrite, Who},
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
    /// The statements that read it, in the order of the shards asked.
    pub parts: SmallVec<[ListPart; 1]>,
}

/// The statement that read a shard's part of a list.
#[derive(Debug, Clone)]
pub struct ListPart {
    /// The shard.
    pub shard: ShardId,
    /// The statement's snapshot.
    pub snapshot: Arc<Snapshot>,
    /// The shard's epoch when the connection used was verified.
    pub epoch: Epoch,
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
    /// `point`, `scan`, `write` or `batch`.
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
    pub(crate) gateways: Gateways,
}

/// Whether others write to the same shards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gateways {
    /// There is one.
    One,
    /// There may be several: every write asks who they are.
    Several,
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
        Ok(Self { shards: shards.collect::<Result<_, _>>()?, gateways: Gateways::One })
    }

    /// A handle whose writes ask who the gateways are.
    #[must_use]
    pub fn of_several_gateways(self) -> Self {
        Self { gateways: Gateways::Several, ..self }
    }

    /// The member table of a shard.
    ///
    /// # Errors
    /// [`StoreError::Setup`] for a shard that does not exist.
    pub fn members(&self, shard: ShardId) -> Result<Arc<Members>, StoreError> {
        Ok(self.shard(shard)?.members.clone())
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
    /// after it come along; a name that the collection does not have gives `None`. With
    /// `guard`, the journal is owned in this epoch until the write has ended: a claim in a higher one waits for it.
    ///
    /// # Errors
    /// See [`StoreError`]; [`StoreError::TakenOver`] if the guard does not hold. Nothing was committed.
    pub async fn begin_write(
        &self,
        shard: ShardId,
        request: &WriteRequest,
        declared: Option<&[Arc<str>]>,
        guard: Option<JournalGuard>,
    ) -> Result<PreparedWrite, StoreError> {
        write::begin(self.shard(shard)?, request, declared, Who { gateways: self.gateways, guard }).await
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

    /// What a shard's server last showed of itself, and the epoch that counts it. `None` before the first
    /// connection.
    #[must_use]
    pub fn lineage(&self, shard: ShardId) -> Option<(Epoch, Lineage)> {
        self.shard(shard).ok()?.link.identity.lineage()
    }

    /// A shard's change feed. `gateway` is a number drawn by this process; `tables` are followed, and may change.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn feed(
        &self,
        shard: ShardId,
        settings: &FeedSettings,
        gateway: u64,
        tables: watch::Receiver<FeedTables>,
    ) -> Result<Feed, StoreError> {
        Ok(feed::of(self.shard(shard)?, settings, gateway, tables))
    }

    /// What a shard's change feed needs and what there is. Changes nothing.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn examine_feed(
        &self,
        shard: ShardId,
        settings: &FeedSettings,
        tables: &FeedTables,
    ) -> Result<Vec<feed::Finding>, StoreError> {
        feed::examine(self.shard(shard)?, settings, tables).await
    }

    /// A shard's epoch. 0 for one that does not exist.
    #[must_use]
    pub fn epoch(&self, shard: ShardId) -> Epoch {
        self.shard(shard).map_or(Epoch(0), |shard| shard.link.identity.epoch())
    }

    /// A number for database, user and options of a shard's URL: gateways whose numbers differ may see other rows.
    /// The same in every process.
    #[must_use]
    pub fn access(&self, shard: ShardId) -> Option<u64> {
        Some(access(&self.shard(shard).ok()?.config))
    }

    /// Every shard as it is now.
    #[must_use]
    pub fn shards(&self) -> Vec<ShardState> {
        self.shards.iter().map(Shard::state).collect()
    }

    pub(crate) fn shard(&self, id: ShardId) -> Result<&Shard, StoreError> {
        self.shards.get(usize::from(id.0)).ok_or_else(|| StoreError::Setup {
            shard: format!("#{}", id.0).into(),
            reason: "there is no such shard".into(),
        })
    }
}
