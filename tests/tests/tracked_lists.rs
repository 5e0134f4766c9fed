//! Lists that are told apart by the value of a tracked column: which writes end which of them.

use serde_json::{Value, json};
use tidegate_tests::{Operator, Shards, World, client::Call, schema, until, world::PRODUCTS};

fn ids(answer: &tidegate_tests::Answer) -> Vec<i64> {
    answer.column("id").iter().map(|id| id.as_i64().expect("a number")).collect()
}

/// A world whose lists of products are told apart by category and note.
async fn tracking(shards: Shards) -> World {
    schema::create(&shards, PRODUCTS).await;
    World::over(shards, |config| config.set("collections.products", "track", "[\"category_id\", \"note\"]")).await
}

/// Answers that are kept.
struct Kept<'a> {
    world: &'a World,
    paths: Vec<String>,
}

impl<'a> Kept<'a> {
    /// Asks for lists of products until they are kept.
    async fn lists(world: &'a World, filters: &[&str]) -> Self {
        Self::paths(world, filters.iter().map(|filter| format!("/v1/products?select=id&{filter}")).collect()).await
    }

    async fn paths(world: &'a World, paths: Vec<String>) -> Self {
        let kept = Self { world, paths };
        kept.again().await;
        kept
    }

    async fn again(&self) {
        for path in &self.paths {
            until("it is kept", || async { self.world.client.get(path).await.ok().is_hit().then_some(()) }).await;
        }
    }

    /// Does a write, and tells which of the answers ended with it; then all are kept again.
    async fn after(&self, write: Call) -> Vec<bool> {
        let written = write.send().await;
        assert!(written.status < 300, "{written}");
        self.ended().await
    }

    /// The same of a change of a product.
    async fn patched(&self, id: i64, change: Value) -> Vec<bool> {
        self.after(self.world.client.patch(&format!("/v1/products/{id}"), &change)).await
    }

    /// Which of the answers have ended; then all are kept again.
    async fn ended(&self) -> Vec<bool> {
        let mut ended = Vec::new();
        for path in &self.paths {
            ended.push(!self.world.client.get(path).await.ok().is_hit());
        }
        self.again().await;
        ended
    }

    async fn shown(&self, list: usize) -> Vec<i64> {
        ids(&self.world.client.get(&self.paths[list]).await.ok())
    }
}

#[tokio::test]
async fn a_write_ends_the_lists_of_the_values_it_is_about_and_no_others() {
    let world = tracking(Shards::start(2).await).await;
    let lists =
        ["category_id=eq.3", "category_id=eq.4", "category_id=in.(4,5)", "category_id=eq.6", "category_id=lt.9"];
    let kept = Kept::lists(&world, &lists).await;
    let client = &world.client;
    assert_eq!(kept.patched(2, json!({ "price": 1 })).await, [true, false, false, false, true]);
    assert_eq!(kept.patched(4, json!({ "price": 1 })).await, [false, false, true, false, true]);
    assert_eq!(kept.patched(9, json!({ "price": 1 })).await, [false, false, false, false, true]);
    assert_eq!(kept.patched(2, json!({ "category_id": 4 })).await, [true, true, true, false, true]);
    assert!(!kept.shown(0).await.contains(&2) && kept.shown(1).await.contains(&2) && kept.shown(2).await.contains(&2));
    let row = |category: i64| json!({ "id": 9001, "name": "new", "price": 1, "category_id": category });
    assert_eq!(kept.after(client.post("/v1/products", &row(6))).await, [false, false, false, true, true]);
    let upsert = client.post("/v1/products", &row(3)).prefer("resolution=merge-duplicates");
    assert_eq!(kept.after(upsert).await, [true, false, false, true, true]);
    assert!(kept.shown(0).await.contains(&9001) && !kept.shown(3).await.contains(&9001));
    let put = json!({ "name": "put", "price": 1, "category_id": 5 });
    assert_eq!(kept.after(client.put("/v1/products/9001", &put)).await, [true, false, true, false, true]);
    assert_eq!(kept.after(client.delete("/v1/products/9001")).await, [false, false, true, false, true]);
    assert!(!kept.shown(2).await.contains(&9001));
}

