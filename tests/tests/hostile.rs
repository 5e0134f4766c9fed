//! Plugins that misbehave in every hook, for one tenant: it gets what the hook's failure means, the other is served
//! as if nothing had happened.

use http::Method;
use serde_json::{Value, json};
use tidegate_tests::{
    Answer, Client, Config, Operator, Shards, Traffic, World, neighbours, operator, policies::PolicyDir, schema, until,
    world::PRODUCTS,
};

const HEADER: &str = r#"{ sources = ["header"] }"#;

/// Faults that every hook can have.
const COMMON: [&str; 7] = ["trap", "stack", "loop", "hoard", "huge", "not-utf8", "refuse"];

/// The tenants `acme` and `bolt` on a shard each, and `testing/faulty` in one hook.
async fn faulty_in(hook: &str, change: impl FnOnce(Config) -> Config) -> (PolicyDir, World) {
    let policies = PolicyDir::of(&[("tier-classifier", "classifier"), ("testing/faulty", "faulty")]);
    let shards = Shards::start(2).await;
    schema::create(&shards, PRODUCTS).await;
    shards.execute_all("ALTER TABLE products ADD fault text").await;
    let dir = policies.path();
    let world = World::over(shards, |config| {
        let config = match hook {
            "classify" => config.two_tenants(dir, "faulty"),
            hook => config
                .two_tenants(dir, "classifier")
                .set("policies.classify", "config", HEADER)
                .hook(dir, hook, "faulty"),
        };
        change(config)
    });
    let world = world.await;
    (policies, world)
}

/// What `bolt` does all the time: on its own shard, in its own cache.
fn bolt(world: &World) -> Traffic {
    let products = world.shards.ids_on(1).take(12);
    Traffic { clients: 4, ..Traffic::on(products).header("x-tenant", "bolt") }
}

/// A request of `acme` that makes the plugin do this.
fn faulty(client: &Client, method: Method, path: &str, fault: &str) -> impl Future<Output = Answer> + Send + use<> {
    let call = client.request(method.clone(), path).header("x-tenant", "acme");
    let call = if fault.is_empty() { call } else { call.header("x-fault", fault) };
    if method == Method::PATCH { call.json(&json!({ "note": "x" })) } else { call }.send()
}

/// What `acme` does.
#[derive(Clone, Copy)]
struct Doing {
    method: &'static str,
    /// What it usually asks of the plugin.
    usual: &'static str,
    fault: &'static str,
}

const fn reading(fault: &'static str) -> Doing {
    Doing { method: "GET", usual: "", fault }
}

const fn writing(fault: &'static str) -> Doing {
    Doing { method: "PATCH", ..reading(fault) }
}

/// Asks as `acme`, over and over, while `bolt` is measured. `right` checks each answer to the fault.
async fn while_bolt_is_served(world: &World, doing: Doing, right: impl Fn(&Answer) + Clone + Send + Sync + 'static) {
    let path = format!("/v1/products/{}", world.product_on(0));
    let (client, method) = (world.gateway.client(), Method::from_bytes(doing.method.as_bytes()).expect("a method"));
    let asked = move |method: &Method, fault: &'static str| faulty(&client, method.clone(), &path, fault);
    right(&asked(&method, doing.fault).await);
    let usual = {
        let asked = asked.clone();
        move || {
            let answer = asked(&Method::GET, doing.usual);
            async move { drop(answer.await.ok()) }
        }
    };
    let disturb = move || {
        let (answer, right) = (asked(&method, doing.fault), right.clone());
        async move { right(&answer.await) }
    };
    neighbours::unharmed(&world.gateway, &bolt(world), doing.fault, usual, disturb).await;
}

fn unavailable(answer: &Answer) {
    answer.problem(503, "TG005");
}

#[tokio::test(flavor = "multi_thread")]
async fn classification_that_fails_is_a_refusal_and_costs_nobody_else_anything() {
    let (_policies, mut world) = faulty_in("classify", |config| config).await;
    for fault in COMMON.into_iter().chain(["class:gold", "novel"]) {
        while_bolt_is_served(&world, reading(fault), unavailable).await;
    }
    while_bolt_is_served(&world, reading("nobody"), |answer| drop(answer.problem(403, "TG016"))).await;
    assert!(world.gateway.process.exit_status().is_none(), "the gateway lives");
}

