//! Write-behind when something fails: the gateway, a shard, a row; or when too much waits. What is promised:
//! gateway/docs/WRITE-BEHIND.md.

use std::time::Duration;

use http::Method;
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tidegate_tests::{
    Answer, Client, Gateway, Shards, World,
    behind::{Effort, Stage},
    journal::{
        DIRTY, HOLD, acknowledged, behind, depth, flushed, folder, line, profile, quantity, status, stored, world,
    },
    schema, until,
};

/// What `tidegate-soak --behind` does for longer.
const SLICE: Effort = Effort { kills: 4, outage: Duration::from_secs(3), rate: 300, seed: 3 };

#[tokio::test]
async fn a_repeated_request_has_one_effect_and_the_same_answer_also_after_a_crash() {
    let dir = folder();
    let mut world = world(&dir).await;
    let profile = profile(&world.shards, 0);
    let path = line(profile, 700);
    let send = |client: &Client, n| {
        let call = client.put(&path, &quantity(n)).header("idempotency-key", "one").prefer("return=representation");
        call.send()
    };
    let first = acknowledged(send(&world.client, 1).await);
    acknowledged(world.client.put(&path, &quantity(2)).send().await);
    let same = |answer: Answer| {
        let answer = acknowledged(answer);
        assert_eq!(answer.header("tidegate-sequence"), first.header("tidegate-sequence"), "{answer}");
        assert_eq!((answer.header("tidegate-status"), answer.text()), (first.header("tidegate-status"), first.text()));
    };
    same(send(&world.client, 1).await);
    send(&world.client, 3).await.problem(422, "TG032");
    flushed(&world.gateway).await;
    world.gateway = world.gateway.kill_and_start().await;
    same(send(&world.gateway.client(), 1).await);
    flushed(&world.gateway).await;
    assert_eq!(stored(&world.shards, profile, 700).await.as_deref(), Some("2"), "the later write stays");
}

#[tokio::test]
async fn a_row_the_database_refuses_is_a_dead_letter_and_all_others_pass() {
    let dir = folder();
    let world = world(&dir).await;
    let alive = profile(&world.shards, 0);
    // No such profile: the foreign key refuses it, and nobody knows before the shard does.
    let dead = world.shards.ids_on(0).find(|id| *id > 1_000_000).expect("numbers do not end");
    let mut holder = world.shards.connect(0).await;
    let held = holder.transaction().await.expect("begun");
    held.batch_execute(HOLD).await.expect("held");
    let mut refused = Vec::new();
    for n in 0..40 {
        acknowledged(world.client.put(&line(alive, 2000 + n), &quantity(n + 1)).send().await);
        let poison = acknowledged(world.client.put(&line(dead, n % 4), &quantity(n + 1)).send().await);
        refused.push(poison.header("tidegate-status").to_owned());
    }
    held.rollback().await.expect("let go");
    flushed(&world.gateway).await;
    let count = format!("SELECT count(*)::text FROM carts WHERE profile_id = {alive} AND product_id >= 2000");
    assert_eq!(world.shards.text(0, &count).await.as_deref(), Some("40"));
    for (n, url) in refused.iter().enumerate() {
        let told = status(&world.client, url).await;
        let code = if n < 4 { "23503" } else { "TG019" };
        assert_eq!((told["status"].as_str(), told["code"].as_str()), (Some("failed"), Some(code)), "{n}: {told}");
    }
    world.client.get(&line(dead, 0)).await.problem(404, "TG001");
    world.client.put(&line(dead, 0), &quantity(1)).send().await.problem(409, "TG019");
    let report = world.gateway.admin_json("/admin/journal").await;
    let shard = report["journal"]["shards"].as_array().expect("shards")[0].clone();
    assert_eq!((shard["parked_rows"].as_u64(), shard["dead_letters"].as_array().map(Vec::len)), (Some(4), Some(40)));

    let admin = world.gateway.admin_client();
    let decide = |what: &str, sequence: &Value| {
        let body = json!({ "shard": "a", "sequence": sequence });
        admin.post(&format!("/admin/journal/{what}"), &body).send()
    };
    let letters = shard["dead_letters"].as_array().expect("letters");
    let of = |product: i64| {
        letters.iter().find(|l| l["key"] == format!("{dead},{product}")).expect("one")["sequence"].clone()
    };
    decide("requeue", &of(0)).await.problem(409, "TG035");
    decide("discard", &json!(1)).await.problem(404, "TG034");
    decide("discard", &of(1)).await.ok();
    acknowledged(world.client.put(&line(dead, 1), &quantity(1)).send().await);
    flushed(&world.gateway).await;
    world.shards.execute(0, &format!("INSERT INTO profiles VALUES ({dead}, 'late@example.com')")).await;
    decide("requeue", &of(0)).await.ok();
    assert_eq!(world.client.get(&line(dead, 0)).await.ok().json()["quantity"], 37, "the last of its writes");
    acknowledged(world.client.put(&line(dead, 0), &quantity(2)).send().await);
    flushed(&world.gateway).await;
    assert_eq!(stored(&world.shards, dead, 0).await.as_deref(), Some("2"));
}

