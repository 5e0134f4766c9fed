//! Looks for a stale read for as long as you like, and states its totals.
//!
//! ```text
//! tidegate-soak --real --operations 1000000 [--seed N]       real processes, a bad network, kill -9
//! tidegate-soak --real --gateways 1 --no-redis --no-outside-writer
//! tidegate-soak --simulate 10000000 [--seed N]               simulated worlds, from this seed on
//! tidegate-soak --replay SEED                                one seed, in words
//! tidegate-soak --behind [--kills N] [--outage SECONDS] [--rate N] [--seed N]   write-behind: kills, outages, poison
//! ```

mod simulate;

use std::{process::ExitCode, time::Duration};

use tidegate_tests::{
    behind,
    soak::{self, Effort, Neighbour, Tier},
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const USAGE: &str = "tidegate-soak --real [--operations N] [--seconds N] [--seed N] [--clients N]
              [--gateways N] [--redis|--no-redis] [--outside-writer|--no-outside-writer] [--calm MILLISECONDS]
tidegate-soak --simulate OPERATIONS [--seed N]
tidegate-soak --replay SEED [--focus any|alone|members|promotions]
tidegate-soak --behind [--kills N] [--outage SECONDS] [--rate WRITES_PER_SECOND] [--seed N]";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let has = |flag: &str| args.iter().any(|arg| arg == flag);
    let value = |flag: &str| {
        let at = args.iter().position(|arg| arg == flag)?;
        args.get(at + 1).cloned()
    };
    let number = |flag: &str, default: u64| value(flag).and_then(|text| text.parse().ok()).unwrap_or(default);
    let seed = number("--seed", 1);
    if has("--simulate") {
        simulate::run(number("--simulate", 100_000), seed)
    } else if has("--replay") {
        simulate::replay(number("--replay", 0), value("--focus").as_deref())
    } else if has("--behind") {
        write_behind(behind::Effort {
            kills: number("--kills", 100),
            outage: Duration::from_secs(number("--outage", 600)),
            rate: u32::try_from(number("--rate", 2000)).unwrap_or(u32::MAX).max(1),
            seed,
        })
    } else if has("--real") {
        real(Effort {
            operations: number("--operations", 100_000),
            time: Duration::from_secs(number("--seconds", 6 * 3600)),
            seed,
            clients: number("--clients", 24),
            gateways: usize::try_from(number("--gateways", 3)).unwrap_or(3).max(1),
            tier: if has("--no-redis") { Tier::None } else { Tier::Redis },
            neighbour: if has("--no-outside-writer") { Neighbour::None } else { Neighbour::Writer },
            calm: Duration::from_millis(number("--calm", 800)),
        })
    } else {
        println!("{USAGE}");
        if has("--help") || has("-h") { ExitCode::SUCCESS } else { ExitCode::from(2) }
    }
}

fn real(effort: Effort) -> ExitCode {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let totals = runtime.block_on(soak::run(effort));
    println!("{totals}");
    if totals.violations.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn write_behind(effort: behind::Effort) -> ExitCode {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let totals = runtime.block_on(behind::run(effort));
    println!("{totals}");
    if totals.right() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
