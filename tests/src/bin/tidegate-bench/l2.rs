//! Rows that only the shared tier has, through a gateway, against the client's own pipelined GET.
//!
//! One gateway reads every row, so that the tier has it; another, with the smallest cache there is, serves them. What
//! HTTP alone costs is in `hit`; what the cache makes of the tier without HTTP measures
//! `cargo run --release -p tidegate-cache --example l2_hits`.

use std::time::{Duration, Instant};

use tidegate_tests::{Gateway, Redis, Shards, schema, shards::StatementLog};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    Effort, Line,
    load::{self, Target},
    median, per_second,
};

const ROWS: u64 = 20_000;
/// As many as the load has connections.
const DEPTH: usize = 64;

pub(crate) async fn run(effort: Effort) -> Vec<Line> {
    let options = [("shared_buffers", "256MB"), ("autovacuum", "off")];
    let shards = Shards::start_with(1, StatementLog::Off, &options).await;
    schema::create(&shards, i64::try_from(ROWS).expect("few rows")).await;
    let redis = Redis::start().await;
    let shared = schema::config(&shards)
        .set("cache", "l2", &format!("\"{}\"", redis.url()))
        .set("cache", "l2_timeout", "\"100ms\"")
        .set("collections.products", "ttl", "\"1h\"");
    let server = Gateway::start(&shared.clone().set("cache", "l1_bytes", "\"1MiB\"")).await;
    let filler = Gateway::start(&shared).await;
    let client = filler.client();
    for id in 1..=ROWS {
        client.get(&format!("/v1/products/{id}")).await.ok();
    }
    let value = sample(&redis).await;

    let (mut ours, mut theirs, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..effort.rounds {
        let target = Target::Scattered { rows: ROWS, from: fastrand::u64(..ROWS) };
        let gateway_rate = load::run(server.http(), target, effort.round()).await;
        let raw_rate = raw(&redis, &value, effort.round()).await;
        println!("l2, round {round}: gateway {}, pipelined GET {}", per_second(gateway_rate), per_second(raw_rate));
        ours.push(gateway_rate);
        theirs.push(raw_rate);
        ratios.push(gateway_rate / raw_rate);
    }
    let metrics = server.metrics().await;
    let outcome = |outcome| metrics.sum("tidegate_l2_gets", &[("outcome", outcome)]);
    let (hits, all) = (outcome("hit"), metrics.sum("tidegate_l2_gets", &[]));
    println!("l2: {hits} of {all} look-ups served; {} in process", metrics.sum("tidegate_cache_hits", &[]));
    assert!(hits * 100 > all * 95, "these rows were to come from the tier");
    let measured = format!(
        "{:.2} ({} and {})",
        median(&mut ratios),
        per_second(median(&mut ours)),
        per_second(median(&mut theirs))
    );
    vec![Line::new(
        "shared-tier hits over HTTP, 64 connections / pipelined GET at depth 64, same bytes",
        measured,
        ">= 0.7",
    )]
}

/// A key that is there.
async fn sample(redis: &Redis) -> Vec<u8> {
    let mut stream = TcpStream::connect(("127.0.0.1", redis.port())).await.expect("up");
    stream.write_all(b"RANDOMKEY\r\n").await.expect("up");
    let mut answer = vec![0; 1024];
    let read = stream.read(&mut answer).await.expect("up");
    let header = answer.iter().position(|byte| *byte == b'\n').expect("a bulk string") + 1;
    answer[header..read - 2].to_vec()
}

/// GETs of one key, [`DEPTH`] at a time on one connection, as bare as can be.
async fn raw(redis: &Redis, key: &[u8], duration: Duration) -> f64 {
    let mut stream = TcpStream::connect(("127.0.0.1", redis.port())).await.expect("up");
    stream.set_nodelay(true).expect("a socket");
    let one = [format!("*2\r\n$3\r\nGET\r\n${}\r\n", key.len()).as_bytes(), key, b"\r\n"].concat();
    stream.write_all(&one).await.expect("up");
    let mut buffer = vec![0; 1 << 20];
    let size = stream.read(&mut buffer).await.expect("up");
    let (batch, begun) = (one.repeat(DEPTH), Instant::now());
    let mut done = 0_u32;
    while begun.elapsed() < duration {
        stream.write_all(&batch).await.expect("up");
        stream.read_exact(&mut buffer[..size * DEPTH]).await.expect("up");
        done += u32::try_from(DEPTH).expect("small");
    }
    f64::from(done) / begun.elapsed().as_secs_f64()
}
