//! `tidegate plugin test`.

use std::fs;

use crate::support::{guest, plugin, shared_vectors, text, write};

/// One set with one case.
fn vectors(set: &str) -> String {
    format!(r#"{{"sets":[{{"shards":["a","b"],{set}}}]}}"#)
}

const LIST: &str =
    r#""cases":[{"name":"a list","ask":{"hook":"route","collection":"products"},"expect":{"all":true}}]"#;

#[test]
fn the_shared_vectors_pass_with_every_implementation() {
    for (policy, vectors) in [
        ("hash-router", "hash-router"),
        ("hash-router-c", "hash-router"),
        ("tier-classifier", "tier-classifier"),
        ("tier-classifier-c", "tier-classifier"),
        ("range-router", "range-router"),
        ("directory-router", "directory-router"),
        ("geo-router", "geo-router"),
        ("ttl-policy", "ttl-policy"),
        ("catalog-invalidator", "catalog-invalidator"),
    ] {
        let out = plugin(&["test", &guest(policy), "--vectors", &shared_vectors(vectors)]).done();
        let passed: usize = out.split(' ').next().and_then(|number| number.parse().ok()).expect("a number");
        assert!(passed > 5 && out.ends_with(" cases passed\n"), "{policy}: {out}");
    }
}

#[test]
fn a_case_that_fails_names_its_place_and_shows_both_answers() {
    let out =
        plugin(&["test", &guest("testing/hash-router-moves"), "--vectors", &shared_vectors("hash-router")]).found();
    let first = out.split("FAILED ").nth(1).expect("a failure");
    assert!(first.starts_with("hash-router.json, set 2, case 1\n  asked     {\"hook\":\"route\""), "{first}");
    assert!(first.contains("\n  expected  {\"shards\":[\"a\"]}\n  answered  {\"shards\":[\"b\"]}\n"), "{first}");
    assert!(out.lines().last().is_some_and(|line| line.contains(" cases failed, ")), "{out}");
}

#[test]
fn an_answer_that_is_none_is_told_with_what_happened() {
    let dir = tempfile::tempdir().expect("a folder");
    let ask = |key: &str, expect: &str| {
        let case =
            format!(r#""cases":[{{"ask":{{"hook":"route","inputs":{{"shard-key":"{key}"}}}},"expect":{expect}}}]"#);
        let file = write(dir.path(), "vectors.json", vectors(&case));
        plugin(&["test", &guest("testing/faulty"), "--vectors", &file])
    };
    let out = ask("fault:trap", r#"{"all":true}"#).found();
    assert!(out.contains("answered  {\"failure\":\"trap\"}\n  because   "), "{out}");
    let out = ask("fault:no", r#"{"all":true}"#).found();
    assert!(out.contains("{\"error\":\"bad-input\"}\n  because   ") && out.contains("refused as asked: no"), "{out}");
    ask("fault:trap", r#"{"failure":"trap"}"#).done();
    ask("fault:stray", r#"{"failure":"bad-answer"}"#).done();
}

#[test]
fn a_refused_configuration_is_a_case_of_its_own() {
    let dir = tempfile::tempdir().expect("a folder");
    let test = |set: &str| {
        let file = write(dir.path(), "vectors.json", vectors(set));
        plugin(&["test", &guest("hash-router"), "--vectors", &file])
    };
    assert_eq!(test(r#""config":{"buckets":0},"refused":"buckets""#).done(), "1 case passed\n");
    let out = test(r#""config":{"buckets":8},"refused":"buckets""#).found();
    assert!(out.contains("expected  a refusal with \"buckets\"\n  it was accepted\n"), "{out}");
    let out = test(&format!(r#""config":{{"bucket":8}},{LIST}"#)).found();
    assert!(
        out.starts_with("FAILED vectors.json, set 1: none of its 1 case can be asked\n") && out.contains("bucket"),
        "{out}"
    );
}

#[test]
fn a_tenant_is_kept_to_its_shards() {
    let dir = tempfile::tempdir().expect("a folder");
    let case = |tenant: &str, shard: &str| {
        let ask = format!(r#"{{"hook":"route","tenant":"{tenant}","inputs":{{"shard-key":"42"}}}}"#);
        format!(r#"{{"ask":{ask},"expect":{{"shards":["{shard}"]}}}}"#)
    };
    let set = format!(r#""tenants":{{"acme":["a"]}},"cases":[{},{}]"#, case("acme", "a"), case("other", "b"));
    let file = write(dir.path(), "vectors.json", vectors(&set));
    assert_eq!(plugin(&["test", &guest("hash-router"), "--vectors", &file]).done(), "2 cases passed\n");
}

#[test]
fn vectors_are_found_beside_the_policy_and_in_its_folder() {
    let dir = tempfile::tempdir().expect("a folder");
    let built = dir.path().join("out/release");
    fs::create_dir_all(&built).expect("a folder");
    let policy = built.join("policy.wasm");
    fs::copy(guest("hash-router"), &policy).expect("copied");
    let error = plugin(&["test", &text(&policy)]).error();
    assert!(error.contains("put vectors.json beside it or into its folder, or name a file with --vectors"), "{error}");

    write(dir.path(), "policy.toml", "language = \"rust\"\nbuild = [\"true\"]\noutput = \"out/release/policy.wasm\"\n");
    write(dir.path(), "vectors.json", vectors(LIST));
    assert_eq!(plugin(&["test", &text(&policy)]).done(), "1 case passed\n");
    assert_eq!(plugin(&["test", &text(dir.path())]).done(), "1 case passed\n", "the folder stands for what it builds");

    write(&built, "vectors.json", vectors(&LIST.replace("true", "false")));
    plugin(&["test", &text(&policy)]).found();
}

#[test]
fn vectors_that_cannot_be_used_say_where() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = write(dir.path(), "vectors.json", "{\n  \"sets\": [{\"cases\": [{\"ask\": {}}]}]\n}");
    let error = plugin(&["test", &guest("hash-router"), "--vectors", &file]).error();
    assert!(error.contains("vectors.json: missing field `hook` at line 2 column "), "{error}");
}
