//! What the host does with guests that behave and guests that do not.

mod support;

use std::{collections::BTreeMap, time::Duration};

use http::{HeaderMap, HeaderValue, Method};
use serde_json::json;
use support::{Fixture, Setup, guest, route};
use tidegate_policy::{PolicyError, RouteQuery, error::RefusalReason, metrics::FailureKind};
use tidegate_types::{
    problem::ProblemKind,
    request::Facts,
    route::{Access, RouteSource, ShardSet},
    settings::RouteFallback,
};

/// The kind of failure of a write; writes fail closed.
fn write_fails(fixture: &Fixture, key: &str) -> FailureKind {
    let error = fixture.write(key).expect_err("writes fail closed");
    assert_eq!(error.into_problem().kind, ProblemKind::PolicyUnavailable);
    match error {
        PolicyError::Call { kind, generation: 1, .. } => kind,
        other => panic!("{other}"),
    }
}

fn refused(wasm: &[u8], config: serde_json::Value) -> (RefusalReason, String) {
    match (Setup { config, ..Setup::default() }).try_start(wasm) {
        Err(PolicyError::Refused(refusal)) => (refusal.reason, refusal.detail),
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("it was taken into use"),
    }
}

#[test]
fn each_fault_is_told_apart_and_harms_no_other_request() {
    let fixture = Setup::default().start("testing/faulty");
    let faults = [
        ("trap", FailureKind::Trap),
        ("stack", FailureKind::Trap),
        ("loop", FailureKind::Deadline),
        ("hoard", FailureKind::Memory),
        ("stray", FailureKind::BadAnswer),
        ("empty", FailureKind::BadAnswer),
        ("refuse", FailureKind::PolicyError),
    ];
    let mut expected = BTreeMap::new();
    for (fault, kind) in faults {
        let key = format!("fault:{fault}");
        assert_eq!(write_fails(&fixture, &key), kind, "{fault}");
        let read = fixture.read(&key).expect("reads fall back");
        assert_eq!((read.source, &read.shards[..]), (RouteSource::Fallback, &[fixture.home(&key)][..]), "{fault}");
        *expected.entry(kind.as_str()).or_insert(0) += 2;
        let next = fixture.write(&format!("after {fault}")).expect("other requests are answered");
        assert_eq!(next.source, RouteSource::Policy);
    }
    let status = fixture.hook();
    assert_eq!(status.errors, expected);
    assert!(status.last_error.is_some());
    for (kind, count) in expected {
        let line = format!("tidegate_policy_failures_total{{hook=\"route\",kind=\"{kind}\"}} {count}\n");
        assert!(fixture.metrics().contains(&line), "{line}");
    }
    assert!(fixture.metrics().contains("tidegate_policy_decisions_total{hook=\"route\",source=\"fallback\"} 7\n"));
}

#[test]
fn an_answer_larger_than_the_host_copies_is_a_failure() {
    let fixture = Setup::default().start("testing/faulty");
    assert!(matches!(write_fails(&fixture, "fault:flood"), FailureKind::Trap | FailureKind::BadAnswer));
}

#[test]
fn a_guest_that_logs_without_end_runs_into_its_deadline_or_ends() {
    let fixture = Setup::default().start("testing/faulty");
    match fixture.write("fault:chatter") {
        Ok(route) => assert_eq!(route.shards, fixture.topology.all()),
        Err(error) => assert!(matches!(error, PolicyError::Call { kind: FailureKind::Deadline, .. }), "{error}"),
    }
}

#[test]
fn reads_take_the_fallback_the_operator_chose() {
    for (fallback, expected) in [(RouteFallback::Hash, 1), (RouteFallback::AllShards, 3), (RouteFallback::Refuse, 0)] {
        let setup =
            Setup { fallback, shards: vec!["a", "b", "c"], config: json!({"route": "trap"}), ..Setup::default() };
        let fixture = setup.start("testing/faulty");
        let answer = fixture.read("1").map_or(0, |route| route.shards.len());
        assert_eq!(answer, expected, "{fallback:?}");
        fixture.write("1").expect_err("writes fail closed whatever the fallback");
        let list = route(&fixture.host, &fixture.products, Access::Read, None).map_or(0, |route| route.shards.len());
        assert_eq!(list, if expected == 0 { 0 } else { 3 }, "a list without a key, {fallback:?}");
    }
}

