//! What Tidegate costs and gains, as ratios taken in one run on one machine.
//!
//! ```text
//! cargo build --release -p tidegate-server -p tidegate-tests
//! target/release/tidegate-bench [hit] [cold] [policy] [policies] [swap] [crowd] [feed] [cluster] [l2] [--seconds N] [--rounds N]
//! ```
//! Everything by default. Competitors are processes of their own; they take turns, round by round,
//! and medians are compared.

mod cluster;
mod cold;
mod crowd;
mod feed;
mod hit;
mod l2;
mod load;
mod machine;
mod policies;
mod policy;
mod servers;
mod swap;

use std::time::Duration;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How long and how often.
#[derive(Debug, Clone, Copy)]
struct Effort {
    seconds: u64,
    rounds: usize,
}

impl Effort {
    fn round(self) -> Duration {
        Duration::from_secs(self.seconds)
    }
}

/// One line of the result.
#[derive(Debug)]
struct Line {
    what: String,
    measured: String,
    target: &'static str,
}

impl Line {
    fn new(what: impl Into<String>, measured: impl Into<String>, target: &'static str) -> Self {
        Self { what: what.into(), measured: measured.into(), target }
    }
}

const USAGE: &str = "tidegate-bench [hit] [cold] [policy] [policies] [swap] [crowd] [feed] [cluster] [l2] [--seconds N] [--rounds N]; everything by default";

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    match args.first().map(String::as_str) {
        Some("--help" | "-h") => println!("{USAGE}"),
        Some("serve-bare") => runtime.block_on(servers::serve_bare()),
        Some("serve-naive") => runtime.block_on(servers::serve_naive(args.get(1).expect("a database URL"))),
        _ => runtime.block_on(run(&args)),
    }
}

async fn run(args: &[String]) {
    let number = |flag: &str| {
        let at = args.iter().position(|arg| arg == flag)?;
        args.get(at + 1)?.parse::<u64>().ok()
    };
    let rounds = usize::try_from(number("--rounds").unwrap_or(5)).expect("few rounds");
    let effort = Effort { seconds: number("--seconds").unwrap_or(4), rounds };
    let named = |name: &str| args.iter().any(|arg| arg == name);
    let all =
        !["hit", "cold", "policy", "policies", "swap", "crowd", "feed", "cluster", "l2"].iter().any(|name| named(name));

    println!("{}", machine::describe());
    let mut lines = Vec::new();
    if all || named("hit") {
        lines.extend(hit::run(effort).await);
    }
    if all || named("cold") {
        lines.extend(cold::run(effort).await);
    }
    if all || named("crowd") {
        lines.extend(crowd::run().await);
    }
    if all || named("feed") {
        lines.extend(feed::run(effort).await);
    }
    if all || named("cluster") {
        lines.extend(cluster::run(effort).await);
    }
    if all || named("l2") {
        lines.extend(l2::run(effort).await);
    }
    if all || named("policies") {
        lines.extend(policies::run(effort).await);
    }
    if all || named("swap") {
        lines.extend(swap::run(effort).await);
    }
    if all || named("policy") {
        lines.extend(policy::run());
    }
    println!("\n| what | measured | target |\n|---|---|---|");
    for Line { what, measured, target } in lines {
        println!("| {what} | {measured} | {target} |");
    }
}

/// The middle value; of an even number the lower middle one.
fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len().saturating_sub(1) / 2).copied().unwrap_or(f64::NAN)
}

/// A rate for people.
fn per_second(rate: f64) -> String {
    format!("{:.1}k/s", rate / 1000.0)
}
