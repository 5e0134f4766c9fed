//! Rows per second that a flush brings to a shard, against a bare loop of UNNEST upserts of 500 rows, in one run.
//! `cargo run --release -p tidegate-store --example flush_rate`

use std::{
    error::Error,
    os::unix::fs::PermissionsExt,
    sync::Arc,
    time::{Duration, Instant},
};

use indexmap::IndexMap;
use prometheus_client::registry::Registry;
use tidegate_postgres::{Binaries, Cluster, Durability};
use tidegate_store::{
    Store,
    catalog::resolve,
    flush::{FlushBatch, Pending},
};
use tidegate_types::{
    collection::{Collection, Consistency, Mode, Visibility},
    epoch::Epochs,
    key::{KeyValue, RowKey},
    mutation::{Image, Mutation, Sequence},
    route::{ShardId, Topology},
    settings::{CollectionSettings, PoolSettings, PoolsSettings, Secret, ShardSettings},
    tenant::TenantId,
};
use tokio_postgres::{Client, NoTls};

const ROWS: i64 = 100_000;
const BATCH: usize = 500;
const ROUND: Duration = Duration::from_secs(5);
const SHARD: ShardId = ShardId(0);
const SCHEMA: &str = "
CREATE TABLE products (id bigint PRIMARY KEY, name text NOT NULL, price numeric(10,2), stock int, category int,
  attributes jsonb, note text, made timestamptz);
INSERT INTO products SELECT n, 'Product ' || n, n % 100, n % 7, n % 10, '{\"color\":\"red\"}', 'note', now()
  FROM generate_series(1, 100000) n;
VACUUM ANALYZE products";
const BARE: &str = "
INSERT INTO products (id, name, price, stock, category, attributes, note, made)
SELECT id, name, price::numeric, stock, category, attributes::jsonb, note, made::timestamptz
  FROM unnest($1::bigint[], $2::text[], $3::text[], $4::int[], $5::int[], $6::text[], $7::text[], $8::text[])
    u (id, name, price, stock, category, attributes, note, made)
ON CONFLICT (id) DO UPDATE SET name = excluded.name, price = excluded.price, stock = excluded.stock,
  category = excluded.category, attributes = excluded.attributes, note = excluded.note, made = excluded.made";

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
    let (store, collection) = store(url).await?;
    let mut applied = store.claim_journal(SHARD, 1, 1).await?;
    for _ in 0..3 {
        let bare = bare(&client).await?;
        let flushed = flushed(&store, &collection, &mut applied).await?;
        println!("bare UNNEST-{BATCH} {bare:.0} rows/s, flush {flushed:.0} rows/s, ratio {:.2}", flushed / bare);
    }
    Ok(())
}

/// Distinct keys.
fn keys() -> Vec<i64> {
    let start = fastrand::i64(0..ROWS);
    (0..BATCH as i64).map(|step| (start + step * 199) % ROWS + 1).collect()
}

async fn bare(client: &Client) -> Result<f64, Box<dyn Error>> {
    let statement = client.prepare(BARE).await?;
    let (started, mut rows) = (Instant::now(), 0.0);
    while started.elapsed() < ROUND {
        let ids = keys();
        let all = |text: &str| vec![text.to_owned(); BATCH];
        let names: Vec<String> = ids.iter().map(|id| format!("Product {id}")).collect();
        let (price, stock) = (all("9.90"), vec![fastrand::i32(..1000); BATCH]);
        let (category, attributes) = (vec![3_i32; BATCH], all("{\"color\": \"blue\"}"));
        let (note, made) = (all("note"), all("2026-01-02T03:04:05+00:00"));
        client.execute(&statement, &[&ids, &names, &price, &stock, &category, &attributes, &note, &made]).await?;
        rows += BATCH as f64;
    }
    Ok(rows / started.elapsed().as_secs_f64())
}

async fn flushed(store: &Store, collection: &Arc<Collection>, applied: &mut Sequence) -> Result<f64, Box<dyn Error>> {
    let columns = ["name", "price", "stock", "category", "attributes", "note", "made"];
    let set: Arc<[Box<str>]> = columns.iter().map(|name| Box::from(*name)).collect();
    let (name, shard): (Arc<str>, Arc<str>) = ("products".into(), "a".into());
    let (started, mut rows) = (Instant::now(), 0.0);
    while started.elapsed() < ROUND {
        let (old, stock) = (*applied, fastrand::i32(..1000));
        let mutation = |id: i64| Mutation {
            collection: name.clone(),
            shard: shard.clone(),
            tenant: TenantId::SHARED,
            key: RowKey::single(KeyValue::Int(id)),
            image: Image::Row {
                json: format!(
                    "{{\"id\":{id},\"name\":\"Product {id}\",\"price\":9.90,\"stock\":{stock},\"category\":3,\
                     \"attributes\":{{\"color\": \"blue\"}},\"note\":\"note\",\"made\":\"2026-01-02T03:04:05+00:00\"}}"
                )
                .into(),
                set: set.clone(),
            },
        };
        let pending = |(at, id): (usize, i64)| Pending {
            sequence: Sequence(old.0 + 1 + at as u64),
            collection: collection.clone(),
            mutation: mutation(id),
        };
        let mutations: Vec<Pending> = keys().into_iter().enumerate().map(pending).collect();
        let new = Sequence(old.0 + BATCH as u64);
        let batch = FlushBatch { journal: 1, epoch: 1, old, new, mutations, parked: Vec::new() };
        store.begin_flush(SHARD, &batch).await?.commit().await?;
        *applied = new;
        rows += BATCH as f64;
    }
    Ok(rows / started.elapsed().as_secs_f64())
}

async fn store(url: String) -> Result<(Store, Arc<Collection>), Box<dyn Error>> {
    let pool = PoolSettings {
        min: 1,
        max: 2,
        wait_timeout: Duration::from_secs(5),
        statement_timeout: Duration::from_secs(30),
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
        max_rows: 1000,
        list_bytes: None,
        cdn_ttl: None,
        track: Vec::new(),
    };
    let catalog = store.catalog(SHARD).await?;
    let mut collections = resolve(&IndexMap::from([("products".to_owned(), settings)]), &catalog)
        .map_err(|mismatches| format!("{mismatches:?}"))?;
    let collection = Arc::new(collections.remove(0));
    Ok((store, collection))
}
