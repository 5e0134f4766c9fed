//! Write-through: a write leaves what it touched in the cache, as the database has it after COMMIT.

use serde_json::json;
use tidegate_tests::{Config, World, until};

const STORED: &str = "tidegate; fwd=method; stored";

fn write_through(config: Config) -> Config {
    let through = |config: Config, name| config.set(&format!("collections.{name}"), "mode", "\"write-through\"");
    through(through(config, "products"), "carts")
}

#[tokio::test]
async fn a_row_that_was_written_is_a_hit_before_anybody_read_it() {
    let world = World::with(write_through).await;
    for shard in 0..2 {
        let id = world.shards.ids_on(shard).find(|id| *id > 100_000).expect("numbers do not end");
        let path = format!("/v1/products/{id}");
        // In this order the cache knows each time something else before: nothing, a row, a row.
        let posted = json!({ "id": id, "name": "posted", "price": 1 });
        let answer = world.client.post("/v1/products", &posted).send().await.expect_status(201);
        assert_eq!(answer.header("cache-status"), STORED);
        let first = world.client.get(&path).await.expect_status(200);
        assert!(first.is_hit() && first.json()["name"] == "posted", "{first}");

        let answer = world.client.patch(&path, &json!({ "name": "patched" })).send().await.expect_status(204);
        assert_eq!(answer.header("cache-status"), STORED);
        let second = world.client.get(&path).await.expect_status(200);
        assert!(second.is_hit() && second.json()["name"] == "patched", "{second}");
        assert_ne!(second.header("etag"), first.header("etag"));

        world.client.delete(&path).send().await.expect_status(204);
        let gone = world.client.get(&path).await.expect_status(404);
        assert!(gone.is_hit(), "that it is gone is known too: {gone}");
    }
}

#[tokio::test]
async fn what_a_filter_or_many_rows_touch_is_kept_up_to_what_one_statement_reads() {
    let world = World::with(write_through).await;
    let change = json!({ "note": "bulk" });
    let ids: Vec<String> = world.shards.ids_on(0).take_while(|id| *id <= 20).map(|id| id.to_string()).collect();
    for id in &ids {
        let path = format!("/v1/products?id=eq.{id}&stock=gte.0");
        let answer = world.client.patch(&path, &change).send().await.expect_status(204);
        assert_eq!(answer.header("cache-status"), STORED);
        let read = world.client.get(&format!("/v1/products/{id}")).await.expect_status(200);
        assert!(read.is_hit() && read.json()["note"] == "bulk", "{read}");
    }
    let rows = |ids: std::ops::Range<i64>| {
        let cart = |product| json!({ "profile_id": 1, "product_id": product, "quantity": 1 });
        ids.map(cart).collect::<serde_json::Value>()
    };
    let carts = "/v1/carts";
    world.client.post(carts, &rows(1000..1256)).send().await.expect_status(201);
    assert!(world.client.get("/v1/carts/1,1255").await.expect_status(200).is_hit());
    world.client.post(carts, &rows(2000..2257)).send().await.expect_status(201);
    assert!(!world.client.get("/v1/carts/1,2001").await.expect_status(200).is_hit(), "too many to read at once");
}

#[tokio::test]
async fn a_write_that_another_follows_at_once_keeps_nothing_stale() {
    let world = World::with(write_through).await;
    let id = world.product_on(0);
    let path = format!("/v1/products/{id}");
    // Both have their transactions, and wait for the row: the second one's is under way when the first one's rows
    // are read again.
    let mut holder = world.shards.connect(0).await;
    let lock = holder.transaction().await.expect("begun");
    lock.execute("SELECT FROM products WHERE id = $1 FOR UPDATE", &[&id]).await.expect("locked");
    let write = |stock: i32| {
        let call = world.client.patch(&path, &json!({ "stock": stock }));
        tokio::spawn(async move { call.send().await })
    };
    let (first, second) = (write(1), write(2));
    let waiting = "SELECT count(*)::text FROM pg_stat_activity WHERE wait_event_type = 'Lock'";
    until("both wait", async || (world.shards.text(0, waiting).await.as_deref() == Some("2")).then_some(())).await;
    lock.rollback().await.expect("released");
    first.await.expect("no panic").expect_status(204);
    second.await.expect("no panic").expect_status(204);
    let stock = world.shards.text(0, &format!("SELECT stock::text FROM products WHERE id = {id}")).await;
    for _ in 0..3 {
        let read = world.client.get(&path).await.expect_status(200);
        assert_eq!(Some(read.json()["stock"].to_string()), stock, "{read}");
    }
}
