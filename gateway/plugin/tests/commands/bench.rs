//! `tidegate plugin bench`.

use crate::support::{guest, plugin, shared_vectors, write};
use serde_json::Value;

#[test]
fn a_policy_is_measured_with_the_questions_of_its_vectors() {
    let args = ["bench", &guest("hash-router"), "--vectors", &shared_vectors("hash-router"), "--json"];
    let report: Value = serde_json::from_str(&plugin(&args).done()).expect("JSON");
    let hook = &report["hooks"][0];
    assert_eq!((hook["hook"].as_str(), hook["questions"].as_u64()), (Some("route"), Some(75)));
    let figure = |of: &Value| of.as_u64().expect("a number");
    assert!(figure(&hook["warm"]["calls"]) > 100 && figure(&hook["fresh"]["calls"]) > 10, "{hook}");
    assert!(figure(&hook["warm"]["p50_ns"]) <= figure(&hook["warm"]["p99_ns"]), "{hook}");
    assert!(figure(&hook["warm"]["p50_ns"]) < figure(&hook["fresh"]["p50_ns"]), "a new instance takes longer: {hook}");
    let instructions = &hook["instructions"];
    assert!((100..1_000_000).contains(&figure(&instructions["median"])), "{hook}");
    assert!(figure(&instructions["most"]) > figure(&instructions["median"]), "long keys take more: {hook}");
    for cost in ["compile_ns", "load_ns", "instance_ns", "memory_bytes"] {
        assert!(figure(&report[cost]) > 0, "{cost}");
    }
    assert!(figure(&report["load_ns"]) < figure(&report["compile_ns"]), "that is why compiled code is kept");
}

#[test]
fn without_a_question_there_is_nothing_to_measure() {
    let dir = tempfile::tempdir().expect("a folder");
    let other = r#"{"sets":[{"cases":[{"ask":{"hook":"classify"},"expect":{"error":"no-match"}}]}]}"#;
    let file = write(dir.path(), "vectors.json", other);
    let error = plugin(&["bench", &guest("hash-router"), "--vectors", &file]).error();
    assert!(
        error.contains("none of the vectors has a case for a hook of") && error.ends_with("It has: route"),
        "{error}"
    );
}