#[test]
fn a_policy_that_always_loops_is_left_alone_and_reads_go_on() {
    let call_timeout = Duration::from_millis(10);
    let fixture = Setup { config: json!({"route": "loop"}), call_timeout, ..Setup::default() }.start("testing/faulty");
    for key in 0..200 {
        assert_eq!(fixture.read(&key.to_string()).expect("fallback").source, RouteSource::Fallback);
    }
    let status = fixture.hook();
    assert_eq!(status.errors, BTreeMap::from([("deadline", 200)]));
    assert!(status.calls < 100, "{} of 200 requests waited for it", status.calls);
}

#[test]
fn a_call_out_of_time_is_tried_once_more_on_a_fresh_instance() {
    let call_timeout = Duration::from_millis(100);
    let fixture = Setup { config: json!({"route": "worn"}), call_timeout, ..Setup::default() }.start("testing/faulty");
    for key in 0..6 {
        assert_eq!(fixture.write(&key.to_string()).expect("the second try answers").source, RouteSource::Policy);
    }
    let status = fixture.hook();
    assert_eq!((status.calls, status.errors), (6, BTreeMap::new()));
    assert!(status.p99_ns.expect("called") > 90_000_000, "some calls were out of time first");
}

#[test]
fn equal_inputs_are_asked_once() {
    let fixture = Setup::default().start("hash-router");
    let first = fixture.read("42").expect("routed");
    let second = fixture.read("42").expect("routed");
    assert_eq!((first.source, second.source), (RouteSource::Policy, RouteSource::Memo));
    assert_eq!(first.shards, second.shards);
    assert_eq!(fixture.write("42").expect("routed").source, RouteSource::Policy, "a write is another question");
    assert_eq!(fixture.read("43").expect("routed").source, RouteSource::Policy);
    let status = fixture.hook();
    assert_eq!((status.calls, status.memo_hits, status.inputs), (3, 1, vec!["shard-key".to_owned()]));
    assert!(status.p50_ns.is_some() && status.p50_ns <= status.p99_ns);
}

#[test]
fn failures_are_not_remembered() {
    let fixture = Setup::default().start("testing/faulty");
    for _ in 0..2 {
        assert_eq!(write_fails(&fixture, "fault:refuse"), FailureKind::PolicyError);
    }
    assert_eq!(fixture.hook().calls, 2);
}

#[test]
fn only_declared_inputs_reach_the_guest_and_the_memo() {
    let fixture = Setup::default().start("testing/faulty");
    let mut headers = HeaderMap::new();
    let ask = |headers: &HeaderMap, path| {
        let facts = Facts { method: &Method::GET, path, query: "a=1", headers };
        let query =
            RouteQuery { facts: &facts, collection: &fixture.products, access: Access::Write, shard_key: Some("1") };
        fixture.host.session().route(tidegate_types::policy::Who::SHARED, &query).map(|route| route.source)
    };
    assert_eq!(ask(&headers, "/v1/products/1"), Ok(RouteSource::Policy));
    headers.insert("x-undeclared", HeaderValue::from_static("trap"));
    assert_eq!(ask(&headers, "/v1/elsewhere"), Ok(RouteSource::Memo), "neither was declared");
    headers.insert("x-fault", HeaderValue::from_static("trap"));
    assert!(ask(&headers, "/v1/products/1").is_err(), "this one was");
}

#[test]
fn thousands_of_different_keys_are_answered_by_reused_instances() {
    let fixture = Setup::default().start("hash-router");
    for key in 0..2000 {
        let key = key.to_string();
        assert_eq!(fixture.write(&key).expect("routed").shards, ShardSet::from_slice(&[fixture.home(&key)]));
    }
    assert_eq!(fixture.hook().errors, BTreeMap::new());
}