#[tokio::test(flavor = "multi_thread")]
async fn routing_that_fails_leaves_reads_to_the_fallback_and_refuses_writes() {
    let (_policies, mut world) = faulty_in("route", |config| config).await;
    for fault in COMMON.into_iter().chain(["stray", "empty", "flood"]) {
        while_bolt_is_served(&world, reading(fault), |answer| drop(answer.clone().ok())).await;
        while_bolt_is_served(&world, writing(fault), unavailable).await;
    }
    // A shard of somebody else's: no fallback answers instead.
    for outside in ["shard:b", "every-shard"] {
        while_bolt_is_served(&world, reading(outside), unavailable).await;
        while_bolt_is_served(&world, writing(outside), unavailable).await;
    }
    let refused = world.gateway.metrics().await;
    assert!(refused.sum("tidegate_policy_failures", &[("kind", "outside-placement")]) >= 4);
    assert!(world.gateway.process.exit_status().is_none(), "the gateway lives");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cache_policy_that_fails_means_no_cache_for_the_request() {
    let (_policies, mut world) = faulty_in("cache-policy", |config| config).await;
    let bypassed = |detail: &'static str| move |answer: &Answer| assert_eq!(answer.cache(), detail, "{answer}");
    for fault in COMMON.into_iter().chain(["million-tags", "stray-vary"]) {
        while_bolt_is_served(
            &world,
            Doing { usual: "bypass", ..reading(fault) },
            bypassed("fwd=bypass; detail=policy-failed"),
        )
        .await;
    }
    for fault in ["bypass", "many-tags", "long-tag"] {
        while_bolt_is_served(
            &world,
            Doing { usual: "bypass", ..reading(fault) },
            bypassed("fwd=bypass; detail=policy"),
        )
        .await;
    }
    assert!(world.gateway.process.exit_status().is_none(), "the gateway lives");
}

#[tokio::test(flavor = "multi_thread")]
async fn invalidation_that_fails_purges_the_collection_and_no_write_fails() {
    let (_policies, mut world) = faulty_in("invalidate", |config| config).await;
    let (written, cached) = (world.nth_product_on(0, 0), world.nth_product_on(0, 1));
    let (written, cached) = (format!("/v1/products/{written}"), format!("/v1/products/{cached}"));
    let acme = |method, path: &str| world.client.request(method, path).header("x-tenant", "acme");
    for fault in COMMON.into_iter().chain(["million-actions", "stray-collection", "stray-key"]) {
        acme(Method::GET, &cached).send().await.ok();
        assert!(acme(Method::GET, &cached).send().await.ok().is_hit());
        let change = json!({ "fault": fault });
        acme(Method::PATCH, &written).json(&change).send().await.expect_status(204);
        assert_eq!(acme(Method::GET, &written).send().await.ok().json()["fault"], fault);
        let after = acme(Method::GET, &cached).send().await.ok();
        assert!(!after.is_hit(), "{fault}: everything it might have meant is purged: {after}");

        let (client, path) = (world.gateway.client(), written.clone());
        let changing = move |change: Value| {
            let call = client.patch(&path, &change).header("x-tenant", "acme").send();
            async move { drop(call.await.expect_status(204)) }
        };
        // What a failure means, ordered by the policy: the same rows are void, for everybody that shares the table.
        let usual = {
            let changing = changing.clone();
            move || changing(json!({ "fault": "collection:products" }))
        };
        let disturb = move || changing(change.clone());
        neighbours::unharmed(&world.gateway, &bolt(&world), fault, usual, disturb).await;
    }
    assert!(world.gateway.process.exit_status().is_none(), "the gateway lives");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_whose_questions_never_end_does_not_keep_others_from_asking() {
    let (_policies, world) = faulty_in("route", |config| config).await;
    let (client, path) = (world.gateway.client(), format!("/v1/products/{}", world.product_on(0)));
    let mut new_rows = world.shards.ids_on(1).filter(|id| *id > PRODUCTS);
    for _ in 0..20 {
        for _ in 0..5 {
            faulty(&client, Method::GET, &path, "loop").await.ok();
        }
        // Nobody asked where this one is before: no remembered answer helps.
        let row = json!({ "id": new_rows.next(), "name": "new", "price": 1 });
        world.client.post("/v1/products", &row).header("x-tenant", "bolt").send().await.expect_status(201);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_router_that_hoards_tables_is_stopped_and_taken_back() {
    let policies = PolicyDir::with("testing/hoards-tables", "router");
    let mut world = World::with(|config| config.route_by(policies.path(), "router")).await;
    let path = format!("/v1/products/{}", world.product_on(0));
    world.client.get(&path).await.ok();
    world.client.patch(&path, &json!({ "stock": 1 })).send().await.problem(503, "TG005");
    assert!(world.gateway.process.exit_status().is_none(), "the gateway lives");

    policies.put("hash-router", "router");
    let operator = Operator::of(&world.gateway);
    until("a good one is in use", || async {
        (operator.plugin("router").await["title"] == "hash-router").then_some(())
    })
    .await;
    operator
        .upload("router", "?force=true", tidegate_tests::policies::guest("testing/hoards-tables"))
        .send()
        .await
        .expect_status(201);
    let refused = operator.order("router", "canary", &json!({ "percent": 50 })).send().await;
    assert!(refused.problem(409, "TG024")["message"].to_string().contains("existing keys"));
    world.client.patch(&path, &json!({ "stock": 2 })).send().await.expect_status(204);
    assert_eq!(operator::errors(&operator.plugin("router").await), 0);
}
