//! Policies of the cache: how long answers are kept, for whom, and what makes them outdated.

use http::Method;
use serde_json::{Value, json};
use tidegate_tests::{Answer, Config, Shards, World, policies::PolicyDir, schema, world::PRODUCTS};

/// Seconds left of an answer from the cache; none if it is not from there.
fn time_left(answer: &Answer) -> Option<u64> {
    answer.cache().strip_prefix("hit; ttl=")?.parse().ok()
}

async fn over(change: impl FnOnce(Config) -> Config) -> World {
    let shards = Shards::start(2).await;
    schema::create(&shards, PRODUCTS).await;
    World::over(shards, |config| change(config.patient())).await
}

#[tokio::test]
async fn a_class_has_its_own_time_and_another_no_cache_at_all() {
    let policies = PolicyDir::of(&[("tier-classifier", "classifier"), ("ttl-policy", "ttl")]);
    let dir = policies.path();
    // Both tenants everywhere: the class alone makes the difference.
    let world = over(|config| {
        let config = config.two_tenants(dir, "classifier").set("policies.classify", "config", r#"{ sources = ["header"] }"#);
        let config = config.set("tenants.known.acme", "shards", r#"["a", "b"]"#).section("tenants.classes.auditor");
        let config = config.set("tenants.known.eyes", "class", "\"auditor\"").set("tenants.known.bolt", "shards", r#"["a", "b"]"#);
        config.hook(dir, "cache-policy", "ttl").set(
            "policies.cache-policy",
            "config",
            r#"{ ttl_ms = { free = 7000 }, bypass_classes = ["auditor"], collections = { profiles = { default_ttl_ms = 3000 } } }"#,
        )
    })
    .await;
    let product = format!("/v1/products/{}", world.product_on(0));
    let get =
        |tenant: &'static str, path: &str| world.client.request(Method::GET, path).header("x-tenant", tenant).send();
    for _ in 0..2 {
        for tenant in ["acme", "bolt", "eyes"] {
            get(tenant, &product).await.ok();
            get(tenant, "/v1/profiles/1").await.ok();
        }
    }
    let paid = time_left(&get("acme", &product).await.ok());
    assert!(paid > Some(40), "the collection's own time: {paid:?}");
    let free = time_left(&get("bolt", &product).await.ok());
    assert!(free.is_some() && free <= Some(7), "{free:?}");
    for tenant in ["acme", "bolt"] {
        let profile = time_left(&get(tenant, "/v1/profiles/1").await.ok());
        assert!(profile.is_some() && profile <= Some(3), "a collection's rule goes first: {profile:?}");
    }
    assert_eq!(get("eyes", &product).await.ok().cache(), "fwd=bypass; detail=policy");
    assert_eq!(get("eyes", "/v1/profiles/1").await.ok().cache(), "fwd=bypass; detail=policy");
}

#[tokio::test]
async fn a_policy_cannot_keep_anything_longer_than_its_collection() {
    let policies = PolicyDir::with("ttl-policy", "ttl");
    let world = over(|config| {
        let config = config.hook(policies.path(), "cache-policy", "ttl").set("collections.products", "ttl", "\"20s\"");
        config.set("policies.cache-policy", "config", "{ default_ttl_ms = 4000000000 }").set(
            "collections.profiles",
            "mode",
            "\"bypass\"",
        )
    })
    .await;
    let path = format!("/v1/products/{}", world.product_on(0));
    world.client.get(&path).await.ok();
    let left = time_left(&world.client.get(&path).await.ok());
    assert!(left.is_some() && left <= Some(20), "{left:?}");
    world.client.get("/v1/profiles/1").await.ok();
    assert_eq!(world.client.get("/v1/profiles/1").await.ok().cache(), "fwd=bypass", "nothing becomes cacheable");
}

/// Answers about categories, tagged; `testing/faulty` or the reference policy says what a changed product purges.
async fn catalog(policies: &PolicyDir, invalidator: &str) -> World {
    let shards = Shards::start(2).await;
    schema::create(&shards, PRODUCTS).await;
    shards.execute_all("ALTER TABLE products ADD fault text").await;
    let dir = policies.path();
    World::over(shards, |config| {
        let config = config.patient().hook(dir, "cache-policy", "catalog").hook(dir, "invalidate", invalidator);
        config.set("collections.categories", "table", "\"categories\"")
    })
    .await
}

/// The categories of these that are in the cache. Each was asked for, and is again afterwards.
async fn kept(world: &World, categories: std::ops::RangeInclusive<i64>) -> Vec<i64> {
    let mut kept = Vec::new();
    for category in categories {
        if world.client.get(&format!("/v1/categories/{category}")).await.ok().is_hit() {
            kept.push(category);
        }
    }
    kept
}

async fn write(world: &World, method: Method, path: &str, body: Option<Value>) {
    let call = world.client.request(method, path);
    let answer = body.iter().fold(call, |call, body| call.json(body)).send().await;
    assert!((200..300).contains(&answer.status), "{answer}");
}

#[tokio::test]
async fn a_changed_product_purges_the_categories_it_was_in_and_is_in() {
    let policies = PolicyDir::with("catalog-invalidator", "catalog");
    let world = catalog(&policies, "catalog").await;
    kept(&world, 1..=10).await;
    assert_eq!(kept(&world, 1..=10).await, (1..=10).collect::<Vec<_>>());
    // Products on both shards: the categories' answers may be from the other.
    for shard in 0..2 {
        let id = world.product_on(shard);
        let (old, new) = (id % 10 + 1, (id + 4) % 10 + 1);
        let path = format!("/v1/products/{id}");
        let others = |purged: &[i64]| (1..=10).filter(|of| !purged.contains(of)).collect::<Vec<i64>>();
        write(&world, Method::PATCH, &path, Some(json!({ "category_id": new }))).await;
        assert_eq!(kept(&world, 1..=10).await, others(&[old, new]), "moved from {old} to {new}");
        write(&world, Method::PATCH, &path, Some(json!({ "stock": 3 }))).await;
        assert_eq!(kept(&world, 1..=10).await, others(&[new]), "changed in {new}");
        write(&world, Method::DELETE, &path, None).await;
        assert_eq!(kept(&world, 1..=10).await, others(&[new]), "deleted from {new}");
        let row = json!({ "id": id, "name": "again", "price": 1, "category_id": old });
        write(&world, Method::POST, "/v1/products", Some(row)).await;
        assert_eq!(kept(&world, 1..=10).await, others(&[old]), "added to {old}");
    }
    write(&world, Method::PATCH, "/v1/profiles/1", Some(json!({ "active": false }))).await;
    assert_eq!(kept(&world, 1..=10).await, (1..=10).collect::<Vec<_>>(), "profiles are no concern of categories");
}

#[tokio::test]
async fn a_hook_that_fails_purges_everything_it_might_have_meant() {
    let policies = PolicyDir::of(&[("catalog-invalidator", "catalog"), ("testing/faulty", "faulty")]);
    let world = catalog(&policies, "faulty").await;
    let (changed, cached) = (world.nth_product_on(0, 0), world.nth_product_on(1, 0));
    let (changed, cached) = (format!("/v1/products/{changed}"), format!("/v1/products/{cached}"));
    for fault in ["trap", "refuse", "stray-collection", "million-actions"] {
        kept(&world, 1..=10).await;
        for _ in 0..2 {
            world.client.get(&cached).await.ok();
        }
        assert!(world.client.get(&cached).await.ok().is_hit());
        write(&world, Method::PATCH, &changed, Some(json!({ "fault": fault }))).await;
        assert_eq!(kept(&world, 1..=10).await, [0_i64; 0], "{fault}: every tagged answer");
        assert!(!world.client.get(&cached).await.ok().is_hit(), "{fault}: every row of the collection");
    }
    kept(&world, 1..=10).await;
    write(&world, Method::PATCH, &changed, Some(json!({ "fault": "nothing" }))).await;
    assert_eq!(kept(&world, 1..=10).await.len(), 10, "a policy that wants nothing purged is taken at its word");
    let fallbacks = world.gateway.metrics().await;
    assert!(fallbacks.sum("tidegate_policy_failures", &[("hook", "invalidate")]) >= 3);
}

#[tokio::test]
async fn answers_that_differ_by_a_header_are_kept_apart_and_say_so() {
    let policies = PolicyDir::with("testing/faulty", "faulty");
    let world = over(|config| {
        let config = config.hook(policies.path(), "cache-policy", "faulty");
        config.set("policies.cache-policy", "config", r#"{ cache-policy = "vary:header" }"#)
    })
    .await;
    let path = format!("/v1/products/{}", world.product_on(0));
    let get = |value: &str| world.client.request(Method::GET, &path).header("x-fault", value).send();
    for value in ["red", "blue"] {
        let first = get(value).await.ok();
        assert!(!first.is_hit(), "{value} is an answer of its own: {first}");
        let vary = first.header("vary").to_ascii_lowercase();
        assert!(vary.split(", ").any(|name| name == "x-fault"), "{vary}");
    }
    for value in ["red", "blue"] {
        let second = get(value).await.ok();
        assert!(second.is_hit() && second.header("vary").to_ascii_lowercase().contains("x-fault"), "{second}");
    }
    world.client.patch(&path, &json!({ "stock": 77 })).send().await.expect_status(204);
    for value in ["red", "blue"] {
        assert_eq!(get(value).await.ok().json()["stock"], 77, "a write makes all of them outdated");
    }
}
