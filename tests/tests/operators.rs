//! What operators do to policies and the configuration while the gateway serves: no request fails, nothing happens
//! that was not ordered, and what was ordered lasts.

use serde_json::{Value, json};
use tidegate_tests::{
    Gateway, Load, Operator, Shards, Traffic, World,
    operator::{self, ACTOR},
    policies::{PolicyDir, guest},
    schema, until,
    world::PRODUCTS,
};

const PLUGIN: &str = "router";

async fn routed_by(policies: &PolicyDir) -> World {
    World::with(|config| config.route_by(policies.path(), PLUGIN).patient()).await
}

/// Every fifth request asks `testing/faulty`, wherever it is at work, to trap. It is a read, and reads fall back.
fn everybody() -> Traffic {
    Traffic::on(1..=PRODUCTS).spice("x-fault", "trap")
}

fn digest(version: &Value) -> &str {
    version["digest"].as_str().expect("a digest")
}

/// Waits until the report of the plugin is as it should be.
async fn reported(operator: &Operator, what: &str, condition: impl Fn(&Value) -> bool) -> Value {
    until(what, || async { Some(operator.plugin(PLUGIN).await).filter(&condition) }).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_of_orders_under_load_fails_no_request_and_survives_a_restart() {
    let policies = PolicyDir::with("hash-router", PLUGIN);
    let mut world = routed_by(&policies).await;
    let operator = Operator::of(&world.gateway);
    let first = operator.plugin(PLUGIN).await;
    let load = Load::start(&world.gateway, &everybody());

    differences_are_seen_in_shadow(&operator, &load).await;
    let promoted = a_good_candidate_is_promoted(&operator, &load, &first).await;
    a_bad_candidate_is_taken_back_by_itself(&world.gateway, &operator, &load, &promoted).await;

    let back = operator.done(PLUGIN, "rollback", json!({ "reason": "a try" })).await;
    assert_eq!(digest(&back), digest(&first));
    load.goes_on().await;
    load.end().await.flawless();

    let before = operator.plugin(PLUGIN).await;
    world.gateway = world.gateway.restart().await;
    let after = Operator::of(&world.gateway).plugin(PLUGIN).await;
    assert_eq!(digest(&after), digest(&first));
    assert_eq!(digest(&after["previous"]), digest(&promoted), "what was before is still there to go back to");
    assert_eq!(digest(&after["candidate"]), digest(&before["candidate"]));
    let (kept, known) = (after["history"].as_array().expect("a history"), before["history"].as_array().expect("one"));
    assert_eq!(kept[..known.len()], known[..], "nothing is forgotten");
    everybody().rounds(&world.gateway, 3).await.flawless();
    let forward = Operator::of(&world.gateway).done(PLUGIN, "rollback", json!({})).await;
    assert_eq!(digest(&forward), digest(&promoted));
}

async fn differences_are_seen_in_shadow(operator: &Operator, load: &Load) {
    let everywhere = json!({ "route": "every-shard" });
    let staged = operator.stage_with(PLUGIN, "testing/faulty", &everywhere).send().await.expect_status(201).json();
    assert_eq!(staged["candidate"]["stage"], "staged");
    operator.done(PLUGIN, "shadow", json!({})).await;
    load.goes_on().await;
    let differed = |plugin: &Value| plugin["candidate"]["comparison"]["route"]["differed"].as_u64() > Some(0);
    let plugin = reported(operator, "a difference shows", differed).await;
    let sample = &plugin["candidate"]["comparison"]["route"]["samples"][0];
    assert_eq!(sample["candidate"], json!({ "shards": ["a", "b"] }), "{sample}");
    assert_eq!(sample["active"]["shards"].as_array().map(Vec::len), Some(1), "{sample}");
    let id = sample["question"]["inputs"]["shard-key"].as_str().and_then(|id| id.parse::<i64>().ok());
    assert!(id.is_some_and(|id| (1..=PRODUCTS).contains(&id)), "{sample}");
}

async fn a_good_candidate_is_promoted(operator: &Operator, load: &Load, first: &Value) -> Value {
    operator.stage(PLUGIN, "testing/hash-router-next").send().await.expect_status(201);
    operator.done(PLUGIN, "shadow", json!({})).await;
    let agreed = |plugin: &Value| {
        let compared = &plugin["candidate"]["comparison"]["route"];
        compared["agreed"].as_u64() > Some(50) && compared["differed"] == 0 && compared["failed"] == 0
    };
    reported(operator, "the candidate agrees", agreed).await;
    let canary = operator.done(PLUGIN, "canary", json!({ "percent": 50 })).await;
    assert_eq!((&canary["candidate"]["stage"], &canary["candidate"]["percent"]), (&json!("canary"), &json!(50)));
    load.goes_on().await;
    let promoted = operator.done(PLUGIN, "promote", json!({ "reason": "agreed in shadow" })).await;
    assert_ne!(digest(&promoted), digest(first));
    assert_eq!((digest(&promoted["previous"]), &promoted["candidate"]), (digest(first), &Value::Null));
    let last = promoted["history"].as_array().and_then(|history| history.last()).expect("an event");
    assert_eq!((&last["actor"], &last["reason"]), (&json!(ACTOR), &json!("agreed in shadow")));
    load.goes_on().await;
    promoted
}

async fn a_bad_candidate_is_taken_back_by_itself(gateway: &Gateway, operator: &Operator, load: &Load, active: &Value) {
    operator.stage(PLUGIN, "testing/faulty").send().await.problem(409, "TG026");
    let faulty = operator.upload(PLUGIN, "?force=true", guest("testing/faulty"));
    faulty.send().await.expect_status(201);
    operator.done(PLUGIN, "canary", json!({ "percent": 50 })).await;
    let fell_back = |plugin: &Value| operator::actions(plugin).last() == Some(&"fall-back");
    let plugin = reported(operator, "the canary is taken back", fell_back).await;
    assert_eq!((digest(&plugin), &plugin["candidate"]["stage"]), (digest(active), &json!("staged")));
    let last = plugin["history"].as_array().and_then(|history| history.last()).expect("an event");
    assert_eq!(last["actor"], "the gateway");
    assert!(last["reason"].as_str().is_some_and(|why| why.contains("calls failed")), "{last}");
    assert_eq!(gateway.metrics().await.sum("tidegate_policy_fall_backs", &[]), 1);
    load.goes_on().await;
    let failed = operator::errors(&operator.plugin(PLUGIN).await["candidate"]);
    load.goes_on().await;
    assert_eq!(operator::errors(&operator.plugin(PLUGIN).await["candidate"]), failed, "it is not asked any more");
}

/// Rows of which `testing/one-in-ten-thousand` moves two.
const MANY: i64 = 20_500;

#[tokio::test(flavor = "multi_thread")]
async fn a_candidate_that_moves_one_row_in_ten_thousand_is_refused_until_its_moves_are_declared() {
    let policies = PolicyDir::with("hash-router", PLUGIN);
    let shards = Shards::start(2).await;
    schema::create(&shards, MANY).await;
    let config = |config: tidegate_tests::Config| {
        config.route_by(policies.path(), PLUGIN).patient().set("policies", "guard_keys", "20000")
    };
    let world = World::over(shards, config).await;
    let operator = Operator::of(&world.gateway);
    let before = operator.plugin(PLUGIN).await;
    for (source, count) in [("testing/hash-router-moves", None), ("testing/one-in-ten-thousand", Some("2 of "))] {
        operator.stage(PLUGIN, source).send().await.expect_status(201);
        for (step, words) in [("canary", json!({ "percent": 1 })), ("promote", json!({}))] {
            let refused = operator.order(PLUGIN, step, &words).send().await.problem(409, "TG024");
            let message = refused["message"].as_str().expect("text");
            assert!(message.contains("existing keys") && message.contains("is on"), "{message}");
            assert!(count.is_none_or(|count| message.contains(count) && message.contains("4321")), "{message}");
        }
        let now = operator.plugin(PLUGIN).await;
        assert_eq!((digest(&now), &now["generation"]), (digest(&before), &before["generation"]), "nothing changed");
    }
    let without_reason = operator.order(PLUGIN, "promote", &json!({ "allow_moves": true })).send().await;
    assert!(without_reason.problem(400, "TG027")["message"].to_string().contains("reason"));
    let some_tenants = json!({ "percent": 1, "allow_moves": true, "reason": "moved by hand at night" });
    let as_a_canary = operator.order(PLUGIN, "canary", &some_tenants).send().await.problem(400, "TG027");
    assert!(as_a_canary["message"].to_string().contains("for promote only"), "{as_a_canary}");

    let (moving, staying) = ("/v1/products/4321", "/v1/products/4322");
    world.client.get(moving).await.ok();
    assert!(world.client.get(moving).await.ok().is_hit());
    operator.done(PLUGIN, "promote", json!({ "allow_moves": true, "reason": "moved by hand at night" })).await;
    world.client.get(moving).await.problem(404, "TG001");
    world.client.get(staying).await.ok();
    let home = world.shards.shard_of(4321);
    world.shards.execute(1 - home, "INSERT INTO products (id, name, price) VALUES (4321, 'Moved', 1)").await;
    world.client.patch(moving, &json!({ "stock": 1 })).send().await.expect_status(204);
    assert_eq!(world.client.get(moving).await.ok().json()["name"], "Moved");
    let history = operator.plugin(PLUGIN).await["history"].to_string();
    assert!(history.contains("moved by hand at night"), "{history}");
    let back = operator.order(PLUGIN, "rollback", &json!({})).send().await.problem(409, "TG022");
    assert!(back["hint"].to_string().contains("move them back first"), "{back}");
    world.client.get(moving).await.ok();
}
