//! Routing policies: swapped under load, refused when broken, contained when they misbehave.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use http::Method;
use serde_json::{Value, json};
use tidegate_tests::{Answer, Config, Gateway, World, policies::PolicyDir, until};
use tokio::task::JoinSet;

/// The entry of the `route` hook in `GET /admin/plugins`.
async fn route_plugin(gateway: &Gateway) -> Value {
    let all = gateway.admin_json("/admin/plugins").await;
    let plugins = all["plugins"].as_array().expect("a list of plugins");
    let routes =
        |plugin: &&Value| plugin["hooks"].as_array().is_some_and(|all| all.iter().any(|h| h["hook"] == "route"));
    plugins.iter().find(routes).expect("the route hook").clone()
}

async fn routed_by(policies: &PolicyDir, plugin: &str) -> World {
    World::with(|config| config.route_by(policies.path(), plugin)).await
}

fn generation(plugin: &Value) -> u64 {
    plugin["generation"].as_u64().expect("a number")
}

/// Keeps reading and writing until told to stop; gives the number of requests and the failed ones.
fn load(world: &World, stop: &Arc<AtomicBool>) -> JoinSet<(u64, Vec<Answer>)> {
    let mut clients = JoinSet::new();
    let random_id = Arc::new(AtomicU64::new(1));
    for number in 0..8 {
        let (client, stop, next) = (world.gateway.client(), stop.clone(), random_id.clone());
        clients.spawn(async move {
            let (mut count, mut failed) = (0, Vec::new());
            while !stop.load(Ordering::Relaxed) {
                let path = format!("/v1/products/{}", next.fetch_add(7, Ordering::Relaxed) % 200 + 1);
                let answer = match number {
                    0 | 1 => client.patch(&path, &json!({ "stock": count })).send().await,
                    2 => client.get("/v1/products?limit=3").await,
                    _ => client.get(&path).await,
                };
                count += 1;
                if !matches!(answer.status, 200 | 204) {
                    failed.push(answer);
                }
            }
            (count, failed)
        });
    }
    clients
}

#[tokio::test(flavor = "multi_thread")]
async fn a_router_is_swapped_under_load_without_one_failed_request() {
    let policies = PolicyDir::with("hash-router", "router");
    let world = World::with(|config| config.route_by(policies.path(), "router").patient()).await;
    let before = route_plugin(&world.gateway).await;
    assert_eq!((&before["name"], &before["state"]), (&json!("router"), &json!("active")));
    assert_eq!(before["digest"].as_str().map(str::len), Some(64), "{before}");

    let stop = Arc::new(AtomicBool::new(false));
    let clients = load(&world, &stop);
    let mut last = before.clone();
    for swap in 0..6 {
        // All of them place rows alike: another Rust guest, one written in C, the first again.
        policies.put(["testing/hash-router-next", "hash-router-c", "hash-router"][swap % 3], "router");
        last = until("the new version is in use", || async {
            let now = route_plugin(&world.gateway).await;
            (now["digest"] != last["digest"]).then_some(now)
        })
        .await;
        assert_eq!(last["state"], "active", "{last}");
    }
    stop.store(true, Ordering::Relaxed);
    let mut requests = 0;
    for (count, failed) in clients.join_all().await {
        assert!(failed.is_empty(), "{} failed, the first: {}", failed.len(), failed[0]);
        requests += count;
    }
    assert!(requests > 200, "only {requests} requests");
    assert_eq!(generation(&last), generation(&before) + 6);
    assert_eq!(last["digest"], before["digest"], "back where it began");
}

#[tokio::test]
async fn a_broken_file_is_refused_and_the_old_version_stays() {
    let policies = PolicyDir::with("hash-router", "router");
    let world = routed_by(&policies, "router").await;
    let before = route_plugin(&world.gateway).await;
    let path = format!("/v1/products/{}", world.product_on(0));
    for (what, broken) in [
        ("text", b"this is not WebAssembly".to_vec()),
        ("a truncated module", b"\0asm\x01\0\0\0\x01".to_vec()),
        ("nothing", Vec::new()),
    ] {
        policies.put_bytes(&broken, "router");
        let now = until(&format!("{what} is refused"), || async {
            let now = route_plugin(&world.gateway).await;
            (now["state"] == "refused").then_some(now)
        })
        .await;
        assert_eq!((&now["digest"], &now["generation"]), (&before["digest"], &before["generation"]));
        assert!(!now["reason"].as_str().expect("a reason").is_empty());
        world.client.get(&path).await.ok();
        policies.put("hash-router", "router");
        until("the good file is taken", || async {
            (route_plugin(&world.gateway).await["state"] == "active").then_some(())
        })
        .await;
    }
    let refusals = world.gateway.process.stderr.all();
    assert!(refusals.iter().any(|line| line.contains("router") && line.contains("refused")), "{refusals:#?}");
}

