//! Ten thousand readers of one row that nobody has read before, of one gateway and of three.

use std::time::Instant;

use tidegate_tests::{Config, Gateway, Gateways, Shards, World, machine_limit, until, wire::Wire};

use crate::Line;

const CROWD: usize = 10_000;

pub(crate) async fn run() -> Vec<Line> {
    // Each reader is a descriptor here and one in its gateway.
    let crowd = CROWD.min(machine_limit::open_files().saturating_sub(200));
    let world = World::with(patient).await;
    let alone = measure(std::slice::from_ref(&world.gateway), &world.shards, crowd, "1 query").await;
    drop(world);
    let gateways = Gateways::with(3, patient).await;
    vec![alone, measure(&gateways.all, &gateways.shards, crowd, "3 queries, one of each").await]
}

/// Lets the readers wait until all of them have come.
fn patient(config: Config) -> Config {
    let config = config.set("http", "max_connections", "20000").set("http", "request_timeout", "\"120s\"");
    config.set("pools.point", "statement_timeout", "\"120s\"")
}

async fn measure(gateways: &[Gateway], shards: &Shards, crowd: usize, target: &'static str) -> Line {
    let id = shards.ids_on(0).next().expect("numbers do not end");
    let mut readers = Vec::with_capacity(crowd);
    for number in 0..crowd {
        readers.push(Wire::connect(gateways[number % gateways.len()].http()).await);
    }
    // The row cannot be read before all of them wait for it.
    let blocker = shards.connect(0).await;
    blocker.batch_execute("BEGIN; LOCK TABLE products IN ACCESS EXCLUSIVE MODE").await.expect("the lock");
    let mark = shards.mark();
    for reader in &mut readers {
        reader.send(format!("GET /v1/products/{id} HTTP/1.1\r\nhost: x\r\n\r\n")).await;
    }
    until("all of them wait", || async {
        let mut waiting = 0;
        for gateway in gateways {
            waiting += gateway.metrics().await.sum("tidegate_cache_misses", &[]);
        }
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
    let queries = shards.count_statements(&mark, "products");
    // On a machine that is too busy to renew a lease, what was read meanwhile may not be shared.
    let mut moved = 0;
    for gateway in gateways {
        moved += gateway.metrics().await.sum("tidegate_cache_flights", &[("role", "moved")]);
    }
    Line::new(
        format!("{crowd} concurrent readers of one cold key, {} gateway(s)", gateways.len()),
        format!("{queries} queries ({moved} readers needed another), all answered after {} ms", took.as_millis()),
        target,
    )
}
