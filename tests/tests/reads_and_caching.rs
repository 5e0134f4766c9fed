//! Keyed reads: what is answered, what is cached, what the database sees.

use http::Method;
use serde_json::json;
use tidegate_tests::{World, schema, until};

/// What a keyed read of products says to the database.
const PRODUCTS: &str = "products";

#[tokio::test]
async fn the_first_read_fills_the_cache_and_the_second_is_a_hit() {
    let world = World::start().await;
    let mark = world.shards.mark();
    for shard in 0..2 {
        let id = world.product_on(shard);
        let path = format!("/v1/products/{id}");
        let miss = world.client.get(&path).await.ok();
        assert!(miss.cache().starts_with("fwd=miss; stored"), "{miss}");
        let row = miss.json();
        for (column, value) in schema::product(id).as_object().expect("an object") {
            assert_eq!(&row[column], value, "column {column} of {row}");
        }
        assert!(miss.text().contains(&format!("\"price\":{}", schema::price(id))), "every digit is kept: {miss}");

        let hit = world.client.get(&path).await.ok();
        assert!(hit.cache().starts_with("hit; ttl="), "{hit}");
        assert_eq!(hit.body, miss.body);
        assert_eq!(hit.header("etag"), miss.header("etag"));
        assert!(hit.header("age").parse::<u64>().is_ok(), "a hit has an age: {hit}");
        assert_eq!(hit.header("content-type"), "application/json; charset=utf-8");
    }
    assert_eq!(world.shards.count_statements(&mark, PRODUCTS), 2, "one query for each of the two rows");
}

#[tokio::test]
async fn if_none_match_gives_304_and_the_database_sees_nothing() {
    let world = World::start().await;
    let path = format!("/v1/products/{}", world.product_on(0));
    let etag = world.client.get(&path).await.ok().header("etag").to_owned();
    assert!(etag.starts_with('"') && etag.ends_with('"'), "a strong tag: {etag}");
    let mark = world.shards.mark();
    for condition in [etag.clone(), format!("\"other\", {etag}"), format!("W/{etag}"), "*".to_owned()] {
        let answer = world.client.request(Method::GET, &path).header("if-none-match", &condition).send().await;
        assert_eq!((answer.status, answer.body.len()), (304, 0), "{condition}: {answer}");
        assert_eq!(answer.header("etag"), etag);
        assert!(answer.is_hit());
    }
    let other = world.client.request(Method::GET, &path).header("if-none-match", "\"other\"").send().await;
    assert_eq!(other.status, 200);
    assert!((0..2).all(|shard| world.shards.statements(shard, &mark).is_empty()), "hits ask nobody");
}

#[tokio::test]
async fn the_tag_changes_with_the_row_and_only_then() {
    let world = World::start().await;
    let path = format!("/v1/products/{}", world.product_on(1));
    let before = world.client.get(&path).await.ok().header("etag").to_owned();
    let patch = |stock: i32| world.client.patch(&path, &json!({ "stock": stock })).send();
    assert_eq!(patch(77).await.status, 204);
    let after = world.client.get(&path).await.ok().header("etag").to_owned();
    assert_ne!(before, after);
    assert_eq!(patch(77).await.status, 204);
    assert_eq!(world.client.get(&path).await.ok().header("etag"), after, "the same bytes have the same tag");
}

#[tokio::test]
async fn a_missing_row_is_cached_as_missing_until_it_is_inserted() {
    let world = World::start().await;
    let id = world.shards.ids_on(0).find(|id| *id > 10_000).expect("numbers do not end");
    let path = format!("/v1/products/{id}");
    let first = world.client.get(&path).await;
    assert!(first.cache().starts_with("fwd=miss; stored"), "{first}");
    first.problem(404, "TG001");
    let mark = world.shards.mark();
    let second = world.client.get(&path).await;
    assert!(second.is_hit());
    second.problem(404, "TG001");
    assert_eq!(world.shards.count_statements(&mark, PRODUCTS), 0);

    let row = json!({ "id": id, "name": "New", "price": 1 });
    assert_eq!(world.client.post("/v1/products", &row).send().await.status, 201);
    assert_eq!(world.client.get(&path).await.ok().json()["name"], "New");
    assert_eq!(world.client.delete(&path).send().await.status, 204);
    world.client.get(&path).await.problem(404, "TG001");
}

#[tokio::test]
async fn an_entry_is_served_no_longer_than_its_ttl() {
    let world = World::with(|config| config.set("collections.products", "ttl", "\"300ms\"")).await;
    let id = world.product_on(0);
    let path = format!("/v1/products/{id}");
    world.client.get(&path).await.ok();
    world.shards.execute(0, &format!("UPDATE products SET stock = 4242 WHERE id = {id}")).await;
    // Changed past the gateway: the time limit is what ends the old row.
    let fresh = until("the entry has expired", || async {
        let answer = world.client.get(&path).await.ok();
        (answer.json()["stock"] == 4242).then_some(answer)
    })
    .await;
    assert!(fresh.cache().starts_with("fwd="), "{fresh}");
}

#[tokio::test]
async fn select_gives_a_representation_of_its_own() {
    let world = World::start().await;
    let id = world.product_on(0);
    let path = format!("/v1/products/{id}?select=title:name,id,attributes-%3E%3Ecolor");
    let answer = world.client.get(&path).await.ok();
    let row = answer.json();
    let keys: Vec<&String> = row.as_object().expect("an object").keys().collect();
    assert_eq!(keys, ["title", "id", "color"], "in the order asked for");
    assert!(world.client.get(&path).await.ok().is_hit());
    let whole = world.client.get(&format!("/v1/products/{id}")).await.ok();
    assert!(!whole.is_hit(), "another representation is another entry");
    assert_ne!(whole.header("etag"), answer.header("etag"));
    world.client.patch(&format!("/v1/products/{id}"), &json!({ "name": "Changed" })).send().await.expect_status(204);
    assert_eq!(world.client.get(&path).await.ok().json()["title"], "Changed", "a write ends all of them");
}

