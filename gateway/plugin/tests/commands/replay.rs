//! `tidegate plugin replay`.

use std::path::Path;

use crate::support::{guest, plugin, write};
use serde_json::{Value, json};

/// A recording of these questions and answers, in the form that gateways write.
fn recording(dir: &Path, decisions: &[(Value, Value)]) -> String {
    let header = json!({"header": {"shards": ["a", "b"], "at": "2026-11-22T20:00:00Z"}});
    let mut lines = format!("{header}\n");
    for (question, answer) in decisions {
        let record = json!({"record": {"hook": question["hook"], "plugin": "router", "digest": "d", "generation": 1,
                                       "question": question, "answer": answer}});
        lines.push_str(&format!("{record}\n"));
    }
    write(dir, "decisions.jsonl", lines)
}

fn route(key: &str) -> Value {
    json!({"hook": "route", "op": "read", "collection": "products", "inputs": {"shard-key": key}})
}

/// What the built-in routing answers; `plugins/vectors/hash-router.json` has it.
fn decisions() -> Vec<(Value, Value)> {
    vec![
        (route("0"), json!({"shards": ["a"]})),
        (route("42"), json!({"shards": ["b"]})),
        (json!({"hook": "route", "inputs": {"shard-key": null}}), json!({"all": true})),
    ]
}

#[test]
fn a_candidate_that_decides_alike_agrees() {
    let dir = tempfile::tempdir().expect("a folder");
    let log = recording(dir.path(), &decisions());
    let out = plugin(&["replay", "--log", &log, &guest("hash-router")]).done();
    assert_eq!(out, "3 decisions replayed: 3 agree, 0 differ\n");
    let out = plugin(&["replay", "--log", &log, &guest("hash-router"), "--limit", "2"]).done();
    assert_eq!(out, "2 decisions replayed: 2 agree, 0 differ\n");
}

#[test]
fn a_recorded_tenant_is_kept_to_its_shards() {
    let dir = tempfile::tempdir().expect("a folder");
    let question = json!({"hook": "route", "tenant": "acme", "inputs": {"shard-key": "42"}});
    let log = recording(dir.path(), &[(question, json!({"shards": ["a"]}))]);
    assert!(plugin(&["replay", "--log", &log, &guest("hash-router")]).found().contains("1 differ"), "42 is on b");
    let text =
        std::fs::read_to_string(&log).expect("written").replacen("\"at\"", "\"tenants\":{\"acme\":[\"a\"]},\"at\"", 1);
    let log = write(dir.path(), "confined.jsonl", text);
    plugin(&["replay", "--log", &log, &guest("hash-router")]).done();
}

#[test]
fn decisions_that_would_change_are_told_once_each() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut decisions = decisions();
    decisions.push((route("42"), json!({"shards": ["a"]})));
    decisions.push((route("42"), json!({"shards": ["a"]})));
    let log = recording(dir.path(), &decisions);
    let out = plugin(&["replay", "--log", &log, &guest("hash-router")]).found();
    assert_eq!(
        out,
        "DIFFERS 2 time(s), first in line 5\n  asked     {\"hook\":\"route\",\"op\":\"read\",\"collection\":\"products\",\
         \"inputs\":{\"shard-key\":\"42\"}}\n  was       {\"shards\":[\"a\"]}\n  would be  {\"shards\":[\"b\"]}\n\
         5 decisions replayed: 3 agree, 2 differ\n"
    );
    let report: Value =
        serde_json::from_str(&plugin(&["replay", "--log", &log, &guest("hash-router"), "--json"]).found())
            .expect("JSON");
    assert_eq!((&report["agree"], &report["differ"]), (&json!(3), &json!(2)));
    assert_eq!(report["differences"][0]["would_be"], json!({"shards": ["b"]}));
}

#[test]
fn the_candidates_configuration_counts() {
    let dir = tempfile::tempdir().expect("a folder");
    let log = recording(dir.path(), &decisions());
    let with = |config: &str| plugin(&["replay", "--log", &log, &guest("hash-router"), "--config", config]);
    assert!(with(r#"{"buckets":1}"#).found().contains("DIFFERS 1 time(s)"), "one bucket is one shard");
    assert!(with(r#"{"buckets":0}"#).error().contains("buckets"));
    assert!(with("buckets").error().contains("is not JSON"));
}

#[test]
fn what_was_not_recorded_or_redacted_is_told_and_not_guessed() {
    let dir = tempfile::tempdir().expect("a folder");
    let classify =
        |inputs: Value| (json!({"hook": "classify", "inputs": inputs}), json!({"tenant": "acme", "class": null}));
    let all = |key: Value| json!({"header:host": null, "header:x-tenant": "acme", "header:x-api-key": key, "claim:tenant": null, "claim:tier": null});
    let mut partial = all(Value::Null);
    partial.as_object_mut().expect("an object").remove("claim:tier");
    let mut decisions = vec![
        classify(all(Value::Null)),
        classify(all(json!({"redacted": true}))),
        classify(all(json!({"redacted": true}))),
        classify(partial),
    ];
    decisions.push(decisions_of_route());
    let log = recording(dir.path(), &decisions);
    let config = r#"{"sources":["header"]}"#;
    let out = plugin(&["replay", "--log", &log, &guest("tier-classifier"), "--config", config]).done();
    assert_eq!(
        out,
        "1 decisions replayed: 1 agree, 0 differ\n3 could not be replayed:\n         \
         1  it reads claim:tier, which was not recorded\n         \
         2  it reads header:x-api-key, which was redacted\n1 are of hooks that the candidate does not have\n"
    );
}

fn decisions_of_route() -> (Value, Value) {
    (route("0"), json!({"shards": ["a"]}))
}

#[test]
fn a_replay_that_compared_nothing_is_no_success() {
    let dir = tempfile::tempdir().expect("a folder");
    let log = recording(dir.path(), &[]);
    let out = plugin(&["replay", "--log", &log, &guest("hash-router")]).found();
    assert!(out.starts_with("0 decisions replayed: 0 agree, 0 differ\nNothing was compared: "), "{out}");
    let log = write(dir.path(), "half.jsonl", "");
    plugin(&["replay", "--log", &log, &guest("hash-router")]).found();
}

#[test]
fn damaged_lines_cost_only_themselves() {
    let dir = tempfile::tempdir().expect("a folder");
    let log = recording(dir.path(), &decisions());
    let text = std::fs::read_to_string(&log).expect("written").replacen("\"route\"", "\"rou", 1);
    let log = write(dir.path(), "damaged.jsonl", text);
    let out = plugin(&["replay", "--log", &log, &guest("hash-router")]).done();
    assert!(out.starts_with("2 decisions replayed: 2 agree, 0 differ\n1 could not be replayed:\n"), "{out}");
    let text = std::fs::read_to_string(&log).expect("written").split_once('\n').expect("lines").1.to_owned();
    let log = write(dir.path(), "headless.jsonl", text);
    let error = plugin(&["replay", "--log", &log, &guest("hash-router")]).error();
    assert!(error.contains("headless.jsonl, line 2: a decision before any header"), "{error}");
}
