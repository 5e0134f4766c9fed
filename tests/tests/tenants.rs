//! Two tenants on a shard each, in the same tables: what one has, the other neither sees nor loses.

use http::Method;
use serde_json::{Value, json};
use tidegate_tests::{
    Answer, Config, Operator, Shards, World, client::Call, policies::PolicyDir, schema, until, world::PRODUCTS,
};

/// The tenants of [`Config::two_tenants`], with answers tagged by category.
async fn two_tenants(change: impl FnOnce(Config) -> Config) -> (PolicyDir, World) {
    let policies = PolicyDir::of(&[("tier-classifier", "classifier"), ("catalog-invalidator", "catalog")]);
    let shards = Shards::start(2).await;
    schema::create(&shards, PRODUCTS).await;
    let dir = policies.path();
    let world = World::over(shards, |config| {
        let config = config.patient().two_tenants(dir, "classifier").hook(dir, "cache-policy", "catalog");
        let config = config.set("policies.classify", "config", r#"{ sources = ["header"] }"#);
        change(config.hook(dir, "invalidate", "catalog").set("collections.categories", "table", "\"categories\""))
    });
    let world = world.await;
    (policies, world)
}

fn by(world: &World, tenant: &str, method: Method, path: &str) -> Call {
    world.client.request(method, path).header("x-tenant", tenant)
}

async fn get(world: &World, tenant: &str, path: &str) -> Answer {
    by(world, tenant, Method::GET, path).send().await
}

async fn add(world: &World, tenant: &str, row: &Value) {
    by(world, tenant, Method::POST, "/v1/products").json(row).send().await.expect_status(201);
}

#[tokio::test]
async fn a_tenant_sees_its_own_rows_and_no_others() {
    let (_policies, world) = two_tenants(|config| config).await;
    let (acmes, bolts) = (world.product_on(0), world.product_on(1));
    for (own, other) in [("acme", "bolt"), ("bolt", "acme")] {
        let id = if own == "acme" { acmes } else { bolts };
        let path = format!("/v1/products/{id}");
        assert_eq!(get(&world, own, &path).await.ok().json()["id"], id);
        get(&world, other, &path).await.problem(404, "TG001");
        let change = json!({ "name": "taken" });
        by(&world, other, Method::PATCH, &path).json(&change).send().await.problem(404, "TG001");
        by(&world, other, Method::DELETE, &path).send().await.problem(404, "TG001");
        assert_eq!(get(&world, own, &path).await.ok().json()["name"], format!("Product {id}"));
        let shard = usize::from(own == "bolt");
        let list = get(&world, own, &format!("/v1/products?id=lte.{PRODUCTS}&select=id&order=id")).await.ok();
        let expected: Vec<i64> = world.shards.ids_on(shard).take_while(|id| *id <= PRODUCTS).collect();
        assert_eq!(list.column("id"), expected.iter().map(|id| json!(id)).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn rows_of_the_same_number_are_two_rows_in_the_database_and_in_the_cache() {
    let (_policies, world) = two_tenants(|config| config).await;
    let path = "/v1/products/1000";
    for tenant in ["acme", "bolt"] {
        add(&world, tenant, &json!({ "id": 1000, "name": tenant, "price": 1 })).await;
    }
    for tenant in ["acme", "bolt"] {
        let first = get(&world, tenant, path).await.ok();
        assert!(!first.is_hit(), "what {tenant} has not asked for is not there for it: {first}");
        let second = get(&world, tenant, path).await.ok();
        assert!(second.is_hit(), "{second}");
        assert_eq!((&first.json()["name"], &second.json()["name"]), (&json!(tenant), &json!(tenant)));
    }
    by(&world, "acme", Method::DELETE, path).send().await.expect_status(204);
    get(&world, "acme", path).await.problem(404, "TG001");
    assert_eq!(get(&world, "bolt", path).await.ok().json()["name"], "bolt");
}

#[tokio::test]
async fn whoever_is_no_tenant_is_turned_away() {
    let (_policies, world) = two_tenants(|config| config).await;
    let path = format!("/v1/products/{}", world.product_on(0));
    get(&world, "acme", &path).await.ok();
    for stranger in ["nobody", "Acme", "acme,bolt", "../acme", "*"] {
        get(&world, stranger, &path).await.problem(403, "TG016");
        get(&world, stranger, "/v1/products").await.problem(403, "TG016");
        by(&world, stranger, Method::PATCH, &path).json(&json!({ "stock": 1 })).send().await.problem(403, "TG016");
    }
    // The policy cannot say whose it is: that is no stranger, and nobody's default either.
    world.client.get(&path).await.problem(503, "TG005");
}

#[tokio::test]
async fn a_tenants_tags_do_not_purge_anothers_answers() {
    let (_policies, world) = two_tenants(|config| config).await;
    let path = "/v1/categories/3";
    for tenant in ["acme", "bolt"] {
        get(&world, tenant, path).await.ok();
        assert!(get(&world, tenant, path).await.ok().is_hit());
    }
    add(&world, "acme", &json!({ "id": 1001, "name": "new", "price": 1, "category_id": 3 })).await;
    assert!(!get(&world, "acme", path).await.ok().is_hit(), "its own is purged");
    assert!(get(&world, "bolt", path).await.ok().is_hit(), "the other's is not");
}

#[tokio::test]
async fn keys_of_callers_say_whose_they_are_and_wrong_ones_are_turned_away() {
    let keys = r#"{ sources = ["api-key", "header"], api_keys = { "k-1" = "acme" } }"#;
    let (_policies, world) = two_tenants(|config| config.set("policies.classify", "config", keys)).await;
    let path = format!("/v1/products/{}", world.product_on(0));
    let with_key = |key: &str| world.client.request(Method::GET, &path).header("x-api-key", key);
    with_key("k-1").send().await.ok();
    with_key("k-2").header("x-tenant", "acme").send().await.problem(503, "TG005");
    get(&world, "acme", &path).await.ok();
    let said = world.gateway.process.stderr.all();
    assert!(said.iter().all(|line| !line.contains("k-2")), "keys are in no log: {said:#?}");
}

/// Everywhere, so that both have the same rows.
fn everywhere(config: Config) -> Config {
    ["acme", "bolt"]
        .into_iter()
        .fold(config, |config, tenant| config.set(&format!("tenants.known.{tenant}"), "shards", r#"["a", "b"]"#))
}

#[tokio::test]
async fn purging_a_tenant_leaves_what_another_has_of_the_same_rows() {
    let (_policies, world) = two_tenants(everywhere).await;
    let paths = [
        format!("/v1/products/{}", world.product_on(0)),
        format!("/v1/products/{}", world.product_on(1)),
        "/v1/products?stock=eq.3&limit=9".to_owned(),
    ];
    for (tenant, path) in ["acme", "bolt"].into_iter().flat_map(|tenant| paths.iter().map(move |path| (tenant, path))) {
        until("it is kept", || async { get(&world, tenant, path).await.ok().is_hit().then_some(()) }).await;
    }
    let order = json!({ "tenants": ["acme"] });
    Operator::of(&world.gateway).purge(&order).send().await.expect_status(200);
    for path in &paths {
        assert!(!get(&world, "acme", path).await.ok().is_hit(), "{path}");
        assert!(get(&world, "bolt", path).await.ok().is_hit(), "{path}");
    }
}