#[tokio::test]
async fn writes_are_acknowledged_while_a_shard_is_down_and_reach_it_when_it_is_back() {
    let dir = folder();
    let mut world = world(&dir).await;
    let profile = profile(&world.shards, 0);
    acknowledged(world.client.put(&line(profile, 3000), &quantity(1)).send().await);
    flushed(&world.gateway).await;
    world.shards.cluster_mut(0).stop().await;
    for n in 0..100 {
        acknowledged(world.client.put(&line(profile, 3000 + n), &quantity(n + 2)).send().await);
    }
    assert_eq!(world.client.get(&line(profile, 3050)).await.ok().cache(), DIRTY);
    assert_eq!(depth(&world.gateway).await, 100);
    world.shards.cluster_mut(0).restart().await.expect("back");
    flushed(&world.gateway).await;
    let sum = format!("SELECT sum(quantity)::text FROM carts WHERE profile_id = {profile} AND product_id >= 3000");
    assert_eq!(world.shards.text(0, &sum).await.as_deref(), Some("5150"));
}

#[tokio::test]
async fn a_gateway_that_ends_flushes_what_it_can_and_the_next_one_the_rest() {
    let dir = folder();
    let mut world = World::with(|config| behind(config, dir.path()).set("http", "drain_grace", "\"2s\"")).await;
    let (here, held_up) = (profile(&world.shards, 0), profile(&world.shards, 1));
    let (mut first, mut second) = (world.shards.connect(0).await, world.shards.connect(1).await);
    let (brief, held) = (first.transaction().await.expect("begun"), second.transaction().await.expect("begun"));
    brief.batch_execute(HOLD).await.expect("held");
    held.batch_execute(HOLD).await.expect("held");
    for n in 0..20 {
        acknowledged(world.client.put(&line(here, 4000 + n), &quantity(1)).send().await);
        acknowledged(world.client.put(&line(held_up, 4000 + n), &quantity(1)).send().await);
    }
    world.gateway.signal(Signal::SIGTERM);
    until("nothing more is accepted", async || {
        world.client.request(Method::GET, "/v1/products/1").try_send().await.err()
    })
    .await;
    brief.rollback().await.expect("let go");
    let ended = world.gateway.process.ended().await;
    assert!(ended.success(), "{ended}");
    let count =
        |profile| format!("SELECT count(*)::text FROM carts WHERE profile_id = {profile} AND product_id >= 4000");
    assert_eq!(world.shards.text(0, &count(here)).await.as_deref(), Some("20"));
    assert_eq!(world.shards.text(1, &count(held_up)).await.as_deref(), Some("0"));
    held.rollback().await.expect("let go");
    world.gateway = world.gateway.start_again().await;
    flushed(&world.gateway).await;
    assert_eq!(world.shards.text(1, &count(held_up)).await.as_deref(), Some("20"));
}

