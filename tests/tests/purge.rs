//! What an operator purges is not served again.

use http::Method;
use serde_json::json;
use tidegate_tests::{Operator, World, until};

/// Reads a row until it is a hit, changes it past the gateway, and insists that the old one is still served.
async fn cached_and_outdated(world: &World, shard: usize, id: i64) {
    let path = format!("/v1/products/{id}");
    world.client.get(&path).await.expect_status(200);
    world.shards.execute(shard, &format!("UPDATE products SET stock = stock + 100 WHERE id = {id}")).await;
    let old = world.client.get(&path).await.expect_status(200);
    assert!(old.is_hit(), "{old}");
}

async fn fresh(world: &World, shard: usize, id: i64) -> bool {
    let stock = world.shards.text(shard, &format!("SELECT stock::text FROM products WHERE id = {id}")).await;
    let read = world.client.get(&format!("/v1/products/{id}")).await.expect_status(200);
    Some(read.json()["stock"].to_string()) == stock
}

#[tokio::test]
async fn what_is_purged_is_read_again_and_the_rest_stays() {
    let world = World::start().await;
    let operator = Operator::of(&world.gateway);
    let rows = [(0, world.product_on(0)), (1, world.product_on(1)), (0, world.nth_product_on(0, 1))];
    for (shard, id) in rows {
        cached_and_outdated(&world, shard, id).await;
    }
    let [(shard, id), (other_shard, other), (third_shard, third)] = rows;
    let key = json!({ "keys": [{ "collection": "products", "key": id.to_string() }], "reason": "moved by hand" });
    let report = operator.purge(&key).send().await.expect_status(200);
    assert_eq!(report.json()["gateways"], 1, "{report}");
    assert!(fresh(&world, shard, id).await && !fresh(&world, other_shard, other).await);
    operator.purge(&json!({ "collections": ["products"] })).send().await.expect_status(200);
    assert!(fresh(&world, other_shard, other).await && fresh(&world, third_shard, third).await);
    cached_and_outdated(&world, shard, id).await;
    operator.purge(&json!({ "everything": true })).send().await.expect_status(200);
    assert!(fresh(&world, shard, id).await);
}

#[tokio::test]
async fn a_purge_that_cannot_be_understood_purges_nothing() {
    let world = World::start().await;
    let (operator, id) = (Operator::of(&world.gateway), world.product_on(0));
    cached_and_outdated(&world, 0, id).await;
    let known = json!({ "collection": "products", "key": id.to_string() });
    for (wrong, says) in [
        (json!({ "keys": [known], "collections": ["prodcuts"] }), "there is no collection prodcuts"),
        (json!({ "keys": [known], "tenants": ["acme"] }), "there is no tenant acme"),
        (json!({ "keys": [known, { "collection": "products", "key": "x" }] }), "products: column id"),
    ] {
        let refused = operator.purge(&wrong).send().await.expect_status(400);
        assert!(refused.json()["message"].as_str().is_some_and(|text| text.contains(says)), "{refused}");
        assert!(!fresh(&world, 0, id).await, "all or nothing");
    }
}

/// Reads a row or a list until it is kept.
async fn warm(world: &World, path: &str) {
    until("it is kept", || async { world.client.get(path).await.ok().is_hit().then_some(()) }).await;
}

#[tokio::test]
async fn purging_a_query_reaches_every_way_of_writing_it_and_no_other_list() {
    let world = World::start().await;
    let operator = Operator::of(&world.gateway);
    let purged = "/v1/products?stock=eq.3&price=lt.50&order=id&limit=20";
    let others = ["/v1/products?stock=eq.3&price=lt.50&limit=21", "/v1/products?stock=eq.4", "/v1/profiles?limit=5"];
    for list in others.iter().chain([&purged]) {
        warm(&world, list).await;
    }
    let counted = || world.client.request(Method::GET, purged).prefer("count=exact").send();
    until("the list with its total is kept", || async { counted().await.is_hit().then_some(()) }).await;
    let row = format!("/v1/products/{}", world.product_on(0));
    world.client.get(&row).await.ok();
    let query = "limit=20&price=lt.50&and=(stock.eq.03,price.lt.50)";
    let order = json!({ "queries": [{ "collection": "products", "query": query }] });
    let report = operator.purge(&order).send().await.expect_status(200).json();
    assert_eq!((&report["buckets"], &report["gateways"]), (&json!(2), &json!(1)), "one on each shard");
    assert!(!world.client.get(purged).await.ok().is_hit());
    assert!(!counted().await.is_hit(), "its total is no part of the query string");
    for list in others {
        assert!(world.client.get(list).await.ok().is_hit(), "{list}");
    }
    assert!(world.client.get(&row).await.ok().is_hit());
    for (query, says) in [("stock=eq", "products: "), ("nope=eq.1", "products: "), ("limit=-1", "products: ")] {
        let wrong = json!({ "queries": [{ "collection": "products", "query": query }] });
        let refused = operator.purge(&wrong).send().await.expect_status(400);
        assert!(refused.json()["message"].as_str().is_some_and(|text| text.starts_with(says)), "{refused}");
    }
}

/// A collection that serves rows late, beside one that does not.
async fn bounded() -> World {
    World::with(|config| {
        let profiles = "collections.profiles";
        let config = config.set("feed", "enabled", "true").set(profiles, "consistency", "\"bounded\"");
        config.set(profiles, "stale_while_revalidate", "\"60s\"")
    })
    .await
}

#[tokio::test]
async fn what_is_purged_softly_is_served_late_while_it_is_fetched_again() {
    let world = bounded().await;
    let operator = Operator::of(&world.gateway);
    let id = world.shards.ids_on(0).next().expect("there is one");
    let path = format!("/v1/profiles/{id}");
    warm(&world, &path).await;
    let mark = world.shards.mark();
    let order = json!({ "keys": [{ "collection": "profiles", "key": id.to_string() }], "soft": true });
    let report = operator.purge(&order).send().await.expect_status(200).json();
    assert_eq!((&report["soft"], &report["hard"]), (&json!(["profiles"]), &json!([])), "{report}");
    let first = world.client.get(&path).await.ok();
    assert!(first.cache().contains("detail=stale-while-revalidate"), "nobody waits for the shard: {first}");
    until("it was fetched again", || async {
        let read = world.client.get(&path).await.ok();
        assert!(read.is_hit(), "{read}");
        (!read.cache().contains("stale")).then_some(())
    })
    .await;
    assert_eq!(world.shards.count_statements(&mark, "profiles"), 1, "once");

    // What is known to have changed is not served late, purged softly or not.
    operator.purge(&order).send().await.expect_status(200);
    world.client.patch(&path, &json!({ "email": "changed@example.com" })).send().await.expect_status(204);
    let changed = world.client.get(&path).await.ok();
    assert_eq!(changed.json()["email"], "changed@example.com");
}

#[tokio::test]
async fn a_soft_purge_of_a_strict_collection_is_a_purge_and_says_so() {
    let world = bounded().await;
    let operator = Operator::of(&world.gateway);
    let path = format!("/v1/products/{}", world.product_on(0));
    warm(&world, &path).await;
    let order = json!({ "everything": true, "soft": true });
    let report = operator.purge(&order).send().await.expect_status(200).json();
    assert_eq!(report["soft"], json!(["profiles"]));
    assert_eq!(report["hard"], json!(["products", "carts", "odd"]), "{report}");
    assert!(!world.client.get(&path).await.ok().is_hit());
}
