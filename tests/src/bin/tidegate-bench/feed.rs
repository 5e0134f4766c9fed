//! How long after a commit past the gateways a read through each of them sees the change: of one gateway, and of three,
//! of which one reads the log and tells the others.

use std::time::{Duration, Instant};

use tidegate_tests::{Client, Gateway, Gateways, Shards, schema, shards::StatementLog, until};
use tokio::task::JoinSet;

use crate::{Effort, Line};

/// A pause between changes, so that each meets idle gateways.
const PAUSE: Duration = Duration::from_millis(5);
/// What is changed, and what is not.
const CHANGED: &str = "/v1/products/42";
const BESIDE: &str = "/v1/products/43";

pub(crate) async fn run(effort: Effort) -> Vec<Line> {
    let mut lines = Vec::new();
    for count in [1, 3] {
        lines.extend(measure(effort, &start(count).await).await);
    }
    lines
}

/// One shard and this many gateways that follow it.
async fn start(count: usize) -> Gateways {
    let shards = Shards::start_with(1, StatementLog::Off, &[]).await;
    schema::create(&shards, 1000).await;
    let mut gateways = Gateways { all: Vec::new(), shards };
    for _ in 0..count {
        let config = if count == 1 { schema::config(&gateways.shards) } else { Gateways::config(&gateways.shards) };
        let config = config.set("feed", "enabled", "true").set("collections.products", "ttl", "\"1h\"");
        gateways.all.push(Gateway::start(&config).await);
    }
    if count > 1 {
        for gateway in 0..count {
            gateways.joined(gateway).await;
        }
    }
    gateways.followed().await;
    gateways
}

async fn measure(effort: Effort, gateways: &Gateways) -> Vec<Line> {
    let clients: Vec<Client> = gateways.all.iter().map(Gateway::client).collect();
    let outside = gateways.shards.connect(0).await;
    let update = outside.prepare("UPDATE products SET stock = $1 WHERE id = 42").await.expect("prepared");
    let end = Instant::now() + effort.round() * u32::try_from(effort.rounds).expect("few rounds");
    let (mut delays, mut stock) = (Vec::new(), 1000);
    let mut unrelated = 0_u32;
    for client in &clients {
        client.get(BESIDE).await.ok();
    }
    while Instant::now() < end {
        stock += 1;
        // The row is kept everywhere when it changes.
        for client in &clients {
            until("it is kept", || async { client.get(CHANGED).await.ok().is_hit().then_some(()) }).await;
        }
        outside.execute(&update, &[&stock]).await.expect("updated");
        let committed = Instant::now();
        let mut pollers = JoinSet::new();
        for client in &clients {
            pollers.spawn(seen(client.clone(), stock, committed));
        }
        let last = pollers.join_all().await.into_iter().max().expect("a gateway");
        delays.push(last.as_secs_f64() * 1000.0);
        for client in &clients {
            unrelated += u32::from(!client.get(BESIDE).await.ok().is_hit());
        }
        tokio::time::sleep(PAUSE).await;
    }
    delays.sort_by(f64::total_cmp);
    let measured =
        format!("p50 {:.2} ms, p99 {:.2} ms of {} changes", at(&delays, 0.5), at(&delays, 0.99), delays.len());
    let whom = if clients.len() == 1 { "the gateway".to_owned() } else { format!("all {} gateways", clients.len()) };
    vec![
        Line::new(
            format!("commit past the gateways -> not served any more by {whom}, polled"),
            measured,
            "p99 <= 10 ms",
        ),
        Line::new("reads of a row beside it that were no hits", unrelated.to_string(), "0"),
    ]
}

/// How long after the commit a gateway serves the new row, and the old one no more.
async fn seen(client: Client, stock: i32, committed: Instant) -> Duration {
    while client.get(CHANGED).await.ok().json()["stock"] != stock {}
    committed.elapsed()
}

/// The value below which this share of the sorted ones lies.
fn at(sorted: &[f64], share: f64) -> f64 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "an index"
    )]
    let index = ((sorted.len() as f64 * share) as usize).min(sorted.len().saturating_sub(1));
    sorted.get(index).copied().unwrap_or(f64::NAN)
}
