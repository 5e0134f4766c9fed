//! Another configuration while the gateway serves, and keys that plugins must be signed with.

use std::{fs, path::Path};

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;
use tidegate_tests::{
    Config, Gateway, Load, Operator, Shards, Traffic, World,
    policies::{PolicyDir, guest},
    process::Process,
    schema, until,
    world::PRODUCTS,
};

/// The value of a setting in effect.
async fn setting(gateway: &Gateway, key: &str) -> Value {
    let shown = gateway.admin_json("/admin/config").await;
    let settings = shown["settings"].as_array().expect("settings");
    settings.iter().find(|setting| setting["key"] == key).map_or(Value::Null, |setting| setting["value"].clone())
}

/// The seconds that an answer from the cache may be served on. A changed collection is not cached before the writes
/// that began with its old settings have ended.
async fn time_left(world: &World, path: &str) -> u64 {
    until("the row comes from the cache", || async {
        let answer = world.client.get(path).await.ok();
        answer.cache().strip_prefix("hit; ttl=").map(|ttl| ttl.parse().expect("seconds"))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_is_reloaded_under_load_without_one_failed_request() {
    let policies = PolicyDir::with("hash-router", "router");
    let shards = Shards::start(2).await;
    schema::create(&shards, PRODUCTS).await;
    let first = schema::config(&shards).route_by(policies.path(), "router").patient();
    let world = World::over_config(shards, &first).await;
    let operator = Operator::of(&world.gateway);
    let load = Load::start(&world.gateway, &Traffic::on(11..=PRODUCTS));
    world.client.get("/v1/categories/1").await.problem(404, "PGRST205");
    assert!(time_left(&world, "/v1/products/1").await > 40);

    let second = first.clone().set("collections.products", "ttl", "\"20s\"");
    let second = second.set("collections.categories", "table", "\"categories\"").set("cache", "l1_bytes", "\"300MiB\"");
    world.gateway.write_config(&second.to_string());
    load.goes_on().await;
    let report = operator.reload().send().await.ok().json();
    let told = |list: &str| report[list].to_string();
    assert!(told("changed").contains("collections.products.ttl"), "{report}");
    assert!(told("changed").contains("collections.categories"), "{report}");
    assert!(told("needs_restart").contains("cache.l1_bytes"), "{report}");
    world.client.get("/v1/categories/1").await.ok();
    assert!(time_left(&world, "/v1/products/2").await <= 20);
    load.goes_on().await;

    let third = second.set("collections.products", "ttl", "\"10s\"");
    world.gateway.write_config(&third.to_string());
    world.gateway.signal(Signal::SIGHUP);
    let shorter = || async { (setting(&world.gateway, "collections.products.ttl").await == "10s").then_some(()) };
    until("the reload by signal is done", shorter).await;
    assert!(time_left(&world, "/v1/products/3").await <= 10);
    load.goes_on().await;
    load.end().await.flawless();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_with_mistakes_changes_nothing_and_its_mistakes_are_told() {
    let shards = Shards::start(2).await;
    schema::create(&shards, PRODUCTS).await;
    let good = schema::config(&shards);
    let world = World::over_config(shards, &good).await;
    let operator = Operator::of(&world.gateway);
    let before = world.gateway.admin_json("/admin/config").await;
    let load = Load::start(&world.gateway, &Traffic::on(1..=PRODUCTS));

    let twice = good.clone().set("collections.products", "ttl", "\"soon\"").set("http", "listne", "1");
    world.gateway.write_config(&twice.to_string());
    let problem = operator.reload().send().await.problem(422, "TG029");
    let details = problem["details"].as_str().expect("every mistake");
    assert!(details.contains("collections.products.ttl") && details.contains("listne"), "{details}");
    assert!(details.lines().all(|line| line.contains("tidegate.toml:")), "each says where: {details}");

    // Well written, and not what the databases have. Its good part must not be taken either.
    let unfit = good.clone().set("collections.products", "ttl", "\"1s\"");
    let unfit = unfit.set("collections.ghosts", "table", "\"no_such_table\"");
    world.gateway.write_config(&unfit.to_string());
    let problem = operator.reload().send().await.problem(422, "TG029");
    assert!(problem["details"].to_string().contains("no_such_table"), "{problem}");
    world.gateway.signal(Signal::SIGHUP);
    until("the signal is refused with the reason in the log", || async {
        let lines = world.gateway.process.stderr.all();
        lines.into_iter().find(|line| line.contains("\"actor\":\"SIGHUP\"") && line.contains("no_such_table"))
    })
    .await;
    assert_eq!(world.gateway.admin_json("/admin/config").await, before);
    load.goes_on().await;
    load.end().await.flawless();
}

#[tokio::test(flavor = "multi_thread")]
async fn plugins_come_with_the_configuration_all_of_them_or_none() {
    let policies = PolicyDir::of(&[("hash-router", "router"), ("ttl-policy", "ttl"), ("testing/no-route", "wrong")]);
    let shards = Shards::start(2).await;
    schema::create(&shards, PRODUCTS).await;
    let first = schema::config(&shards).route_by(policies.path(), "router").patient();
    let world = World::over_config(shards, &first).await;
    let operator = Operator::of(&world.gateway);
    let load = Load::start(&world.gateway, &Traffic::on(11..=PRODUCTS));
    let short = "{ default_ttl_ms = 5000 }";
    let with_ttl = first.hook(policies.path(), "cache-policy", "ttl").set("policies.cache-policy", "config", short);

    let wrong = with_ttl.clone().hook(policies.path(), "route", "wrong");
    world.gateway.write_config(&wrong.to_string());
    let problem = operator.reload().send().await.problem(422, "TG029");
    assert!(problem["message"].to_string().contains("route"), "{problem}");
    assert!(time_left(&world, "/v1/products/1").await > 40, "the ttl policy was not taken either");

    world.gateway.write_config(&with_ttl.to_string());
    operator.reload().send().await.ok();
    assert!(time_left(&world, "/v1/products/2").await <= 5);
    assert_eq!(operator.plugin("ttl").await["state"], "active");
    load.goes_on().await;
    load.end().await.flawless();
}

/// A key pair made by the binary: the file of the private half, and the public half.
async fn key(dir: &TempDir, name: &str) -> (String, String) {
    let file = dir.path().join(name).display().to_string();
    let mut process = Process::tidegate(["plugin", "keygen", "--out", &file]);
    assert!(process.ended().await.success(), "{}", process.transcript(20));
    let said = process.whole_transcript().await;
    let public = said.split('"').find(|part| part.starts_with("ed25519:")).expect("the public key").to_owned();
    (file, public)
}

/// The signature of a file, made by the binary beside it.
async fn signature(key: &str, file: &Path) -> String {
    let mut process = Process::tidegate(["plugin", "sign", "--key", key, file.to_str().expect("a plain name")]);
    assert!(process.ended().await.success(), "{}", process.transcript(20));
    fs::read_to_string(file.with_extension("wasm.sig")).expect("the signature").trim().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn with_trusted_keys_only_what_they_signed_comes_into_use() {
    let keys = tempfile::tempdir().expect("a folder");
    let ((own, trusted), (foreign, _)) = (key(&keys, "own").await, key(&keys, "foreign").await);
    let policies = PolicyDir::with("hash-router", "router");
    let trusting = |config: Config| {
        config.route_by(policies.path(), "router").patient().set("policies", "trusted_keys", &format!("[{trusted:?}]"))
    };
    let shards = Shards::start(2).await;
    schema::create(&shards, PRODUCTS).await;
    Gateway::refused(&trusting(schema::config(&shards)).to_string(), "not signed").await;

    signature(&own, &policies.file("router")).await;
    let world = World::over(shards, trusting).await;
    let operator = Operator::of(&world.gateway);
    let next = keys.path().join("next.wasm");
    fs::write(&next, guest("testing/hash-router-next")).expect("own folder");
    let by_stranger = signature(&foreign, &next).await;
    let by_us = signature(&own, &next).await;
    let upload = || operator.stage("router", "testing/hash-router-next");
    upload().send().await.problem(403, "TG025");
    upload().header("tidegate-signature", &by_stranger).send().await.problem(403, "TG025");
    let other_bytes = operator.stage("router", "testing/faulty").header("tidegate-signature", &by_us);
    other_bytes.send().await.problem(403, "TG025");
    upload().header("tidegate-signature", &by_us).send().await.expect_status(201);
    let promoted = operator.done("router", "promote", json!({})).await;
    assert_eq!(promoted["title"], "hash-router-next");

    // What comes by the folder needs one, too.
    policies.put("hash-router-c", "router");
    until("the unsigned file is refused", || async {
        (operator.plugin("router").await["state"] == "refused").then_some(())
    })
    .await;
    Traffic::on(1..=PRODUCTS).rounds(&world.gateway, 1).await.flawless();
}