#[tokio::test]
async fn a_bulk_write_ends_the_lists_of_each_value_its_rows_had_and_have() {
    let world = tracking(Shards::start(1).await).await;
    let lists = ["category_id=eq.3", "category_id=eq.4", "category_id=eq.5", "category_id=eq.6"];
    let kept = Kept::lists(&world, &lists).await;
    let client = &world.client;
    let moved = client.patch("/v1/products?category_id=eq.3&id=lt.50", &json!({ "category_id": 5 }));
    assert_eq!(kept.after(moved).await, [true, false, true, false]);
    assert!(kept.shown(2).await.starts_with(&[2, 4, 12]), "{:?}", kept.shown(2).await);
    let deleted = client.delete("/v1/products?or=(category_id.eq.4,category_id.eq.6)&id=gt.150");
    assert_eq!(kept.after(deleted).await, [false, true, false, true]);
    assert!(kept.shown(3).await.iter().all(|id| *id < 150));
    // More rows than are raised one by one.
    let row = |id: i64| json!({ "id": id, "name": "new", "price": 1, "category_id": 4 });
    let rows: Vec<Value> = (1000..1300).map(row).collect();
    assert_eq!(kept.after(client.post("/v1/products", &json!(rows))).await, [true; 4]);
    assert_eq!(kept.shown(1).await.len(), 300 + 15);
    let moved = client.patch("/v1/products?id=gte.1000", &json!({ "category_id": 6 }));
    assert_eq!(kept.after(moved).await, [true; 4]);
    assert_eq!(kept.shown(1).await.len(), 15);
}

#[tokio::test]
async fn null_is_a_value_and_one_value_is_one_list_however_it_is_written() {
    let world = tracking(Shards::start(2).await).await;
    let lists = ["note=is.null", "note=eq.note%201", "note=eq.%20note%201", "category_id=eq.02", "category_id=eq.%202"];
    let kept = Kept::lists(&world, &lists).await;
    // What the gateway cannot read as a number depends on every write.
    assert_eq!(kept.patched(2, json!({ "stock": 1 })).await, [false, false, false, false, true]);
    assert_eq!(kept.patched(1, json!({ "note": null })).await, [true, true, false, true, true]);
    assert!(kept.shown(0).await.contains(&1) && kept.shown(1).await.is_empty());
    assert_eq!(kept.patched(1, json!({ "note": " note 1" })).await, [true, false, true, true, true]);
    assert_eq!((kept.shown(2).await, kept.shown(3).await), (vec![1], kept.shown(4).await));
}

#[tokio::test]
async fn every_type_that_may_be_tracked_is_told_by_filters_and_by_rows_alike() {
    let shards = Shards::start(1).await;
    schema::create(&shards, 1).await;
    let table = "CREATE TYPE size AS ENUM ('small', 'Large, or so'); CREATE TABLE things (id bigint PRIMARY KEY, \
                 number smallint, code varchar(8), token uuid, active bool, day date, size size)";
    shards.execute(0, table).await;
    let track = "[\"number\", \"code\", \"token\", \"active\", \"day\", \"size\"]";
    let world = World::over(shards, |c| {
        c.set("collections.things", "table", "'things'").set("collections.things", "track", track)
    })
    .await;
    world.client.post("/v1/things", &json!({ "id": 1 })).send().await.expect_status(201);
    let (one, other) = ("6f1c0a8e-0000-4000-8000-00000000000a", "6f1c0a8e-0000-4000-8000-00000000000b");
    for (column, before, after, third) in [
        ("number", ("7", json!(7)), ("-08", json!(-8)), "eq.9"),
        ("code", ("ab c", json!("ab c")), ("Größe", json!("Größe")), "eq.AB"),
        ("token", (&*one.to_uppercase(), json!(one)), (other, json!(other)), "eq.6f1c0a8e-0000-4000-8000-00000000000c"),
        ("active", ("true", json!(true)), ("f", json!(false)), "is.null"),
        ("day", ("2026-02-28", json!("2026-02-28")), ("0001-01-01", json!("0001-01-01")), "eq.2026-03-01"),
        ("size", ("small", json!("small")), ("Large, or so", json!("Large, or so")), "is.null"),
    ] {
        let path = |filter: String| {
            format!("/v1/things?{column}={}", filter.replace(' ', "%20").replace('ö', "%C3%B6").replace('ß', "%C3%9F"))
        };
        let set = |value: &Value| world.client.patch("/v1/things/1", &json!({ column: value }));
        set(&before.1).send().await.expect_status(204);
        let lists = [format!("eq.{}", before.0), format!("eq.{}", after.0), third.to_owned()].map(path);
        let kept = Kept::paths(&world, lists.into()).await;
        assert_eq!((kept.shown(0).await, kept.shown(1).await), (vec![1], vec![]), "{column}");
        assert_eq!(kept.after(set(&after.1)).await, [true, true, false], "{column}");
        assert_eq!((kept.shown(0).await, kept.shown(1).await), (vec![], vec![1]), "{column}");
        let other_column = if column == "number" { json!({ "code": "x" }) } else { json!({ "number": 3 }) };
        let elsewhere = world.client.patch("/v1/things/1", &other_column);
        assert_eq!(kept.after(elsewhere).await, [false, true, false], "{column}: only where the row is now");
    }
}

