//! What is changed past the gateway is seen through it, and nothing else is forgotten for that.

use serde_json::json;
use tidegate_tests::{
    Client, Config, Gateway, Shards, World, free_port,
    gateways::Gateways,
    process::Process,
    proxy::{Proxy, Weather},
    schema, until,
};

fn following(config: Config) -> Config {
    config.set("feed", "enabled", "true").set("feed", "schema_interval", "\"200ms\"")
}

/// A world whose gateway reads both shards' logs.
async fn world(change: impl FnOnce(Config) -> Config) -> World {
    let world = World::with(|config| change(following(config))).await;
    reading(&world, 2).await;
    world
}

async fn reading(world: &World, shards: u64) {
    until("the feeds are read", || async {
        (world.gateway.metrics().await.sum("tidegate_feed_reading", &[]) == shards).then_some(())
    })
    .await;
    told(world).await;
}

/// Waits until everything that was committed before the call was obeyed.
async fn told(world: &World) {
    for shard in ["a", "b"] {
        let beats = || async { world.gateway.metrics().await.sum("tidegate_feed_heartbeats", &[("shard", shard)]) };
        let before = beats().await;
        // One may have been under way.
        until("heartbeats come back", || async { (beats().await > before + 2).then_some(()) }).await;
    }
}

async fn warm(world: &World, path: &str) {
    until("it is kept", || async { world.client.get(path).await.ok().is_hit().then_some(()) }).await;
}

#[tokio::test]
async fn a_change_made_outside_is_seen_and_other_rows_stay_kept() {
    let world = world(|config| config).await;
    let (id, other) = (world.product_on(0), world.nth_product_on(0, 1));
    let (path, untouched) = (format!("/v1/products/{id}"), format!("/v1/products/{other}"));
    warm(&world, &path).await;
    warm(&world, &untouched).await;
    let outside = world.shards.connect(0).await;
    for round in 0..20 {
        let name = format!("outside {round}");
        outside.execute("UPDATE products SET name = $1 WHERE id = $2", &[&name, &id]).await.expect("updated");
        until("the change is seen", || async {
            (world.client.get(&path).await.ok().json()["name"] == name.as_str()).then_some(())
        })
        .await;
        warm(&world, &path).await;
    }
    assert!(world.client.get(&untouched).await.ok().is_hit(), "nobody changed it");
    outside.execute("DELETE FROM products WHERE id = $1", &[&id]).await.expect("deleted");
    until("it is gone", || async { (world.client.get(&path).await.status == 404).then_some(()) }).await;
    outside.batch_execute("TRUNCATE products CASCADE").await.expect("truncated");
    until("all are gone", || async { (world.client.get(&untouched).await.status == 404).then_some(()) }).await;
}

#[tokio::test]
async fn a_write_through_the_gateway_does_not_forget_what_was_read_after_it() {
    const ROUNDS: u64 = 10;
    let world = world(|config| config).await;
    let path = format!("/v1/products/{}", world.product_on(0));
    let raises = || async { world.gateway.metrics().await.sum("tidegate_cache_floor_raises", &[]) };
    let before = raises().await;
    for round in 0..ROUNDS {
        world.client.patch(&path, &json!({ "name": format!("own {round}") })).send().await.expect_status(204);
        assert_eq!(world.client.get(&path).await.ok().json()["name"], format!("own {round}"));
        warm(&world, &path).await;
        told(&world).await;
        assert!(world.client.get(&path).await.ok().is_hit(), "round {round}");
    }
    // Its row and its lists, once: the feed told of each write again, sooner or later than it was read, in vain.
    assert_eq!(raises().await - before, 2 * ROUNDS);
}

#[tokio::test]
async fn a_row_that_changes_its_key_is_gone_from_the_old_and_found_under_the_new() {
    let world = world(|config| config).await;
    let shard = world.shards.shard_of(1);
    let fresh = world.shards.ids_on(shard).find(|id| *id > 10_000).expect("numbers do not end");
    let (old, new) = ("/v1/products/1".to_owned(), format!("/v1/products/{fresh}"));
    warm(&world, &old).await;
    assert_eq!(world.client.get(&new).await.status, 404);
    assert_eq!(world.client.get(&new).await.status, 404, "known to be absent");
    world.shards.execute(shard, &format!("UPDATE products SET id = {fresh} WHERE id = 1")).await;
    until("the old key is gone", || async { (world.client.get(&old).await.status == 404).then_some(()) }).await;
    until("the new key is there", || async { (world.client.get(&new).await.status == 200).then_some(()) }).await;
}

