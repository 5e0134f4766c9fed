//! Policies of the cache: how long answers are kept, for whom, and what makes them outdated.

use http::Method;
use serde_json::{Value, json};
use tidegate_tests::{Answer, Config, Shards, World, policies::PolicyDir, schema, until, world::PRODUCTS};

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

#[tokio::test]
async fn a_cdn_is_told_the_tags_of_an_answer_and_nothing_of_what_differs_by_tenant_or_header() {
    let policies = || PolicyDir::of(&[("testing/faulty", "faulty"), ("tier-classifier", "classifier")]);
    let public = |config: Config, policies: &PolicyDir| {
        let products = "collections.products";
        let config = config.hook(policies.path(), "cache-policy", "faulty").set("http", "cdn", "\"cache-tag\"");
        config.set(products, "cache_control", "\"public\"")
    };
    let dir = policies();
    let world = over(|config| public(config, &dir).set("collections.products", "cdn_ttl", "\"1m\"")).await;
    let path = format!("/v1/products/{}", world.product_on(0));
    let get = |fault: &str| world.client.request(Method::GET, &path).header("x-fault", fault).send();
    let tagged = get("tag:new, cheap").await.ok();
    let row = path.trim_start_matches("/v1/");
    assert_eq!(tagged.header("cache-tag"), format!("c:products,r:{row},t:new%2C%20cheap"));
    assert_eq!(tagged.header("cdn-cache-control"), "max-age=60");
    let bypassed = get("bypass").await.ok();
    assert_eq!(bypassed.header("cdn-cache-control"), "", "the policy keeps it out: {bypassed}");
    let varied = get("vary:header").await.ok();
    assert_eq!((varied.header("cache-tag"), varied.header("cdn-cache-control")), ("", ""), "{varied}");

    let dir = policies();
    let world = over(|config| {
        let config = public(config, &dir).two_tenants(dir.path(), "classifier");
        let config = config.set("policies.classify", "config", r#"{ sources = ["header"] }"#);
        config.set("tenants.known.acme", "shards", r#"["a", "b"]"#)
    })
    .await;
    let get = |tenant: &str| world.client.request(Method::GET, &path).header("x-tenant", tenant).send();
    let acme = get("acme").await.ok();
    assert_eq!((acme.header("cache-tag"), acme.header("cdn-cache-control")), ("", ""), "{acme}");
}

/// A gateway whose invalidation policy does what the note of a changed product says.
async fn purging(policies: &PolicyDir, change: impl FnOnce(Config) -> Config) -> World {
    over(|config| change(config.hook(policies.path(), "invalidate", "purger"))).await
}

/// Profiles may be served late.
fn late_profiles(config: Config) -> Config {
    let profiles = "collections.profiles";
    let config = config.set("feed", "enabled", "true").set(profiles, "consistency", "\"bounded\"");
    config.set(profiles, "stale_while_revalidate", "\"60s\"")
}

async fn warm(world: &World, path: &str) {
    until("it is kept", || async { world.client.get(path).await.ok().is_hit().then_some(()) }).await;
}

#[tokio::test]
async fn a_policy_purges_the_list_of_one_query_and_leaves_the_others() {
    let policies = PolicyDir::with("testing/purger", "purger");
    let world = purging(&policies, |config| config).await;
    let (purged, other) = ("/v1/carts?quantity=eq.2&limit=9", "/v1/carts?quantity=eq.3&limit=9");
    for list in [purged, other] {
        warm(&world, list).await;
    }
    let path = format!("/v1/products/{}", world.product_on(0));
    let order = json!({ "note": "purge query carts limit=9&quantity=eq.02" });
    write(&world, Method::PATCH, &path, Some(order)).await;
    assert!(!world.client.get(purged).await.ok().is_hit());
    assert!(world.client.get(other).await.ok().is_hit(), "another list stays");
    let wrong = json!({ "note": "purge query carts quantity=nonsense.2" });
    warm(&world, &path).await;
    write(&world, Method::PATCH, &format!("/v1/products/{}", world.product_on(1)), Some(wrong)).await;
    assert!(!world.client.get(&path).await.ok().is_hit(), "what is no query may have meant anything");
}

#[tokio::test]
async fn a_policy_purges_softly_what_may_be_late_and_altogether_what_may_not() {
    let policies = PolicyDir::with("testing/purger", "purger");
    let world = purging(&policies, late_profiles).await;
    let (product, strict) = (world.product_on(0), world.product_on(1));
    let (product, strict_path) = (format!("/v1/products/{product}"), format!("/v1/products/{strict}"));
    for shard in [0, 1] {
        let profile = world.shards.ids_on(shard).next().expect("there is one");
        let path = format!("/v1/profiles/{profile}");
        warm(&world, &path).await;
        let order = json!({ "note": format!("soft-purge row profiles {profile}") });
        write(&world, Method::PATCH, &product, Some(order)).await;
        let first = world.client.get(&path).await.ok();
        assert!(first.cache().contains("detail=stale-while-revalidate"), "shard {shard}: {first}");
        until("it was fetched again", || async {
            let read = world.client.get(&path).await.ok();
            assert!(read.is_hit(), "{read}");
            (!read.cache().contains("stale")).then_some(())
        })
        .await;
    }
    warm(&world, &strict_path).await;
    let order = json!({ "note": format!("soft-purge row products {strict}") });
    write(&world, Method::PATCH, &product, Some(order)).await;
    assert!(!world.client.get(&strict_path).await.ok().is_hit(), "strict collections serve nothing late");
}

#[tokio::test]
async fn a_row_that_a_policy_refreshes_is_there_before_anybody_asks() {
    let policies = PolicyDir::with("testing/purger", "purger");
    let world = purging(&policies, |config| config).await;
    let (written, elsewhere) = (world.product_on(0), world.product_on(1));
    let path = format!("/v1/products/{written}");
    // The row that the write changes, and one on the other shard.
    for (id, round) in [(written, 1), (elsewhere, 2)] {
        let refreshed = format!("/v1/products/{id}");
        warm(&world, &refreshed).await;
        let note = format!("refresh row products {id}");
        write(&world, Method::PATCH, &path, Some(json!({ "note": note }))).await;
        let kept = [("outcome", "kept")];
        until("it was fetched again", || async {
            (world.gateway.metrics().await.sum("tidegate_policy_refreshes", &kept) >= round).then_some(())
        })
        .await;
        let read = world.client.get(&refreshed).await.ok();
        assert!(read.is_hit(), "nobody has asked since: {read}");
        assert_eq!(read.json()["note"] == note, id == written, "{read}");
    }
}