#[tokio::test]
async fn a_row_that_somebody_else_changed_meanwhile_ends_the_lists_of_every_value() {
    let world = tracking(Shards::start(2).await).await;
    let kept = Kept::lists(&world, &["category_id=eq.3", "category_id=eq.4", "category_id=eq.5"]).await;
    let row = Kept::paths(&world, vec![format!("/v1/products/{}", world.product_on(0))]).await;
    let id = world.shards.ids_on(0).find(|id| *id > 9_000).expect("numbers do not end");
    let other = world.shards.connect(0).await;
    let insert = format!("BEGIN; INSERT INTO products (id, name, price, category_id) VALUES ({id}, 'other', 1, 3)");
    other.batch_execute(&insert).await.expect("inserted");
    let meanwhile = async {
        let watcher = world.shards.connect(0).await;
        until("the write waits for the row", || async {
            let blocked = watcher.query_one("SELECT count(*) FROM pg_locks WHERE NOT granted", &[]).await;
            (blocked.expect("counted").get::<_, i64>(0) > 0).then_some(())
        })
        .await;
        other.batch_execute("COMMIT").await.expect("committed");
    };
    let put = json!({ "name": "put", "price": 1, "category_id": 4 });
    let write = kept.after(world.client.put(&format!("/v1/products/{id}"), &put));
    let (ended, ()) = tokio::join!(write, meanwhile);
    assert_eq!(ended, [true; 3], "nobody knows that it was 3");
    assert_eq!(row.ended().await, [false], "which rows were written is known");
}

#[tokio::test]
async fn a_reload_that_tracks_other_columns_leaves_no_list_of_before() {
    let shards = Shards::start(2).await;
    schema::create(&shards, PRODUCTS).await;
    let plain = schema::config(&shards);
    let world = World::over_config(shards, &plain).await;
    let kept = Kept::lists(&world, &["category_id=eq.3", "category_id=eq.4"]).await;
    assert_eq!(kept.patched(2, json!({ "price": 1 })).await, [true, true]);
    for (track, ended) in [("\"category_id\"", [true, false]), ("\"note\"", [true, true])] {
        world.gateway.write_config(&plain.clone().set("collections.products", "track", track).to_string());
        Operator::of(&world.gateway).reload().send().await.ok();
        assert_eq!(kept.ended().await, [true, true], "told apart by something else");
        assert_eq!(kept.patched(2, json!({ "price": 1 })).await, ended);
    }
}

