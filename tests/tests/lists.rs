//! Lists: rows of all shards merged in order.

use http::Method;
use serde_json::{Value, json};
use tidegate_tests::{World, schema, wire::Wire};

const COUNT: i64 = 200;

fn ids(answer: &tidegate_tests::Answer) -> Vec<i64> {
    answer.column("id").iter().map(|id| id.as_i64().expect("a number")).collect()
}

#[tokio::test]
async fn both_shards_are_merged_in_the_order_asked_for() {
    let world = World::start().await;
    let answer =
        world.client.get("/v1/products?price=lt.10&order=price.asc,id.desc&limit=15&select=id,name,price").await;
    let answer = answer.ok();
    let mut expected: Vec<i64> = (1..=COUNT).filter(|id| id % 100 < 10).collect();
    expected.sort_by_key(|id| (id % 100, -id));
    assert_eq!(ids(&answer), expected[..15]);
    assert_eq!(answer.header("content-range"), "0-14/*");
    assert_eq!(answer.header("content-type"), "application/json; charset=utf-8");
    assert_eq!(answer.cache(), "fwd=miss; detail=first-asked", "{answer}");
    let shards: std::collections::HashSet<usize> = ids(&answer).iter().map(|id| world.shards.shard_of(id)).collect();
    assert_eq!(shards.len(), 2, "the rows came from both");
    assert!(answer.text().contains(&format!("\"price\":{}", schema::price(ids(&answer)[0]))), "every digit: {answer}");
}

#[tokio::test]
async fn pages_are_stable_and_cover_everything_once() {
    let world = World::start().await;
    let mut seen = Vec::new();
    for page in 0..8 {
        let path = format!("/v1/products?select=id&order=stock.desc&limit=30&offset={}", page * 30);
        seen.extend(ids(&world.client.get(&path).await.ok()));
    }
    let mut sorted = seen.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, (1..=COUNT).collect::<Vec<_>>());
    assert!(seen.is_sorted_by_key(|id| std::cmp::Reverse(id % 7)));
}

#[tokio::test]
async fn nulls_sort_where_postgresql_sorts_them() {
    let world = World::start().await;
    let nulls =
        |answer: tidegate_tests::Answer| answer.ok().column("note").iter().map(Value::is_null).collect::<Vec<_>>();
    let first = nulls(world.client.get("/v1/products?select=note&order=note.desc&limit=40").await);
    assert!(first.iter().all(|null| *null), "descending: first");
    let last = nulls(world.client.get("/v1/products?select=note&order=note.asc&limit=160").await);
    assert!(last.iter().all(|null| !null), "ascending: last");
    let asked = nulls(world.client.get("/v1/products?select=note&order=note.asc.nullsfirst&limit=40").await);
    assert!(asked.iter().all(|null| *null), "as asked for");
}

#[tokio::test]
async fn counts_ranges_and_the_end_of_the_list() {
    let world = World::start().await;
    let get = |path: &str| world.client.request(Method::GET, path).prefer("count=exact").send();
    let part = get("/v1/products?limit=10&offset=20").await.expect_status(206);
    assert_eq!((part.header("content-range"), part.header("preference-applied")), ("20-29/200", "count=exact"));
    let all = get("/v1/products").await.ok();
    assert_eq!(all.header("content-range"), "0-199/200");
    let none = get("/v1/products?price=lt.0").await.ok();
    assert_eq!((none.header("content-range"), none.text().as_str()), ("*/0", "[]"));
    let end = get("/v1/products?offset=200").await.expect_status(206);
    assert_eq!((end.header("content-range"), end.text().as_str()), ("*/200", "[]"));
    let past = get("/v1/products?offset=1000").await;
    assert_eq!(past.header("content-range"), "*/200");
    let problem = past.problem(416, "PGRST103");
    assert!(problem["details"].as_str().expect("text").contains("1000"), "{problem}");
    let uncounted = world.client.get("/v1/products?offset=1000").await.ok();
    assert_eq!((uncounted.header("content-range"), uncounted.text().as_str()), ("*/*", "[]"));
    world.client.get("/v1/products?limit=-1").await.problem(416, "PGRST103");
    let ranged = world.client.request(Method::GET, "/v1/products?select=id").header("range-unit", "items");
    let ranged = ranged.header("range", "5-9").send().await.ok();
    assert_eq!((ranged.header("content-range"), ids(&ranged).len()), ("5-9/*", 5));
    let head = world.client.request(Method::HEAD, "/v1/products?limit=3").send().await.ok();
    assert_eq!((head.header("content-range"), head.body.len()), ("0-2/*", 0));
}

