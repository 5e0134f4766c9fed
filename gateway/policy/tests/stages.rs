//! How a version comes into use, stage by stage, and goes out of it.

mod support;

use std::{fs, time::Duration};

use serde_json::json;
use support::{Fixture, PLUGIN, Setup, collection, guest};
use tidegate_policy::{
    Age, ControlError, ControlErrorKind, Hook, Order, PlacedKey, PluginReport, PolicyError, Upload,
    error::RefusalReason,
    signature::{self, Signed},
    vault::Action,
};
use tidegate_types::{
    policy::Who,
    route::{ShardId, Topology},
    settings::{FallBackSettings, Moves},
};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

fn upload(name: &str) -> Upload {
    Upload { wasm: guest(name).into(), config: None, signature: None, age: Age::NotOlder }
}

fn order() -> Order {
    Order { actor: "tester".into(), reason: None, moves: Moves::Refused }
}

fn moves(reason: Option<&str>) -> Order {
    Order { moves: Moves::Allowed, reason: reason.map(str::to_owned), ..order() }
}

/// Rows where the hash router places them, among the shards `a` and `b`.
fn placed(keys: std::ops::Range<u32>) -> Vec<PlacedKey> {
    let topology = support::topology(&["a", "b"]);
    let products = std::sync::Arc::new(collection("products"));
    keys.map(|key| PlacedKey {
        collection: products.clone(),
        shard: topology.shard_for_hash(Topology::hash_key(&key.to_string())),
        shard_key: key.to_string(),
    })
    .collect()
}

fn refusal(result: Result<PluginReport, ControlError>) -> ControlError {
    result.expect_err("the order is refused")
}

