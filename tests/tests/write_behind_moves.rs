//! Rows of a write-behind collection that are looked for elsewhere from one moment on.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicI64, Ordering},
};

use serde_json::json;
use tidegate_tests::{
    Operator, World,
    journal::{HOLD, acknowledged, behind, flushed, folder, line, quantity, stored},
    policies::PolicyDir,
    until,
};
use tidegate_types::route::Topology;

const PLUGIN: &str = "router";
/// Lines are numbered from here on.
const FIRST: i64 = 10_000;

/// A profile on shard 0 that `testing/hash-router-moves` looks for on shard 1, where it is from now on, too.
async fn moving(world: &World) -> i64 {
    let topology = Topology::new(["a", "b"].map(Arc::from));
    let next = |id: &i64| topology.shard_for_hash(Topology::hash_key(&id.to_string()).rotate_left(17)).0;
    let profile = world.shards.ids_on(0).find(|id| next(id) == 1).expect("numbers do not end");
    for shard in 0..2 {
        let sql = format!("INSERT INTO profiles VALUES ({profile}, 'moving') ON CONFLICT DO NOTHING");
        world.shards.execute(shard, &sql).await;
    }
    profile
}

async fn lines_on(world: &World, shard: usize, profile: i64) -> i64 {
    let sql = format!("SELECT count(*)::text FROM carts WHERE profile_id = {profile} AND product_id >= {FIRST}");
    world.shards.text(shard, &sql).await.and_then(|count| count.parse().ok()).expect("a number")
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_are_looked_for_elsewhere_when_what_was_acknowledged_of_them_is_where_they_were() {
    let (dir, policies) = (folder(), PolicyDir::with("hash-router", PLUGIN));
    let config =
        |config: tidegate_tests::Config| behind(config.route_by(policies.path(), PLUGIN).patient(), dir.path());
    let world = World::with(config).await;
    let (operator, profile) = (Operator::of(&world.gateway), moving(&world).await);
    operator.stage(PLUGIN, "testing/hash-router-moves").send().await.expect_status(201);
    let moves = json!({ "allow_moves": true, "reason": "moved by hand at night" });

    let mut holder = world.shards.connect(0).await;
    let held = holder.transaction().await.expect("begun");
    held.batch_execute(HOLD).await.expect("held");
    acknowledged(world.client.put(&line(profile, 500), &quantity(1)).send().await);
    let refused = operator.order(PLUGIN, "promote", &moves).send().await.problem(409, "TG024");
    let message = refused["message"].as_str().expect("text");
    assert!(message.contains("acknowledged writes of carts wait for shard a (GET /admin/journal)"), "{message}");
    held.rollback().await.expect("let go");
    flushed(&world.gateway).await;
    assert_eq!(stored(&world.shards, profile, 500).await.as_deref(), Some("1"), "still looked for where it was");

    // Every line is written once: whatever shard it is on, it was sent there.
    let (next, stop) = (Arc::new(AtomicI64::new(FIRST)), Arc::new(AtomicBool::new(false)));
    let writers = (0..16).map(|_| {
        let (client, next, stop) = (world.client.clone(), next.clone(), stop.clone());
        tokio::spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                let product = next.fetch_add(1, Ordering::Relaxed);
                acknowledged(client.put(&line(profile, product), &quantity(2)).send().await);
            }
        })
    });
    let writers: Vec<_> = writers.collect();
    until("lines are written", async || (lines_on(&world, 0, profile).await > 100).then_some(())).await;
    operator.done(PLUGIN, "promote", moves).await;
    let old = lines_on(&world, 0, profile).await;
    until("lines are written elsewhere", async || (lines_on(&world, 1, profile).await > 100).then_some(())).await;
    stop.store(true, Ordering::Relaxed);
    for writer in writers {
        writer.await.expect("each write was acknowledged");
    }
    flushed(&world.gateway).await;
    assert_eq!(lines_on(&world, 0, profile).await, old, "nothing comes to where nobody looks any more");
    let written = next.load(Ordering::Relaxed) - FIRST;
    assert_eq!(old + lines_on(&world, 1, profile).await, written, "and nothing is lost");
}
