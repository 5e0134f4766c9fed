//! Nobody reads a value older than one that was acknowledged: under concurrency, with transactions
//! that are held up at the worst moment, and with a thousand readers of one row.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use serde_json::json;
use tidegate_tests::{
    Client, Config, Shards, World,
    history::{History, Operation, Span, Stopwatch},
    schema, until,
    wire::Wire,
};
use tokio::task::JoinSet;

const KEYS: usize = 6;
const WRITERS: usize = 6;
const READERS: usize = 10;
const DURATION: Duration = Duration::from_secs(4);

/// One operation of one client on one key.
type Event = (usize, Operation, Span);

/// The number in a product's name `v17`.
fn version(row: &serde_json::Value) -> u64 {
    row["name"].as_str().and_then(|name| name.strip_prefix('v')?.parse().ok()).expect("a version")
}

async fn write(client: &Client, id: i64, value: u64, clock: Stopwatch) -> Span {
    let start = clock.now();
    let body = json!({ "name": format!("v{value}") });
    let answer = client.patch(&format!("/v1/products/{id}"), &body).send().await;
    // Anything but 204, or 202 of a write-behind collection, may or may not have happened.
    Span { start, end: matches!(answer.status, 202 | 204).then(|| clock.now()) }
}

async fn read(client: &Client, id: i64, clock: Stopwatch) -> (u64, Span) {
    let start = clock.now();
    let row = client.get(&format!("/v1/products/{id}")).await.ok().json();
    (version(&row), Span { start, end: Some(clock.now()) })
}

