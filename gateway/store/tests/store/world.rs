//! Servers, a store over them, and short ways to say what a test means.

use std::{os::unix::fs::PermissionsExt, path::Path, sync::Arc, time::Duration};

use bytes::Bytes;
use indexmap::IndexMap;
use prometheus_client::registry::Registry;
use serde_json::Value;
use tempfile::TempDir;
use tidegate_postgres::{Binaries, Cluster, Durability, Template};
use tidegate_store::{LoadedRow, PreparedWrite, Store, StoreError, catalog::resolve};
use tidegate_types::{
    collection::{Collection, Consistency, Mode, Visibility},
    epoch::Epochs,
    key::RowKey,
    query::{ColumnRef, Filter, ListQuery, Operator, Projection, SelectItem, Sense},
    request::{Cardinality, IfMatch, IfNoneMatch, ReturnPreference, RowsBody, WriteAction, WriteRequest},
    route::{ShardId, Topology},
    settings::{CollectionSettings, PoolSettings, PoolsSettings, Secret, ShardSettings},
};
use tokio_postgres::NoTls;

pub const A: ShardId = ShardId(0);
pub const B: ShardId = ShardId(1);

/// How the shards are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// Two databases of one server.
    Databases,
    /// A server each.
    Clusters,
}

pub struct World {
    pub store: Store,
    pub epochs: Epochs,
    pub registry: Registry,
    pub topology: Arc<Topology>,
    collections: Vec<Arc<Collection>>,
    // Before the folder: servers end, then their files go.
    pub clusters: Vec<Cluster>,
    _dir: TempDir,
}

/// `[collections.NAME]` for a table of that name.
pub fn served(table: &str) -> CollectionSettings {
    CollectionSettings {
        table: table.to_owned(),
        key: Vec::new(),
        shard_key: Vec::new(),
        columns: Vec::new(),
        mode: Mode::CacheAside,
        ttl: Duration::from_secs(60),
        negative_ttl: Duration::from_secs(5),
        consistency: Consistency::Strict,
        visibility: Visibility::Private,
        cdn_ttl: None,
        max_rows: 1000,
        list_bytes: None,
        track: Vec::new(),
    }
}

pub fn pools(max: usize) -> PoolsSettings {
    let pool = PoolSettings {
        min: 1,
        max,
        wait_timeout: Duration::from_millis(500),
        statement_timeout: Duration::from_secs(5),
    };
    PoolsSettings { point: pool, scan: pool, write: pool, batch: pool }
}

async fn start(dir: &Path, name: &str, template: &Template) -> Cluster {
    Cluster::builder(Binaries::find(None).unwrap(), dir.join(name))
        .name(name)
        .durability(Durability::Fast)
        .template(template.clone())
        .start()
        .await
        .unwrap()
}

impl World {
    /// Two shards with this schema, and collections for these tables.
    pub async fn new(shape: Shape, schema: &str, tables: &[&str]) -> Self {
        Self::with_pools(shape, schema, tables, pools(4)).await
    }

    pub async fn with_pools(shape: Shape, schema: &str, tables: &[&str], pools: PoolsSettings) -> Self {
        let dir = tempfile::Builder::new().prefix("tidegate-store-").tempdir().unwrap();
        // The server runs as another user where the tests run as root.
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let template = template().await;
        let mut clusters = vec![start(dir.path(), "a", &template).await];
        if shape == Shape::Clusters {
            clusters.push(start(dir.path(), "b", &template).await);
        }
        let urls: Vec<String> =
            ["a", "b"].iter().enumerate().map(|(i, db)| clusters[i % clusters.len()].url(db)).collect();
        for (i, db) in ["a", "b"].iter().enumerate() {
            clusters[i % clusters.len()].ensure_database(db).await.unwrap();
            connect(&urls[i]).await.batch_execute(schema).await.unwrap();
        }
        let topology = Arc::new(Topology::new(["a", "b"].map(Arc::from)));
        let epochs = Epochs::new(2);
        let mut registry = Registry::default();
        let shards: IndexMap<String, ShardSettings> = ["a", "b"]
            .iter()
            .zip(&urls)
            .map(|(name, url)| ((*name).to_owned(), ShardSettings { primary: Secret::new(url.clone()), region: None }))
            .collect();
        let store = Store::new(&shards, &pools, topology.clone(), epochs.clone(), &mut registry).unwrap();
        let settings = tables.iter().map(|table| ((*table).to_owned(), served(table))).collect();
        let resolved = resolve(&settings, &store.catalog(A).await.unwrap()).unwrap();
        let collections = resolved.into_iter().map(Arc::new).collect();
        Self { store, epochs, registry, topology, collections, clusters, _dir: dir }
    }

