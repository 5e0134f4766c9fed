//! Write-behind: what is acknowledged is seen at once and reaches its shard. What is promised:
//! gateway/docs/WRITE-BEHIND.md.

use http::Method;
use serde_json::json;
use tidegate_tests::{
    Shards, World,
    journal::{
        DIRTY, HOLD, acknowledged, behind, depth, flushed, folder, line, profile, quantity, status, stored, world,
    },
    policies::PolicyDir,
    schema, until,
};

#[tokio::test]
async fn an_acknowledged_write_is_seen_at_once_and_reaches_its_shard() {
    let dir = folder();
    let world = world(&dir).await;
    for shard in 0..2 {
        let profile = profile(&world.shards, shard);
        let path = line(profile, 500);
        let mut holder = world.shards.connect(shard).await;
        let held = holder.transaction().await.expect("begun");
        held.batch_execute(HOLD).await.expect("held");

        let put = acknowledged(world.client.put(&path, &quantity(7)).send().await);
        let read = world.client.get(&path).await.ok();
        assert_eq!(read.cache(), DIRTY, "{read}");
        assert_eq!(read.json(), json!({ "profile_id": profile, "product_id": 500, "quantity": 7 }));
        let again = world.client.request(Method::GET, &path).header("if-none-match", read.header("etag"));
        assert_eq!(again.send().await.status, 304, "its version is the image's");
        let part = world.client.get(&format!("{path}?select=n:quantity")).await.ok();
        assert_eq!((part.cache(), part.text().as_str()), (DIRTY, "{\"n\":7}"));
        let changed = world.client.patch(&path, &quantity(8)).prefer("return=representation").send().await;
        assert_eq!(acknowledged(changed).json()[0]["quantity"], 8);
        assert_eq!(stored(&world.shards, profile, 500).await, None, "the shard does not have it yet");
        let url = put.header("tidegate-status").to_owned();
        assert_eq!(status(&world.client, &url).await["status"], "pending");

        held.rollback().await.expect("let go");
        flushed(&world.gateway).await;
        assert_eq!(stored(&world.shards, profile, 500).await.as_deref(), Some("8"));
        assert_eq!(status(&world.client, &url).await["status"], "applied");
        let clean = world.client.get(&path).await.ok();
        assert_ne!(clean.cache(), DIRTY, "{clean}");
        assert_eq!(clean.json()["quantity"], 8);
        let dirty = acknowledged(world.client.put(&path, &quantity(7)).send().await);
        assert!(!dirty.text().contains('7'), "minimal");
        flushed(&world.gateway).await;
        assert_eq!(
            world.client.get(&path).await.ok().header("etag"),
            read.header("etag"),
            "the same bytes as PostgreSQL's"
        );
    }
    world.client.get("/v1/$status/bm90aGluZw").await.problem(404, "TG033");
}

#[tokio::test]
async fn a_deleted_row_is_gone_at_once_and_what_changes_it_again_comes_after() {
    let dir = folder();
    let world = world(&dir).await;
    let profile = profile(&world.shards, 0);
    let path = line(profile, 1);
    let mut holder = world.shards.connect(0).await;
    let held = holder.transaction().await.expect("begun");
    held.batch_execute(HOLD).await.expect("held");
    acknowledged(world.client.delete(&path).send().await);
    let gone = world.client.get(&path).await;
    gone.problem(404, "TG001");
    assert_eq!(gone.cache(), DIRTY);
    world.client.patch(&path, &quantity(3)).send().await.problem(404, "TG001");
    world.client.delete(&path).send().await.problem(404, "TG001");
    let row = json!({ "profile_id": profile, "product_id": 1, "quantity": 4 });
    acknowledged(world.client.post("/v1/carts", &row).send().await);
    world.client.post("/v1/carts", &row).send().await.problem(409, "23505");
    held.rollback().await.expect("let go");
    flushed(&world.gateway).await;
    assert_eq!(stored(&world.shards, profile, 1).await.as_deref(), Some("4"));
}

