//! What an operator does: start, check, watch, stop.

use nix::sys::signal::Signal;
use serde_json::json;
use tidegate_tests::{Config, Shards, World, process::Process, schema, until};
use tokio::net::TcpStream;

#[tokio::test]
async fn sigterm_drains_before_the_end() {
    let mut world = World::with(|config| config.set("http", "drain_delay", "\"1500ms\"")).await;
    let id = world.product_on(0);
    let path = format!("/v1/products/{id}");
    let admin = world.gateway.admin_client();
    assert_eq!(admin.get("/ready").await.text().trim(), "ready");
    // A write that is held up past the delay: it must be answered all the same.
    let blocker = world.shards.connect(0).await;
    blocker.batch_execute("BEGIN; SELECT 1 FROM categories WHERE id = 7 FOR UPDATE").await.expect("the lock");
    let call = world.client.patch(&path, &json!({ "name": "drained", "category_id": 7 }));
    let write = tokio::spawn(async move { call.send().await });
    let waiting = "SELECT count(*)::text FROM pg_stat_activity WHERE wait_event_type = 'Lock'";
    until("the write waits", || async { (world.shards.text(0, waiting).await.as_deref() == Some("1")).then_some(()) })
        .await;

    world.gateway.signal(Signal::SIGTERM);
    until("it is not ready any more", || async { (admin.get("/ready").await.status == 503).then_some(()) }).await;
    assert_eq!(admin.get("/live").await.status, 200);
    world.gateway.client().get(&path).await.ok();
    let http = world.gateway.http();
    until("it accepts no new connection", || async { TcpStream::connect(http).await.err() }).await;
    assert!(world.gateway.process.exit_status().is_none(), "it waits for the write");
    blocker.batch_execute("ROLLBACK").await.expect("the lock goes");
    write.await.expect("no panic").expect_status(204);
    let status = world.gateway.process.ended().await;
    assert!(status.success(), "{status}");
    let name = world.shards.text(0, &format!("SELECT name FROM products WHERE id = {id}")).await;
    assert_eq!(name.as_deref(), Some("drained"));
}

#[tokio::test]
async fn the_operators_listener_shows_what_goes_on() {
    let world = World::start().await;
    let path = format!("/v1/products/{}", world.product_on(0));
    world.client.get(&path).await.ok();
    world.client.get(&path).await.ok();
    world.client.get("/v1/products?limit=1").await.ok();
    world.client.patch(&path, &json!({ "stock": 1 })).send().await.expect_status(204);
    let admin = world.gateway.admin_client();
    assert_eq!(admin.get("/live").await.ok().text().trim(), "live");
    let metrics = world.gateway.metrics().await;
    assert_eq!(metrics.sum("tidegate_cache_hits", &[]), 1);
    assert_eq!(metrics.sum("tidegate_cache_misses", &[]), 1);
    assert_eq!(metrics.sum("tidegate_writes", &[("outcome", "committed")]), 1);
    let text = admin.get("/metrics").await.ok().text();
    for metric in [
        "tidegate_cache_flights",
        "tidegate_http_request_duration_seconds",
        "tidegate_store_pool_wait_seconds",
        "tidegate_store_batch_keys",
        "tidegate_policy_decisions",
    ] {
        assert!(text.contains(metric), "{metric} is missing");
    }
    let shards = world.gateway.admin_json("/admin/shards").await;
    assert_eq!(shards["shards"].as_array().map(Vec::len), Some(2), "{shards}");
    let pools = world.gateway.admin_json("/admin/pools").await.to_string();
    for class in ["point", "scan", "write", "batch"] {
        assert!(pools.contains(class), "{pools}");
    }
    assert_eq!(admin.get("/nothing").await.status, 404);
    world.client.get("/metrics").await.problem(404, "PGRST125");
}

#[tokio::test]
async fn the_admin_token_is_asked_for_where_one_is_set() {
    let world = World::with(|config| config.set("admin", "token", "\"s3cret\"")).await;
    let admin = world.gateway.admin_client();
    for path in ["/live", "/ready", "/metrics"] {
        assert_eq!(admin.get(path).await.status, 200, "{path}");
    }
    assert_eq!(admin.get("/admin/shards").await.status, 401);
    let with =
        |token: &'static str| admin.request(http::Method::GET, "/admin/shards").header("authorization", token).send();
    assert_eq!(with("Bearer wrong").await.status, 401);
    assert_eq!(with("Bearer s3cret").await.status, 200);
    assert_eq!(world.gateway.process.stderr.count("s3cret"), 0, "never logged");
}

