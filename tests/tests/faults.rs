//! Shards that fail, clients that leave.

use std::time::{Duration, Instant};

use serde_json::json;
use tidegate_tests::{Answer, World, until, wire::Wire};

/// Insists on 503 with a time to come back.
#[track_caller]
fn unavailable(answer: &Answer) {
    answer.problem(503, "TG003");
    let seconds: u64 = answer.header("retry-after").parse().expect("Retry-After in seconds");
    assert!((1..=60).contains(&seconds), "{answer}");
}

#[tokio::test]
async fn one_shard_down_costs_its_uncached_keys_only_and_comes_back_by_itself() {
    let mut world = World::start().await;
    let (cached, cold) = (world.nth_product_on(0, 0), world.nth_product_on(0, 1));
    let healthy = world.product_on(1);
    let path = |id: i64| format!("/v1/products/{id}");
    world.client.get(&path(cached)).await.ok();
    world.shards.cluster_mut(0).kill().await;

    assert!(world.client.get(&path(cached)).await.ok().is_hit(), "cached keys go on");
    unavailable(&world.client.get(&path(cold)).await);
    unavailable(&world.client.patch(&path(cold), &json!({ "stock": 1 })).send().await);
    unavailable(&world.client.get("/v1/products?limit=1").await);
    world.client.get(&path(healthy)).await.ok();
    world.client.patch(&path(healthy), &json!({ "stock": 1 })).send().await.expect_status(204);
    world.client.get(&format!("/v1/products?id=eq.{healthy}")).await.ok();
    let ready = world.gateway.admin_client().get("/ready").await;
    assert_eq!(ready.status, 200, "one shard does not take the gateway out of service");
    let shards = world.gateway.admin_json("/admin/shards").await;
    let reachable = [&shards["shards"][0]["reachable"], &shards["shards"][1]["reachable"]];
    assert_eq!(reachable, ["no", "yes"], "{shards}");

    world.shards.cluster_mut(0).restart().await.expect("the shard comes back");
    until("its keys are served again", || async { (world.client.get(&path(cold)).await.status == 200).then_some(()) })
        .await;
    world.client.patch(&path(cold), &json!({ "stock": 4242 })).send().await.expect_status(204);
    assert_eq!(world.client.get(&path(cold)).await.ok().json()["stock"], 4242);
}

#[tokio::test]
async fn a_shard_that_hangs_costs_its_own_requests_and_not_for_ever() {
    let world = World::with(|config| {
        ["point", "scan", "write"].iter().fold(config, |config, class| {
            config.set(&format!("pools.{class}"), "statement_timeout", "\"500ms\"").set(
                &format!("pools.{class}"),
                "wait_timeout",
                "\"500ms\"",
            )
        })
    })
    .await;
    let (cold, healthy) = (world.product_on(0), world.product_on(1));
    world.shards.cluster(0).pause();
    let begun = Instant::now();
    let hanging = world.gateway.client();
    let read = tokio::spawn(async move { hanging.get(&format!("/v1/products/{cold}")).await });
    for id in world.shards.ids_on(1).take(20) {
        world.client.get(&format!("/v1/products/{id}")).await.ok();
    }
    world.client.patch(&format!("/v1/products/{healthy}"), &json!({ "stock": 1 })).send().await.expect_status(204);
    assert!(begun.elapsed() < Duration::from_secs(5), "the other shard is not held up");
    let answer = read.await.expect("no panic");
    assert!(matches!(answer.status, 503 | 504), "{answer}");
    world.shards.cluster(0).resume();
    until("its keys are served again", || async {
        (world.client.get(&format!("/v1/products/{cold}")).await.status == 200).then_some(())
    })
    .await;
}

