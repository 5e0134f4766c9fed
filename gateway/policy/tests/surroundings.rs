//! What a version is bound to: directories, tenants, configuration.

mod support;

use std::{collections::HashMap, sync::Arc, time::Duration};

use serde_json::json;
use support::{PLUGIN, Setup, collection};
use tidegate_policy::{Hook, PlacedKey, Placement, PolicyError, error::RefusalReason};
use tidegate_types::{
    policy::Who,
    route::ShardId,
    settings::{Grant, HookSettings, Moves, TenantSettings, TenantsSettings},
    tenant::Tenants,
};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

fn directory(entries: &[(&str, &str)]) -> HashMap<String, String> {
    entries.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn by_directory(entries: &[(&str, &str)]) -> Setup {
    Setup {
        grants: [&Grant::USUAL[..], &[Grant::Directory]].concat(),
        directories: HashMap::from([("homes".to_owned(), directory(entries))]),
        config: json!({"directory": "homes", "key": "shard-key"}),
        ..Setup::default()
    }
}

async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let reached = async {
        while !condition() {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(30), reached).await.unwrap_or_else(|_| panic!("{what}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_directory_is_another_generation_and_a_lost_one_changes_nothing() {
    let fixture = by_directory(&[("1", "a"), ("2", "b")]).start("directory-router");
    assert_eq!(fixture.read("1").expect("known").shards[..], [ShardId(0)]);
    let held = fixture.host.session();
    let shutdown = CancellationToken::new();
    let watch = tokio::spawn({
        let (host, shutdown) = (fixture.host.clone(), shutdown.clone());
        async move { host.watch(shutdown).await }
    });
    fixture.probe.2.lock().expect("alive").clear();
    fixture.probe.2.lock().expect("alive").insert("homes".into(), directory(&[("1", "b"), ("2", "b")]));
    until("the copy is renewed", || fixture.host.generation() == 2).await;
    assert_eq!(fixture.read("1").expect("known").shards[..], [ShardId(1)], "and nothing is remembered of before");
    let before = fixture.asked(&[], "", |_, query| held.route(Who::SHARED, query).expect("routed"));
    assert_eq!(before.shards[..], [ShardId(0)], "a request that had begun goes on with what it had");

    fixture.probe.2.lock().expect("alive").clear();
    until("it is asked for again", || fixture.probe.3.load(std::sync::atomic::Ordering::Relaxed) > 4).await;
    assert_eq!(fixture.read("1").expect("the last copy").shards[..], [ShardId(1)]);
    shutdown.cancel();
    watch.await.expect("the watch ends");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_that_would_lose_rows_is_not_taken() {
    let products = Arc::new(collection("products"));
    let placed = vec![PlacedKey { collection: products, shard: ShardId(0), shard_key: "1".into() }];
    let fixture = Setup { placed, ..by_directory(&[("1", "a")]) }.start("directory-router");
    let shutdown = CancellationToken::new();
    let watch = tokio::spawn({
        let (host, shutdown) = (fixture.host.clone(), shutdown.clone());
        async move { host.watch(shutdown).await }
    });
    fixture.probe.2.lock().expect("alive").insert("homes".into(), directory(&[("1", "b")]));
    let asked = || fixture.probe.3.load(std::sync::atomic::Ordering::Relaxed);
    let so_far = asked();
    until("it was offered more than once", || asked() > so_far + 2).await;
    assert_eq!(fixture.host.generation(), 1);
    assert_eq!(fixture.read("1").expect("known").shards[..], [ShardId(0)], "the row is still there");
    shutdown.cancel();
    watch.await.expect("the watch ends");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_is_not_given_without_the_grant() {
    let Err(PolicyError::Refused(refusal)) =
        (Setup { grants: Grant::USUAL.to_vec(), ..by_directory(&[]) }).try_start(&support::guest("directory-router"))
    else {
        panic!("it was used")
    };
    assert_eq!(refusal.reason, RefusalReason::Grant);
    assert!(refusal.detail.contains("\"directory\""), "{}", refusal.detail);
}

fn hook(config: serde_json::Value) -> HookSettings {
    let (fallback, moves) = (tidegate_types::settings::RouteFallback::Hash, Moves::Refused);
    HookSettings { plugin: PLUGIN.into(), config, fallback, moves, grants: Grant::USUAL.to_vec(), isolation: None }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_configuration_is_taken_as_a_whole_or_not_at_all() {
    let fixture = Setup::default().start("testing/faulty");
    fixture.read("1").expect("routed");
    let same = fixture.tenants.clone();
    fixture.host.reconfigure(&fixture.settings, same.clone()).await.expect("the same");
    assert_eq!(fixture.hook().calls, 1, "what did not change keeps what it knows");

    let mut other = fixture.settings.clone();
    other.route = Some(hook(json!({"route": "every-shard"})));
    fixture.host.reconfigure(&other, same.clone()).await.expect("another configuration");
    assert_eq!(fixture.read("1").expect("routed").shards.len(), 2);

    let mut broken = other.clone();
    broken.route = Some(hook(json!({"configure": "trap"})));
    broken.cache_policy = broken.route.clone();
    fixture.host.reconfigure(&broken, same.clone()).await.expect_err("it cannot be configured");
    assert_eq!(fixture.read("1").expect("as before").shards.len(), 2);

    let mut none = other.clone();
    none.route = None;
    fixture.host.reconfigure(&none, same).await.expect("built in");
    let generation = fixture.read("1").expect("routed");
    assert_eq!(generation.source, tidegate_types::route::RouteSource::BuiltIn);
}

#[tokio::test(flavor = "multi_thread")]
async fn tenants_come_and_go_by_configuration() {
    let setup = Setup { hooks: vec![Hook::Classify], tenants: vec![("acme", vec!["a"])], ..Setup::default() };
    let fixture = setup.start("testing/faulty");
    let classify = |tenant: &str| {
        fixture.asked(&[("x-tenant", tenant)], "", |session, query| {
            session.classify(query.facts, query.collection, query.access)
        })
    };
    assert_eq!(classify("bolt").expect_err("a stranger"), PolicyError::UnknownTenant);
    let tenant =
        |shard: &str| TenantSettings { class: "free".into(), shards: vec![shard.to_owned()], residency: Vec::new() };
    let known = [("acme".to_owned(), tenant("a")), ("bolt".to_owned(), tenant("b"))].into_iter().collect();
    let settings = TenantsSettings { classes: vec!["free".into()], known };
    let tenants = Arc::new(Tenants::resolve(&settings, &fixture.topology).expect("placed"));
    fixture.host.reconfigure(&fixture.settings, tenants).await.expect("another tenant");
    classify("bolt").expect("known now, and the refusal is not remembered");
}

#[tokio::test(flavor = "multi_thread")]
async fn with_tenants_a_row_is_in_place_if_it_is_one_of_theirs() {
    let products = Arc::new(collection("products"));
    let placed = |shard| vec![PlacedKey { collection: products.clone(), shard: ShardId(shard), shard_key: "1".into() }];
    let fixture = |shard| {
        let hooks = vec![Hook::Classify, Hook::Route];
        let tenants = vec![("acme", vec!["a"]), ("bolt", vec!["b"])];
        Setup { hooks, tenants, placed: placed(shard), shards: vec!["a", "b", "c"], ..Setup::default() }
            .start("testing/faulty")
    };
    assert_eq!(fixture(1).host.verify_placement().await, Placement::Kept { checked: 1 });
    let Placement::Moved { detail, .. } = fixture(2).host.verify_placement().await else { panic!("nobody's shard") };
    assert!(detail.contains("is on c, where no tenant has a place"), "{detail}");
}
