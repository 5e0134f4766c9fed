//! The consistency monitor, on gateways that serve.

use serde_json::json;
use tidegate_tests::{Config, Gateway, Gateways, Redis, World, until};

/// Looks at tiers with these labels.
async fn checks(gateway: &Gateway, labels: &[(&str, &str)]) -> u64 {
    gateway.metrics().await.sum("tidegate_consistency_checks", labels)
}

/// Waits until a look at a tier came out so.
async fn seen(gateway: &Gateway, tier: &str, outcome: &str) {
    until(&format!("{tier} is seen to be {outcome}"), async || {
        (checks(gateway, &[("tier", tier), ("outcome", outcome)]).await > 0).then_some(())
    })
    .await;
}

/// The fractions of a tier that are published, as they are written.
async fn fractions(gateway: &Gateway, tier: &str) -> Vec<String> {
    let text = gateway.admin_client().get("/metrics").await.ok().text();
    let begin = format!("tidegate_consistency_fraction{{tier=\"{tier}\"");
    let series = text.lines().filter(|line| line.starts_with(&begin));
    series.filter_map(|line| Some(line.rsplit_once(' ')?.1.to_owned())).collect()
}

#[tokio::test]
async fn changed_rows_are_compared_and_a_stale_one_is_told_and_voided() {
    let world = World::with(|config| config.set("collections.products", "mode", "\"write-through\"")).await;
    let id = world.product_on(0);
    let path = format!("/v1/products/{id}");
    world.client.patch(&path, &json!({ "stock": 1 })).send().await.expect_status(204);
    // Past the gateway: what the write left in the cache is stale now, as far as anybody can see.
    world.shards.execute(0, &format!("UPDATE products SET stock = 99 WHERE id = {id}")).await;
    assert_eq!(world.client.get(&path).await.ok().json()["stock"], 1, "nothing tells the gateway of it");
    seen(&world.gateway, "l1", "stale").await;
    assert_eq!(fractions(&world.gateway, "l1").await, ["0.0"]);
    assert_eq!(world.client.get(&path).await.ok().json()["stock"], 99, "it was voided");

    let other = world.nth_product_on(0, 1);
    world.client.patch(&format!("/v1/products/{other}"), &json!({ "stock": 2 })).send().await.expect_status(204);
    seen(&world.gateway, "l1", "consistent").await;
    assert_eq!(checks(&world.gateway, &[("tier", "l1"), ("outcome", "stale")]).await, 1);
    assert_eq!(checks(&world.gateway, &[("tier", "l2")]).await, 0, "there is none");
}

fn sharing(config: Config, redis: &Redis) -> Config {
    config.set("cache", "l2", &format!("\"{}\"", redis.url())).set("cache", "l2_timeout", "\"1s\"")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_changed_behind_their_backs_is_found_in_every_tier_of_every_gateway() {
    let redis = Redis::start().await;
    let gateways = Gateways::with(3, |config| sharing(config, &redis)).await;
    let [writer, reader, idle] = &gateways.all[..] else { panic!("three") };
    let id = gateways.shards.ids_on(0).next().expect("numbers do not end");
    let path = format!("/v1/products/{id}");
    writer.client().patch(&path, &json!({ "stock": 1 })).send().await.expect_status(204);
    until("it is kept", || async { reader.client().get(&path).await.ok().is_hit().then_some(()) }).await;
    until("it is shared", || async { (redis.command("DBSIZE").await != ":0").then_some(()) }).await;
    gateways.shards.execute(0, &format!("UPDATE products SET stock = 99 WHERE id = {id}")).await;
    assert_eq!(reader.client().get(&path).await.ok().json()["stock"], 1, "nothing tells the gateways of it");

    seen(reader, "l1", "stale").await;
    for gateway in [writer, idle] {
        seen(gateway, "l1", "absent").await;
        assert_eq!(checks(gateway, &[("tier", "l1"), ("outcome", "stale")]).await, 0, "it never had it");
    }
    for gateway in &gateways.all {
        seen(gateway, "l2", "stale").await;
        assert!(fractions(gateway, "l2").await.contains(&"0.0".to_owned()));
    }
    for (gateway, told) in [(writer, 0), (reader, 1), (idle, 1)] {
        let samples = async |source| gateway.metrics().await.sum("tidegate_consistency_samples", &[("source", source)]);
        assert_eq!((samples("gateway").await, samples("write").await), (told, 1 - told));
    }
    for gateway in [idle, reader, writer] {
        assert_eq!(gateway.client().get(&path).await.ok().json()["stock"], 99, "each has voided its own");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_feed_tells_of_is_followed_by_every_gateway_and_is_the_same_in_all() {
    let redis = Redis::start().await;
    let gateways = Gateways::with(2, |config| sharing(config, &redis).set("feed", "enabled", "true")).await;
    let sum = async |name: &'static str, labels: &'static [(&str, &str)]| gateways.sum(&[0, 1], name, labels).await;
    until("each shard is read by one", || async { (sum("tidegate_feed_reading", &[]).await == 2).then_some(()) }).await;
    let id = gateways.shards.ids_on(0).next().expect("numbers do not end");
    let path = format!("/v1/products/{id}");
    // Nobody writes through a gateway.
    gateways.shards.execute(0, &format!("UPDATE products SET stock = 99 WHERE id = {id}")).await;
    for gateway in &gateways.all {
        until("the change is kept", || async {
            let answer = gateway.client().get(&path).await.ok();
            (answer.is_hit() && answer.json()["stock"] == 99).then_some(())
        })
        .await;
    }
    for gateway in &gateways.all {
        for tier in ["l1", "l2"] {
            until("it is compared", || async {
                // It stays kept, also if the gateway loses its lease on a machine that does much else.
                gateway.client().get(&path).await.ok();
                (checks(gateway, &[("tier", tier), ("outcome", "consistent")]).await > 0).then_some(())
            })
            .await;
        }
    }
    let samples = async |source| {
        let mut each = Vec::new();
        for gateway in &gateways.all {
            each.push(gateway.metrics().await.sum("tidegate_consistency_samples", &[("source", source)]));
        }
        each.sort_unstable();
        each
    };
    assert_eq!((samples("feed").await, samples("gateway").await), (vec![0, 1], vec![0, 1]), "one reads and tells");
    assert_eq!(sum("tidegate_consistency_checks", &[("outcome", "stale")]).await, 0);
}
