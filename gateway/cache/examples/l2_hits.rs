//! What the cache makes of the shared tier's speed: rows that are only there, fetched through the cache, against the
//! client's own pipelined GET of the same keys, in turns.
//!
//! ```text
//! cargo run --release -p tidegate-cache --example l2_hits
//! ```
//! Starts a `redis-server` of its own. The cache is the smallest there is, so that every row comes from the tier and
//! takes the whole path: key, GET, checksum, decoding, floors, insertion, eviction.

use std::{
    net::{Ipv4Addr, TcpListener},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use prometheus_client::registry::Registry;
use tidegate_cache::{
    Cache, EntryKey, Fetched, FillPlan, L2,
    tier::{
        CacheTier, TierState, codec::Codec, guard::Guarded, key::Place, key::TierKey, metrics::TierMetrics,
        queue::QueueBounds, redis::RedisTier,
    },
};
use tidegate_types::{
    bucket::RelationSeed,
    collection::CollectionId,
    epoch::{Epochs, Lineage},
    key::{KeyValue, RowKey},
    query::Projection,
    request::TenantId,
    route::ShardId,
    settings::{CacheSettings, L2Layout, L2Servers},
    snapshot::{Snapshot, Xid},
};

const ROWS: u64 = 50_000;
/// Coprime to the rows: none comes again before all others came.
const STRIDE: u64 = 7_919;
const ROUND: Duration = Duration::from_secs(2);
const ROUNDS: usize = 5;

/// As in the gateway.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn server() -> (Server, u16) {
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|l| l.local_addr()).expect("a free port").port();
    let mut command = Command::new("redis-server");
    command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]);
    (Server(command.stdout(Stdio::null()).spawn().expect("redis-server is installed")), port)
}

fn place() -> Place {
    Place { name: "a".into(), access: 0 }
}

fn key(id: u64) -> EntryKey {
    EntryKey {
        tenant: TenantId(0),
        collection: CollectionId(0),
        shard: ShardId(0),
        key: RowKey::single(KeyValue::Int(i64::try_from(id).expect("few rows"))),
        projection: Projection::Whole,
        variant: None,
    }
}

const PLAN: FillPlan<'static> = FillPlan {
    seed: RelationSeed(1),
    shared: Some(7),
    ttl: Duration::from_secs(3600),
    negative_ttl: Duration::from_secs(3600),
    bounds: None,
};

async fn cache(port: u16, registry: &mut Registry) -> Cache {
    let settings = CacheSettings {
        l1_bytes: 1 << 20,
        list_bytes: 0,
        buckets: 65_536,
        max_entry_bytes: 256 << 10,
        ttl_jitter: 0.0,
        l2: None,
    };
    let epochs = Epochs::new(1);
    let epoch = epochs.current(ShardId(0));
    epochs.set_lineage(ShardId(0), epoch, &Lineage { system: None, timeline: None, started: "now".to_owned() });
    epochs.set_base(ShardId(0), epoch, Xid(9));
    let cache = Cache::new(&settings, 1, epochs, registry);
    let metrics = TierMetrics::register(registry);
    let servers = L2Servers {
        layout: L2Layout::Single,
        nodes: vec![("127.0.0.1".to_owned(), port)],
        username: None,
        password: None,
        database: 0,
    };
    // Patient: what is measured is speed, not what happens beyond a limit.
    let tier = Guarded::new(RedisTier::start(servers, QueueBounds::default(), metrics.clone()), Duration::from_secs(1));
    let tier: Arc<dyn CacheTier> = Arc::new(tier);
    while tier.state() != TierState::Up || tier.get(b"x").await.is_err() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let codec = Codec { compress_above: 1 << 10, max_payload: 256 << 10 };
    cache.share(L2::new(tier, codec, vec![place()], metrics));
    cache
}