#[tokio::test]
async fn altered_tables_and_lost_slots_void_what_is_kept() {
    let world = world(|config| config).await;
    let (here, there) =
        (format!("/v1/products/{}", world.product_on(0)), format!("/v1/products/{}", world.product_on(1)));
    let flushes = |reason: &'static str| {
        let world = &world;
        async move { world.gateway.metrics().await.sum("tidegate_feed_flushes", &[("shard", "a"), ("reason", reason)]) }
    };
    warm(&world, &here).await;
    warm(&world, &there).await;
    world.shards.execute(0, "ALTER TABLE products ENABLE ROW LEVEL SECURITY").await;
    until("the shard is flushed", || async { (flushes("schema").await == 1).then_some(()) }).await;
    // It is counted before it is obeyed. The row's own time would be over much later.
    until("what was kept is void", || async { (!world.client.get(&here).await.ok().is_hit()).then_some(()) }).await;
    assert!(world.client.get(&there).await.ok().is_hit(), "the other shard's tables are what they were");

    warm(&world, &here).await;
    let began = flushes("began").await;
    let id = world.product_on(0);
    let outside = world.shards.connect(0).await;
    until("the slot is dropped", || async {
        outside
            .batch_execute("SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE active")
            .await
            .ok()?;
        let drop = "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE NOT active";
        matches!(outside.execute(drop, &[]).await, Ok(1)).then_some(())
    })
    .await;
    outside.execute("UPDATE products SET name = 'missed' WHERE id = $1", &[&id]).await.expect("updated");
    until("the shard is flushed", || async { (flushes("began").await > began).then_some(()) }).await;
    until("the change is seen", || async {
        (world.client.get(&here).await.ok().json()["name"] == "missed").then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_server_that_restarts_is_followed_again() {
    let mut world = world(|config| config).await;
    let id = world.product_on(0);
    let path = format!("/v1/products/{id}");
    warm(&world, &path).await;
    world.shards.cluster_mut(0).restart().await.expect("restarts");
    world.shards.execute(0, &format!("UPDATE products SET name = 'after' WHERE id = {id}")).await;
    until("the change is seen", || async {
        let answer = world.client.get(&path).await;
        (answer.status == 200 && answer.json()["name"] == "after").then_some(())
    })
    .await;
    reading(&world, 2).await;
}

#[tokio::test]
async fn a_collection_that_comes_by_a_reload_is_followed() {
    let world = world(|config| config).await;
    let config = following(schema::config(&world.shards));
    world.shards.execute_all("CREATE TABLE public.later (id int PRIMARY KEY, name text)").await;
    let shard = world.shards.shard_of(1);
    world.shards.execute(shard, "INSERT INTO public.later VALUES (1, 'old')").await;
    world.gateway.write_config(&config.set("collections.later", "table", "\"later\"").to_string());
    world.gateway.signal(nix::sys::signal::Signal::SIGHUP);
    until("it is served", || async { (world.client.get("/v1/later/1").await.status == 200).then_some(()) }).await;
    warm(&world, "/v1/later/1").await;
    world.shards.execute(shard, "UPDATE public.later SET name = 'new'").await;
    until("the change is seen", || async {
        (world.client.get("/v1/later/1").await.ok().json()["name"] == "new").then_some(())
    })
    .await;
}

/// Lists of categories 3, 4 and 5, and a row that nobody changes.
const TRACKED: [&str; 4] = [
    "/v1/products?select=id&category_id=eq.3",
    "/v1/products?select=id&category_id=eq.4",
    "/v1/products?select=id&category_id=eq.5",
    "/v1/products/9",
];

fn tracking(config: Config) -> Config {
    config.set("collections.products", "track", "\"category_id\"")
}

/// Runs a statement past the gateway on the product's shard, and tells which of [`TRACKED`] ended with it.
async fn ended(world: &World, id: i64, sql: &str) -> [bool; 4] {
    for path in TRACKED {
        warm(world, path).await;
    }
    world.shards.execute(world.shards.shard_of(id), sql).await;
    told(world).await;
    let mut ended = [false; 4];
    for (path, ended) in TRACKED.into_iter().zip(&mut ended) {
        *ended = !world.client.get(path).await.is_hit();
    }
    ended
}

#[tokio::test]
async fn a_change_made_outside_ends_the_tracked_lists_of_its_values_where_the_log_has_the_old_ones() {
    let world = world(tracking).await;
    world.shards.execute_all("ALTER TABLE products REPLICA IDENTITY FULL").await;
    let flushed = || async { world.gateway.metrics().await.sum("tidegate_feed_flushes", &[("reason", "schema")]) };
    until("the altered tables are noticed", || async { (flushed().await == 2).then_some(()) }).await;
    // And the flush that was counted is obeyed.
    told(&world).await;
    assert_eq!(ended(&world, 2, "UPDATE products SET price = 1 WHERE id = 2").await, [true, false, false, false]);
    assert_eq!(ended(&world, 2, "UPDATE products SET category_id = 4 WHERE id = 2").await, [true, true, false, false]);
    assert_eq!(ended(&world, 2, "UPDATE products SET category_id = 9 WHERE id = 2").await, [false, true, false, false]);
    assert_eq!(ended(&world, 4, "DELETE FROM products WHERE id = 4").await, [false, false, true, false]);
    let insert = "INSERT INTO products (id, name, price, category_id) VALUES (4, 'again', 1, 3)";
    assert_eq!(ended(&world, 4, insert).await, [true, false, false, false]);
    assert_eq!(ended(&world, 9, "TRUNCATE products CASCADE").await[..3], [true; 3]);
}

#[tokio::test]
async fn where_the_log_has_no_old_values_a_change_made_outside_ends_the_lists_of_every_value_and_no_row() {
    let world = world(tracking).await;
    assert_eq!(ended(&world, 2, "UPDATE products SET category_id = 4 WHERE id = 2").await, [true, true, true, false]);
    assert_eq!(ended(&world, 4, "DELETE FROM products WHERE id = 4").await, [true, true, true, false]);
    let insert = "INSERT INTO products (id, name, price, category_id) VALUES (4, 'again', 1, 3)";
    assert_eq!(ended(&world, 4, insert).await, [true, false, false, false], "it had none");
    for path in TRACKED {
        warm(&world, path).await;
    }
    // What the log does not tell of an own write was known.
    world.client.patch("/v1/products/2", &json!({ "category_id": 3 })).send().await.expect_status(204);
    warm(&world, TRACKED[0]).await;
    told(&world).await;
    for (path, hit) in TRACKED.into_iter().zip([true, false, true, true]) {
        assert_eq!(world.client.get(path).await.ok().is_hit(), hit, "{path}");
    }
}

#[tokio::test]
async fn columns_that_come_and_go_are_served_so_once_every_shard_agrees() {
    let world = world(|config| config).await;
    let path = format!("/v1/products/{}", world.product_on(0));
    let row = || async {
        let answer = world.client.get(&path).await;
        (answer.status == 200).then(|| answer.json())
    };
    world.shards.execute(0, "ALTER TABLE products ADD COLUMN colour text NOT NULL DEFAULT 'red'").await;
    until("it is refused while one shard differs", || async {
        world.gateway.process.transcript(50).contains("cannot be served as they are now").then_some(())
    })
    .await;
    let before = row().await.expect("what was served before is");
    assert!(before["colour"].is_null() && before["name"].is_string(), "{before}");
    world.shards.execute(1, "ALTER TABLE products ADD COLUMN colour text NOT NULL DEFAULT 'red'").await;
    until("the column is served", || async { (row().await?["colour"] == "red").then_some(()) }).await;
    world.client.patch(&path, &json!({ "colour": "blue" })).send().await.expect_status(204);
    assert_eq!(row().await.expect("served")["colour"], "blue");
    world.shards.execute_all("ALTER TABLE products DROP COLUMN colour").await;
    until("it is gone", || async { row().await?["colour"].is_null().then_some(()) }).await;
}

#[tokio::test]
async fn check_says_what_the_feed_needs() {
    let shards = Shards::start_with(1, tidegate_tests::shards::StatementLog::Off, &[("max_wal_senders", "3")]).await;
    schema::create(&shards, 10).await;
    shards.execute(0, "ALTER TABLE products REPLICA IDENTITY NOTHING; CREATE ROLE app LOGIN").await;
    let dir = tempfile::Builder::new().prefix("tidegate-feed-check-").tempdir().expect("a temporary folder");
    let check = async |config: Config| {
        std::fs::write(dir.path().join("tidegate.toml"), config.to_string()).expect("own folder");
        let mut process = Process::tidegate_in(dir.path(), ["check", "--config", "tidegate.toml"]);
        let status = process.ended().await;
        (status.success(), process.whole_transcript().await)
    };
    let (fine, said) = check(following(schema::config(&shards))).await;
    assert!(!fine && said.contains("ALTER TABLE public.products REPLICA IDENTITY DEFAULT"), "{said}");
    assert!(said.contains("wal_level is logical") && said.contains("3 of 4 table(s) can be followed"), "{said}");
    assert!(said.contains("max_slot_wal_keep_size is not set"), "{said}");
    shards.execute(0, "ALTER TABLE products REPLICA IDENTITY DEFAULT").await;
    let (fine, said) = check(following(schema::config(&shards))).await;
    assert!(fine && !said.contains("REPLICA IDENTITY FULL"), "{said}");
    let (fine, said) = check(tracking(following(schema::config(&shards)))).await;
    assert!(fine && said.contains("public.products: what category_id held before"), "{said}");
    assert!(
        said.contains("voids the lists of every value. ALTER TABLE public.products REPLICA IDENTITY FULL"),
        "{said}"
    );
    shards.execute(0, "ALTER TABLE products REPLICA IDENTITY FULL").await;
    let (fine, said) = check(tracking(following(schema::config(&shards)))).await;
    assert!(fine && !said.contains("REPLICA IDENTITY FULL"), "{said}");
    let url = shards.urls().next().expect("a shard").1.replace("tidegate@", "app@");
    let (fine, said) =
        check(following(schema::config(&shards)).set("shards.a", "primary", &format!("\"{url}\""))).await;
    assert!(!fine && said.contains("ALTER ROLE app REPLICATION"), "{said}");
    assert!(said.contains("there is no publication tidegate and app may not make it"), "{said}");
}

#[tokio::test]
async fn one_gateway_reads_and_all_see_what_changes() {
    let gateways = Gateways::with(3, following).await;
    let everyone = [0, 1, 2];
    let id = gateways.shards.ids_on(0).next().expect("numbers do not end");
    let path = format!("/v1/products/{id}");
    let clients: Vec<Client> = gateways.all.iter().map(Gateway::client).collect();
    until("each shard is read by one", || async {
        (gateways.sum(&everyone, "tidegate_feed_reading", &[]).await == 2).then_some(())
    })
    .await;
    gateways.followed().await;
    let outside = gateways.shards.connect(0).await;
    for round in 0..10 {
        for client in &clients {
            until("it is kept", || async { client.get(&path).await.ok().is_hit().then_some(()) }).await;
        }
        let name = format!("outside {round}");
        outside.execute("UPDATE products SET name = $1 WHERE id = $2", &[&name, &id]).await.expect("updated");
        for client in &clients {
            until("the change is seen", || async {
                (client.get(&path).await.ok().json()["name"] == name.as_str()).then_some(())
            })
            .await;
        }
    }
}

#[tokio::test]
async fn another_gateway_reads_when_the_one_that_did_is_gone() {
    let mut gateways = Gateways::with(2, following).await;
    let id = gateways.shards.ids_on(0).next().expect("numbers do not end");
    let path = format!("/v1/products/{id}");
    let reads = [("shard", "a")];
    until("one reads", || async { (gateways.sum(&[0, 1], "tidegate_feed_reading", &reads).await == 1).then_some(()) })
        .await;
    let reader = usize::from(gateways.sum(&[1], "tidegate_feed_reading", &reads).await == 1);
    gateways.signal(reader, nix::sys::signal::Signal::SIGKILL);
    gateways.all.swap_remove(reader);
    until("the other reads", || async {
        (gateways.sum(&[0], "tidegate_feed_reading", &reads).await == 1).then_some(())
    })
    .await;
    let client = gateways.all[0].client();
    until("it is kept", || async { client.get(&path).await.ok().is_hit().then_some(()) }).await;
    gateways.shards.execute(0, &format!("UPDATE products SET name = 'outside' WHERE id = {id}")).await;
    until("the change is seen", || async { (client.get(&path).await.ok().json()["name"] == "outside").then_some(()) })
        .await;
}

#[tokio::test]
async fn a_gap_in_what_another_gateway_hands_on_voids_what_is_kept() {
    let mut gateways = Gateways::with(1, following).await;
    // The first reads both shards, so the second depends on what it is told.
    until("the first reads", || async { (gateways.sum(&[0], "tidegate_feed_reading", &[]).await == 2).then_some(()) })
        .await;
    let port = free_port();
    let between = Proxy::start(([127, 0, 0, 1], port).into()).await;
    let config = following(Gateways::config(&gateways.shards))
        .set("cluster", "listen", &format!("\"127.0.0.1:{port}\""))
        .set("cluster", "advertise", &format!("\"{}\"", between.address()));
    gateways.all.push(Gateway::start(&config).await);
    gateways.joined(0).await;
    gateways.followed().await;
    let id = gateways.shards.ids_on(0).next().expect("numbers do not end");
    let path = format!("/v1/products/{id}");
    let clients: Vec<Client> = gateways.all.iter().map(Gateway::client).collect();
    for client in &clients {
        until("it is kept", || async { client.get(&path).await.ok().is_hit().then_some(()) }).await;
    }
    let flushes = || gateways.sum(&[1], "tidegate_feed_flushes", &[("shard", "a"), ("reason", "relay")]);
    let before = flushes().await;
    between.set(Weather::Refused);
    between.reset();
    gateways.shards.execute(0, &format!("UPDATE products SET name = 'untold' WHERE id = {id}")).await;
    until("the first has heard of it", || async {
        (clients[0].get(&path).await.ok().json()["name"] == "untold").then_some(())
    })
    .await;
    let beats = || gateways.sum(&[0], "tidegate_feed_heartbeats", &[("shard", "a")]);
    let heard = beats().await;
    until("it has handed on what came after, in vain", || async { (beats().await > heard + 2).then_some(()) }).await;
    let missed = clients[1].get(&path).await.ok();
    assert!(missed.is_hit() && missed.json()["name"] != "untold", "nobody told the second: {missed}");
    assert_eq!(flushes().await, before, "it does not know yet");
    between.set(Weather::Fair);
    until("the next number shows the gap", || async { (flushes().await > before).then_some(()) }).await;
    until("the second has seen the change", || async {
        (clients[1].get(&path).await.ok().json()["name"] == "untold").then_some(())
    })
    .await;
}

/// Holds a commit up after the floors rose: `products.category_id` is checked at COMMIT.
async fn hold_category(gateways: &Gateways, category: i32) -> tokio_postgres::Client {
    let holder = gateways.shards.connect(0).await;
    let lock = format!("BEGIN; SELECT 1 FROM categories WHERE id = {category} FOR UPDATE");
    holder.batch_execute(&lock).await.expect("the lock");
    holder
}

async fn all_read(clients: &[Client], path: &str, name: &str) {
    for client in clients {
        assert_eq!(client.get(path).await.ok().json()["name"], name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_writers_on_two_gateways_and_one_out_of_band() {
    let gateways = Gateways::with(3, following).await;
    gateways.followed().await;
    let id = gateways.shards.ids_on(0).find(|id| ![7, 8].contains(&(id % 10))).expect("numbers do not end");
    let path = format!("/v1/products/{id}");
    let clients: Vec<Client> = gateways.all.iter().map(Gateway::client).collect();
    let everywhere = async |name: &str| all_read(&clients, &path, name).await;
    let waiting = async |many: i64| {
        // Gateways that have just started may wait for each other's tables too.
        let sql =
            "SELECT count(*)::text FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%products%'";
        until("they wait", || async { (gateways.shards.text(0, sql).await? == many.to_string()).then_some(()) }).await;
    };
    let write = |gateway: usize, change: serde_json::Value| {
        let call = clients[gateway].patch(&path, &change);
        tokio::spawn(async move { call.send().await.expect_status(204) })
    };
    let outside = gateways.shards.connect(0).await;
    let update = async |name: &str| {
        let sql = "UPDATE products SET name = $1 WHERE id = $2";
        outside.execute(sql, &[&name, &id]).await.expect("updated");
    };
    for round in 0..5 {
        for client in &clients {
            until("it is kept", || async { client.get(&path).await.ok().is_hit().then_some(()) }).await;
        }
        let old = clients[0].get(&path).await.ok().json()["name"].as_str().expect("a name").to_owned();
        let [past, one, other] = ["outside", "one", "other"].map(|who| format!("{who} {round}"));
        // The one from outside changes the row and does not commit; both writers wait for it, and whoever has the row
        // next waits in its COMMIT too: PostgreSQL does not promise that it is the one who waited longer.
        let category = [8, 9][round % 2];
        outside.batch_execute("BEGIN").await.expect("BEGIN");
        update(&past).await;
        let holder = hold_category(&gateways, category).await;
        let mut first = write(0, json!({ "name": one, "category_id": category }));
        waiting(1).await;
        let mut second = write(1, json!({ "name": other, "category_id": category }));
        waiting(2).await;
        everywhere(&old).await;
        outside.batch_execute("COMMIT").await.expect("COMMIT");
        // Now one of them has the row, has raised its floors everywhere, and waits in its COMMIT: what was committed
        // from outside is seen at once, what it writes by nobody.
        for client in &clients {
            until("its floors are raised", || async {
                let read = client.get(&path).await.ok();
                read.cache().contains("detail=floor").then_some(())
            })
            .await;
        }
        everywhere(&past).await;
        holder.batch_execute("COMMIT").await.expect("the lock goes");
        let slower = tokio::select! {
            written = &mut first => written.map(|_| second),
            written = &mut second => written.map(|_| first),
        };
        for client in &clients {
            let name = client.get(&path).await.ok().json()["name"].clone();
            assert!(name == one.as_str() || name == other.as_str(), "{name} after one of both was acknowledged");
        }
        slower.expect("written").await.expect("written");
        let sql = format!("SELECT name FROM products WHERE id = {id}");
        let last = gateways.shards.text(0, &sql).await.expect("a name");
        assert!(last == one || last == other, "{last}");
        everywhere(&last).await;
        // Again from outside: each gateway sees it when it is told, and none goes back.
        update(&format!("{past} again")).await;
        for client in &clients {
            until("the change is seen", || async {
                (client.get(&path).await.ok().json()["name"] == format!("{past} again")).then_some(())
            })
            .await;
        }
        everywhere(&format!("{past} again")).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_log_does_not_tell_of_a_write_was_known_to_the_gateway_that_made_it() {
    let gateways = Gateways::with(2, |config| tracking(following(config))).await;
    until("each shard is read by one", || async {
        (gateways.sum(&[0, 1], "tidegate_feed_reading", &[]).await == 2).then_some(())
    })
    .await;
    let clients: Vec<Client> = gateways.all.iter().map(Gateway::client).collect();
    let keep = |path: &'static str| {
        let clients = &clients;
        async move {
            for client in clients {
                until("it is kept", || async { client.get(path).await.ok().is_hit().then_some(()) }).await;
            }
        }
    };
    let shard = if gateways.shards.shard_of(2) == 0 { "a" } else { "b" };
    let beats = || async { gateways.sum(&[0, 1], "tidegate_feed_heartbeats", &[("shard", shard)]).await };
    for (writer, category) in [(0, 4), (1, 3), (0, 4), (1, 3)] {
        for path in TRACKED {
            keep(path).await;
        }
        let moved = clients[writer].patch("/v1/products/2", &json!({ "category_id": category })).send().await;
        moved.expect_status(204);
        for client in &clients {
            assert!(!client.get(TRACKED[0]).await.ok().is_hit() && !client.get(TRACKED[1]).await.ok().is_hit());
        }
        let before = beats().await;
        // Two gateways send them, each may have one under way, and what the one reads comes to the other later.
        until("the log told of it", || async { (beats().await > before + 6).then_some(()) }).await;
        keep(TRACKED[0]).await;
        for client in &clients {
            assert!(client.get(TRACKED[2]).await.ok().is_hit(), "written by {writer}");
        }
    }
}
