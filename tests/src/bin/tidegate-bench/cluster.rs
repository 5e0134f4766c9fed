//! What two more gateways add to a strict write.

use std::time::{Duration, Instant};

use serde_json::json;
use tidegate_tests::{Gateway, Gateways, Shards, schema, shards::StatementLog};
use tokio::task::JoinSet;

use crate::{Effort, Line, median};

/// Clients of one gateway, each with a row of its own.
const CLIENTS: [usize; 2] = [1, 8];

pub(crate) async fn run(effort: Effort) -> Vec<Line> {
    let mut lines = Vec::new();
    for (disk, options) in [("on disk", &[("fsync", "on")][..]), ("without fsync", &[])] {
        let shards = Shards::start_with(2, StatementLog::Off, options).await;
        schema::create(&shards, 1000).await;
        // The one is not told of the writes of the three, nor they of its: they have rows of their own.
        let one = Gateway::start(&schema::config(&shards)).await;
        let mut gateways = Gateways { all: Vec::new(), shards };
        for _ in 0..3 {
            gateways.all.push(Gateway::start(&Gateways::config(&gateways.shards)).await);
        }
        for gateway in 0..3 {
            gateways.joined(gateway).await;
        }
        for clients in CLIENTS {
            lines.push(compare(effort, (&one, &gateways.all[0]), clients, disk).await);
        }
    }
    lines
}

async fn compare(effort: Effort, (one, of_three): (&Gateway, &Gateway), clients: usize, disk: &str) -> Line {
    let (mut alone, mut together, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..effort.rounds {
        let first = latency(one, 1, clients, effort.round()).await;
        let second = latency(of_three, 501, clients, effort.round()).await;
        println!(
            "cluster, {disk}, {clients} client(s), round {round}: 1 gateway {first:.0} us, 3 gateways {second:.0} us"
        );
        ratios.push(second / first);
        alone.push(first);
        together.push(second);
    }
    let measured =
        format!("{:.2} ({:.0} us and {:.0} us)", median(&mut ratios), median(&mut together), median(&mut alone));
    Line::new(format!("strict write with 3 gateways / with 1, {clients} client(s), {disk}, median"), measured, "<= 1.5")
}

/// The median latency of a write, in microseconds.
async fn latency(gateway: &Gateway, first_row: usize, clients: usize, duration: Duration) -> f64 {
    let mut writers = JoinSet::new();
    for number in 0..clients {
        let (client, path) = (gateway.client(), format!("/v1/products/{}", first_row + number));
        writers.spawn(async move {
            let (mut latencies, began) = (Vec::new(), Instant::now());
            for stock in 0_u64.. {
                let sent = Instant::now();
                client.patch(&path, &json!({ "stock": stock % 1000 })).send().await.expect_status(204);
                latencies.push(sent.elapsed().as_secs_f64() * 1e6);
                if began.elapsed() > duration {
                    break;
                }
            }
            latencies
        });
    }
    let mut all: Vec<f64> = writers.join_all().await.into_iter().flatten().collect();
    median(&mut all)
}
