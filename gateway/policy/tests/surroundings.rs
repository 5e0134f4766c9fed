//! What a version is bound to: directories, tenants, configuration.

mod support;

use std::{collections::HashMap, sync::Arc, time::Duration};

use serde_json::json;
use support::{Fixture, PLUGIN, Setup, collection};
use tidegate_policy::{
    Age, Hook, Order, PlacedKey, Placement, PolicyError, Reload, Upload, error::RefusalReason, vault::Action,
};
use tidegate_types::{
    policy::Who,
    route::{ShardId, Topology},
    settings::{Grant, HookSettings, Moves, PolicySettings, TenantSettings, TenantsSettings},
    tenant::Tenants,
};
use tokio::{sync::Notify, time::timeout};
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

fn upload(name: &str, config: Option<serde_json::Value>) -> Upload {
    Upload { wasm: support::guest(name).into(), config, signature: None, age: Age::Any }
}

fn order() -> Order {
    Order { actor: "tester".into(), reason: None, moves: Moves::Refused }
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
async fn a_candidate_is_made_anew_with_a_changed_directory_or_dropped() {
    let fixture = by_directory(&[("1", "a")]).start("directory-router");
    let host = &fixture.host;
    let shutdown = CancellationToken::new();
    let watch = tokio::spawn({
        let (host, shutdown) = (host.clone(), shutdown.clone());
        async move { host.watch(shutdown).await }
    });
    let config = json!({"directory": "homes", "key": "shard-key", "default": "a"});
    host.stage(PLUGIN, upload("directory-router", Some(config)), order()).await.expect("staged");
    let changes = async |entries: &[(&str, &str)]| {
        let next = host.generation() + 1;
        fixture.probe.2.lock().expect("alive").insert("homes".into(), directory(entries));
        until("the copy is renewed", || host.generation() == next).await;
    };
    changes(&[("1", "b")]).await;
    host.promote(PLUGIN, order()).await.expect("promoted");
    assert_eq!(fixture.read("1").expect("known").shards[..], [ShardId(1)], "the promoted one has the copy of now");

    let staged = host.stage(PLUGIN, upload("hash-router", Some(json!({}))), order()).await.expect("staged");
    let digest = staged.candidate.expect("a candidate").version.digest;
    let blobs = fixture.file().with_file_name(".state").join("blobs");
    std::fs::remove_file(blobs.join(&digest[..2]).join(format!("{digest}.wasm"))).expect("it was kept");
    changes(&[("1", "a")]).await;
    assert_eq!(fixture.read("1").expect("known").shards[..], [ShardId(0)]);
    let report = fixture.report();
    assert_eq!(report.candidate, None, "better none than one with the copy of before");
    let last = report.history.last().expect("an event");
    assert_eq!((last.action, &last.digest), (Action::Refuse, &digest));
    assert!(last.outcome.starts_with("the candidate is dropped: unreadable"), "{}", last.outcome);
    shutdown.cancel();
    watch.await.expect("the watch ends");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_that_sends_keys_elsewhere_voids_what_is_cached_of_them() {
    let products = Arc::new(collection("products"));
    let placed = vec![PlacedKey { collection: products, shard: ShardId(1), shard_key: "2".into() }];
    let fixture = Setup { placed, ..by_directory(&[("1", "a"), ("2", "b")]) }.start("directory-router");
    fixture.read("1").expect("it may be cached from here on");
    let shutdown = CancellationToken::new();
    let watch = tokio::spawn({
        let (host, shutdown) = (fixture.host.clone(), shutdown.clone());
        async move { host.watch(shutdown).await }
    });
    let listed = |entries| fixture.probe.2.lock().expect("alive").insert("homes".into(), directory(entries));
    listed(&[("1", "a"), ("2", "b"), ("3", "a")]);
    until("another key is listed", || fixture.host.generation() == 2).await;
    assert_eq!(fixture.moved(), [], "nothing went elsewhere");
    listed(&[("1", "b"), ("2", "b")]);
    until("the copy is renewed", || fixture.host.generation() == 3).await;
    until("what was cached is void", || fixture.moved() == [fixture.products.id]).await;
    shutdown.cancel();
    watch.await.expect("the watch ends");
}

#[tokio::test]
async fn a_look_at_the_files_and_another_configuration_do_not_wait_for_each_other() {
    let fixture = by_directory(&[("1", "a")]).start("directory-router");
    let gate = Arc::new(Notify::new());
    *fixture.probe.4.lock().expect("alive") = Some(gate.clone());
    let asked = || fixture.probe.3.load(std::sync::atomic::Ordering::Relaxed);
    let before = asked();
    let (host, settings, tenants) = (fixture.host.clone(), fixture.settings.clone(), fixture.tenants.clone());
    let other = tokio::spawn(async move { host.reconfigure(&settings, tenants).await });
    until("the configuration is being taken", || asked() > before).await;
    // Another file by an empty custom section at its end.
    fixture.replace(&[&support::guest("directory-router")[..], &[0, 2, 1, b'x']].concat());
    let host = fixture.host.clone();
    let look = tokio::spawn(async move { host.reload().await });
    // On this one thread the look gets as far as it can.
    tokio::task::yield_now().await;
    gate.notify_one();
    let both = async { (other.await.expect("no panic"), look.await.expect("no panic")) };
    let (other, look) = timeout(Duration::from_secs(30), both).await.expect("neither waits for the other");
    other.expect("the same configuration");
    assert_eq!(look, Reload::Activated(3), "the file that came meanwhile is not overlooked");
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

/// Settings that differ in nothing that answers depend on.
fn with_other_grants(fixture: &Fixture) -> PolicySettings {
    let mut settings = fixture.settings.clone();
    settings.route.as_mut().expect("a route").grants = vec![Grant::Log, Grant::Topology];
    settings
}

/// Rows where the hash router places them, among the shards `a` and `b`.
fn placed(keys: std::ops::Range<u32>) -> Vec<PlacedKey> {
    let topology = support::topology(&["a", "b"]);
    let products = Arc::new(collection("products"));
    let place = |key: u32| {
        let shard = topology.shard_for_hash(Topology::hash_key(&key.to_string()));
        PlacedKey { collection: products.clone(), shard, shard_key: key.to_string() }
    };
    keys.map(place).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_that_moves_rows_voids_them_and_leaves_no_way_back() {
    let fixture = Setup { placed: placed(0..50), ..Setup::default() }.start("testing/faulty");
    let host = &fixture.host;
    host.stage(PLUGIN, upload("testing/faulty", Some(json!({"another": "one"}))), order()).await.expect("staged");
    host.promote(PLUGIN, order()).await.expect("promoted");
    fixture.replace(&support::guest("hash-router"));
    host.reload().await;
    assert!(fixture.report().previous.is_some());
    let mut moving = fixture.settings.clone();
    moving.route = Some(hook(json!({"buckets": 1})));
    let refused = host.reconfigure(&moving, fixture.tenants.clone()).await.expect_err("not allowed");
    assert!(refused.to_string().contains("existing keys"), "{refused}");
    assert_eq!((fixture.moved().len(), fixture.report().previous.is_some()), (0, true), "nothing changed");

    moving.route.as_mut().expect("a route").moves = Moves::Allowed;
    host.reconfigure(&moving, fixture.tenants.clone()).await.expect("allowed");
    assert_eq!((fixture.moved(), fixture.report().previous), (vec![fixture.products.id], None));
    assert_eq!(fixture.report().generation, host.generation(), "in use since this generation");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_that_is_refused_is_not_in_the_history() {
    let fixture = Setup { placed: placed(0..50), ..Setup::default() }.start("hash-router");
    fixture.replace(&support::guest("testing/hash-router-moves"));
    let before = fixture.report();
    fixture.host.reconfigure(&with_other_grants(&fixture), fixture.tenants.clone()).await.expect_err("rows move");
    assert_eq!(fixture.report().history, before.history, "the file was never in use");
    let fixture = Setup::default().try_start_in(fixture.end()).expect("started again");
    assert_eq!(fixture.report().active.title, "hash-router-moves", "nor is it taken for one that was seen");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_state_folder_the_file_is_what_is_used_again_if_it_is_the_same() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("router.wasm"), support::guest("hash-router")).expect("written");
    std::fs::write(folder.path().join(".state"), "in the way").expect("written");
    let fixture = Setup::default().try_start_in(folder).expect("it serves all the same");
    fixture.replace(&support::guest("testing/hash-router-next"));
    assert_eq!(fixture.host.reload().await, Reload::Activated(2));
    let report = fixture.report();
    assert_eq!(report.previous.expect("still warm").title, "hash-router");
    fixture.host.reconfigure(&with_other_grants(&fixture), fixture.tenants.clone()).await.expect("the file is there");
    let after = fixture.report();
    assert_eq!(after.active.digest, report.active.digest);
    assert_eq!(after.previous, None, "its bytes are gone, and the file is another");
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