#[tokio::test]
async fn too_much_that_waits_slows_writes_down_and_then_refuses_them() {
    let dir = folder();
    let world = World::with(|config| {
        behind(config, dir.path()).set("journal", "max_dirty_bytes", "\"64KiB\"").set(
            "pools.batch",
            "statement_timeout",
            "\"500ms\"",
        )
    })
    .await;
    let profile = profile(&world.shards, 0);
    let mut holder = world.shards.connect(0).await;
    let held = holder.transaction().await.expect("begun");
    held.batch_execute(HOLD).await.expect("held");
    acknowledged(world.client.put(&line(profile, 9_999), &quantity(1)).send().await);
    // While the shard takes batches, writes would go to it themselves.
    until("the shard is known not to take anything", async || {
        let report = world.gateway.admin_json("/admin/journal").await;
        (report["journal"]["shards"][0]["state"] == "failing").then_some(())
    })
    .await;
    let (mut taken, mut slowed, mut refused) = (0, 0, 0);
    for n in 0..2000 {
        let answer = world.client.put(&line(profile, 10_000 + n), &quantity(1)).send().await;
        match answer.status {
            202 => taken += 1,
            429 => {
                assert_eq!(answer.problem(429, "TG018")["details"], "Nothing was written.");
                assert!(!answer.header("retry-after").is_empty());
                slowed += 1;
            }
            503 => {
                answer.problem(503, "TG018");
                refused += 1;
            }
            other => panic!("{other}: {answer}"),
        }
        if refused > 20 {
            break;
        }
    }
    println!("{taken} acknowledged, {slowed} slowed down, {refused} refused");
    assert!(taken > 50 && slowed > 0 && refused > 0);
    held.rollback().await.expect("let go");
    flushed(&world.gateway).await;
    let count = format!("SELECT count(*)::text FROM carts WHERE profile_id = {profile} AND product_id >= 10000");
    assert_eq!(
        world.shards.text(0, &count).await,
        Some(taken.to_string()),
        "all that was acknowledged and nothing else"
    );
    acknowledged(world.client.put(&line(profile, 1), &quantity(1)).send().await);
}

#[tokio::test]
async fn unfit_tables_and_journals_that_are_not_served_are_refused() {
    let shards = Shards::start(1).await;
    schema::create(&shards, 10).await;
    let dir = folder();
    let config = behind(schema::config(&shards), dir.path());
    shards.execute(0, "ALTER TABLE carts ADD COLUMN took interval").await;
    Gateway::refused(&config.to_string(), "unfit for write-behind").await;
    shards.execute(0, "ALTER TABLE carts DROP COLUMN took").await;
    let twice = config.clone().set("collections.baskets", "table", "\"carts\"");
    Gateway::refused(&twice.to_string(), "serves the same table").await;

    let world = World::over_config(shards, &config).await;
    let mut holder = world.shards.connect(0).await;
    let held = holder.transaction().await.expect("begun");
    held.batch_execute(HOLD).await.expect("held");
    acknowledged(world.client.put(&line(1, 1), &quantity(1)).send().await);
    let World { gateway, shards, .. } = world;
    gateway.signal(Signal::SIGKILL);
    drop(gateway);
    held.rollback().await.expect("let go");
    let other_mode = config.set("collections.carts", "mode", "\"cache-aside\"");
    Gateway::refused(&other_mode.to_string(), "of the collection carts, which is not served as write-behind").await;
    drop(shards);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_killed_under_load_again_and_again_loses_doubles_and_reorders_nothing() {
    let mut stage = Stage::build(SLICE).await;
    let killed = stage.kills(SLICE.kills).await;
    println!("{killed}");
    assert!(killed.right() && killed.acknowledged > 1000 && killed.applied > 100, "{killed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_are_acknowledged_while_no_shard_is_up_and_all_reach_theirs() {
    let mut stage = Stage::build(SLICE).await;
    let out = stage.outage("all shards down", &[0, 1], SLICE.outage).await;
    println!("{out}");
    assert!(out.right() && out.deepest > 200 && out.acknowledged >= out.deepest, "{out}");
    let poison = stage.poison().await;
    println!("{poison}");
    assert!(poison.right() && poison.letters > 5, "{poison}");
}