/// Readers and writers of a few keys, each with connections of its own, for [`DURATION`].
async fn run_clients(world: &World, ids: &Arc<[i64]>, clock: Stopwatch) -> Vec<Event> {
    let next = Arc::new(AtomicU64::new(1));
    let mut clients = JoinSet::new();
    for number in 0..WRITERS + READERS {
        let (client, ids, next) = (world.gateway.client(), ids.clone(), next.clone());
        clients.spawn(async move {
            let mut random = fastrand::Rng::with_seed(number as u64);
            let mut events: Vec<Event> = Vec::new();
            while clock.now() < DURATION {
                let key = random.usize(..ids.len());
                if number < WRITERS {
                    let value = next.fetch_add(1, Ordering::Relaxed);
                    let span = write(&client, ids[key], value, clock).await;
                    events.push((key, Operation::Write(Some(value)), span));
                } else {
                    let (value, span) = read(&client, ids[key], clock).await;
                    events.push((key, Operation::Read(Some(value)), span));
                }
            }
            events
        });
    }
    clients.join_all().await.into_iter().flatten().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_key_is_linearizable_under_concurrent_writers_and_readers() {
    linearizable(&World::start().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_key_is_linearizable_where_writes_fill_the_cache() {
    let world = World::with(|config| config.set("collections.products", "mode", "\"write-through\"")).await;
    linearizable(&world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_key_is_linearizable_before_and_after_its_shard_has_it() {
    let dir = tempfile::Builder::new().prefix("tidegate-journal-").tempdir().expect("a temporary folder");
    let world = World::with(|config| {
        let config = config.set("journal", "dir", &format!("'{}'", dir.path().join("journal").display()));
        config.set("collections.products", "mode", "\"write-behind\"")
    })
    .await;
    linearizable(&world).await;
    let metrics = world.gateway.metrics().await;
    assert!(metrics.sum("tidegate_journal_flushed", &[]) > 0, "batches went to the shards meanwhile");
    assert!(metrics.sum("tidegate_journal_dirty_hits", &[]) > 0, "and rows were read before");
}

async fn linearizable(world: &World) {
    let ids: Arc<[i64]> = (0..KEYS).map(|n| world.nth_product_on(n % 2, n)).collect();
    for id in ids.iter() {
        world
            .shards
            .execute(world.shards.shard_of(id), &format!("UPDATE products SET name = 'v0' WHERE id = {id}"))
            .await;
    }
    let events = run_clients(world, &ids, Stopwatch::start()).await;
    let mut histories = vec![History::starting_with(0); KEYS];
    for (key, operation, span) in events {
        histories[key].add(operation, span);
    }
    for (key, history) in histories.iter().enumerate() {
        assert!(history.len() > 50, "only {} operations on key {key}", history.len());
        if let Err(contradiction) = history.check() {
            panic!("key {key}: {contradiction}");
        }
    }
    let metrics = world.gateway.metrics().await;
    assert!(metrics.sum("tidegate_cache_hits", &[]) > 0, "the cache took part");
}

/// A commit is held up after the floors rose: the check at COMMIT waits for a locked category.
#[tokio::test]
async fn a_commit_held_up_lets_readers_read_and_nobody_keeps_the_old_row() {
    let world = World::start().await;
    let id = world.product_on(0);
    let path = format!("/v1/products/{id}");
    let (writer, reader) = (world.gateway.client(), world.gateway.client());
    assert!(!reader.get(&path).await.ok().is_hit());
    assert!(reader.get(&path).await.ok().is_hit());

    let blocker = world.shards.connect(0).await;
    blocker.batch_execute("BEGIN; SELECT 1 FROM categories WHERE id = 10 FOR UPDATE").await.expect("the lock");
    let call = writer.patch(&path, &json!({ "name": "late", "category_id": 10 }));
    let write = tokio::spawn(async move { call.send().await });
    until("the commit waits", || async {
        let waiting =
            "SELECT count(*)::text FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query ILIKE 'commit%'";
        (world.shards.text(0, waiting).await.as_deref() == Some("1")).then_some(())
    })
    .await;
    // A younger transaction commits meanwhile; snapshots now have a gap.
    let other = world.nth_product_on(0, 1);
    world.client.patch(&format!("/v1/products/{other}"), &json!({ "stock": 1 })).send().await.expect_status(204);
    for _ in 0..5 {
        let answer = reader.get(&path).await.ok();
        assert_eq!(answer.json()["name"], format!("Product {id}"), "not committed: not visible");
        assert!(!answer.is_hit() && !answer.cache().contains("stored"), "not kept either: {answer}");
    }
    blocker.batch_execute("ROLLBACK").await.expect("the lock goes");
    write.await.expect("no panic").expect_status(204);
    let answer = reader.get(&path).await.ok();
    assert_eq!(answer.json()["name"], "late");
    reader.get(&path).await.ok();
    assert!(reader.get(&path).await.ok().is_hit(), "and it is cached again");
}

/// Holds up every keyed read of products after its snapshot was taken, while the advisory lock 7 is
/// held: a policy of row-level security runs when the rows are looked at. Writes pass.
const GATE: &str = r"
CREATE ROLE app LOGIN;
GRANT ALL ON ALL TABLES IN SCHEMA public TO app;
CREATE FUNCTION gate() RETURNS bool LANGUAGE plpgsql AS $$ BEGIN
  IF current_setting('application_name') LIKE '%point' THEN PERFORM pg_advisory_xact_lock_shared(7); END IF;
  RETURN true;
END $$;
ALTER TABLE products ENABLE ROW LEVEL SECURITY;
CREATE POLICY gated ON products USING (gate());
";

#[tokio::test]
async fn a_fill_that_a_write_overtook_is_not_kept() {
    let shards = Shards::start(2).await;
    schema::create(&shards, 100).await;
    shards.execute_all(GATE).await;
    let urls: Vec<(String, String)> =
        shards.urls().map(|(name, url)| (name.to_owned(), url.replace("tidegate@", "app@"))).collect();
    let as_app = |config| {
        urls.iter().fold(config, |config: Config, (name, url)| {
            config.set(&format!("shards.{name}"), "primary", &format!("\"{url}\""))
        })
    };
    let world = World::over(shards, as_app).await;
    let id = world.product_on(0);
    let path = format!("/v1/products/{id}");
    let get = |client: Client| {
        let path = path.clone();
        tokio::spawn(async move { client.get(&path).await.ok() })
    };

    let blocker = world.shards.connect(0).await;
    blocker.batch_execute("SELECT pg_advisory_lock(7)").await.expect("the lock");
    let early = get(world.gateway.client());
    until("the fill waits with its snapshot taken", || async {
        let waiting = "SELECT count(*)::text FROM pg_locks WHERE locktype = 'advisory' AND NOT granted";
        (world.shards.text(0, waiting).await.as_deref() == Some("1")).then_some(())
    })
    .await;
    world.client.patch(&path, &json!({ "name": "new" })).send().await.expect_status(204);
    // Began after the acknowledgement, while the old fill is still on its way.
    let late = get(world.gateway.client());
    until("the late reader has missed", || async {
        (world.gateway.metrics().await.sum("tidegate_cache_misses", &[]) >= 2).then_some(())
    })
    .await;
    blocker.batch_execute("SELECT pg_advisory_unlock(7)").await.expect("the lock goes");

    let early = early.await.expect("no panic");
    assert_eq!(early.json()["name"], format!("Product {id}"), "it began before the write");
    assert!(!early.cache().contains("stored"), "and is not kept: {early}");
    assert_eq!(late.await.expect("no panic").json()["name"], "new", "it began after the write");
    assert_eq!(world.client.get(&path).await.ok().json()["name"], "new");
}

#[tokio::test]
async fn an_aborted_write_leaves_the_row_and_the_cache_as_they_were() {
    let world = World::start().await;
    let id = world.product_on(1);
    let path = format!("/v1/products/{id}");
    world.client.get(&path).await.ok();
    // Refused at COMMIT, after the floors rose.
    world.client.patch(&path, &json!({ "name": "never", "category_id": 999 })).send().await.problem(409, "23503");
    // PostgreSQL sends the error first and ends the transaction then; until that, fills are refused.
    until("fills have resumed", || async {
        let answer = world.client.get(&path).await.ok();
        assert_eq!(answer.json()["name"], format!("Product {id}"));
        answer.is_hit().then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_readers_of_one_cold_row_are_one_query() {
    const CROWD: usize = 1000;
    let world = World::start().await;
    let id = world.product_on(0);
    let blocker = world.shards.connect(0).await;
    blocker.batch_execute("BEGIN; LOCK TABLE products IN ACCESS EXCLUSIVE MODE").await.expect("the lock");
    let mark = world.shards.mark();
    let mut crowd = Vec::new();
    for _ in 0..CROWD {
        crowd.push(Wire::connect(world.gateway.http()).await);
    }
    for reader in &mut crowd {
        reader.send(format!("GET /v1/products/{id} HTTP/1.1\r\nhost: x\r\n\r\n")).await;
    }
    until("all of them wait", || async {
        (world.gateway.metrics().await.sum("tidegate_cache_misses", &[]) >= CROWD as u64).then_some(())
    })
    .await;
    blocker.batch_execute("COMMIT").await.expect("the lock goes");
    let mut collapsed = 0;
    for reader in &mut crowd {
        let answer = reader.answer().await.expect("an answer");
        assert_eq!(answer.status, 200);
        assert!(answer.body.contains(&format!("\"id\":{id},")), "{}", answer.body);
        collapsed += usize::from(answer.head.contains("collapsed"));
    }
    assert_eq!(collapsed, CROWD - 1, "one led, the others joined");
    assert_eq!(world.shards.count_statements(&mark, "products"), 1);
}
