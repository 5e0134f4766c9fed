//! Reads that miss, against one query per request and against `pgbench -S`.
//!
//! Rows are asked for in a scattered order in which none comes again before all others came, and
//! the cache is the smallest there is (1 MiB, some thousand of 200,000 rows): every request takes
//! the whole path of a miss, insertion included. The share of hits is printed and checked.

use std::process::Command;

use tidegate_tests::{Gateway, Shards, schema, shards::StatementLog};

use crate::{
    Effort, Line,
    load::{self, Target},
    machine::first_line,
    median, per_second,
    servers::Server,
};

const ROWS: u64 = 200_000;

pub(crate) async fn run(effort: Effort) -> Vec<Line> {
    // One shard: the competitors have one database too.
    let options = [("shared_buffers", "256MB"), ("autovacuum", "off")];
    let shards = Shards::start_with(1, StatementLog::Off, &options).await;
    schema::create(&shards, i64::try_from(ROWS).expect("few rows")).await;
    let config = schema::config(&shards).set("cache", "l1_bytes", "\"1MiB\"");
    let gateway = Gateway::start(&config).await;
    let naive = Server::naive(&shards.urls().next().expect("one shard").1);
    let pgbench = PgBench::prepare(&shards);

    let (mut ours, mut theirs, mut benched) = (Vec::new(), Vec::new(), Vec::new());
    let (mut to_naive, mut to_pgbench) = (Vec::new(), Vec::new());
    // Warm the database's own cache for everybody.
    load::run(naive.address, Target::Scattered { rows: ROWS, from: 0 }, effort.round()).await;
    for round in 0..effort.rounds {
        let target = Target::Scattered { rows: ROWS, from: fastrand::u64(..ROWS) };
        let gateway_rate = load::run(gateway.http(), target, effort.round()).await;
        let naive_rate = load::run(naive.address, target, effort.round()).await;
        let pgbench_rate = pgbench.as_ref().map(|p| p.run(effort));
        println!(
            "cold, round {round}: gateway {}, naive {}, pgbench -S {}",
            per_second(gateway_rate),
            per_second(naive_rate),
            pgbench_rate.map_or("none".into(), per_second)
        );
        ours.push(gateway_rate);
        theirs.push(naive_rate);
        to_naive.push(gateway_rate / naive_rate);
        if let Some(rate) = pgbench_rate {
            benched.push(rate);
            to_pgbench.push(gateway_rate / rate);
        }
    }
    let metrics = gateway.metrics().await;
    let (hits, misses) = (metrics.sum("tidegate_cache_hits", &[]), metrics.sum("tidegate_cache_misses", &[]));
    println!("cold: {hits} hits among {} reads", hits + misses);
    assert!(hits * 50 < misses, "these reads were not cold");

    let against = |ratios: &mut [f64], ours: &mut [f64], theirs: &mut [f64]| {
        format!("{:.2} ({} and {})", median(ratios), per_second(median(ours)), per_second(median(theirs)))
    };
    let mut lines = vec![Line::new(
        "cold keyed reads, 64 connections / hyper + deadpool(8), one query per request",
        against(&mut to_naive, &mut ours, &mut theirs),
        ">= 2.5",
    )];
    if !benched.is_empty() {
        let what = "cold keyed reads, 64 connections / pgbench -S -M prepared -c16 -j2";
        lines.push(Line::new(what, against(&mut to_pgbench, &mut ours, &mut benched), "> 1"));
    }
    lines
}

/// `pgbench -S` on a database of its own in the same server.
#[derive(Debug)]
struct PgBench {
    program: std::path::PathBuf,
    port: String,
}

const DATABASE: &str = "postgres";

impl PgBench {
    /// `None` where it is not installed.
    fn prepare(shards: &Shards) -> Option<Self> {
        let beside = tidegate_postgres::Binaries::find(None).ok()?.program("pgbench");
        let program = if beside.is_file() { beside } else { "pgbench".into() };
        if first_line(&program.to_string_lossy(), &["--version"]).is_empty() {
            return None;
        }
        let pgbench = Self { program, port: shards.cluster(0).port().to_string() };
        // 100,000 rows a unit.
        let scale = (ROWS / 100_000).to_string();
        let made = pgbench.command(&["-i", "-q", "-s", &scale]).output().ok()?;
        made.status.success().then_some(pgbench)
    }

    fn run(&self, effort: Effort) -> f64 {
        let seconds = effort.seconds.to_string();
        let output = self.command(&["-n", "-S", "-M", "prepared", "-c16", "-j2", "-T", &seconds]).output();
        let text = output.map(|o| String::from_utf8_lossy(&o.stdout).into_owned()).unwrap_or_default();
        let rate = text.lines().find_map(|line| line.strip_prefix("tps = ")?.split(' ').next()?.parse().ok());
        rate.unwrap_or_else(|| panic!("pgbench says: {text}"))
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(["-h", "127.0.0.1", "-p", &self.port, "-U", "tidegate"]).args(args).arg(DATABASE);
        command
    }
}