#[tokio::test]
async fn connections_that_the_server_ends_are_replaced() {
    let world = World::start().await;
    for round in 0..3 {
        let id = world.nth_product_on(0, round);
        world.client.get(&format!("/v1/products/{id}")).await.ok();
        world.client.get(&format!("/v1/products?id=eq.{id}")).await.ok();
        world.client.patch(&format!("/v1/products/{id}"), &json!({ "stock": 1 })).send().await.expect_status(204);
        let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                   WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()";
        world.shards.execute(0, end).await;
    }
    let id = world.nth_product_on(0, 5);
    until("requests are served again", || async {
        let read = world.client.get(&format!("/v1/products/{id}")).await;
        let write = world.client.patch(&format!("/v1/products/{id}"), &json!({ "stock": 2 })).send().await;
        (read.status == 200 && write.status == 204).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_client_that_leaves_during_a_write_leaves_no_transaction_behind() {
    let world = World::with(|config| config.set("pools.write", "max", "2")).await;
    let id = world.product_on(0);
    let path = format!("/v1/products/{id}");
    world.client.get(&path).await.ok();
    let blocker = world.shards.connect(0).await;
    blocker.batch_execute("BEGIN; SELECT 1 FROM categories WHERE id = 9 FOR UPDATE").await.expect("the lock");

    let body = json!({ "name": "left", "category_id": 9 }).to_string();
    let mut leaver = Wire::connect(world.gateway.http()).await;
    leaver.send(format!("PATCH {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n{body}", body.len())).await;
    let waiting = "SELECT count(*)::text FROM pg_stat_activity \
                   WHERE application_name LIKE 'tidegate%write%' AND wait_event_type = 'Lock'";
    until("the commit waits", || async { (world.shards.text(0, waiting).await.as_deref() == Some("1")).then_some(()) })
        .await;
    drop(leaver);
    blocker.batch_execute("ROLLBACK").await.expect("the lock goes");

    until("the write is done", || async {
        (world.client.get(&path).await.ok().json()["name"] == "left").then_some(())
    })
    .await;
    let open = "SELECT count(*)::text FROM pg_stat_activity WHERE state LIKE 'idle in transaction%'";
    assert_eq!(world.shards.text(0, open).await.as_deref(), Some("0"));
    // More writes than the pool has connections: each of them is usable.
    for stock in 0..6 {
        world.client.patch(&path, &json!({ "stock": stock })).send().await.expect_status(204);
    }
    assert_eq!(world.client.get(&path).await.ok().json()["stock"], 5);
}

#[tokio::test]
async fn a_client_that_leaves_with_half_a_body_has_written_nothing() {
    let world = World::start().await;
    let id = world.product_on(1);
    let path = format!("/v1/products/{id}");
    let mark = world.shards.mark();
    let mut leaver = Wire::connect(world.gateway.http()).await;
    leaver.send(format!("PATCH {path} HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{{\"name\": \"ha")).await;
    drop(leaver);
    world.client.patch(&path, &json!({ "stock": 9 })).send().await.expect_status(204);
    assert_eq!(world.shards.count_statements(&mark, "BEGIN"), 1, "the whole request only");
    assert_eq!(world.client.get(&path).await.ok().json()["name"], format!("Product {id}"));
}

#[tokio::test]
async fn a_connection_cut_during_commit_is_reported_as_unknown() {
    let world = World::start().await;
    let id = world.product_on(0);
    let path = format!("/v1/products/{id}");
    let blocker = world.shards.connect(0).await;
    blocker.batch_execute("BEGIN; SELECT 1 FROM categories WHERE id = 8 FOR UPDATE").await.expect("the lock");
    let call = world.client.patch(&path, &json!({ "name": "cut", "category_id": 8 }));
    let write = tokio::spawn(async move { call.send().await });
    let waiting = "application_name LIKE 'tidegate%write%' AND wait_event_type = 'Lock'";
    let count = format!("SELECT count(*)::text FROM pg_stat_activity WHERE {waiting}");
    until("the commit waits", || async { (world.shards.text(0, &count).await.as_deref() == Some("1")).then_some(()) })
        .await;
    world.shards.execute(0, &format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {waiting}")).await;
    let answer = write.await.expect("no panic");
    let problem = answer.problem(504, "TG004");
    assert!(problem["hint"].as_str().is_some_and(|hint| !hint.is_empty()), "{problem}");
    blocker.batch_execute("ROLLBACK").await.expect("the lock goes");
    // Whatever happened, the cache agrees with the database.
    let truth = world.shards.text(0, &format!("SELECT name FROM products WHERE id = {id}")).await;
    assert_eq!(world.client.get(&path).await.ok().json()["name"].as_str(), truth.as_deref());
}
