//! Several gateways in front of the same shards: what one writes, no other serves the old value of. Also when one
//! stands still, dies, or cannot be reached.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use http::Method;
use nix::sys::signal::Signal;
use serde_json::json;
use tidegate_tests::{Crowd, Gateway, Gateways, Operator, policies::PolicyDir, until, wire::Wire};

fn ids(gateways: &Gateways, count: usize) -> Vec<i64> {
    (0..count).map(|n| gateways.shards.ids_on(n % 2).nth(n).expect("there are more")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_through_one_gateway_is_never_missed_by_a_read_through_another() {
    let gateways = Gateways::start(3).await;
    let ids = ids(&gateways, 6);
    gateways.prepare(&ids).await;
    let crowd = Crowd::start(&gateways, &ids, 2, 4);
    crowd.does(8_000).await;
    let seen = crowd.end().await;
    seen.linearizable();
    assert_eq!((&seen.refused, seen.unanswered), (&BTreeMap::new(), 0), "nothing was disturbed");
    for gateway in 0..3 {
        assert!(gateways.sum(&[gateway], "tidegate_cache_hits", &[]).await > 100, "its cache took part");
        assert!(gateways.sum(&[gateway], "tidegate_cluster_floors_heard", &[]).await > 100, "it was told");
    }
    assert_eq!(gateways.sum(&[0, 1, 2], "tidegate_cluster_fenced", &[]).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_stood_still_serves_nothing_of_before() {
    let gateways = Gateways::start(3).await;
    let ids = ids(&gateways, 6);
    gateways.prepare(&ids).await;
    let crowd = Crowd::start(&gateways, &ids, 1, 3);
    crowd.does(2_000).await;
    gateways.signal(2, Signal::SIGSTOP);
    // It may hold locks of rows, so that only some writes go on.
    tokio::time::sleep(Duration::from_secs(3)).await;
    gateways.signal(2, Signal::SIGCONT);
    gateways.joined(2).await;
    crowd.does(2_000).await;
    let seen = crowd.end().await;
    seen.linearizable();
    // One that was under way in the gateway that stood still may have waited too long by its clock, which went on.
    let refused: Vec<(usize, u64)> = seen.refused.iter().map(|(gateway, refused)| (*gateway, *refused)).collect();
    assert!(matches!(refused[..], [] | [(2, 1)]), "the lease is shorter than what a write waits: {refused:?}");
    assert!(seen.slowest_write >= Duration::from_millis(500), "somebody waited: {:?}", seen.slowest_write);
    assert!(gateways.sum(&[0, 1], "tidegate_cluster_fenced", &[]).await >= 2, "it was fenced on both shards");
    let joins = gateways.sum(&[2], "tidegate_cluster_joins", &[]).await;
    assert!(joins >= 4, "it joined again on both shards: {joins} joins");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_was_killed_is_waited_for_once() {
    let gateways = Gateways::start(3).await;
    let ids = ids(&gateways, 6);
    gateways.prepare(&ids).await;
    let crowd = Crowd::start(&gateways, &ids, 1, 3);
    crowd.does(2_000).await;
    gateways.signal(2, Signal::SIGKILL);
    crowd.writes(300).await;
    // A gateway that starts anew is another one.
    let successor = Gateway::start(&Gateways::config(&gateways.shards)).await;
    crowd.writes(100).await;
    let seen = crowd.end().await;
    seen.linearizable();
    assert_eq!(seen.refused, BTreeMap::new());
    assert!(seen.slowest_write < Duration::from_secs(3), "{:?}", seen.slowest_write);
    let path = format!("/v1/products/{}", ids[0]);
    until("the new one serves from its cache", || async {
        successor.client().get(&path).await.ok().is_hit().then_some(())
    })
    .await;
    gateways.all[0].client().patch(&path, &json!({ "name": "told" })).send().await.expect_status(204);
    assert_eq!(successor.client().get(&path).await.ok().json()["name"], "told");
}

#[tokio::test]
async fn a_gateway_that_leaves_is_not_waited_for() {
    // Whoever waited would wait for about this long.
    let lease = Duration::from_secs(4);
    let mut gateways = Gateways::with(2, |config| config.set("cluster", "lease", "\"4s\"")).await;
    let id = ids(&gateways, 1)[0];
    let path = format!("/v1/products/{id}");
    // Whoever has just started waits until any lease of before would be over: that is behind it after this.
    gateways.all[0].client().patch(&path, &json!({ "stock": 4 })).send().await.expect_status(204);
    let left = &mut gateways.all[1];
    left.signal(Signal::SIGTERM);
    assert!(left.process.ended().await.success());
    let rows = gateways.shards.text(0, "SELECT count(*)::text FROM tidegate.members").await;
    assert_eq!(rows.as_deref(), Some("1"), "its row is gone");
    let began = std::time::Instant::now();
    gateways.all[0].client().patch(&path, &json!({ "stock": 5 })).send().await.expect_status(204);
    assert!(began.elapsed() < lease / 2, "{:?}", began.elapsed());
    assert_eq!(gateways.sum(&[0], "tidegate_cluster_fenced", &[]).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cold_row_costs_each_gateway_one_query_at_most() {
    const CROWD: usize = 200;
    let gateways = Gateways::start(3).await;
    let id = gateways.shards.ids_on(0).next().expect("there is one");
    let blocker = gateways.shards.connect(0).await;
    blocker.batch_execute("BEGIN; LOCK TABLE products IN ACCESS EXCLUSIVE MODE").await.expect("the lock");
    let mark = gateways.shards.mark();
    let mut crowd = Vec::new();
    for number in 0..3 * CROWD {
        crowd.push(Wire::connect(gateways.all[number % 3].http()).await);
    }
    for reader in &mut crowd {
        reader.send(format!("GET /v1/products/{id} HTTP/1.1\r\nhost: x\r\n\r\n")).await;
    }
    until("all of them wait", || async {
        (gateways.sum(&[0, 1, 2], "tidegate_cache_misses", &[]).await >= 3 * CROWD as u64).then_some(())
    })
    .await;
    blocker.batch_execute("COMMIT").await.expect("the lock goes");
    for reader in &mut crowd {
        assert_eq!(reader.answer().await.expect("an answer").status, 200);
    }
    let queries = gateways.shards.count_statements(&mark, "products");
    assert!((1..=3).contains(&queries), "{queries} queries");
}

#[tokio::test]
async fn a_gateway_with_another_secret_stops_the_writes_of_those_it_does_not_talk_to() {
    let gateways = Gateways::start(1).await;
    let id = ids(&gateways, 1)[0];
    let path = format!("/v1/products/{id}");
    let stranger = Gateways::config(&gateways.shards).set("cluster", "secret", "\"another secret of this test\"");
    let stranger = Gateway::start(&stranger).await;
    until("the stranger has joined", || async {
        let rows = gateways.shards.text(0, "SELECT count(*)::text FROM tidegate.members").await;
        (rows.as_deref() == Some("2")).then_some(())
    })
    .await;
    // It renews its lease, so it cannot be fenced, and it does not acknowledge.
    let refused = gateways.all[0].client().patch(&path, &json!({ "stock": 5 })).send().await;
    refused.problem(503, "TG017");
    assert_eq!(refused.header("retry-after"), "1");
    gateways.all[0].client().get(&path).await.ok();
    drop(stranger);
    until("the stranger is fenced", || async {
        let answer = gateways.all[0].client().patch(&path, &json!({ "stock": 6 })).send().await;
        (answer.status == 204).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_purge_through_one_gateway_is_done_in_all() {
    let gateways = Gateways::start(2).await;
    let id = ids(&gateways, 1)[0];
    let path = format!("/v1/products/{id}");
    for gateway in &gateways.all {
        until("it is cached", || async { gateway.client().get(&path).await.ok().is_hit().then_some(()) }).await;
    }
    // Nobody is told of this.
    gateways.shards.execute(0, &format!("UPDATE products SET name = 'behind your back' WHERE id = {id}")).await;
    let operator = Operator::of(&gateways.all[0]);
    let order = json!({ "keys": [{ "collection": "products", "key": id.to_string() }] });
    let report = operator.purge(&order).send().await.expect_status(200).json();
    assert_eq!(report["gateways"], 2);
    for gateway in &gateways.all {
        assert_eq!(gateway.client().get(&path).await.ok().json()["name"], "behind your back");
    }
}

#[tokio::test]
async fn purging_a_query_through_one_gateway_ends_that_list_in_all() {
    let gateways = Gateways::start(3).await;
    let (purged, other) = ("/v1/products?stock=eq.3&limit=20", "/v1/products?stock=eq.4&limit=20");
    for gateway in &gateways.all {
        for list in [purged, other] {
            until("it is kept", || async { gateway.client().get(list).await.ok().is_hit().then_some(()) }).await;
        }
    }
    let order = json!({ "queries": [{ "collection": "products", "query": "limit=20&stock=eq.03" }] });
    let report = Operator::of(&gateways.all[1]).purge(&order).send().await.expect_status(200).json();
    assert_eq!(report["gateways"], 3);
    for gateway in &gateways.all {
        assert!(!gateway.client().get(purged).await.ok().is_hit());
        assert!(gateway.client().get(other).await.ok().is_hit(), "another list stays");
    }
}

#[tokio::test]
async fn a_soft_purge_through_one_gateway_is_done_in_all() {
    let gateways = Gateways::with(3, |config| {
        let products = "collections.products";
        let config = config.set("feed", "enabled", "true").set(products, "consistency", "\"bounded\"");
        config.set(products, "stale_while_revalidate", "\"60s\"")
    })
    .await;
    let id = ids(&gateways, 1)[0];
    let path = format!("/v1/products/{id}");
    for gateway in &gateways.all {
        until("it is cached", || async { gateway.client().get(&path).await.ok().is_hit().then_some(()) }).await;
    }
    let order = json!({ "keys": [{ "collection": "products", "key": id.to_string() }], "soft": true });
    let report = Operator::of(&gateways.all[0]).purge(&order).send().await.expect_status(200).json();
    assert_eq!((&report["gateways"], &report["soft"]), (&json!(3), &json!(["products"])), "{report}");
    for gateway in &gateways.all {
        let first = gateway.client().get(&path).await.ok();
        assert!(first.cache().contains("detail=stale-while-revalidate"), "{first}");
        until("it was fetched again", || async {
            let read = gateway.client().get(&path).await.ok();
            (!read.cache().contains("stale")).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn purging_a_tenant_through_one_gateway_ends_what_it_has_in_all() {
    // Each gateway keeps the state of its plugins for itself.
    let dirs = [0; 3].map(|_| PolicyDir::with("tier-classifier", "classifier"));
    let next = AtomicUsize::new(0);
    let gateways = Gateways::with(3, |config| {
        let dir = dirs[next.fetch_add(1, Ordering::Relaxed)].path();
        let config = config.patient().two_tenants(dir, "classifier");
        let config = config.set("policies.classify", "config", r#"{ sources = ["header"] }"#);
        let both = r#"["a", "b"]"#;
        config.set("tenants.known.acme", "shards", both).set("tenants.known.bolt", "shards", both)
    })
    .await;
    let path = format!("/v1/products/{}", ids(&gateways, 1)[0]);
    let is_hit = async |gateway: &Gateway, tenant: &str| {
        gateway.client().request(Method::GET, &path).header("x-tenant", tenant).send().await.ok().is_hit()
    };
    for (gateway, tenant) in gateways.all.iter().flat_map(|gateway| [(gateway, "acme"), (gateway, "bolt")]) {
        until("it is kept", || async { is_hit(gateway, tenant).await.then_some(()) }).await;
    }
    let order = json!({ "tenants": ["acme"] });
    let report = Operator::of(&gateways.all[2]).purge(&order).send().await.expect_status(200).json();
    assert_eq!(report["gateways"], 3);
    for gateway in &gateways.all {
        assert!(!is_hit(gateway, "acme").await);
        assert!(is_hit(gateway, "bolt").await, "the other tenant's stays");
    }
}

#[tokio::test]
async fn a_reload_in_one_gateway_leaves_them_agreed() {
    let gateways = Gateways::start(2).await;
    let id = ids(&gateways, 1)[0];
    let path = format!("/v1/products/{id}");
    let (one, other) = (gateways.all[0].client(), gateways.all[1].client());
    // The other serves fewer columns from here on, so the two no longer name buckets for the same collections.
    let fewer = Gateways::config(&gateways.shards).set("collections.products", "ttl", "\"30s\"").set(
        "collections.products",
        "columns",
        "[\"id\", \"name\", \"stock\"]",
    );
    gateways.all[1].write_config(&fewer.to_string());
    gateways.signal(1, Signal::SIGHUP);
    until("the other serves fewer columns", || async {
        other.get(&path).await.ok().json()["price"].is_null().then_some(())
    })
    .await;
    gateways.joined(1).await;
    for stock in 10..20 {
        until("both have it", || async { other.get(&path).await.ok().is_hit().then_some(()) }).await;
        one.patch(&path, &json!({ "stock": stock })).send().await.expect_status(204);
        assert_eq!(other.get(&path).await.ok().json()["stock"], stock);
        until("both have it", || async { one.get(&path).await.ok().is_hit().then_some(()) }).await;
        other.patch(&path, &json!({ "name": format!("of {stock}") })).send().await.expect_status(204);
        assert_eq!(one.get(&path).await.ok().json()["name"], format!("of {stock}"));
    }
}
