//! Cold keyed reads at 64 readers: the batched loader against one query per read, in one run.
//! `cargo run --release -p tidegate-store --example cold_reads`

use std::{
    error::Error,
    os::unix::fs::PermissionsExt,
    sync::Arc,
    time::{Duration, Instant},
};

use indexmap::IndexMap;
use parking_lot::Mutex;
use prometheus_client::registry::Registry;
use tidegate_postgres::{Binaries, Cluster, Durability};
use tidegate_store::{Store, catalog::resolve};
use tidegate_types::{
    collection::{Consistency, Mode, Visibility},
    epoch::Epochs,
    key::{KeyValue, RowKey},
    query::Projection,
    route::{ShardId, Topology},
    settings::{CollectionSettings, PoolSettings, PoolsSettings, Secret, ShardSettings},
};
use tokio::{sync::Semaphore, task::JoinSet};
use tokio_postgres::{Client, NoTls, Statement};

const READERS: usize = 64;
const ROWS: i64 = 100_000;
const ROUND: Duration = Duration::from_secs(3);
const SCHEMA: &str = "
CREATE TABLE products (id bigint PRIMARY KEY, name text NOT NULL, price numeric(10,2), stock int, category int,
  attributes jsonb, note text, made timestamptz DEFAULT now());
INSERT INTO products SELECT n, 'Product ' || n, n % 100, n % 7, n % 10, '{\"color\":\"red\"}', 'note', now()
  FROM generate_series(1, 100000) n;
VACUUM ANALYZE products";

#[tokio::main(worker_threads = 2)]
async fn main() -> Result<(), Box<dyn Error>> {
    let dir = tempfile::tempdir()?;
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755))?;
    let cluster =
        Cluster::builder(Binaries::find(None)?, dir.path().join("a")).durability(Durability::Fast).start().await?;
    let url = cluster.url("postgres");
    let (client, connection) = tokio_postgres::connect(&url, NoTls).await?;
    tokio::spawn(connection);
    for statement in SCHEMA.split(';') {
        client.batch_execute(statement).await?;
    }
    let (store, collection) = store(url.clone()).await?;
    let naive = Naive::connect(&url).await?;
    for _ in 0..3 {
        let pool = naive.clone();
        let single = measure(move |id| {
            let pool = pool.clone();
            async move { pool.read(id).await.is_some() }
        });
        let single = single.await;
        let (shared, served) = (store.clone(), collection.clone());
        let batched = measure(move |id| {
            let (store, collection) = (shared.clone(), served.clone());
            async move {
                let key = RowKey::single(KeyValue::Int(id));
                store
                    .load_row(ShardId(0), &collection, &Projection::Whole, &key)
                    .await
                    .is_ok_and(|row| row.json.is_some())
            }
        });
        let batched = batched.await;
        println!("one query per read {single:.0}/s, batched {batched:.0}/s, ratio {:.2}", batched / single);
    }
    Ok(())
}

async fn store(url: String) -> Result<(Store, Arc<tidegate_types::collection::Collection>), Box<dyn Error>> {
    let pool = PoolSettings {
        min: 2,
        max: 8,
        wait_timeout: Duration::from_secs(5),
        statement_timeout: Duration::from_secs(5),
    };
    let pools = PoolsSettings { point: pool, scan: pool, write: pool, batch: pool };
    let shards = IndexMap::from([("a".to_owned(), ShardSettings { primary: Secret::new(url), region: None })]);
    let topology = Arc::new(Topology::new([Arc::from("a")]));
    let store = Store::new(&shards, &pools, topology, Epochs::new(1), &mut Registry::default())?;
    let settings = CollectionSettings {
        table: "products".into(),
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
    };
    let catalog = store.catalog(ShardId(0)).await?;
    let mut collections = resolve(&IndexMap::from([("products".to_owned(), settings)]), &catalog)
        .map_err(|mismatches| format!("{mismatches:?}"))?;
    let collection = Arc::new(collections.remove(0));
    Ok((store, collection))
}

/// Eight prepared connections, each used by one reader at a time.
struct Naive {
    permits: Semaphore,
    idle: Mutex<Vec<(Client, Statement)>>,
}

impl Naive {
    async fn connect(url: &str) -> Result<Arc<Self>, Box<dyn Error>> {
        let mut clients = Vec::new();
        for _ in 0..8 {
            let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
            tokio::spawn(connection);
            let statement = client.prepare("SELECT row_to_json(t)::text FROM products t WHERE id = $1").await?;
            clients.push((client, statement));
        }
        Ok(Arc::new(Self { permits: Semaphore::new(clients.len()), idle: Mutex::new(clients) }))
    }

    async fn read(&self, id: i64) -> Option<String> {
        let _permit = self.permits.acquire().await.ok()?;
        let (client, statement) = self.idle.lock().pop()?;
        let row = client.query_one(&statement, &[&id]).await.ok()?.try_get(0).ok();
        self.idle.lock().push((client, statement));
        row
    }
}

/// Reads per second of 64 readers that each ask for one random row after the other.
async fn measure<F>(read: impl Fn(i64) -> F + Clone + Send + 'static) -> f64
where
    F: Future<Output = bool> + Send,
{
    let started = Instant::now();
    let mut readers = JoinSet::new();
    for _ in 0..READERS {
        let read = read.clone();
        readers.spawn(async move {
            let mut done = 0_u32;
            while started.elapsed() < ROUND {
                assert!(read(fastrand::i64(1..=ROWS)).await, "every row is there");
                done += 1;
            }
            done
        });
    }
    let done: u32 = readers.join_all().await.iter().sum();
    f64::from(done) / started.elapsed().as_secs_f64()
}