/// A second; calls of `work` at once; calls a second.
async fn rate<F: Future<Output = ()> + Send>(depth: usize, work: impl Fn(u64) -> F + Clone + Send + 'static) -> f64 {
    let (next, stop) = (Arc::new(AtomicU64::new(fastrand::u64(..ROWS))), Arc::new(AtomicBool::new(false)));
    let begun = Instant::now();
    let tasks: Vec<_> = (0..depth)
        .map(|_| {
            let (work, next, stop) = (work.clone(), next.clone(), stop.clone());
            async move {
                let mut done = 0_u32;
                while !stop.load(Ordering::Relaxed) {
                    work(next.fetch_add(1, Ordering::Relaxed) * STRIDE % ROWS).await;
                    done += 1;
                }
                done
            }
        })
        .map(tokio::spawn)
        .collect();
    tokio::time::sleep(ROUND).await;
    stop.store(true, Ordering::Relaxed);
    let mut done = 0.0;
    for task in tasks {
        done += f64::from(task.await.expect("no panic"));
    }
    done / begun.elapsed().as_secs_f64()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let (_server, port) = server();
    tokio::time::sleep(Duration::from_millis(500)).await;
    let mut registry = Registry::default();
    let cache = cache(port, &mut registry).await;
    let snapshot = Arc::new(Snapshot { xmin: Xid(10), xmax: Xid(10), xip: Default::default() });
    // The tier's settings.
    let tcp = redis::io::tcp::TcpSettings::default().set_nodelay(true);
    let info = redis::IntoConnectionInfo::into_connection_info(("127.0.0.1", port)).expect("an address");
    let client = redis::Client::open(info.set_tcp_settings(tcp)).expect("an address");
    let config = redis::AsyncConnectionConfig::new().set_response_timeout(None).set_pipeline_buffer_size(1024);
    let connection = client.get_multiplexed_async_connection_with_config(&config).await.expect("up");
    for id in 0..ROWS {
        let json = Bytes::from(format!("{{\"id\":{id},\"name\":\"Product {id}\",\"note\":\"{}\"}}", "x".repeat(240)));
        let fetched = Fetched { json: Some(json), snapshot: snapshot.clone(), epoch: tidegate_types::epoch::Epoch(1) };
        cache.keep(&key(id), PLAN, cache.voids(ShardId(0)), fetched).expect("kept");
        if id % 1000 == 999 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let missed = Arc::new(AtomicU64::new(0));
    println!("| calls at once | through the cache | client's GET | ratio |\n|---|---|---|---|");
    for depth in [1, 16, 64, 256] {
        let (mut ours, mut theirs, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let (cache, missed) = (cache.clone(), missed.clone());
            let through = rate(depth, move |id| {
                let (cache, missed) = (cache.clone(), missed.clone());
                async move {
                    let key = key(id);
                    if cache.get(&key, None).is_some() {
                        return;
                    }
                    let load = || async {
                        missed.fetch_add(1, Ordering::Relaxed);
                        let snapshot = Arc::new(Snapshot { xmin: Xid(10), xmax: Xid(10), xip: Default::default() });
                        Ok(Fetched { json: None, snapshot, epoch: tidegate_types::epoch::Epoch(1) })
                    };
                    let served = cache.fetch(&key, PLAN, load).await.expect("no shard fails here");
                    assert!(served.row.is_some_and(|row| row.json.len() > 240), "it was in the tier");
                }
            })
            .await;
            let connection = connection.clone();
            let raw = rate(depth, move |id| {
                let mut connection = connection.clone();
                async move {
                    let key = TierKey::row(7, &place(), &key(id));
                    let mut command = redis::Cmd::with_capacity(2, 100);
                    command.arg("GET").arg(&key.short()[..]);
                    let answer = command.query_async::<redis::Value>(&mut connection).await.expect("up");
                    assert!(matches!(answer, redis::Value::BulkString(value) if value.len() > 240));
                }
            })
            .await;
            ours.push(through);
            theirs.push(raw);
            ratios.push(through / raw);
        }
        println!("| {depth} | {:.0}/s | {:.0}/s | {:.2} |", median(ours), median(theirs), median(ratios));
    }
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).expect("encodes");
    let shown = |line: &&str| line.starts_with("tidegate_l2_gets") || line.starts_with("tidegate_cache_hits");
    text.lines().filter(shown).for_each(|line| println!("{line}"));
    assert_eq!(missed.load(Ordering::Relaxed), 0, "these rows were to come from the tier");
}