#[tokio::test]
async fn plugins_that_may_not_serve_are_refused_with_the_reason() {
    let policies = PolicyDir::with("hash-router", "router");
    let world = routed_by(&policies, "router").await;
    for (source, reason) in
        [("testing/hash-router-moves", "allow_moves"), ("testing/no-route", "route"), ("testing/wasi-import", "wasi")]
    {
        policies.put(source, "router");
        let now = until(&format!("{source} is refused"), || async {
            let now = route_plugin(&world.gateway).await;
            now["refused_digest"].is_string().then_some(now).filter(|now| now["reason"].to_string().contains(reason))
        })
        .await;
        assert_eq!(now["state"], "refused", "{now}");
    }
    world.client.get(&format!("/v1/products/{}", world.product_on(1))).await.ok();
}

#[tokio::test]
async fn a_plugin_that_misbehaves_costs_its_own_requests_only() {
    let policies = PolicyDir::with("testing/faulty", "router");
    // Time for the guest to take all its memory, also on a busy machine.
    let timeout = |config: Config| config.set("policies", "call_timeout", "\"250ms\"");
    let mut world = World::with(|config| timeout(config.route_by(policies.path(), "router"))).await;
    let (id, other) = (world.product_on(0), world.product_on(1));
    let path = format!("/v1/products/{id}");
    for fault in ["trap", "loop", "hoard", "stack", "stray", "empty", "flood", "refuse"] {
        // Reads: the operator's fallback is the built-in hash, which finds the row.
        let read = world.client.request(Method::GET, &path).header("x-fault", fault).send().await;
        assert_eq!(read.ok().json()["id"], id, "{fault}");
        // Writes: no safe answer without the policy.
        let write = world.client.patch(&path, &json!({ "stock": 1 })).header("x-fault", fault).send().await;
        write.problem(503, "TG005");
        // Everybody else: as if nothing had happened.
        world.client.get(&format!("/v1/products/{other}")).await.ok();
        world.client.patch(&format!("/v1/products/{other}"), &json!({ "stock": 2 })).send().await.expect_status(204);
    }
    assert!(world.gateway.process.exit_status().is_none(), "the gateway lives");
    let plugin = route_plugin(&world.gateway).await;
    let errors = plugin["hooks"][0]["errors"].as_object().expect("counts by kind");
    for kind in ["trap", "deadline", "memory", "bad-answer", "policy-error"] {
        assert!(errors.get(kind).and_then(Value::as_u64) > Some(0), "{kind} is counted: {plugin}");
    }
    assert!(!plugin["hooks"][0]["last_error"].as_str().expect("the last error").is_empty());
}

#[tokio::test]
async fn the_operator_chooses_what_answers_reads_when_the_policy_fails() {
    for (fallback, status) in [("all-shards", 200), ("refuse", 503)] {
        let policies = PolicyDir::with("testing/faulty", "router");
        let set = format!("\"{fallback}\"");
        let world =
            World::with(|config| config.route_by(policies.path(), "router").set("policies.route", "fallback", &set))
                .await;
        for shard in 0..2 {
            let path = format!("/v1/products/{}", world.product_on(shard));
            let answer = world.client.request(Method::GET, &path).header("x-fault", "trap").send().await;
            assert_eq!(answer.status, status, "{fallback}: {answer}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_looping_plugin_does_not_slow_other_requests_under_load() {
    let policies = PolicyDir::with("testing/faulty", "router");
    let world = routed_by(&policies, "router").await;
    let stop = Arc::new(AtomicBool::new(false));
    let looping = {
        let (client, stop) = (world.gateway.client(), stop.clone());
        let path = format!("/v1/products/{}", world.product_on(0));
        tokio::spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                client.request(Method::GET, &path).header("x-fault", "loop").send().await.ok();
            }
        })
    };
    let path = format!("/v1/products/{}", world.product_on(1));
    let mut slowest = Duration::ZERO;
    for _ in 0..200 {
        let begun = std::time::Instant::now();
        world.client.get(&path).await.ok();
        slowest = slowest.max(begun.elapsed());
    }
    stop.store(true, Ordering::Relaxed);
    looping.await.expect("no failed request");
    // A call may take 10 ms, twice; two cores are shared with the databases and this test.
    assert!(slowest < Duration::from_secs(1), "a request took {slowest:?}");
}
