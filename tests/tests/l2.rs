//! Gateways that share a Redis: what one has read the others serve, and whatever happens to Redis no request fails,
//! waits long, or gets an old answer.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::json;
use tidegate_tests::{Client, Config, Gateway, PATIENCE, Redis, World, schema, until};

/// Long enough that a busy machine does not miss it in tests that need a hit.
const PATIENT: &str = "\"1s\"";

fn shared(config: Config, redis: &Redis, timeout: &str) -> Config {
    config.set("cache", "l2", &format!("\"{}\"", redis.url())).set("cache", "l2_timeout", timeout)
}

/// A gateway over two shards, and a second one beside it.
async fn two(redis: &Redis, timeout: &str) -> (World, Gateway) {
    let world = World::with(|config| shared(config, redis, timeout)).await;
    let other = Gateway::start(&shared(schema::config(&world.shards), redis, timeout)).await;
    for gateway in [&world.gateway, &other] {
        is_used_by(gateway).await;
    }
    (world, other)
}

async fn is_used_by(gateway: &Gateway) {
    until("the shared tier is used", || async {
        (gateway.metrics().await.sum("tidegate_l2_connects", &[("outcome", "made")]) > 0).then_some(())
    })
    .await;
}

async fn gets(gateway: &Gateway, outcome: &str) -> u64 {
    gateway.metrics().await.sum("tidegate_l2_gets", &[("outcome", outcome)])
}

fn path(id: i64) -> String {
    format!("/v1/products/{id}")
}

/// Reads by `reader` what it does not have until it is answered from the shared tier: puts take a moment.
async fn is_shared_with(reader: &Gateway, id: i64) {
    let before = gets(reader, "hit").await;
    let answer = reader.client().get(&path(id)).await.ok();
    assert!(answer.is_hit(), "{answer}");
    assert_eq!(gets(reader, "hit").await, before + 1);
}

/// Waits until what was put is there.
async fn keys(redis: &Redis, at_least: usize) {
    until("it is written", || async {
        let size: usize = redis.command("DBSIZE").await.strip_prefix(':')?.parse().ok()?;
        (size >= at_least).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_gateway_has_read_another_serves_until_it_is_written() {
    let redis = Redis::start().await;
    let (world, other) = two(&redis, PATIENT).await;
    let id = world.product_on(0);
    let first = world.client.get(&path(id)).await.ok();
    assert!(!first.is_hit());
    keys(&redis, 1).await;
    let mark = world.shards.mark();
    is_shared_with(&other, id).await;
    let again = other.client().get(&path(id)).await.ok();
    assert!(again.is_hit() && again.header("etag") == first.header("etag") && again.body == first.body);
    assert_eq!(world.shards.count_statements(&mark, "products"), 0, "no shard was asked");
    // The writer's own gateway never serves it again, and replaces what is shared.
    let answer = world.client.patch(&path(id), &json!({ "name": "changed" })).send().await;
    assert_eq!(answer.status, 204);
    let read = world.client.get(&path(id)).await.ok();
    assert_eq!((read.json()["name"].as_str(), read.is_hit()), (Some("changed"), false));
    assert!(world.gateway.metrics().await.sum("tidegate_l2_refused", &[("reason", "floor")]) > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_starts_again_serves_nothing_that_was_read_before() {
    let redis = Redis::start().await;
    let (world, other) = two(&redis, PATIENT).await;
    let (changed, unchanged) = (world.product_on(0), world.nth_product_on(0, 1));
    for id in [changed, unchanged] {
        world.client.get(&path(id)).await.ok();
    }
    keys(&redis, 2).await;
    let World { gateway, shards, .. } = world;
    drop(gateway);
    shards.execute(0, &format!("UPDATE products SET name = 'meanwhile' WHERE id = {changed}")).await;
    let gateway = Gateway::start(&shared(schema::config(&shards), &redis, PATIENT)).await;
    is_used_by(&gateway).await;
    let read = gateway.client().get(&path(changed)).await.ok();
    assert_eq!((read.json()["name"].as_str(), read.is_hit()), (Some("meanwhile"), false));
    assert_eq!(gateway.metrics().await.sum("tidegate_l2_refused", &[("reason", "base")]), 1);
    // What others read from then on is served: the other gateway does not have this one.
    let fresh = (1..=200).find(|id| shards.shard_of(id) == 0 && ![changed, unchanged].contains(id)).expect("seeded");
    other.client().get(&path(fresh)).await.ok();
    keys(&redis, 3).await;
    is_shared_with(&gateway, fresh).await;
}

/// Reads of rows that nobody has, all answered; the longest took this long.
async fn reads(client: &Client, ids: impl Iterator<Item = i64>) -> Duration {
    let mut longest = Duration::ZERO;
    for id in ids {
        let start = Instant::now();
        client.get(&path(id)).await.ok();
        longest = longest.max(start.elapsed());
    }
    longest
}

/// On top of the timeout: a shard is asked, on a machine that does much else.
const A_LITTLE: Duration = Duration::from_millis(500);

#[tokio::test(flavor = "multi_thread")]
async fn redis_may_hang_die_come_back_empty_and_be_flushed() {
    let mut redis = Redis::start().await;
    let (world, other) = two(&redis, "\"20ms\"").await;
    let mut ids = (1..=200).collect::<Vec<i64>>().into_iter();
    let client = &world.client;
    reads(client, ids.by_ref().take(10)).await;
    redis.signal(Signal::SIGSTOP);
    let longest = reads(client, ids.by_ref().take(40)).await;
    assert!(longest < A_LITTLE, "{longest:?}");
    let waited = gets(&world.gateway, "timeout").await;
    assert!((1..=20).contains(&waited), "of 40 reads {waited} waited");
    assert!(gets(&world.gateway, "skipped").await > 0);
    redis.signal(Signal::SIGCONT);
    redis.kill();
    let longest = reads(client, ids.by_ref().take(40)).await;
    assert!(longest < A_LITTLE, "{longest:?}");
    redis.restart().await;
    // A row after the other: either gateway may do without it for a moment longer.
    let deadline = Instant::now() + PATIENCE;
    loop {
        let id = ids.next().expect("enough rows");
        client.get(&path(id)).await.ok();
        tokio::time::sleep(Duration::from_millis(100)).await;
        if other.client().get(&path(id)).await.ok().is_hit() {
            break;
        }
        assert!(Instant::now() < deadline, "it is not shared again");
    }
    redis.command("FLUSHALL").await;
    let id = ids.next().expect("enough rows");
    client.get(&path(id)).await.ok();
    keys(&redis, 1).await;
    redis.command("FLUSHALL").await;
    assert!(!other.client().get(&path(id)).await.ok().is_hit(), "lost, and read from the shard");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_starts_and_serves_without_the_redis_it_is_to_share() {
    let mut redis = Redis::start().await;
    redis.kill();
    let world = World::with(|config| shared(config, &redis, "\"5ms\"")).await;
    let longest = reads(&world.client, 1..=50).await;
    assert!(longest < A_LITTLE, "{longest:?}");
    redis.restart().await;
    is_used_by(&world.gateway).await;
    until("what is read is shared", || async {
        world.client.get(&path(fastrand::i64(51..=200))).await.ok();
        (redis.command("DBSIZE").await != ":0").then_some(())
    })
    .await;
}
