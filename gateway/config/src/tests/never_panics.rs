//! Whatever the file holds, the answer is settings or mistakes with a place in the file.

use proptest::prelude::*;

use super::{LEAST, parse};

/// Values of every type, right and wrong, to put behind keys.
fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<i64>().prop_map(|n| n.to_string()),
        any::<f64>().prop_map(|n| format!("{n:?}")),
        any::<bool>().prop_map(|b| b.to_string()),
        "[ -~]{0,20}".prop_map(|text| format!("{text:?}")),
        "[0-9]{0,20}(ms|s|m|MiB|B)?".prop_map(|text| format!("\"{text}\"")),
        "(env:|file:|postgres://)[a-z@:/?%\\[\\]0-9]{0,20}".prop_map(|text| format!("\"{text}\"")),
        Just("[]".to_owned()),
        Just("[\"a\", \"log\", \"directory\"]".to_owned()),
        Just("{ a = [1, { b = 2 }] }".to_owned()),
        Just("1979-05-27".to_owned()),
    ]
}

fn key() -> impl Strategy<Value = String> {
    prop_oneof![
        proptest::sample::select(vec![
            "listen",
            "token",
            "primary",
            "replicas",
            "min",
            "max",
            "wait_timeout",
            "l1_bytes",
            "buckets",
            "ttl_jitter",
            "dir",
            "route",
            "plugin",
            "config",
            "fallback",
            "table",
            "key",
            "shard_key",
            "columns",
            "track",
            "mode",
            "ttl",
            "region",
            "state",
            "trusted_keys",
            "guard_keys",
            "grants",
            "isolation",
            "fall_back",
            "max_p99",
            "max_error_rate",
            "min_calls",
            "directories",
            "record",
            "shard",
            "value",
            "refresh",
            "file",
            "class",
            "shards",
            "residency",
        ])
        .prop_map(str::to_owned),
        "[a-z_]{1,8}",
        "[^\\x00-\\x1f]{0,6}".prop_map(|name| format!("{name:?}")),
    ]
}

fn section() -> impl Strategy<Value = String> {
    let header = proptest::sample::select(vec![
        "http",
        "admin",
        "shards.b",
        "shards",
        "pools",
        "pools.point",
        "cache",
        "policies",
        "policies.route",
        "policies.classify",
        "policies.cache-policy",
        "policies.invalidate",
        "policies.fall_back",
        "policies.directories.d",
        "policies.directories",
        "policies.record",
        "tenants",
        "tenants.classes.free",
        "tenants.known",
        "tenants.known.acme",
        "collections.x",
        "collections",
        "nonsense",
    ]);
    (header, proptest::collection::vec((key(), value()), 0..6)).prop_map(|(header, pairs)| {
        let lines: Vec<String> = pairs.iter().map(|(key, value)| format!("{key} = {value}\n")).collect();
        format!("[{header}]\n{}", lines.concat())
    })
}

fn check(text: &str) -> Result<(), TestCaseError> {
    let Err(errors) = parse(text) else { return Ok(()) };
    prop_assert!(!errors.errors().is_empty());
    for error in errors.errors() {
        prop_assert!((1..=text.matches('\n').count() + 1).contains(&error.line), "{error:?}");
        prop_assert!(error.column >= 1 && !error.message.is_empty(), "{error:?}");
    }
    Ok(())
}

proptest! {
    #[test]
    fn on_any_text(text in any::<String>()) {
        check(&text)?;
    }

    #[test]
    fn on_text_that_looks_like_configuration(sections in proptest::collection::vec(section(), 0..5)) {
        check(&sections.concat())?;
    }

    #[test]
    fn on_a_good_file_with_a_piece_cut_out(from in 0..LEAST.len(), length in 0..20_usize) {
        let mut text = LEAST.to_owned();
        text.replace_range(from..(from + length).min(LEAST.len()), "");
        check(&text)?;
    }
}