#[tokio::test]
async fn conditions_are_judged_by_what_was_acknowledged() {
    let dir = folder();
    let world = world(&dir).await;
    let path = line(profile(&world.shards, 0), 2);
    let old = world.client.get(&path).await.ok().header("etag").to_owned();
    let change = |tag: &str, n| world.client.patch(&path, &quantity(n)).header("if-match", tag).send();
    acknowledged(change(&old, 5).await);
    change(&old, 6).await.problem(412, "TG002");
    let new = world.client.get(&path).await.ok().header("etag").to_owned();
    acknowledged(change(&new, 7).await);
    let create = world.client.put(&path, &quantity(1)).header("if-none-match", "*");
    create.send().await.problem(412, "TG002");
    let other = line(profile(&world.shards, 0), 900);
    acknowledged(world.client.put(&other, &quantity(1)).header("if-none-match", "*").send().await);
    world.client.put(&other, &quantity(2)).header("if-none-match", "*").send().await.problem(412, "TG002");
}

#[tokio::test]
async fn lists_and_writes_by_filter_wait_for_what_was_acknowledged_before() {
    let dir = folder();
    let world = world(&dir).await;
    let profile = profile(&world.shards, 1);
    for n in 0..50 {
        acknowledged(world.client.put(&line(profile, 1000 + n), &quantity(n + 1)).send().await);
    }
    let list = world.client.get(&format!("/v1/carts?profile_id=eq.{profile}&product_id=gte.1000")).await.ok();
    assert_eq!(list.json().as_array().expect("rows").len(), 50, "{list}");
    acknowledged(world.client.put(&line(profile, 1000), &quantity(77)).send().await);
    let all = format!("/v1/carts?profile_id=eq.{profile}&product_id=gte.1000");
    let changed = world.client.patch(&all, &quantity(5)).prefer("count=exact").send().await.expect_status(204);
    assert_eq!(changed.header("content-range"), "0-49/50");
    assert_eq!(world.client.get(&line(profile, 1000)).await.ok().json()["quantity"], 5);
}

#[tokio::test]
async fn a_cascade_from_another_collection_comes_after_what_was_acknowledged_before_it() {
    let dir = folder();
    let world = world(&dir).await;
    let profile = profile(&world.shards, 0);
    let mut holder = world.shards.connect(0).await;
    let held = holder.transaction().await.expect("begun");
    held.batch_execute(HOLD).await.expect("held");
    for n in 0..20 {
        acknowledged(world.client.put(&line(profile, 5000 + n), &quantity(1)).send().await);
    }
    let delete = world.client.delete(&format!("/v1/profiles/{profile}"));
    let deleting = tokio::spawn(async move { delete.send().await });
    until("the deletion is under way", async || {
        let under_way = world.gateway.metrics().await.sum("tidegate_http_requests_in_flight", &[]);
        (under_way > 0).then_some(())
    })
    .await;
    // Other writes come to the shard and back, each longer than the deletion's way there.
    for n in 0..5 {
        let product = format!("/v1/products/{}", world.product_on(0));
        world.client.patch(&product, &json!({ "stock": n })).send().await.expect_status(204);
    }
    held.rollback().await.expect("let go");
    deleting.await.expect("no panic").expect_status(204);
    for n in 0..20 {
        let gone = world.client.get(&line(profile, 5000 + n)).await;
        gone.problem(404, "TG001");
        assert_ne!(gone.cache(), DIRTY, "{gone}");
    }
    let report = world.gateway.admin_json("/admin/journal").await;
    assert_eq!(report["journal"]["shards"][0]["parked_rows"], 0, "none was applied after its profile was gone");
}