    pub fn collection(&self, name: &str) -> Arc<Collection> {
        self.collections.iter().find(|c| &*c.name == name).unwrap().clone()
    }

    /// A superuser's connection of the test's own.
    pub async fn sql(&self, shard: ShardId) -> tokio_postgres::Client {
        let name = self.topology.name(shard).to_owned();
        connect(&self.clusters[usize::from(shard.0) % self.clusters.len()].url(&name)).await
    }

    pub async fn load(&self, shard: ShardId, table: &str, key: &str) -> Result<LoadedRow, StoreError> {
        let collection = self.collection(table);
        let key = key_of(&collection, key);
        self.store.load_row(shard, &collection, &Projection::Whole, &key).await
    }

    /// The row as JSON.
    pub async fn row(&self, shard: ShardId, table: &str, key: &str) -> Option<Value> {
        self.load(shard, table, key).await.unwrap().json.map(|json| serde_json::from_slice(&json).unwrap())
    }

    pub async fn list(&self, shards: &[ShardId], table: &str, query: ListQuery) -> Value {
        let rows = self.store.list(shards, &self.collection(table), &query).await.unwrap();
        serde_json::from_slice(&rows.json).unwrap()
    }

    pub async fn begin(&self, table: &str, action: WriteAction) -> Result<PreparedWrite, StoreError> {
        self.store.begin_write(A, &self.request(table, action), None, None).await
    }

    pub async fn begin_on(&self, shard: ShardId, action: WriteAction) -> Result<PreparedWrite, StoreError> {
        self.store.begin_write(shard, &self.request("items", action), None, None).await
    }

    pub fn request(&self, table: &str, action: WriteAction) -> WriteRequest {
        WriteRequest {
            collection: self.collection(table),
            action,
            if_match: IfMatch::Absent,
            if_none_match: IfNoneMatch::Absent,
            returning: ReturnPreference::Representation,
            projection: Projection::Whole,
            count: tidegate_types::query::Count::None,
            cardinality: Cardinality::Many,
            wait: Duration::ZERO,
            idempotency: None,
        }
    }

    /// What `/metrics` would say.
    pub fn metrics(&self) -> String {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry).unwrap();
        text
    }

    /// The sum of every sample of a metric.
    pub fn metric(&self, name: &str) -> f64 {
        let samples = self.metrics();
        let values = samples.lines().filter(|line| line.starts_with(name)).filter_map(|line| line.rsplit(' ').next());
        values.map(|value| value.parse::<f64>().unwrap()).sum()
    }
}

/// Templates outlive test runs; they depend on the PostgreSQL version only.
async fn template() -> Template {
    let root = std::env::temp_dir().join(format!("tidegate-templates-{}", nix::unistd::geteuid()));
    Template::prepare(&Binaries::find(None).unwrap(), &root).await.unwrap()
}

pub async fn connect(url: &str) -> tokio_postgres::Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

pub fn key_of(collection: &Collection, key: &str) -> RowKey {
    collection.parse_key(key.split(',')).unwrap()
}

/// A body as the HTTP front makes it: an array, the columns of its first object.
pub fn body(json: &str) -> RowsBody {
    let array = if json.starts_with('[') { json.to_owned() } else { format!("[{json}]") };
    let parsed: Vec<serde_json::Map<String, Value>> = serde_json::from_str(&array).unwrap();
    RowsBody {
        rows: parsed.len(),
        columns: parsed.first().map(|row| row.keys().cloned().collect()).unwrap_or_default(),
        keys: parsed.iter().map(|_| None).collect(),
        shard_keys: parsed.iter().map(|_| None).collect(),
        json: Bytes::from(array),
    }
}

pub fn column(name: &str) -> ColumnRef {
    ColumnRef { name: name.to_owned(), path: Vec::new() }
}

pub fn compare(name: &str, operator: Operator, value: &str) -> Filter {
    Filter::Compare { column: column(name), operator, value: value.to_owned(), sense: Sense::Plain }
}

pub fn select(names: &[&str]) -> Projection {
    let item = |name: &&str| SelectItem::Column { alias: None, column: column(name), cast: None };
    Projection::Items(names.iter().map(item).collect())
}

/// Waits for a condition that something else brings about.
pub async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let waited = tokio::time::timeout(Duration::from_secs(30), async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    assert!(waited.await.is_ok(), "waited in vain until {what}");
}
