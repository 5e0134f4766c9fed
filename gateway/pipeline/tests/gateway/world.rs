//! Two shards, a gateway with policies over them, and short ways to ask it.

use std::{
    collections::HashMap,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use indexmap::IndexMap;
use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use tempfile::TempDir;
use tidegate_cache::Cache;
use tidegate_pipeline::{Dialect, Gateway, GatewayParts};
use tidegate_policy::{DirectorySource, Keeping, PlacedKey, PlacementProbe, PolicyHost, Setup};
use tidegate_postgres::{Binaries, Cluster, Durability, Template};
use tidegate_store::{Store, catalog::resolve};
use tidegate_types::{
    answer::{CacheStatus, ListAnswer, RowAnswer, WriteAnswer},
    collection::{Collection, CollectionId, Collections, Consistency, Mode, Visibility},
    epoch::Epochs,
    problem::Problem,
    query::{Count, ListQuery, Projection},
    request::{
        Cardinality, Facts, IfMatch, IfNoneMatch, ListRead, ReturnPreference, RowRead, RowsBody, WriteAction,
        WriteRequest,
    },
    route::{ShardId, Topology},
    settings::{
        CacheSettings, CollectionSettings, DirectorySettings, Grant, HookSettings, Moves, PolicySettings, PoolSettings,
        PoolsSettings, RouteFallback, Secret, ShardSettings, TenantSettings, TenantsSettings,
    },
    tenant::Tenants,
};
use tokio_postgres::NoTls;

const SCHEMA: &str = "CREATE TABLE categories (id bigint PRIMARY KEY, name text); \
    CREATE TABLE products (id bigint PRIMARY KEY, category_id int, fault text)";

/// Header fields of a request.
pub type Fields<'a> = &'a [(&'a str, &'a str)];

/// Whether requests are told apart by `x-tenant`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tenancy {
    None,
    /// acme and globex.
    Two,
}

pub struct World {
    pub gateway: Gateway,
    pub epochs: Epochs,
    registry: Registry,
    clusters: [Cluster; 1],
    _dir: TempDir,
}

impl World {
    /// A gateway with the guest `faulty` as cache policy and invalidation policy.
    pub async fn new(tenancy: Tenancy) -> Self {
        let dir = tempfile::Builder::new().prefix("tidegate-pipeline-").tempdir().unwrap();
        // The server runs as another user where the tests run as root.
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let cluster = cluster(dir.path()).await;
        for database in ["a", "b"] {
            cluster.ensure_database(database).await.unwrap();
            connect(&cluster.url(database)).await.batch_execute(SCHEMA).await.unwrap();
        }
        let mut registry = Registry::default();
        let (topology, epochs) = (Arc::new(Topology::new(["a", "b"].map(Arc::from))), Epochs::new(2));
        let shard = |name: &str| (name.to_owned(), shard(&cluster, name));
        let shards = ["a", "b"].iter().map(|name| shard(name)).collect();
        let store = Store::new(&shards, &pools(), topology.clone(), epochs.clone(), &mut registry).unwrap();
        let settings: IndexMap<_, _> = ["categories", "products"].map(|table| (table.to_owned(), served(table))).into();
        let resolved = resolve(&settings, &store.catalog(ShardId(0)).await.unwrap()).unwrap();
        let settings = policies(tenancy, &dir.path().join("policies"));
        let policies = PolicyHost::start(Setup {
            settings: &settings,
            topology: topology.clone(),
            tenants: Arc::new(tenants(tenancy, &topology)),
            probe: Arc::new(NoRows),
            directories: Arc::new(NoRows),
            keeping: Keeping::Nothing,
            registry: &mut registry,
        });
        let policies = policies.await.unwrap();
        let cache = CacheSettings {
            l1_bytes: 16 << 20,
            list_bytes: 4 << 20,
            buckets: 1 << 16,
            max_entry_bytes: 1 << 16,
            ttl_jitter: 0.0,
            l2: None,
        };
        let gateway = Gateway::new(GatewayParts {
            collections: Arc::new(Collections::new(resolved.into_iter().map(Arc::new).collect())),
            cache: Cache::new(&cache, 2, epochs.clone(), &mut registry),
            metrics: Gateway::metrics(&mut registry),
            topology,
            store,
            policies,
            dialect: Arc::new(NoRows),
        });
        Self { gateway, epochs, registry, clusters: [cluster], _dir: dir }
    }

    pub fn collection(&self, name: &str) -> Arc<Collection> {
        self.gateway.collection(name).unwrap()
    }

    /// A superuser's connection of the test's own.
    pub async fn sql(&self, shard: ShardId) -> tokio_postgres::Client {
        connect(&self.clusters[0].url(self.gateway.topology().name(shard))).await
    }

    pub async fn read(&self, collection: &str, key: i64, fields: Fields<'_>) -> Result<RowAnswer, Problem> {
        let parts = request("GET", &format!("/v1/{collection}/{key}"), fields);
        let collection = self.collection(collection);
        let key = collection.parse_key([key.to_string().as_str()].into_iter()).unwrap();
        self.gateway.read_row(&Facts::of(&parts), &RowRead { collection, key, projection: Projection::Whole }).await
    }

    pub async fn list(&self, collection: &str, fields: Fields<'_>) -> ListAnswer {
        let parts = request("GET", &format!("/v1/{collection}"), fields);
        let read = ListRead { collection: self.collection(collection), query: ListQuery::default() };
        self.gateway.read_list(&Facts::of(&parts), &read).await.unwrap()
    }