#[tokio::test]
async fn a_cascade_ends_the_lists_of_every_value() {
    let world = World::with(|config| config.set("collections.carts", "track", "\"product_id\"")).await;
    let lists = ["/v1/carts?product_id=eq.1".to_owned(), "/v1/carts?product_id=eq.99".to_owned()];
    let kept = Kept::paths(&world, lists.into()).await;
    let profiles = || async { world.client.get(&kept.paths[0]).await.ok().column("profile_id") };
    let profile = profiles().await[0].clone();
    let line = world.client.patch(&format!("/v1/carts/{profile},1"), &json!({ "quantity": 7 }));
    assert_eq!(kept.after(line).await, [true, false], "a column of the key");
    assert_eq!(kept.after(world.client.delete(&format!("/v1/profiles/{profile}"))).await, [true, true]);
    assert!(!profiles().await.contains(&profile));
}

#[tokio::test]
async fn what_an_operator_purges_takes_its_lists_along() {
    let world = tracking(Shards::start(2).await).await;
    let kept = Kept::lists(&world, &["category_id=eq.3", "category_id=eq.4"]).await;
    let operator = Operator::of(&world.gateway);
    for what in [
        json!({ "keys": [{ "collection": "products", "key": "2" }] }),
        json!({ "collections": ["products"] }),
        json!({ "everything": true }),
    ] {
        operator.purge(&what).send().await.ok();
        assert_eq!(kept.ended().await, [true, true], "{what}");
    }
}

/// Commits are in the log, told to readers of it and not visible, until the standby that nobody is has them.
async fn nobody_sees_commits(world: &World) -> tokio_postgres::Client {
    let operator = world.shards.connect(0).await;
    operator.batch_execute("SET synchronous_commit = local").await.expect("set");
    operator.batch_execute("ALTER SYSTEM SET synchronous_standby_names = 'nobody'").await.expect("set");
    operator.batch_execute("SELECT pg_reload_conf()").await.expect("reloaded");
    until("the setting holds", async || {
        let row = operator.query_one("SHOW synchronous_standby_names", &[]).await.expect("shown");
        (row.get::<_, &str>(0) == "nobody").then_some(())
    })
    .await;
    operator
}

#[tokio::test]
async fn a_list_told_apart_by_values_since_a_reload_lacks_nothing_that_was_told_before() {
    let shards = Shards::start(1).await;
    schema::create(&shards, PRODUCTS).await;
    let config = schema::config(&shards).set("feed", "enabled", "true");
    let world = World::over_config(shards, &config).await;
    let list = "/v1/products?select=id&category_id=eq.3";
    until("the change feed is read", async || {
        let metrics = world.gateway.admin_client().get("/metrics").await.ok().text();
        let age = |line: &str| line.starts_with("tidegate_feed_age_seconds{") && !line.ends_with("-1.0");
        metrics.lines().any(age).then_some(())
    })
    .await;
    assert!(!ids(&world.client.get(list).await.ok()).contains(&5));
    let operator = nobody_sees_commits(&world).await;
    let commit = loop {
        let sql = world.shards.connect(0).await;
        let change = "UPDATE products SET category_id = 3 WHERE id = 5";
        let commit = tokio::spawn(async move { sql.batch_execute(change).await });
        until("it waits or is done", async || {
            let waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'";
            let waiting = operator.query_one(waits, &[]).await.expect("counted").get::<_, i64>(0) > 0;
            (commit.is_finished() || waiting).then_some(())
        })
        .await;
        if !commit.is_finished() {
            break commit;
        }
        // The server's processes learn of the setting one by one.
        operator.batch_execute("UPDATE products SET category_id = 6 WHERE id = 5").await.expect("undone");
    };
    until("the gateway was told of it", async || {
        world.client.get("/v1/products/5").await.ok().cache().contains("detail=floor").then_some(())
    })
    .await;
    world.gateway.write_config(&config.set("collections.products", "track", "\"category_id\"").to_string());
    Operator::of(&world.gateway).reload().send().await.ok();
    for _ in 0..3 {
        assert!(!ids(&world.client.get(list).await.ok()).contains(&5), "it is not visible");
    }
    operator.batch_execute("ALTER SYSTEM RESET synchronous_standby_names").await.expect("reset");
    operator.batch_execute("SELECT pg_reload_conf()").await.expect("reloaded");
    commit.await.expect("run").expect("committed");
    assert!(ids(&world.client.get(list).await.ok()).contains(&5), "nothing will be told of it any more");
}
