//! The reference policies in every language: each takes over from the Rust ones while requests are served, answers
//! alike, and is there after a restart.

use http::Method;
use serde_json::json;
use tidegate_tests::{
    Answer, Config, Load, Operator, Shards, Traffic, World,
    policies::{self, PolicyDir},
    schema, until,
    world::PRODUCTS,
};

/// Tenants by API key, header or host; the class of `acme` from the configuration, of others their own.
const CLASSIFY: &str = r#"{ sources = ["api-key", "host", "header"], host_suffix = ".shop.test", api_keys = { "k-1" = "acme" }, classes = { acme = "paid" } }"#;

/// Served by the reference policies in Rust. Answers to the class `free` are kept for seconds, so that it shows.
async fn by_rust(dir: &PolicyDir) -> World {
    let shards = Shards::start(2).await;
    schema::create(&shards, PRODUCTS).await;
    let dir = dir.path();
    World::over(shards, |config| {
        // An instance of a Python policy takes more than 16 MiB, and its first call longer than 10 ms.
        let config = config.patient().set("policies", "max_memory", "\"64MiB\"").two_tenants(dir, "tier-classifier");
        let config = config.hook(dir, "route", "hash-router").hook(dir, "cache-policy", "ttl-policy");
        let everywhere =
            |config: Config, tenant: &str| config.set(&format!("tenants.known.{tenant}"), "shards", r#"["a", "b"]"#);
        let config = everywhere(everywhere(config, "acme"), "bolt").set("policies.classify", "config", CLASSIFY);
        config.set("tenants.known.acme", "class", "\"free\"").set(
            "policies.cache-policy",
            "config",
            "{ ttl_ms = { free = 5000 } }",
        )
    })
    .await
}

fn traffic() -> Traffic {
    Traffic::on(21..=PRODUCTS).header("x-tenant", "acme")
}

async fn comes_into_use(operator: &Operator, load: &Load, plugin: &str, source: &str) {
    operator.stage(plugin, source).send().await.expect_status(201);
    operator.done(plugin, "shadow", json!({})).await;
    let compared = || async {
        let comparisons = operator.plugin(plugin).await["candidate"]["comparison"].clone();
        let comparison = comparisons.as_object().and_then(|all| all.values().next().cloned()).expect("a comparison");
        assert_eq!((&comparison["differed"], &comparison["failed"]), (&json!(0), &json!(0)), "{comparison}");
        (comparison["agreed"].as_u64() > Some(50)).then_some(())
    };
    until(&format!("{source} is compared"), compared).await;
    let promoted = operator.done(plugin, "promote", json!({})).await;
    assert_eq!(promoted["title"], source, "{promoted}");
    load.goes_on().await;
}

/// What the classifier and the router of the language decide, as clients see it.
async fn decides_as_documented(world: &World) {
    let path = format!("/v1/products/{}", world.product_on(0));
    // What was kept before is void, and its age no matter.
    world.client.patch(&path, &json!({ "stock": 1 })).header("x-tenant", "acme").send().await.expect_status(204);
    let get =
        |name: &'static str, value: &'static str| world.client.request(Method::GET, &path).header(name, value).send();
    for (name, value) in [("x-tenant", "bolt"), ("x-api-key", "k-1"), ("host", "Bolt.shop.test:8080")] {
        get(name, value).await.ok();
    }
    let time_left = |answer: &Answer| answer.cache().strip_prefix("hit; ttl=").and_then(|ttl| ttl.parse::<u64>().ok());
    let (paid, free) = (time_left(&get("x-api-key", "k-1").await.ok()), time_left(&get("x-tenant", "bolt").await.ok()));
    assert!(paid > Some(40), "the class paid comes from the configuration: {paid:?}");
    assert!(free.is_some() && free <= Some(5), "the class free is the tenant's own: {free:?}");
    get("x-tenant", "nobody").await.problem(403, "TG016");
    get("x-api-key", "wrong").await.problem(503, "TG005");
    for id in 1..=20 {
        let one = world.client.request(Method::GET, &format!("/v1/products/{id}")).header("x-tenant", "bolt");
        assert_eq!(one.send().await.ok().json()["id"], id, "each row is looked for where it is");
    }
    let all = world.client.request(Method::GET, "/v1/products?select=id&limit=1000").header("x-tenant", "bolt");
    assert_eq!(all.send().await.ok().column("id").len(), usize::try_from(PRODUCTS).expect("few"));
}

async fn takes_over(language: &str) {
    let (classifier, router) = (format!("tier-classifier-{language}"), format!("hash-router-{language}"));
    if !(policies::is_built(&classifier) && policies::is_built(&router)) {
        return;
    }
    let plugins = ["tier-classifier", "hash-router", "ttl-policy"].map(|name| (name, name));
    let dir = PolicyDir::of(&plugins);
    let mut world = by_rust(&dir).await;
    decides_as_documented(&world).await;
    let operator = Operator::of(&world.gateway);
    let load = Load::start(&world.gateway, &traffic());
    comes_into_use(&operator, &load, "tier-classifier", &classifier).await;
    comes_into_use(&operator, &load, "hash-router", &router).await;
    load.end().await.flawless();
    decides_as_documented(&world).await;

    world.gateway = world.gateway.restart().await;
    world.client = world.gateway.client();
    assert_eq!(Operator::of(&world.gateway).plugin("hash-router").await["title"], router);
    decides_as_documented(&world).await;
    traffic().rounds(&world.gateway, 2).await.flawless();
}

#[tokio::test(flavor = "multi_thread")]
async fn c() {
    takes_over("c").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn go() {
    takes_over("go").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn javascript() {
    takes_over("js").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn python() {
    takes_over("py").await;
}