#[test]
fn a_version_that_cannot_work_is_refused_with_what_to_change() {
    let router = guest("hash-router");
    let mut broken = router.clone();
    broken.truncate(router.len() / 2);
    let mut header_only = router.clone();
    header_only.truncate(6);
    let cases: [(&str, Vec<u8>, serde_json::Value, RefusalReason, &str); 9] = [
        ("empty file", Vec::new(), json!({}), RefusalReason::Invalid, "not WebAssembly"),
        ("text", b"hello, router".to_vec(), json!({}), RefusalReason::Invalid, "not WebAssembly"),
        ("cut off", broken, json!({}), RefusalReason::Invalid, "unexpected end"),
        ("header cut off", header_only, json!({}), RefusalReason::Invalid, "cut off"),
        (
            "bare module",
            b"\0asm\x01\0\0\0".to_vec(),
            json!({}),
            RefusalReason::World,
            "tidegate:policy/lifecycle@0.1.0",
        ),
        ("no route", guest("testing/no-route"), json!({}), RefusalReason::World, "it exports no hook"),
        ("wasi", guest("testing/wasi-import"), json!({}), RefusalReason::Wasi, "wasi_snapshot_preview1"),
        ("config", router.clone(), json!({"a": 1}), RefusalReason::Config, "'a' was unexpected"),
        (
            "configure traps",
            guest("testing/faulty"),
            json!({"configure": "trap"}),
            RefusalReason::Lifecycle,
            "configure failed (trap)",
        ),
    ];
    for (what, wasm, config, reason, says) in cases {
        let (actual, detail) = refused(&wasm, config);
        assert_eq!(actual, reason, "{what}: {detail}");
        assert!(detail.contains(says), "{what}: {detail}");
    }
    let (reason, detail) = refused(&guest("testing/faulty"), json!({"self-test": "refuse"}));
    assert_eq!(reason, RefusalReason::Lifecycle);
    assert!(detail.starts_with("self-test failed (policy-error)"), "{detail}");
}

#[test]
fn configure_that_never_returns_is_refused() {
    let (reason, detail) = refused(&guest("testing/faulty"), json!({"configure": "loop"}));
    assert_eq!(
        (reason, detail.as_str()),
        (RefusalReason::Lifecycle, "configure failed (deadline): it ran out of time")
    );
}

#[test]
fn components_that_import_more_than_they_may_are_refused_by_name() {
    let component = wat("(component
        (import \"wasi:clocks/monotonic-clock@0.2.0\" (instance (export \"now\" (func (result u64)))))
        (import \"acme:mail/send\" (instance)))");
    let (reason, detail) = refused(&component, json!({}));
    assert_eq!(reason, RefusalReason::Wasi);
    assert_eq!(detail, "it imports wasi:clocks/monotonic-clock@0.2.0, acme:mail/send");
}

fn wat(text: &str) -> Vec<u8> {
    wat::parse_str(text).expect("valid text")
}

#[test]
fn the_memory_cap_holds_at_instantiation_too() {
    let error = Setup { max_memory_bytes: 64 << 10, ..Setup::default() }.try_start(&guest("hash-router"));
    let Err(PolicyError::Refused(refusal)) = error else { panic!("it was taken into use") };
    assert!(refusal.detail.contains("instantiation failed (memory)"), "{}", refusal.detail);
}

#[test]
fn a_missing_file_and_a_missing_folder_are_told_apart() {
    let topology = support::topology(&["a"]);
    let hook = tidegate_types::settings::HookSettings {
        plugin: "router".into(),
        config: json!({}),
        fallback: RouteFallback::Hash,
        moves: tidegate_types::settings::Moves::Refused,
        grants: Vec::new(),
        isolation: None,
    };
    let start = |dir: Option<std::path::PathBuf>| {
        let settings =
            tidegate_types::settings::PolicySettings { dir, route: Some(hook.clone()), ..Default::default() };
        support::start(&settings, topology.clone(), Default::default(), &mut Default::default()).err().expect("refused")
    };
    assert!(matches!(start(None), PolicyError::NoDirectory { .. }));
    let empty = tempfile::tempdir().expect("a folder");
    let missing = start(Some(empty.path().to_owned()));
    assert!(matches!(&missing, PolicyError::Refused(r) if r.reason == RefusalReason::Unreadable), "{missing}");
    assert!(missing.to_string().contains("router.wasm"), "{missing}");
}