    /// Inserts or replaces a product.
    pub async fn put(&self, key: i64, product: Value, fields: Fields<'_>) -> Result<WriteAnswer, Problem> {
        let parts = request("PUT", &format!("/v1/products/{key}"), fields);
        let collection = self.collection("products");
        let body = RowsBody {
            rows: 1,
            columns: product.as_object().unwrap().keys().cloned().collect(),
            keys: vec![None],
            shard_keys: vec![None],
            json: Bytes::from(json!([product]).to_string()),
        };
        let key = collection.parse_key([key.to_string().as_str()].into_iter()).unwrap();
        let write = WriteRequest {
            collection,
            action: WriteAction::Put { key, body },
            if_match: IfMatch::Absent,
            if_none_match: IfNoneMatch::Absent,
            returning: ReturnPreference::Minimal,
            projection: Projection::Whole,
            count: Count::None,
            cardinality: Cardinality::Many,
            wait: Duration::ZERO,
            idempotency: None,
        };
        self.gateway.write(&Facts::of(&parts), write).await
    }

    /// Whether the row, or its absence, is served from the cache; afterwards it is in there.
    pub async fn hits(&self, collection: &str, key: i64, fields: Fields<'_>) -> bool {
        matches!(self.read(collection, key, fields).await.unwrap().status, CacheStatus::Hit { .. })
    }

    /// The shard that a category is on.
    pub async fn home(&self, category: i64) -> ShardId {
        self.read("categories", category, &[]).await.unwrap().trace.shards[0]
    }

    /// The value of a sample of `/metrics`.
    pub fn metric(&self, sample: &str) -> Option<String> {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry).unwrap();
        text.lines().find_map(|line| line.strip_prefix(sample)).map(|value| value.trim().to_owned())
    }
}

async fn cluster(dir: &Path) -> Cluster {
    let root = std::env::temp_dir().join(format!("tidegate-templates-{}", nix::unistd::geteuid()));
    let template = Template::prepare(&Binaries::find(None).unwrap(), &root).await.unwrap();
    let cluster = Cluster::builder(Binaries::find(None).unwrap(), dir.join("postgres"));
    cluster.name("ab").durability(Durability::Fast).template(template).start().await.unwrap()
}

async fn connect(url: &str) -> tokio_postgres::Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

fn request(method: &str, uri: &str, fields: Fields<'_>) -> http::request::Parts {
    let mut request = http::Request::builder().method(method).uri(uri);
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap().into_parts().0
}

fn shard(cluster: &Cluster, name: &str) -> ShardSettings {
    ShardSettings { primary: Secret::new(cluster.url(name)), region: None }
}

fn pools() -> PoolsSettings {
    let pool = PoolSettings {
        min: 1,
        max: 4,
        wait_timeout: Duration::from_secs(5),
        statement_timeout: Duration::from_secs(20),
    };
    PoolsSettings { point: pool, scan: pool, write: pool, batch: pool }
}

fn served(table: &str) -> CollectionSettings {
    CollectionSettings {
        table: table.to_owned(),
        key: Vec::new(),
        shard_key: Vec::new(),
        columns: Vec::new(),
        mode: Mode::CacheAside,
        ttl: Duration::from_secs(60),
        negative_ttl: Duration::from_secs(60),
        consistency: Consistency::Strict,
        visibility: Visibility::Private,
        cdn_ttl: None,
        max_rows: 1000,
        list_bytes: None,
        track: Vec::new(),
    }
}

fn policies(tenancy: Tenancy, folder: &Path) -> PolicySettings {
    let dist = std::env::var_os("TIDEGATE_PLUGIN_DIST")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../plugins/dist"), PathBuf::from);
    fs::create_dir(folder).unwrap();
    for (guest, plugin) in [("testing/faulty", "faulty"), ("tier-classifier", "tier-classifier")] {
        fs::copy(dist.join(format!("{guest}.wasm")), folder.join(format!("{plugin}.wasm"))).unwrap();
    }
    let hook = |plugin: &str, config| HookSettings {
        plugin: plugin.into(),
        config,
        fallback: RouteFallback::Hash,
        moves: Moves::Refused,
        grants: Grant::USUAL.to_vec(),
        isolation: None,
    };
    let classify = || hook("tier-classifier", json!({"sources": ["header"]}));
    PolicySettings {
        dir: Some(folder.to_owned()),
        classify: (tenancy == Tenancy::Two).then(classify),
        cache_policy: Some(hook("faulty", json!({}))),
        invalidate: Some(hook("faulty", json!({}))),
        // Ample, because deadlines are wall-clock time and test machines are busy.
        call_timeout: Duration::from_millis(250),
        ..PolicySettings::default()
    }
}

fn tenants(tenancy: Tenancy, topology: &Topology) -> Tenants {
    if tenancy == Tenancy::None {
        return Tenants::none(topology);
    }
    let tenant = || TenantSettings { class: "free".into(), shards: Vec::new(), residency: Vec::new() };
    let known = ["acme", "globex"].map(|name| (name.to_owned(), tenant())).into();
    Tenants::resolve(&TenantsSettings { classes: vec!["free".into()], known }, topology).unwrap()
}

/// Knows no rows and has no directories; reads every query string as the whole collection.
#[derive(Debug)]
struct NoRows;

impl PlacementProbe for NoRows {
    fn sample(&self) -> BoxFuture<'_, Vec<PlacedKey>> {
        Box::pin(async { Vec::new() })
    }

    fn moved(&self, _: &[CollectionId]) {}
}

impl Dialect for NoRows {
    fn list(&self, _: &Collection, _: &str) -> Result<ListQuery, String> {
        Ok(ListQuery::default())
    }
}

impl DirectorySource for NoRows {
    fn load<'a>(
        &'a self,
        _: &'a str,
        _: &'a DirectorySettings,
    ) -> BoxFuture<'a, Result<HashMap<String, String>, String>> {
        Box::pin(async { Ok(HashMap::new()) })
    }
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