#[tokio::test]
async fn filters_choose_what_sql_would() {
    let world = World::start().await;
    let all = |wanted: fn(i64) -> bool| (1..=COUNT).filter(|id| wanted(*id)).collect::<Vec<_>>();
    for (filter, expected) in [
        ("id=eq.7", all(|id| id == 7)),
        ("id=neq.7&id=lte.9", all(|id| id != 7 && id <= 9)),
        ("id=gt.5&id=lt.9", all(|id| id > 5 && id < 9)),
        ("id=gte.199", all(|id| id >= 199)),
        ("id=in.(3,1,2,9999)", all(|id| id <= 3)),
        ("id=not.in.(1,2)&id=lt.5", all(|id| id == 3 || id == 4)),
        ("id=in.()", vec![]),
        ("note=is.null", all(|id| id % 5 == 0)),
        ("note=not.is.null", all(|id| id % 5 != 0)),
        ("name=like.Product%2019*", all(|id| id.to_string().starts_with("19"))),
        ("name=ilike.PRODUCT%201", all(|id| id == 1)),
        ("name=eq.Product%201", all(|id| id == 1)),
        ("or=(id.eq.1,and(id.gt.197,stock.eq.1))", all(|id| id == 1 || (id > 197 && id % 7 == 1))),
        ("not.or=(id.lt.190,id.gt.195)", all(|id| (190..=195).contains(&id))),
        ("and=(id.gte.10,id.lte.12)", all(|id| (10..=12).contains(&id))),
        ("attributes->>color=eq.red&id=lt.10", all(|id| id % 3 == 0 && id < 10)),
        ("attributes->weight=gt.198", all(|id| id > 198)),
        ("created_at=lt.2026-01-01T00:03:00Z", all(|id| id < 3)),
        ("price=eq.5.5", all(|id| id % 100 == 5)),
        ("name=eq.a,b.(c)\"d'", vec![]),
    ] {
        let answer = world
            .client
            .get(&format!("/v1/products?select=id&order=id&{filter}").replace('"', "%22").replace('>', "%3E"))
            .await;
        assert_eq!(ids(&answer.ok()), expected, "{filter}");
    }
}

#[tokio::test]
async fn a_shard_key_in_the_filter_asks_one_shard_only() {
    let world = World::start().await;
    let id = world.product_on(0);
    let mark = world.shards.mark();
    assert_eq!(ids(&world.client.get(&format!("/v1/products?id=eq.{id}")).await.ok()), [id]);
    assert_eq!(world.shards.statements(0, &mark).len(), 1);
    assert!(world.shards.statements(1, &mark).is_empty());
}

#[tokio::test]
async fn a_list_shows_every_acknowledged_write() {
    let world = World::start().await;
    for round in 0..10 {
        let id = world.nth_product_on(round % 2, round);
        let name = format!("round {round}");
        world.client.patch(&format!("/v1/products/{id}"), &json!({ "name": name })).send().await.expect_status(204);
        let path = format!("/v1/products?select=id&name=eq.round%20{round}");
        assert_eq!(ids(&world.client.get(&path).await.ok()), [id]);
    }
}

#[tokio::test]
async fn a_list_is_kept_when_it_is_asked_for_again_however_it_is_written() {
    let world = World::start().await;
    let get = |path: &'static str| world.client.get(path);
    assert_eq!(get("/v1/products?stock=eq.3&price=lt.50").await.ok().cache(), "fwd=miss; detail=first-asked");
    assert_eq!(get("/v1/products?price=lt.50&stock=eq.03&order=id").await.ok().cache(), "fwd=miss; stored");
    let mark = world.shards.mark();
    let hit = get("/v1/products?and=(stock.eq.3,price.lt.50)&limit=1000").await.ok();
    assert!(hit.is_hit() && !hit.header("age").is_empty(), "{hit}");
    let known = world.client.request(Method::GET, "/v1/products?price=lt.50&stock=eq.3");
    let known = known.header("if-none-match", hit.header("etag")).send().await.expect_status(304);
    assert!(known.is_hit() && known.body.is_empty(), "{known}");
    assert_eq!(world.shards.count_statements(&mark, "products"), 0, "the database saw nothing");
    let other = get("/v1/products?price=lt.50&stock=eq.3&limit=2").await.ok();
    assert!(!other.is_hit() && other.header("etag") != hit.header("etag"), "{other}");
}