#[tokio::test]
async fn a_row_without_its_uuid_gets_one_and_its_defaults() {
    let dir = folder();
    let shards = Shards::start(2).await;
    schema::create(&shards, 20).await;
    shards
        .execute_all("CREATE TABLE tickets (id uuid PRIMARY KEY, title text NOT NULL, open bool NOT NULL DEFAULT true)")
        .await;
    let world = World::over(shards, |config| {
        let config = behind(config, dir.path()).set("collections.tickets", "table", "\"tickets\"");
        config.set("collections.tickets", "mode", "\"write-behind\"")
    })
    .await;
    let post = world.client.post("/v1/tickets", &json!({ "title": "broken" })).prefer("return=representation");
    let answer = acknowledged(post.send().await);
    let row = answer.json()[0].clone();
    assert_eq!((row["title"].as_str(), row["open"].as_bool()), (Some("broken"), Some(true)), "{answer}");
    let id = row["id"].as_str().expect("a UUID").to_owned();
    assert_eq!(id.as_bytes()[14], b'7', "{id}");
    let path = format!("/v1/tickets/{id}");
    assert_eq!(world.client.get(&path).await.ok().json(), row);
    flushed(&world.gateway).await;
    assert_eq!(world.client.get(&path).await.ok().json(), row);
    let located = world.client.post("/v1/tickets", &json!({ "title": "x" })).prefer("return=headers-only").send().await;
    assert!(acknowledged(located.clone()).header("location").starts_with("/v1/tickets/"), "{located}");
}

#[tokio::test]
async fn who_is_kept_out_of_the_cache_sees_what_was_acknowledged_too() {
    let dir = folder();
    let policies = PolicyDir::of(&[("tier-classifier", "classifier"), ("ttl-policy", "ttl")]);
    let world = World::with(|config| {
        let config = behind(config.patient(), dir.path()).two_tenants(policies.path(), "classifier");
        let config = config.set("policies.classify", "config", r#"{ sources = ["header"] }"#);
        let config = config.hook(policies.path(), "cache-policy", "ttl");
        config.set("policies.cache-policy", "config", r#"{ bypass_classes = ["paid"] }"#)
    })
    .await;
    let profile = profile(&world.shards, 0);
    let path = line(profile, 1);
    let of_acme = |method| world.client.request(method, &path).header("x-tenant", "acme");
    assert_eq!(of_acme(Method::GET).send().await.ok().cache(), "fwd=bypass; detail=policy");
    let mut holder = world.shards.connect(0).await;
    let held = holder.transaction().await.expect("begun");
    held.batch_execute(HOLD).await.expect("held");
    acknowledged(of_acme(Method::PUT).json(&quantity(9)).send().await);
    let read = of_acme(Method::GET).send().await.ok();
    assert_eq!((read.cache(), read.json()["quantity"].as_i64()), (DIRTY, Some(9)));
    held.rollback().await.expect("let go");
    flushed(&world.gateway).await;
    let read = of_acme(Method::GET).send().await.ok();
    assert_eq!((read.cache(), read.json()["quantity"].as_i64()), ("fwd=bypass; detail=policy", Some(9)));
}

#[tokio::test]
async fn who_wants_to_wait_is_answered_as_by_the_shard() {
    let dir = folder();
    let world = world(&dir).await;
    let profile = profile(&world.shards, 0);
    let put = |product, n| world.client.put(&line(profile, product), &quantity(n)).prefer("wait=10").send();
    let new = put(600, 1).await.expect_status(201);
    assert_eq!(new.header("preference-applied"), "wait=10");
    assert_eq!(stored(&world.shards, profile, 600).await.as_deref(), Some("1"));
    put(600, 2).await.expect_status(204);
    let mut holder = world.shards.connect(0).await;
    let held = holder.transaction().await.expect("begun");
    held.batch_execute(HOLD).await.expect("held");
    let impatient = world.client.put(&line(profile, 600), &quantity(3)).prefer("wait=1").send().await;
    acknowledged(impatient);
    held.rollback().await.expect("let go");
    flushed(&world.gateway).await;
}

#[tokio::test]
async fn values_the_database_would_refuse_are_refused_before_they_are_acknowledged() {
    let dir = folder();
    let world = world(&dir).await;
    let path = line(profile(&world.shards, 0), 5);
    world.client.put(&path, &json!({ "quantity": "many" })).send().await.problem(400, "22P02");
    world.client.put(&path, &json!({ "quantity": 3_000_000_000_i64 })).send().await.problem(400, "22003");
    world.client.put(&path, &json!({ "quantity": null })).send().await.problem(400, "23502");
    world.client.put(&path, &quantity(0)).send().await.problem(400, "23514");
    assert_eq!(depth(&world.gateway).await, 0);
}