/// Runs `tidegate` to its end in a folder that has this configuration.
async fn run(config: &str, args: &[&str]) -> (bool, String) {
    let dir = tempfile::tempdir().expect("a folder");
    std::fs::write(dir.path().join("tidegate.toml"), config).expect("own folder");
    let mut process = Process::tidegate_in(dir.path(), args.iter().copied());
    let status = process.ended().await;
    (status.success(), process.whole_transcript().await)
}

const CHECK: [&str; 3] = ["check", "--config", "tidegate.toml"];

#[tokio::test]
async fn check_accepts_what_fits_and_names_what_does_not() {
    let shards = Shards::start(2).await;
    schema::create(&shards, 10).await;
    let good = schema::config(&shards);
    let (accepted, output) = run(&good.to_string(), &CHECK).await;
    assert!(accepted, "{output}");

    let wrong = |config: Config, expected: &'static [&'static str]| async move {
        let (accepted, output) = run(&config.to_string(), &CHECK).await;
        assert!(!accepted, "refused: {output}");
        for part in expected {
            assert!(output.contains(part), "{part:?} is not in: {output}");
        }
    };
    wrong(good.clone().set("collections.x", "table", "\"prodcts\""), &["prodcts"]).await;
    wrong(good.clone().set("collections.products", "key", "[\"name\"]"), &["products", "name", "id"]).await;
    wrong(good.clone().set("collections.products", "columns", "[\"id\", \"colour\"]"), &["colour"]).await;
    shards.execute(1, "ALTER TABLE profiles ALTER COLUMN email TYPE varchar(99)").await;
    wrong(good.clone(), &["profiles", "email", "b"]).await;
    shards.execute(1, "ALTER TABLE profiles ALTER COLUMN email TYPE text").await;
    shards.execute_all("CREATE TABLE keyless (x int)").await;
    wrong(good.clone().set("collections.keyless", "table", "\"keyless\""), &["keyless", "primary key"]).await;
    let nowhere = "\"postgres://tidegate@127.0.0.1:1/shop\"";
    wrong(good.set("shards.b", "primary", nowhere), &["b"]).await;
}

#[tokio::test]
async fn an_unknown_key_is_an_error_with_its_place_and_the_name_that_was_meant() {
    let shards = Shards::start(1).await;
    schema::create(&shards, 1).await;
    let config = schema::config(&shards).set("http", "max_conections", "5").to_string();
    let line = 1 + config.lines().position(|line| line.starts_with("max_conections")).expect("it is there");
    for command in ["check", "serve"] {
        let (accepted, output) = run(&config, &[command, "--config", "tidegate.toml"]).await;
        assert!(!accepted);
        let place = format!("tidegate.toml:{line}:1");
        for part in [place.as_str(), "max_conections", "did you mean `max_connections`?"] {
            assert!(output.contains(part), "{command}: {part:?} is not in: {output}");
        }
    }
}

#[tokio::test]
async fn init_writes_a_configuration_that_serves() {
    let shards = Shards::start(2).await;
    schema::create(&shards, 20).await;
    shards.execute_all("CREATE TABLE keyless (x int)").await;
    let dir = tempfile::tempdir().expect("a folder");
    let named: Vec<String> = shards.urls().map(|(name, url)| format!("{name}={url}")).collect();
    let args = ["init", "--shard", &named[0], "--shard", &named[1]];
    let mut init = Process::tidegate_in(dir.path(), args);
    let status = init.ended().await;
    assert!(status.success(), "{}", init.whole_transcript().await);
    let text = std::fs::read_to_string(dir.path().join("tidegate.toml")).expect("it has written the file");
    for table in ["products", "profiles", "carts", "categories"] {
        assert!(text.contains(&format!("[collections.{table}]")), "{text}");
    }
    assert!(text.contains("[collections.\"odd \\\" table\"]"), "{text}");
    assert!(text.contains("# it has no primary key") && !text.contains("\n[collections.keyless]"), "{text}");
    let mut again = Process::tidegate_in(dir.path(), args);
    assert!(!again.ended().await.success(), "it does not overwrite");

    let listeners = text.replace("127.0.0.1:8080", "127.0.0.1:0").replace("127.0.0.1:9090", "127.0.0.1:0");
    let gateway = tidegate_tests::Gateway::start_text(&listeners).await;
    gateway.client().get("/v1/products/7").await.ok();
    gateway.client().get("/v1/carts?limit=1").await.ok();
}

#[tokio::test]
async fn it_starts_without_one_of_its_shards_and_says_so() {
    let mut shards = Shards::start(2).await;
    schema::create(&shards, 50).await;
    let config = schema::config(&shards);
    shards.cluster_mut(1).stop().await;
    let world = World::over_config(shards, &config).await;
    world.client.get(&format!("/v1/products/{}", world.product_on(0))).await.ok();
    world.client.get(&format!("/v1/products/{}", world.product_on(1))).await.problem(503, "TG003");
}