/// Routes by header, which no placed key has, so that the guard has nothing to object to.
fn route_with(fixture: &Fixture, fault: &str) -> Result<Vec<ShardId>, PolicyError> {
    fixture.asked(&[("x-fault", fault)], "", |session, query| {
        session.route(Who::SHARED, query).map(|route| route.shards.to_vec())
    })
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
async fn a_candidate_is_staged_compared_tried_promoted_and_taken_back() {
    let fixture = Setup { placed: placed(0..50), ..Setup::default() }.start("hash-router");
    let host = &fixture.host;
    let first = fixture.report().active.digest;

    let report = host.stage(PLUGIN, upload("testing/hash-router-next"), order()).await.expect("staged");
    let candidate = report.candidate.expect("a candidate");
    assert_eq!((candidate.stage, candidate.version.version.as_str()), ("staged", "0.2.0"));
    assert_eq!(report.active.digest, first, "staging changes nothing for requests");

    host.shadow(PLUGIN, order()).await.expect("in shadow");
    for key in 0..20 {
        fixture.read(&key.to_string()).expect("routed");
        fixture.read(&key.to_string()).expect("routed from memory");
    }
    let compared = || {
        let comparison = fixture.report().candidate.expect("kept").comparison["route"].clone();
        (comparison.agreed + comparison.dropped, comparison.differed)
    };
    until("every request is compared", || compared() == (40, 0)).await;

    let report = host.canary(PLUGIN, 50, order()).await.expect("a canary");
    assert_eq!(report.candidate.expect("kept").percent, Some(50));
    for key in 100..200 {
        fixture.read(&key.to_string()).expect("routed");
    }
    let calls = fixture.report().candidate.expect("kept").version.hooks[0].calls;
    assert!((20 + 20..20 + 80).contains(&calls), "{calls} calls: its shadow's, and about half of a hundred");

    let report = host.promote(PLUGIN, order()).await.expect("promoted");
    assert_eq!((report.active.version.as_str(), report.candidate), ("0.2.0", None));
    assert_eq!(report.previous.expect("kept warm").digest, first);

    let report = host.rollback(PLUGIN, order()).await.expect("taken back");
    assert_eq!(report.active.digest, first);
    let history: Vec<_> = report.history.iter().map(|event| event.action).collect();
    let expected = [Action::Load, Action::Stage, Action::Shadow, Action::Canary, Action::Promote, Action::Rollback];
    assert_eq!(history, expected);
    assert!(report.history.iter().skip(1).all(|event| event.actor == "tester"));
}

#[tokio::test(flavor = "multi_thread")]
async fn shadow_shows_what_a_candidate_would_answer_otherwise() {
    let fixture = Setup::default().start("testing/faulty");
    let everywhere = Upload { config: Some(json!({"route": "every-shard"})), ..upload("testing/faulty") };
    fixture.host.stage(PLUGIN, everywhere, order()).await.expect("staged");
    fixture.host.shadow(PLUGIN, order()).await.expect("in shadow");
    for _ in 0..3 {
        assert_eq!(fixture.read("1").expect("routed").shards[..], [fixture.home("1")], "requests see nothing of it");
    }
    let comparison = || fixture.report().candidate.expect("kept").comparison["route"].clone();
    until("each is compared", || comparison().differed == 3).await;
    let samples = comparison().samples;
    assert_eq!(samples.len(), 1, "one question, one sample");
    let sample = serde_json::to_value(&samples[0]).expect("written");
    assert_eq!(sample["candidate"], json!({"shards": ["a", "b"]}));
    assert_eq!(sample["question"]["inputs"]["shard-key"], json!("1"));
    assert!(fixture.metrics().contains("tidegate_policy_shadow_total{hook=\"route\",outcome=\"differed\"} 3\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_candidate_that_moves_one_key_in_ten_thousand_is_refused() {
    let fixture = Setup { placed: placed(0..20_000), ..Setup::default() }.start("hash-router");
    fixture.host.stage(PLUGIN, upload("testing/one-in-ten-thousand"), order()).await.expect("staged");
    for refused in
        [refusal(fixture.host.canary(PLUGIN, 1, order()).await), refusal(fixture.host.promote(PLUGIN, order()).await)]
    {
        assert_eq!(refused.kind, ControlErrorKind::Moves);
        assert!(refused.message.contains("2 of 20000 existing keys"), "{refused}");
        assert!(refused.message.contains("\"4321\" is on"), "{refused}");
    }
    assert_eq!(fixture.report().generation, 1);

    let refused = refusal(fixture.host.promote(PLUGIN, moves(None)).await);
    assert_eq!((refused.kind, refused.message.as_str()), (ControlErrorKind::Invalid, "allow_moves needs a reason"));
    fixture.restless(Some("acknowledged writes wait"));
    let refused = refusal(fixture.host.promote(PLUGIN, moves(Some("moved by hand"))).await);
    assert_eq!(refused.kind, ControlErrorKind::Moves);
    assert!(refused.message.contains("looked for elsewhere while acknowledged writes wait"), "{refused}");
    assert_eq!((fixture.report().generation, fixture.moved()), (1, Vec::new()));
    fixture.restless(None);
    fixture.host.promote(PLUGIN, moves(Some("moved by hand"))).await.expect("promoted");
    assert_eq!(fixture.moved(), [fixture.products.id], "its entries are void");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_way_back_from_moved_rows_is_to_move_them_back() {
    let fixture = Setup { placed: placed(0..200), ..Setup::default() }.start("hash-router");
    let host = &fixture.host;
    let moving = Upload { age: Age::Any, ..upload("testing/hash-router-moves") };
    host.stage(PLUGIN, moving, order()).await.expect("staged");
    let report = host.promote(PLUGIN, moves(Some("moved by hand"))).await.expect("promoted");
    assert_eq!(report.previous, None);
    let refused = refusal(host.rollback(PLUGIN, order()).await);
    assert_eq!(refused.kind, ControlErrorKind::NothingBefore);
    assert!(refused.hint.contains("allow_moves"), "{}", refused.hint);

    // Keys lately routed are elsewhere now.
    fixture.write("1").expect("routed");
    let before = Upload { age: Age::Any, ..upload("hash-router") };
    host.stage(PLUGIN, before, order()).await.expect("staged");
    assert_eq!(refusal(host.promote(PLUGIN, order()).await).kind, ControlErrorKind::Moves);
    host.promote(PLUGIN, moves(Some("moved back"))).await.expect("promoted");
    assert_eq!(fixture.moved(), [fixture.products.id; 2], "void again: they may be in the cache from the first time");
    let fixture = Setup::default().try_start_in(fixture.end()).expect("started again");
    assert_eq!(fixture.report().previous, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_canary_never_moves_rows() {
    let allowed = Setup { placed: placed(0..200), moves: Moves::Allowed, ..Setup::default() };
    let fixture = allowed.start("hash-router");
    fixture.host.stage(PLUGIN, upload("testing/hash-router-moves"), order()).await.expect("staged");
    let refused = refusal(fixture.host.canary(PLUGIN, 1, moves(Some("moved by hand"))).await);
    assert_eq!(refused.kind, ControlErrorKind::Invalid);
    assert!(refused.message.contains("a canary may not move rows"), "{refused}");
    let refused = refusal(fixture.host.canary(PLUGIN, 1, order()).await);
    assert_eq!(refused.kind, ControlErrorKind::Moves, "also where the configuration allows moves");
    assert_eq!(fixture.moved(), []);
    fixture.host.promote(PLUGIN, order()).await.expect("the configuration allows it");
    assert_eq!(fixture.moved(), [fixture.products.id]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_lately_routed_must_stay_too() {
    let fixture = Setup { placed: placed(0..10), ..Setup::default() }.start("hash-router");
    fixture.write("4321").expect("routed");
    fixture.host.stage(PLUGIN, upload("testing/one-in-ten-thousand"), order()).await.expect("staged");
    let refused = refusal(fixture.host.promote(PLUGIN, order()).await);
    assert!(refused.message.contains("1 of 11 existing keys"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_canary_that_fails_is_put_to_rest_by_itself() {
    let bounds = FallBackSettings { min_calls: 10, ..FallBackSettings::default() };
    let fixture = Setup { placed: placed(0..10), fall_back: bounds, ..Setup::default() }.start("hash-router");
    let shutdown = CancellationToken::new();
    let watch = tokio::spawn({
        let (host, shutdown) = (fixture.host.clone(), shutdown.clone());
        async move { host.watch(shutdown).await }
    });
    fixture.host.stage(PLUGIN, upload("testing/faulty"), order()).await.expect("staged");
    fixture.host.canary(PLUGIN, 99, order()).await.expect("the guard's keys have no header fields");
    let stage = || fixture.report().candidate.expect("kept").stage;
    until("the canary is at rest", || {
        // Reads fall back, so nobody notices but the counts.
        let _ = route_with(&fixture, "trap").expect("reads fall back");
        stage() == "staged"
    })
    .await;
    let last = fixture.report().history.pop().expect("an event");
    assert_eq!((last.action, last.actor.as_str()), (Action::FallBack, "the gateway"));
    assert!(last.reason.expect("why").contains("calls failed, allowed are 5.0 %"));
    assert!(fixture.metrics().contains("tidegate_policy_fall_backs_total 1\n"));
    shutdown.cancel();
    watch.await.expect("the watch ends");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_promoted_version_that_fails_is_taken_back_by_itself_and_once() {
    let bounds = FallBackSettings { min_calls: 10, ..FallBackSettings::default() };
    let fixture = Setup { placed: placed(0..10), fall_back: bounds, ..Setup::default() }.start("hash-router");
    let first = fixture.report().active.digest;
    fixture.host.stage(PLUGIN, upload("testing/faulty"), order()).await.expect("staged");
    fixture.host.promote(PLUGIN, order()).await.expect("promoted");
    let shutdown = CancellationToken::new();
    let watch = tokio::spawn({
        let (host, shutdown) = (fixture.host.clone(), shutdown.clone());
        async move { host.watch(shutdown).await }
    });
    until("the version before is in use", || {
        let _ = route_with(&fixture, "trap").expect("reads fall back");
        fixture.report().active.digest == first
    })
    .await;
    assert_eq!(fixture.report().previous, None, "not back to what just failed");
    shutdown.cancel();
    watch.await.expect("the watch ends");
}

#[tokio::test(start_paused = true)]
async fn clients_cannot_undo_a_promotion_by_asking_what_every_version_refuses() {
    let bounds = FallBackSettings { min_calls: 10, ..FallBackSettings::default() };
    let fixture = Setup { fall_back: bounds, ..Setup::default() }.start("testing/faulty");
    for _ in 0..50 {
        let _ = route_with(&fixture, "refuse").expect("reads fall back");
    }
    let other = Upload { config: Some(json!({"another": "one"})), ..upload("testing/faulty") };
    fixture.host.stage(PLUGIN, other, order()).await.expect("staged");
    fixture.host.promote(PLUGIN, order()).await.expect("promoted");
    let promoted = fixture.report().generation;
    for _ in 0..50 {
        let _ = route_with(&fixture, "refuse").expect("reads fall back");
    }
    let shutdown = CancellationToken::new();
    let ended = async {
        // A minute of paused time: many looks at the counts, each of which would have undone it.
        tokio::time::sleep(Duration::from_secs(60)).await;
        shutdown.cancel();
    };
    tokio::join!(fixture.host.watch(shutdown.clone()), ended);
    assert_eq!(fixture.report().generation, promoted);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_operators_did_survives_a_restart() {
    let fixture = Setup::default().start("hash-router");
    fixture.host.stage(PLUGIN, upload("testing/hash-router-next"), order()).await.expect("staged");
    fixture.host.promote(PLUGIN, order()).await.expect("promoted");
    let routed = Upload { age: Age::Any, ..upload("hash-router-c") };
    fixture.host.stage(PLUGIN, routed, order()).await.expect("staged");
    fixture.host.shadow(PLUGIN, order()).await.expect("in shadow");
    let before = fixture.report();

    let fixture = Setup::default().try_start_in(fixture.end()).expect("started again");
    let after = fixture.report();
    assert_eq!((&after.active.digest, after.active.version.as_str()), (&before.active.digest, "0.2.0"));
    let candidate = after.candidate.expect("kept");
    assert_eq!((candidate.stage, candidate.version.title.as_str()), ("shadow", "hash-router-c"));
    assert_eq!(after.history.len(), before.history.len());
    fixture.host.rollback(PLUGIN, order()).await.expect("the shadow is put to rest");
    let report = fixture.host.rollback(PLUGIN, order()).await.expect("the version before survived too");
    assert_eq!(report.active.title, "hash-router");

    // A file replaced while nothing ran is what the operator wants now.
    let folder = fixture.end();
    fs::write(folder.path().join(format!("{PLUGIN}.wasm")), guest("hash-router-c")).expect("written");
    let fixture = Setup::default().try_start_in(folder).expect("started again");
    assert_eq!(fixture.report().active.title, "hash-router-c");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_look_sees_what_was_promoted_and_takes_nothing() {
    let fixture = Setup::default().start("hash-router");
    fixture.host.stage(PLUGIN, upload("testing/hash-router-next"), order()).await.expect("staged");
    fixture.host.promote(PLUGIN, order()).await.expect("promoted");
    let state = fixture.file().with_file_name(".state").join("state.json");
    let before = fs::read(&state).expect("kept");
    let seen = fixture.look().plugins().remove(0);
    assert_eq!(
        (seen.active.version.as_str(), seen.previous.map(|version| version.title)),
        ("0.2.0", Some("hash-router".into()))
    );
    assert_eq!(fs::read(&state).expect("kept"), before);
    fixture.replace(&guest("hash-router-c"));
    assert_eq!(fixture.look().plugins().remove(0).active.title, "hash-router-c", "as a gateway that starts now");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_gateways_do_not_share_a_state_folder() {
    let fixture = Setup::default().start("hash-router");
    let second =
        support::start(&fixture.settings, fixture.topology.clone(), Default::default(), &mut Default::default());
    let Err(error) = second else { panic!("both started") };
    assert!(error.to_string().contains("another gateway uses"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_version_has_to_be_forced() {
    let fixture = Setup::default().start("testing/hash-router-next");
    let refused = refusal(fixture.host.stage(PLUGIN, upload("testing/old-version"), order()).await);
    assert_eq!(refused.kind, ControlErrorKind::Downgrade);
    assert!(refused.message.contains("it is version 0.0.1, and 0.2.0 was in use before"), "{refused}");
    assert!(refused.hint.contains("force"), "{refused}");
    let forced = Upload { age: Age::Any, ..upload("testing/old-version") };
    fixture.host.stage(PLUGIN, forced, order()).await.expect("staged");
}

fn signed(secret: &str, name: &str, title: &str, version: &str) -> String {
    let wasm = guest(name);
    let digest = tidegate_policy::vault::digest_of(&wasm);
    let signed = Signed { digest: &digest, name: title, version, wit: "0.1.0", hooks: vec!["route"] };
    signature::sign(secret, &signed).expect("signed")
}

#[tokio::test(flavor = "multi_thread")]
async fn with_trusted_keys_only_what_they_signed_is_used() {
    let (key, other) = (signature::generate().expect("a key"), signature::generate().expect("a key"));
    let trusting = || Setup { trusted_keys: vec![key.public.clone()], ..Setup::default() };
    let Err(PolicyError::Refused(refusal)) = trusting().try_start(&guest("hash-router")) else {
        panic!("an unsigned file was used")
    };
    assert_eq!(refusal.reason, RefusalReason::Signature);

    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join(format!("{PLUGIN}.wasm"));
    fs::write(&file, guest("hash-router")).expect("written");
    let signature = signed(&key.secret, "hash-router", "hash-router", "0.1.0");
    fs::write(signature::file_of(&file), signature).expect("written");
    let fixture = trusting().try_start_in(folder).expect("the signed file is used");

    let next = |secret: &str| Upload {
        signature: Some(signed(secret, "testing/hash-router-next", "hash-router-next", "0.2.0")),
        ..upload("testing/hash-router-next")
    };
    for wrong in [upload("testing/hash-router-next"), next(&other.secret)] {
        let refused = fixture.host.stage(PLUGIN, wrong, order()).await.expect_err("refused");
        assert_eq!(refused.kind, ControlErrorKind::Signature, "{refused}");
    }
    fixture.host.stage(PLUGIN, next(&key.secret), order()).await.expect("signed");
    fixture.host.promote(PLUGIN, order()).await.expect("promoted");

    // An older file is still signed, but must not come back by itself.
    fixture.replace(&guest("hash-router"));
    let reload = fixture.host.reload().await;
    assert_eq!(reload, tidegate_policy::Reload::Refused(RefusalReason::Downgrade));
}

#[tokio::test]
async fn orders_that_make_no_sense_say_what_would() {
    let fixture = Setup::default().start("hash-router");
    let host = &fixture.host;
    let cases = [
        (
            refusal(host.stage("rooter", upload("hash-router"), order()).await),
            ControlErrorKind::UnknownPlugin,
            "Configured are router",
        ),
        (refusal(host.shadow(PLUGIN, order()).await), ControlErrorKind::NothingStaged, "PUT /admin/plugins/router"),
        (refusal(host.promote(PLUGIN, order()).await), ControlErrorKind::NothingStaged, "PUT /admin/plugins/router"),
        (refusal(host.rollback(PLUGIN, order()).await), ControlErrorKind::NothingBefore, "Stage the version"),
        (refusal(host.canary(PLUGIN, 0, order()).await), ControlErrorKind::Invalid, "promote"),
        (refusal(host.canary(PLUGIN, 100, order()).await), ControlErrorKind::Invalid, "promote"),
        (
            refusal(host.stage(PLUGIN, Upload { wasm: b"no".to_vec().into(), ..upload("hash-router") }, order()).await),
            ControlErrorKind::Refused,
            "Rebuild",
        ),
    ];
    for (error, kind, hint) in cases {
        assert_eq!(error.kind, kind, "{error}");
        assert!(error.hint.contains(hint), "{error}: {}", error.hint);
    }
    assert_eq!(fixture.report().generation, 1);
    assert_eq!(fixture.report().active.hooks[0].hook, Hook::Route);
}
