//! The four hooks, and the rules that no plugin can break.

mod support;

use std::time::Duration;

use serde_json::json;
use support::{Fixture, Setup, guest};
use tidegate_policy::{Hook, PolicyError, error::RefusalReason, metrics::FailureKind};
use tidegate_types::{
    bucket::BucketId,
    policy::{Change, ChangeKind, Invalidation, Keep, Purge, Urgency, Who},
    problem::ProblemKind,
    route::Topology,
    settings::{Grant, Isolation},
    tenant::{ClassId, TenantId},
};

fn acme() -> Who {
    Who { tenant: TenantId::named("acme"), class: ClassId(1) }
}

fn bolt() -> Who {
    Who { tenant: TenantId::named("bolt"), class: ClassId(1) }
}

/// Two tenants, on a shard each, and a plugin that does as the header `x-fault` says.
fn tenancy() -> Setup {
    Setup { hooks: Hook::ALL.to_vec(), tenants: vec![("acme", vec!["a"]), ("bolt", vec!["b"])], ..Setup::default() }
}

fn classify(fixture: &Fixture, headers: &[(&'static str, &str)]) -> Result<Who, PolicyError> {
    fixture.asked(headers, "", |session, query| session.classify(query.facts, query.collection, query.access))
}

fn route(fixture: &Fixture, who: Who, fault: &str) -> Result<Vec<u16>, PolicyError> {
    fixture.asked(&[("x-fault", fault)], "", |session, query| {
        session.route(who, query).map(|route| route.shards.iter().map(|shard| shard.0).collect())
    })
}

fn keep(fixture: &Fixture, who: Who, fault: &str) -> Keep {
    let headers: &[(&'static str, &str)] = if fault.is_empty() { &[] } else { &[("x-fault", fault)] };
    fixture.asked(headers, "category_id=7", |session, query| session.keep(who, query))
}

fn kind(error: &PolicyError) -> FailureKind {
    match error {
        PolicyError::Call { kind, .. } => *kind,
        other => panic!("{other}"),
    }
}

#[test]
fn a_tenant_that_is_unknown_is_turned_away_and_never_replaced() {
    let fixture = tenancy().start("testing/faulty");
    assert_eq!(classify(&fixture, &[("x-tenant", "acme")]).expect("known"), acme());
    assert_eq!(classify(&fixture, &[("x-tenant", "bolt")]).expect("known"), bolt());
    let paid = classify(&fixture, &[("x-tenant", "acme"), ("x-fault", "class:paid")]).expect("known");
    assert_eq!(paid, Who { class: ClassId(2), ..acme() });
    for stranger in ["Acme", "acme ", "nobody", "../acme"] {
        let error = classify(&fixture, &[("x-tenant", stranger)]).expect_err("a stranger");
        assert_eq!(error, PolicyError::UnknownTenant, "{stranger:?}");
        assert_eq!(error.into_problem().kind, ProblemKind::Forbidden);
    }
    let error = classify(&fixture, &[("x-tenant", "acme"), ("x-fault", "class:gold")]).expect_err("no such class");
    assert_eq!(kind(&error), FailureKind::BadAnswer);
    assert_eq!(error.into_problem().kind, ProblemKind::PolicyUnavailable);
    let error = classify(&fixture, &[]).expect_err("it refuses");
    assert_eq!(kind(&error), FailureKind::PolicyError, "and that is no 403: the policy did not say who it is");
}

#[test]
fn no_answer_leaves_the_tenants_placement() {
    let fixture = tenancy().start("testing/faulty");
    assert_eq!(route(&fixture, acme(), "hash:1").expect("placed"), [0]);
    for hash in 0..64 {
        assert_eq!(
            route(&fixture, bolt(), &format!("hash:{hash}")).expect("placed"),
            [1],
            "a hash chooses among its own"
        );
    }
    assert_eq!(route(&fixture, bolt(), "chatter").expect("placed"), [1], "all of the tenant's are its own");
    for outside in ["shard:a", "every-shard"] {
        let error = route(&fixture, bolt(), outside).expect_err("outside");
        assert_eq!(kind(&error), FailureKind::OutsidePlacement, "{outside}: and no fallback answers instead");
        assert_eq!(error.into_problem().kind, ProblemKind::PolicyUnavailable);
    }
    assert!(fixture.metrics().contains("{hook=\"route\",kind=\"outside-placement\"} 2\n"));
}

#[test]
fn a_cache_decision_narrows_within_bounds_or_bypasses() {
    let fixture = tenancy().start("testing/faulty");
    let narrowed = |who, fault| match keep(&fixture, who, fault) {
        Keep::Narrowed(narrowed) => narrowed,
        other => panic!("{fault}: {other:?}"),
    };
    assert_eq!(narrowed(acme(), "").tags, [BucketId::tag(acme().tenant, "category:7")]);
    assert_ne!(narrowed(acme(), "").tags, narrowed(bolt(), "").tags, "equal tags of two tenants are two tags");
    assert_eq!(narrowed(acme(), "no-time").ttl, Some(Duration::from_millis(1)));
    assert_eq!(narrowed(acme(), "absurd-times").ttl, Some(Duration::from_millis(u64::from(u32::MAX))));
    assert!(narrowed(acme(), "vary").variant.is_some());
    for not_kept in ["bypass", "many-tags", "long-tag"] {
        assert_eq!(keep(&fixture, acme(), not_kept), Keep::Bypass, "{not_kept}");
    }
    for broken in ["trap", "loop", "stack", "hoard", "huge", "million-tags", "not-utf8", "stray-vary", "refuse"] {
        assert_eq!(keep(&fixture, acme(), broken), Keep::BypassFailed, "{broken}");
    }
}

fn change(fault: Option<&str>) -> Change {
    Change {
        collection: "products".into(),
        key: "1".into(),
        kind: ChangeKind::Update,
        old: vec![Some("7".into()), fault.map(str::to_owned)],
        new: vec![Some("8".into()), fault.map(str::to_owned)],
    }
}

#[test]
fn changes_purge_the_tenants_own_or_fail_as_a_whole() {
    let fixture = tenancy().start("testing/faulty");
    let session = fixture.host.session();
    let columns: Vec<&str> = session.invalidation().expect("a policy").iter().map(|name| &**name).collect();
    assert_eq!(columns, ["category_id", "fault"]);
    let purges = session.invalidate(acme(), &[change(None)]).expect("answered");
    for category in ["category:7", "category:8"] {
        let purge = Purge::Tag(BucketId::tag(acme().tenant, category));
        let wanted = Invalidation { urgency: Urgency::Purge, purge };
        assert!(purges.contains(&wanted), "{category}: {purges:?}");
    }
    for broken in ["trap", "loop", "stack", "hoard", "huge", "not-utf8", "refuse"] {
        session.invalidate(acme(), &[change(Some(broken))]).expect_err(broken);
    }
}

#[test]
fn every_fault_of_classification_is_a_failure_and_no_tenant() {
    let fixture = tenancy().start("testing/faulty");
    let faults = [
        ("trap", FailureKind::Trap),
        ("stack", FailureKind::Trap),
        ("loop", FailureKind::Deadline),
        ("hoard", FailureKind::Memory),
        ("huge", FailureKind::Trap),
        ("not-utf8", FailureKind::Trap),
        ("refuse", FailureKind::PolicyError),
    ];
    for (fault, expected) in faults {
        let error = classify(&fixture, &[("x-tenant", "acme"), ("x-fault", fault)]).expect_err(fault);
        assert_eq!(kind(&error), expected, "{fault}");
        assert_eq!(classify(&fixture, &[("x-tenant", "acme")]).expect("others are answered"), acme());
    }
    let error = classify(&fixture, &[("x-tenant", "acme"), ("x-fault", "nobody")]).expect_err("nobody");
    assert_eq!(error, PolicyError::UnknownTenant);
}

/// What an instance was asked before shows in its answer: tenant by tenant, never the one before.
fn leaks(isolation: Isolation) -> bool {
    let config = json!({"classify": "leak"});
    let setup = Setup { hooks: vec![Hook::Classify], isolation: Some(isolation), config, ..tenancy() };
    let fixture = setup.start("testing/faulty");
    let first = classify(&fixture, &[("x-tenant", "acme")]).expect("known");
    let second = classify(&fixture, &[("x-tenant", "bolt")]).expect("known");
    assert_eq!(first, acme());
    second != bolt()
}

#[test]
fn a_fresh_instance_has_nothing_to_leak() {
    assert!(leaks(Isolation::Shared), "this guest does leak where it can");
    assert!(!leaks(Isolation::Fresh));
}

#[test]
fn instances_of_one_tenant_are_not_used_for_another() {
    let config = json!({"route": "leak"});
    let setup = |isolation| Setup {
        hooks: vec![Hook::Classify, Hook::Route],
        isolation: Some(isolation),
        config: config.clone(),
        shards: vec!["a", "b", "c", "d", "e", "f"],
        tenants: vec![("acme", vec![]), ("bolt", vec![])],
        ..Setup::default()
    };
    // What an instance was asked before is what this guest answers: for each of bolt's keys the one that it tells.
    let told = |isolation| {
        let fixture = setup(isolation).start("testing/faulty");
        let placed = |who, key: &str| {
            let headers = http::HeaderMap::new();
            let facts =
                tidegate_types::request::Facts { method: &http::Method::GET, path: "/", query: "", headers: &headers };
            let query = tidegate_policy::RouteQuery {
                facts: &facts,
                collection: &fixture.products,
                access: tidegate_types::route::Access::Read,
                shard_key: Some(key),
            };
            fixture.host.session().route(who, &query).expect("routed").shards[0]
        };
        let ask = |number: usize| {
            placed(acme(), &format!("acme-{number}"));
            placed(bolt(), &format!("bolt-{number}"))
        };
        (0..40).map(ask).collect::<Vec<_>>()
    };
    let topology = support::topology(&["a", "b", "c", "d", "e", "f"]);
    let home = |key: String| topology.shard_for_hash(Topology::hash_key(&key));
    let of_acme: Vec<_> = (0..40).map(|number| home(format!("acme-{number}"))).collect();
    assert_eq!(told(Isolation::Shared), of_acme, "this guest does leak where it can");
    let of_bolt: Vec<_> = (0..40_usize).map(|number| home(format!("bolt-{}", number.saturating_sub(1)))).collect();
    assert_eq!(told(Isolation::PerTenant), of_bolt, "what bolt itself asked before, and nothing of acme");
}

#[test]
fn an_answer_that_changes_between_calls_raises_an_alarm() {
    let config = json!({"route": "fickle"});
    let fixture = Setup { config, ..Setup::default() }.start("testing/faulty");
    let mut asked = 0;
    while fixture.hook().unstable_answers == 0 {
        assert!(asked < 100_000, "one call in a thousand is repeated, and this guest lies every third time");
        for _ in 0..1000 {
            asked += 1;
            fixture.read(&asked.to_string()).expect("routed");
        }
    }
    let counted = fixture.metrics();
    assert!(counted.contains("tidegate_policy_unstable_answers_total{hook=\"route\"} "), "{counted}");
}

#[test]
fn steady_answers_raise_none() {
    let fixture = Setup::default().start("hash-router");
    for key in 0..20_000 {
        fixture.read(&key.to_string()).expect("routed");
    }
    assert_eq!(fixture.hook().unstable_answers, 0);
}

#[test]
fn an_import_beyond_the_grant_is_refused_by_its_name() {
    let without = Setup { grants: vec![Grant::Log, Grant::Metrics], ..Setup::default() };
    let Err(PolicyError::Refused(refusal)) = without.try_start(&guest("hash-router")) else { panic!("it was used") };
    assert_eq!(refusal.reason, RefusalReason::Grant);
    assert!(refusal.detail.contains("host-topology") && refusal.detail.contains("\"topology\""), "{}", refusal.detail);
}

#[test]
fn what_authors_get_wrong_is_told_with_what_to_change() {
    let refused = |name: &str, hooks: Vec<Hook>| {
        let setup = Setup { hooks, ..tenancy() };
        match setup.try_start(&guest(name)) {
            Err(PolicyError::Refused(refusal)) => (refusal.reason, refusal.to_string()),
            Err(other) => panic!("{other}"),
            Ok(_) => panic!("{name} was used"),
        }
    };
    for (name, hook, reason, says) in [
        (
            "hash-router",
            Hook::Classify,
            RefusalReason::World,
            "configured for the hook classify, but exports only route",
        ),
        ("testing/future-wit", Hook::Route, RefusalReason::WitVersion, "this gateway runs 0.1.0"),
        ("testing/bad-schema", Hook::Route, RefusalReason::Manifest, "its config-schema cannot be used"),
    ] {
        let (actual, text) = refused(name, vec![hook]);
        assert_eq!(actual, reason, "{name}: {text}");
        assert!(text.contains(says), "{name}: {text}");
    }
}

#[test]
fn a_guest_that_hoards_tables_is_stopped() {
    let fixture = Setup::default().start("testing/hoards-tables");
    for key in 0..3 {
        let error = fixture.write(&key.to_string()).expect_err("writes fail closed");
        assert_eq!(kind(&error), FailureKind::Trap);
    }
}

#[tokio::test]
async fn decisions_are_recorded_and_secrets_are_not() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("decisions.jsonl");
    let setup = Setup { hooks: vec![Hook::Classify], record: Some(file.clone()), ..tenancy() };
    let fixture = setup.start("testing/faulty");
    classify(&fixture, &[("x-tenant", "acme")]).expect("known");
    classify(&fixture, &[("x-tenant", "acme")]).expect("known, and remembered");
    let folder_of_host = fixture.end();
    let text = || std::fs::read_to_string(&file).expect("readable");
    let written = async {
        while text().lines().count() < 2 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), written).await.expect("written down");
    let lines: Vec<serde_json::Value> = text().lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(lines.len(), 2, "a header and one decision: remembered ones were recorded when they were made");
    assert_eq!(lines[1]["record"]["question"]["inputs"]["header:x-tenant"], json!("acme"));
    assert_eq!(lines[1]["record"]["answer"], json!({"tenant": "acme", "class": null}));
    drop(folder_of_host);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_session_is_one_generation() {
    let fixture = Setup::default().start("hash-router");
    let session = fixture.host.session();
    fixture.replace(&guest("testing/hash-router-next"));
    fixture.host.reload().await;
    let who = Who::SHARED;
    let held = fixture.asked(&[], "", |_, query| session.route(who, query).expect("routed").generation);
    let fresh = fixture.asked(&[], "", |now, query| now.route(who, query).expect("routed").generation);
    assert_eq!((held, fresh), (1, 2));
}
