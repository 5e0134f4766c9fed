//! What four hooks cost a hit: the gateway with a plugin in each against the gateway with none, over the same shards,
//! with the same requests.

use tidegate_tests::{Config, Gateway, Shards, policies::PolicyDir, schema, shards::StatementLog};

use crate::{
    Effort, Line,
    load::{self, Asked, Target},
    median, per_second,
};

const ROWS: u64 = 1000;
const TENANT: (&str, &str) = ("x-tenant", "acme");

pub(crate) async fn run(effort: Effort) -> Vec<Line> {
    let shards = Shards::start_with(2, StatementLog::Off, &[]).await;
    schema::create(&shards, 1000).await;
    let plugins = ["tier-classifier", "hash-router", "ttl-policy", "catalog-invalidator"];
    let policies = PolicyDir::of(&plugins.map(|name| (name, name)));
    let without = schema::config(&shards).set("collections.products", "ttl", "\"1h\"");
    let (with, without) = (Gateway::start(&hooked(&without, &policies)).await, Gateway::start(&without).await);
    let mut lines = Vec::new();
    for (what, target) in [("one row", Target::Same(42)), ("1000 rows", Target::Scattered { rows: ROWS, from: 0 })] {
        let asked = Asked { target, header: Some(TENANT) };
        let (mut ours, mut theirs, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
        for gateway in [&with, &without] {
            fill(gateway).await;
        }
        for round in 0..effort.rounds {
            let hooks = load::measure(with.http(), asked, effort.round()).await.flawless().rate;
            let none = load::measure(without.http(), asked, effort.round()).await.flawless().rate;
            println!("policies, {what}, round {round}: four hooks {}, none {}", per_second(hooks), per_second(none));
            ours.push(hooks);
            theirs.push(none);
            ratios.push(hooks / none);
        }
        let rates = (per_second(median(&mut ours)), per_second(median(&mut theirs)));
        let measured = format!("{:.2} ({} and {})", median(&mut ratios), rates.0, rates.1);
        lines.push(Line::new(format!("L1 hit of {what}, four hooks / none"), measured, ">= 0.9"));
    }
    let metrics = with.metrics().await;
    let (hits, misses) = (metrics.sum("tidegate_cache_hits", &[]), metrics.sum("tidegate_cache_misses", &[]));
    assert!(misses < 2 * ROWS + 10, "{misses} misses among {hits} hits");
    for hook in ["classify", "route", "cache-policy"] {
        let asked = metrics.sum("tidegate_policy_decisions", &[("hook", hook)]);
        assert!(asked >= hits, "{hook} decided {asked} times for {hits} hits");
    }
    lines
}

/// The same, with a plugin in every hook.
fn hooked(without: &Config, policies: &PolicyDir) -> Config {
    let dir = policies.path();
    let config = without.clone().hook(dir, "classify", "tier-classifier").hook(dir, "route", "hash-router");
    let config = config.hook(dir, "cache-policy", "ttl-policy").hook(dir, "invalidate", "catalog-invalidator");
    let config = config.set("policies.classify", "config", r#"{ sources = ["header"] }"#);
    let config = config.set("policies.cache-policy", "config", "{ default_ttl_ms = 3600000 }");
    config.section("tenants.classes.free").set("tenants.known.acme", "class", "\"free\"")
}

/// Reads every row once, and one more time to see it come from the cache.
async fn fill(gateway: &Gateway) {
    let client = gateway.client();
    let get =
        |id: u64| client.request(http::Method::GET, &format!("/v1/products/{id}")).header(TENANT.0, TENANT.1).send();
    for id in 1..=ROWS {
        let _filled = get(id).await.ok();
    }
    let hit = get(ROWS).await.ok();
    assert!(hit.is_hit(), "{hit}");
}
