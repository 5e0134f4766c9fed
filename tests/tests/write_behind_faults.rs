//! Write-behind when something fails: the gateway, a shard, a row; or when too much waits. What is promised:
//! gateway/docs/WRITE-BEHIND.md.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use http::Method;
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tidegate_tests::{
    Answer, Client, Gateway, Shards, World,
    journal::{
        DIRTY, HOLD, acknowledged, behind, depth, flushed, folder, line, profile, quantity, status, stored, world,
    },
    schema, until,
};
use tokio::task::JoinSet;

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

/// What one client wrote and was told.
#[derive(Debug, Default)]
struct Written {
    /// Row and value of each acknowledged write, in order.
    acknowledged: Vec<(i64, i64)>,
    /// Of each without an answer.
    unknown: Vec<(i64, i64)>,
}

/// What writers share.
#[derive(Debug, Default)]
struct Signals {
    stop: AtomicBool,
    acknowledged: AtomicUsize,
}

/// Writes rising values to rows of its own until it is stopped or its gateway is gone.
async fn write_on(
    client: Client,
    profile: i64,
    rows: std::ops::Range<i64>,
    first: i64,
    signals: Arc<Signals>,
) -> Written {
    let mut written = Written::default();
    for (value, product) in (first..).zip(rows.clone().cycle()) {
        if signals.stop.load(Ordering::Relaxed) {
            break;
        }
        let answer = client.put(&line(profile, product), &quantity(value)).try_send().await;
        match answer.map(|answer| answer.status) {
            Ok(202) => {
                signals.acknowledged.fetch_add(1, Ordering::Relaxed);
                written.acknowledged.push((product, value));
            }
            Ok(429 | 503) => {}
            Ok(_) | Err(_) => {
                written.unknown.push((product, value));
                break;
            }
        }
    }
    written
}

/// What was applied, noted by the database in the transaction that applied it. A CHECK and not a trigger, which would
/// make the table unfit; an upsert that meets a row asks it twice.
const ORACLE: &str = "
CREATE TABLE seen (n bigserial, xid xid8, profile_id bigint, product_id bigint, quantity int);
CREATE FUNCTION note(bigint, bigint, int) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN
INSERT INTO seen (xid, profile_id, product_id, quantity) VALUES (pg_current_xact_id(), $1, $2, $3); RETURN true; END $$;
ALTER TABLE carts ADD CHECK (note(profile_id, product_id, quantity)) NOT VALID";

#[tokio::test]
async fn a_gateway_killed_under_load_again_and_again_loses_doubles_and_reorders_nothing() {
    const KILLS: usize = 5;
    const CLIENTS: i64 = 8;
    /// Acknowledged between two kills, at least.
    const WRITES: usize = 200;
    let dir = folder();
    let shards = Shards::start(2).await;
    schema::create(&shards, tidegate_tests::world::PRODUCTS).await;
    shards.execute_all(ORACLE).await;
    let mut world = World::over(shards, |config| behind(config, dir.path())).await;
    let profiles = [profile(&world.shards, 0), profile(&world.shards, 1)];
    let mut all: Vec<(i64, i64, i64)> = Vec::new();
    let mut unknown: Vec<(i64, i64, i64)> = Vec::new();
    let mut next = 1;
    for round in 0..=KILLS {
        let signals = Arc::new(Signals::default());
        let mut writers = JoinSet::new();
        for client in 0..CLIENTS {
            let profile = profiles[usize::try_from(client % 2).expect("small")];
            let (rows, signals) = (20_000 + client * 10..20_003 + client * 10, signals.clone());
            let writing = write_on(world.gateway.client(), profile, rows, next, signals);
            writers.spawn(async move { (profile, writing.await) });
        }
        let enough = || std::future::ready((signals.acknowledged.load(Ordering::Relaxed) >= WRITES).then_some(()));
        until("enough is acknowledged", enough).await;
        if round < KILLS {
            world.gateway = world.gateway.kill_and_start().await;
        }
        signals.stop.store(true, Ordering::Relaxed);
        for (profile, written) in writers.join_all().await {
            let with = |of: Vec<(i64, i64)>| of.into_iter().map(move |(product, value)| (profile, product, value));
            all.extend(with(written.acknowledged));
            unknown.extend(with(written.unknown));
        }
        next = all.iter().chain(&unknown).map(|(_, _, value)| *value).max().unwrap_or(0) + 1;
    }
    flushed(&world.gateway).await;
    let mut rows: Vec<(i64, i64)> = all.iter().map(|(profile, product, _)| (*profile, *product)).collect();
    rows.sort_unstable();
    rows.dedup();
    for (profile, product) in &rows {
        let last = |of: &[(i64, i64, i64)]| {
            of.iter().filter(|(p, q, _)| (p, q) == (profile, product)).map(|(_, _, value)| *value).max()
        };
        let (acknowledged, perhaps) = (last(&all), last(&unknown));
        let found = stored(&world.shards, *profile, *product).await.and_then(|text| text.parse::<i64>().ok());
        assert!(found >= acknowledged, "row {profile},{product}: {found:?}, acknowledged {acknowledged:?}");
        assert!(found == acknowledged || found == perhaps.max(acknowledged), "{found:?}: {acknowledged:?} {perhaps:?}");
        let wrong = format!(
            "SELECT count(*)::text FROM (SELECT quantity, count(DISTINCT xid) AS times, \
             lag(quantity) OVER (ORDER BY min(n)) AS before FROM seen \
             WHERE profile_id = {profile} AND product_id = {product} GROUP BY quantity) x \
             WHERE times > 1 OR quantity < before"
        );
        let wrong = world.shards.text(world.shards.shard_of(profile), &wrong).await;
        assert_eq!(wrong.as_deref(), Some("0"), "row {profile},{product}: applied twice, or in another order");
    }
    println!(
        "{} kills, {} acknowledged writes of {} rows, {} of unknown outcome: 0 lost, 0 doubled, 0 reordered",
        KILLS,
        all.len(),
        rows.len(),
        unknown.len()
    );
}