#[tokio::test]
async fn a_collection_may_bypass_the_cache() {
    let world = World::with(|config| config.set("collections.products", "mode", "\"bypass\"")).await;
    let path = format!("/v1/products/{}", world.product_on(1));
    let mark = world.shards.mark();
    for _ in 0..3 {
        let answer = world.client.get(&path).await.ok();
        assert!(answer.cache().starts_with("fwd=bypass"), "{answer}");
    }
    assert_eq!(world.shards.count_statements(&mark, PRODUCTS), 3);
}

#[tokio::test]
async fn keys_of_every_kind_find_their_row() {
    let world = World::start().await;
    let profile = (1..=20).find(|id| world.shards.shard_of(id) == 1).expect("one of twenty");
    let cart = world.client.get(&format!("/v1/carts/{profile},2")).await.ok().json();
    assert_eq!(cart, json!({ "profile_id": profile, "product_id": 2, "quantity": 2 }));
    world.client.get("/v1/carts/1").await.problem(400, "TG011");
    world.client.get("/v1/carts/1,2,3").await.problem(400, "TG011");
    world.client.get("/v1/products/abc").await.problem(400, "22P02");
    world.client.get("/v1/products/99999999999999999999").await.problem(400, "22P02");
    world.client.get("/v1/nothing/1").await.problem(404, "PGRST205");

    // A table and a key whose names and values need quoting everywhere.
    let key = r#"it's "quoted", /odd?&%"#;
    let row = json!({ "the \"key": key, "Größe": "XL" });
    world.client.post("/v1/odd", &row).send().await.expect_status(201);
    // A comma inside a value of a one-column key is part of it once it is quoted.
    let encoded = "%22it's%20%5C%22quoted%5C%22,%20%2Fodd%3F%26%25%22";
    assert_eq!(world.client.get(&format!("/v1/odd/{encoded}")).await.ok().json(), row);
}

#[tokio::test]
async fn head_answers_as_get_does_without_a_body() {
    let world = World::start().await;
    let path = format!("/v1/products/{}", world.product_on(0));
    let get = world.client.get(&path).await.ok();
    let head = world.client.request(Method::HEAD, &path).send().await.ok();
    assert!(head.body.is_empty() && head.is_hit());
    assert_eq!(head.header("etag"), get.header("etag"));
}

#[tokio::test]
async fn many_different_misses_share_queries() {
    let world = World::start().await;
    let ids: Vec<i64> = world.shards.ids_on(0).take(60).collect();
    // Nothing can be read from this shard until the lock goes, so that all misses wait together.
    let blocker = world.shards.connect(0).await;
    blocker.batch_execute("BEGIN; LOCK TABLE products IN ACCESS EXCLUSIVE MODE").await.expect("the lock");
    let mark = world.shards.mark();
    let mut readers = tokio::task::JoinSet::new();
    for id in &ids {
        let client = world.gateway.client();
        let path = format!("/v1/products/{id}");
        readers.spawn(async move { client.get(&path).await.ok().json()["id"].clone() });
    }
    until("every reader has missed", || async {
        (world.gateway.metrics().await.sum("tidegate_cache_misses", &[]) >= 60).then_some(())
    })
    .await;
    blocker.batch_execute("COMMIT").await.expect("the lock goes");
    let mut found: Vec<i64> = readers.join_all().await.iter().map(|id| id.as_i64().expect("a number")).collect();
    found.sort_unstable();
    assert_eq!(found, ids);
    let queries = world.shards.count_statements(&mark, PRODUCTS);
    // Each connection of the pool (4) may have left with its first key before the lock was met.
    assert!(queries <= 8, "{queries} queries for 60 rows");
}

#[tokio::test]
async fn a_cdn_is_told_what_a_public_answer_is_purged_by_and_how_long_it_may_keep_it() {
    let world = World::with(|config| {
        let products = "collections.products";
        let config = config.set("http", "cdn", "\"surrogate-key\"").set(products, "cache_control", "\"public\"");
        config.set(products, "cdn_ttl", "\"5m\"")
    })
    .await;
    let id = world.product_on(0);
    let path = format!("/v1/products/{id}");
    let names = format!("c:products r:products/{id}");
    let first = world.client.get(&path).await.ok();
    let tag = first.header("etag").to_owned();
    let again = world.client.request(Method::GET, &path).header("if-none-match", &tag).send().await.expect_status(304);
    for answer in [&first, &again] {
        assert_eq!(answer.header("surrogate-key"), names, "{answer}");
        assert_eq!(answer.header("cdn-cache-control"), "max-age=300", "{answer}");
        assert_eq!(answer.header("cache-control"), "public, no-cache", "for everybody else");
    }
    let list = world.client.get("/v1/products?stock=eq.3").await.ok();
    assert_eq!(list.header("surrogate-key"), "c:products l:products");
    assert_eq!(list.header("cdn-cache-control"), "max-age=300");
    let missing = world.client.get("/v1/products/-1").await.expect_status(404);
    assert_eq!(missing.header("surrogate-key"), "c:products r:products/-1", "so that a new row purges it");
    assert_eq!(missing.header("cdn-cache-control"), "max-age=5", "its own time");
    let private = world.client.get("/v1/profiles/1").await.ok();
    for field in ["surrogate-key", "cdn-cache-control"] {
        assert_eq!(private.header(field), "", "{private}");
    }
}
