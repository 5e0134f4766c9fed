//! Ten thousand readers of one row that nobody has read before.

use std::time::Instant;

use tidegate_tests::{World, machine_limit, until, wire::Wire};

use crate::Line;

const CROWD: usize = 10_000;

pub(crate) async fn run() -> Vec<Line> {
    // Each reader is a descriptor here and one in the gateway.
    let crowd = CROWD.min(machine_limit::open_files().saturating_sub(200));
    let world = World::with(|config| config.set("http", "max_connections", "20000")).await;
    let id = world.product_on(0);
    let mut readers = Vec::with_capacity(crowd);
    for _ in 0..crowd {
        readers.push(Wire::connect(world.gateway.http()).await);
    }
    // The row cannot be read before all of them wait for it.
    let blocker = world.shards.connect(0).await;
    blocker.batch_execute("BEGIN; LOCK TABLE products IN ACCESS EXCLUSIVE MODE").await.expect("the lock");
    let mark = world.shards.mark();
    for reader in &mut readers {
        reader.send(format!("GET /v1/products/{id} HTTP/1.1\r\nhost: x\r\n\r\n")).await;
    }
    until("all of them wait", || async {
        let waiting = world.gateway.metrics().await.sum("tidegate_cache_misses", &[]);
        (waiting >= crowd as u64).then_some(())
    })
    .await;
    let begun = Instant::now();
    blocker.batch_execute("COMMIT").await.expect("the lock goes");
    for reader in &mut readers {
        let answer = reader.answer().await.expect("an answer");
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    let took = begun.elapsed();
    let queries = world.shards.count_statements(&mark, "products");
    let what = format!("{crowd} concurrent readers of one cold key");
    vec![Line::new(
        what,
        format!("{queries} query, all answered {} ms after it could run", took.as_millis()),
        "1 query",
    )]
}
