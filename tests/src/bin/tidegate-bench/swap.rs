//! Another version every second under full load: how many requests fail, and how late the late ones are, against the
//! same load without swaps.
//!
//! Every swap is an upload and a promotion by the admin API: it compiles, asks sampled keys, and forgets every answer
//! that the version before remembered.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use serde_json::json;
use tidegate_tests::{Gateway, Operator, Shards, policies, policies::PolicyDir, schema, shards::StatementLog};

use crate::{
    Effort, Line,
    load::{self, Asked, Target},
    median,
};

const ROWS: u64 = 1000;
const PLUGIN: &str = "router";
const EVERY: Duration = Duration::from_secs(1);

pub(crate) async fn run(effort: Effort) -> Vec<Line> {
    let shards = Shards::start_with(2, StatementLog::Off, &[]).await;
    schema::create(&shards, 1000).await;
    let dir = PolicyDir::with("hash-router", PLUGIN);
    let config = schema::config(&shards).route_by(dir.path(), PLUGIN).set("collections.products", "ttl", "\"1h\"");
    let gateway = Gateway::start(&config).await;
    let asked = Asked { target: Target::Scattered { rows: ROWS, from: 0 }, header: None };
    let _warm = load::measure(gateway.http(), asked, EVERY).await.flawless();

    let (mut failed, mut requests, mut swaps) = (0, 0, 0);
    let (mut calm, mut swapping, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..effort.rounds {
        let without = load::measure(gateway.http(), asked, effort.round()).await.flawless();
        let swapper = Swapper::start(&gateway);
        let with = load::measure(gateway.http(), asked, effort.round()).await;
        swaps += swapper.end().await;
        println!("swap, round {round}: p99 {:?} with, {:?} without; {} failed", with.p99, without.p99, with.failed);
        failed += with.failed;
        requests += with.requests;
        calm.push(without.p99.as_secs_f64());
        swapping.push(with.p99.as_secs_f64());
        ratios.push(with.p99.as_secs_f64() / without.p99.as_secs_f64());
    }
    let millis = |values: &mut [f64]| format!("{:.2} ms", median(values) * 1000.0);
    let p99 = format!("{:.2} ({} and {})", median(&mut ratios), millis(&mut swapping), millis(&mut calm));
    vec![
        Line::new(
            format!("failed requests, a swap every second ({swaps} swaps)"),
            format!("{failed} of {requests}"),
            "0",
        ),
        Line::new("p99 with a swap every second / without", p99, "<= 1.2"),
    ]
}

/// Replaces the version in use every second until it is ended.
struct Swapper {
    stop: Arc<AtomicBool>,
    task: tokio::task::JoinHandle<u64>,
}

impl Swapper {
    fn start(gateway: &Gateway) -> Self {
        let (operator, stop) = (Operator::of(gateway), Arc::new(AtomicBool::new(false)));
        let stopped = stop.clone();
        let task = tokio::spawn(async move {
            let mut ticks = tokio::time::interval(EVERY);
            let versions = ["testing/hash-router-next", "hash-router"].map(policies::guest);
            let mut swaps = 0;
            for version in versions.iter().cycle() {
                ticks.tick().await;
                if stopped.load(Ordering::Relaxed) {
                    break;
                }
                operator.upload(PLUGIN, "?force=true", version.clone()).send().await.expect_status(201);
                let promoted = operator.done(PLUGIN, "promote", json!({})).await;
                assert_eq!(promoted["state"], "active", "{promoted}");
                swaps += 1;
            }
            swaps
        });
        Self { stop, task }
    }

    async fn end(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.expect("every swap is carried out")
    }
}