#[tokio::test]
async fn a_kept_list_ends_with_each_write_that_changes_it() {
    let world = World::start().await;
    let list = || async {
        let answer = world.client.get("/v1/products?select=id,name&price=lt.1").await.ok();
        (answer.is_hit(), answer.column("name"))
    };
    let (on_a, on_b) = (world.product_on(0), world.product_on(1));
    for id in [on_a, on_b] {
        while !list().await.0 {}
        let path = format!("/v1/products/{id}");
        let change = json!({ "price": 0.25, "name": format!("cheap {id}") });
        world.client.patch(&path, &change).send().await.expect_status(204);
        let (hit, names) = list().await;
        assert!(!hit && names.contains(&change["name"]), "{names:?}");
        while !list().await.0 {}
        world.client.request(Method::DELETE, &path).send().await.expect_status(204);
        assert!(!list().await.1.contains(&change["name"]), "deleted");
    }
    while !list().await.0 {}
    let fresh = json!({ "id": 9001, "name": "new", "price": 0.1 });
    world.client.request(Method::POST, "/v1/products").json(&fresh).send().await.expect_status(201);
    assert!(list().await.1.contains(&json!("new")));
}

#[tokio::test]
async fn a_kept_list_ends_with_a_cascade() {
    let world = World::start().await;
    let list = || async {
        let answer = world.client.get("/v1/carts?order=profile_id,product_id").await.ok();
        (answer.is_hit(), answer.column("profile_id"))
    };
    while !list().await.0 {}
    let profile = list().await.1[0].clone();
    world.client.request(Method::DELETE, &format!("/v1/profiles/{profile}")).send().await.expect_status(204);
    let (hit, left) = list().await;
    assert!(!hit && !left.contains(&profile), "{left:?}");
}

#[tokio::test]
async fn a_list_that_looks_at_the_clock_is_not_kept() {
    let world = World::start().await;
    for _ in 0..3 {
        let answer = world.client.get("/v1/products?created_at=lt.now&limit=1").await.ok();
        assert_eq!(answer.cache(), "fwd=bypass; detail=timely");
    }
}

#[tokio::test]
async fn one_object_on_request() {
    let world = World::start().await;
    let get = |path: &str| {
        world.client.request(Method::GET, path).header("accept", "application/vnd.pgrst.object+json").send()
    };
    let one = get("/v1/products?id=eq.3&select=id").await.ok();
    assert_eq!(one.json(), json!({ "id": 3 }));
    assert!(one.header("content-type").starts_with("application/vnd.pgrst.object+json"), "{one}");
    get("/v1/products?id=eq.99999").await.problem(406, "PGRST116");
    get("/v1/products?id=lt.3").await.problem(406, "PGRST116");
}

#[tokio::test]
async fn a_list_is_no_longer_than_the_collection_allows() {
    let world = World::with(|config| config.set("collections.products", "max_rows", "25")).await;
    assert_eq!(ids(&world.client.get("/v1/products").await.ok()).len(), 25);
    assert_eq!(ids(&world.client.get("/v1/products?limit=100").await.ok()).len(), 25);
    assert_eq!(ids(&world.client.get("/v1/products?limit=5").await.ok()).len(), 5);
}

#[tokio::test]
async fn what_curl_sends_unencoded_is_understood() {
    let world = World::start().await;
    let mut wire = Wire::connect(world.gateway.http()).await;
    for (query, rows) in
        [("attributes->>color=eq.red&limit=1", 1), ("or=(name.eq.\"Product+7\")", 1), ("name=eq.<é|^>", 0)]
    {
        wire.send(format!("GET /v1/products?{query} HTTP/1.1\r\nhost: x\r\n\r\n")).await;
        let answer = wire.answer().await.expect("an answer");
        assert_eq!(answer.status, 200, "{query}: {answer:?}");
        let found: Vec<Value> = serde_json::from_str(&answer.body).expect("an array");
        assert_eq!(found.len(), rows, "{query}: {answer:?}");
    }
}
