//! Directories for policies: read from their shards, with the statement looked up once.

use std::collections::HashMap;

use futures_util::future::{BoxFuture, FutureExt};
use tidegate_policy::DirectorySource;
use tidegate_store::{
    Store,
    directory::{DirectoryError, DirectoryQuery},
};
use tidegate_types::{
    route::{ShardId, Topology},
    settings::DirectorySettings,
};
use tokio::sync::Mutex;

use std::sync::Arc;

/// Reads directories.
pub(crate) struct Directories {
    store: Store,
    topology: Arc<Topology>,
    /// Catalogs are large and change rarely: statements are kept until one fails.
    found: Mutex<HashMap<String, (DirectorySettings, DirectoryQuery)>>,
}

impl Directories {
    pub(crate) fn new(store: Store, topology: Arc<Topology>) -> Self {
        Self { store, topology, found: Mutex::default() }
    }

    async fn read(&self, name: &str, settings: &DirectorySettings) -> Result<HashMap<String, String>, String> {
        let shard = self.topology.by_name(&settings.shard);
        let shard = shard.ok_or_else(|| format!("there is no shard {}. Correct `shard`", settings.shard))?;
        if let Some(query) = self.known(name, settings).await {
            match self.store.read_directory(shard, &query).await {
                // The table may be another than it was.
                Err(error) if error.is_database() => {}
                read => return read.map_err(|error| error.to_string()),
            }
        }
        let read = self.find_and_read(name, settings, shard).await;
        read.map_err(|error| error.to_string())
    }

    async fn known(&self, name: &str, settings: &DirectorySettings) -> Option<DirectoryQuery> {
        let found = self.found.lock().await;
        found.get(name).filter(|(of, _)| of == settings).map(|(_, query)| query.clone())
    }

    async fn find_and_read(
        &self,
        name: &str,
        settings: &DirectorySettings,
        shard: ShardId,
    ) -> Result<HashMap<String, String>, DirectoryError> {
        let query = self.store.find_directory(shard, settings).await?;
        let read = self.store.read_directory(shard, &query).await;
        let mut found = self.found.lock().await;
        match &read {
            Ok(_) => drop(found.insert(name.to_owned(), (settings.clone(), query))),
            Err(_) => drop(found.remove(name)),
        }
        read
    }
}

impl DirectorySource for Directories {
    fn load<'a>(
        &'a self,
        name: &'a str,
        settings: &'a DirectorySettings,
    ) -> BoxFuture<'a, Result<HashMap<String, String>, String>> {
        self.read(name, settings).boxed()
    }
}
