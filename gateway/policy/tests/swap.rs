//! Another version in place of the one in use.

mod support;

use std::{
    collections::BTreeSet,
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use support::{Fixture, Setup, collection, guest};
use tidegate_policy::{PlacedKey, Placement, PluginState, Reload, error::RefusalReason};
use tidegate_types::{
    route::{RouteSource, Topology},
    settings::Moves,
};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// Rows where the hash router places them, among the shards `a` and `b`.
fn placed(keys: std::ops::Range<u32>) -> Vec<PlacedKey> {
    let topology = support::topology(&["a", "b"]);
    let products = Arc::new(collection("products"));
    keys.map(|key| PlacedKey {
        collection: products.clone(),
        shard: topology.shard_for_hash(Topology::hash_key(&key.to_string())),
        shard_key: key.to_string(),
    })
    .collect()
}

#[tokio::test]
async fn another_version_becomes_a_generation_and_starts_without_memories() {
    let fixture = Setup { placed: placed(0..100), ..Setup::default() }.start("hash-router");
    let before = fixture.report();
    fixture.read("1").expect("routed");
    fixture.read("1").expect("routed");
    assert_eq!(fixture.host.reload().await, Reload::Unchanged);
    fixture.replace(&guest("testing/hash-router-next"));
    assert_eq!(fixture.host.reload().await, Reload::Activated(2));
    let route = fixture.read("1").expect("routed");
    assert_eq!((route.generation, route.source), (2, RouteSource::Policy));
    assert_eq!(route.shards[..], [fixture.home("1")]);
    let status = fixture.report();
    assert_eq!(
        (status.generation, status.active.title.as_str(), status.active.version.as_str()),
        (2, "hash-router-next", "0.2.0")
    );
    assert_eq!(
        (status.active.hooks[0].calls, status.active.hooks[0].memo_hits, &status.state),
        (1, 0, &PluginState::Active)
    );
    assert_ne!(status.active.digest, before.active.digest);
    assert_eq!(status.name, before.name);
    assert!(fixture.metrics().contains("tidegate_policy_generation 2\n"));
}

#[tokio::test]
async fn the_same_bytes_again_are_no_new_version() {
    let fixture = Setup::default().start("hash-router");
    fixture.replace(&guest("hash-router"));
    assert_eq!(fixture.host.reload().await, Reload::Unchanged);
    assert_eq!(fixture.host.generation(), 1);
}

#[tokio::test]
async fn a_broken_file_is_refused_shown_and_forgiven() {
    let fixture = Setup::default().start("hash-router");
    let good = fixture.report();
    fixture.replace(b"\0asm but not really");
    assert_eq!(fixture.host.reload().await, Reload::Refused(RefusalReason::Invalid));
    assert_eq!(fixture.host.reload().await, Reload::Unchanged, "refused and logged once");
    let status = fixture.report();
    assert_eq!((status.generation, &status.active.digest), (1, &good.active.digest));
    let PluginState::Refused { reason, refused_digest } = status.state else { panic!("{:?}", status.state) };
    assert!(reason.contains("router.wasm") && reason.contains(&refused_digest), "{reason}");
    assert_eq!(fixture.read("1").expect("the old one answers").generation, 1);
    assert!(fixture.metrics().contains("tidegate_policy_loads_total{outcome=\"invalid\"} 1\n"));

    fs::remove_file(fixture.file()).expect("removed");
    assert_eq!(fixture.host.reload().await, Reload::Refused(RefusalReason::Unreadable));
    assert_eq!(fixture.read("2").expect("the old one answers").generation, 1);

    fixture.replace(&guest("hash-router"));
    assert_eq!(fixture.host.reload().await, Reload::Unchanged);
    assert_eq!(fixture.report().state, PluginState::Active);
}

#[tokio::test]
async fn a_version_that_would_move_rows_is_refused_with_examples() {
    let fixture = Setup { placed: placed(0..200), ..Setup::default() }.start("hash-router");
    assert_eq!(fixture.host.verify_placement().await, Placement::Kept { checked: 200 });
    fixture.replace(&guest("testing/hash-router-moves"));
    assert_eq!(fixture.host.reload().await, Reload::Refused(RefusalReason::Placement));
    assert_eq!(fixture.host.generation(), 1);
    let PluginState::Refused { reason, .. } = fixture.report().state else { panic!("refused") };
    let count: usize =
        reason.split("is refused: ").nth(1).and_then(|r| r.split(' ').next()?.parse().ok()).expect("a count");
    assert!((50..150).contains(&count), "{reason}");
    assert_eq!(reason.matches("writes would go to").count(), 3, "{reason}");
    assert!(reason.contains("allow_moves"), "{reason}");
}

#[tokio::test]
async fn a_declared_move_is_allowed() {
    let fixture = Setup { placed: placed(0..200), moves: Moves::Allowed, ..Setup::default() }.start("hash-router");
    fixture.replace(&guest("testing/hash-router-moves"));
    assert_eq!(fixture.host.reload().await, Reload::Activated(2));
    assert!(matches!(fixture.host.verify_placement().await, Placement::Moved { .. }));
    assert_eq!(fixture.moved(), [fixture.products.id], "what the version before routed is void");
    assert_eq!(fixture.report().previous, None, "going back would split the rows");

    fixture.replace(&guest("testing/hash-router-next"));
    assert_eq!(fixture.host.reload().await, Reload::Activated(3));
    assert_eq!(fixture.moved().len(), 1, "back by a file, and the rows were there all the time");
}

#[tokio::test]
async fn a_file_replaced_while_nothing_ran_is_no_way_back_where_moves_are_allowed() {
    for (moves, back) in [(Moves::Refused, Some("hash-router")), (Moves::Allowed, None)] {
        let setup = || Setup { moves, ..Setup::default() };
        let folder = setup().start("hash-router").end();
        fs::write(folder.path().join("router.wasm"), guest("testing/hash-router-moves")).expect("written");
        let fixture = setup().try_start_in(folder).expect("started again");
        let previous = fixture.report().previous.map(|version| version.title);
        assert_eq!(previous.as_deref(), back, "{moves:?}");
    }
}

#[tokio::test]
async fn the_watch_follows_copies_and_renames() {
    let fixture = Setup::default().start("hash-router");
    let shutdown = CancellationToken::new();
    let watch = tokio::spawn({
        let (host, shutdown) = (fixture.host.clone(), shutdown.clone());
        async move { host.watch(shutdown).await }
    });
    fixture.replace(&guest("testing/hash-router-next"));
    reaches(&fixture, 2).await;
    fs::write(fixture.file(), guest("hash-router-c")).expect("copied over");
    reaches(&fixture, 3).await;
    assert_eq!(fixture.report().active.title, "hash-router-c");
    shutdown.cancel();
    watch.await.expect("the watch ends");
}

async fn reaches(fixture: &Fixture, generation: u64) {
    let reached = async {
        while fixture.host.generation() < generation {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(30), reached).await.expect("the generation is taken into use");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_request_fails_while_versions_come_and_go() {
    let fixture = Arc::new(Setup { placed: placed(0..50), ..Setup::default() }.start("hash-router"));
    let stop = Arc::new(AtomicBool::new(false));
    let callers: Vec<_> = (0..4_u32)
        .map(|caller| {
            let (fixture, stop) = (fixture.clone(), stop.clone());
            thread::spawn(move || {
                let (mut seen, mut key) = (BTreeSet::new(), caller);
                while !stop.load(Ordering::Relaxed) {
                    key = (key + 4) % 5000;
                    let text = key.to_string();
                    let route = fixture.write(&text).expect("no request fails");
                    assert_eq!(route.shards[..], [fixture.home(&text)], "nor goes elsewhere");
                    seen.insert(route.generation);
                }
                seen
            })
        })
        .collect();
    let versions = ["testing/hash-router-next", "hash-router-c", "hash-router"].map(guest);
    for (expected, version) in (2..=10).zip(versions.iter().cycle()) {
        fixture.replace(version);
        assert_eq!(fixture.host.reload().await, Reload::Activated(expected));
        fixture.replace(b"broken");
        assert!(matches!(fixture.host.reload().await, Reload::Refused(_)));
    }
    stop.store(true, Ordering::Relaxed);
    for caller in callers {
        let seen = caller.join().expect("no caller saw a failure");
        assert!(seen.len() > 1, "calls ran across a swap: {seen:?}");
    }
    assert!(fixture.hook().errors.is_empty());
}
