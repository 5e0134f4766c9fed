//! A hit, with a policy active, against a server that does nothing but send the same bytes.

use tidegate_tests::{Gateway, Shards, policies::PolicyDir, schema, shards::StatementLog};

use crate::{
    Effort, Line,
    load::{self, Target},
    median, per_second,
    servers::Server,
};

pub(crate) async fn run(effort: Effort) -> Vec<Line> {
    let shards = Shards::start_with(2, StatementLog::Off, &[]).await;
    schema::create(&shards, 1000).await;
    let policies = PolicyDir::with("hash-router", "hash-router");
    let config =
        schema::config(&shards).route_by(policies.path(), "hash-router").set("collections.products", "ttl", "\"1h\"");
    let gateway = Gateway::start(&config).await;
    let path = "/v1/products/42";
    let _filled = gateway.client().get(path).await.ok();
    let hit = gateway.client().get(path).await.ok();
    assert!(hit.is_hit(), "{hit}");
    let bare = Server::bare(&hit.headers, &hit.body);
    let target = Target::Same(42);

    let (mut ours, mut theirs, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..effort.rounds {
        let gateway_rate = load::run(gateway.http(), target, effort.round()).await;
        let bare_rate = load::run(bare.address, target, effort.round()).await;
        println!("hit, round {round}: gateway {}, bare hyper {}", per_second(gateway_rate), per_second(bare_rate));
        ours.push(gateway_rate);
        theirs.push(bare_rate);
        ratios.push(gateway_rate / bare_rate);
    }
    let metrics = gateway.metrics().await;
    let (hits, misses) = (metrics.sum("tidegate_cache_hits", &[]), metrics.sum("tidegate_cache_misses", &[]));
    assert!(misses < 10, "{misses} misses among {hits} hits");
    let measured = format!(
        "{:.2} ({} and {})",
        median(&mut ratios),
        per_second(median(&mut ours)),
        per_second(median(&mut theirs))
    );
    let what = format!("L1 hit with hash-router active / bare hyper, same {} bytes of body", hit.body.len());
    vec![Line::new(what, measured, ">= 0.9")]
}
