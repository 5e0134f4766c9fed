//! Simulated worlds, one per seed, on every processor.

use std::{
    process::ExitCode,
    sync::atomic::{AtomicU64, Ordering},
    time::Instant,
};

use tidegate_sim::{Focus, Plan, Trace};

/// What all threads have done.
#[derive(Default)]
struct Totals {
    next: AtomicU64,
    runs: AtomicU64,
    operations: AtomicU64,
    disasters: AtomicU64,
    violations: AtomicU64,
}

/// Runs seeds from `first` on until so many operations were judged.
pub(crate) fn run(operations: u64, first: u64) -> ExitCode {
    let (totals, start) = (Totals::default(), Instant::now());
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while totals.operations.load(Ordering::Relaxed) < operations {
                    let number = totals.next.fetch_add(1, Ordering::Relaxed);
                    one(&totals, first + number, start);
                }
            });
        }
    });
    let violations = totals.violations.load(Ordering::Relaxed);
    println!(
        "{} operations checked in {} simulated runs (seeds {first} to {}), {} disasters, {violations} violations, {} s",
        totals.operations.load(Ordering::Relaxed),
        totals.runs.load(Ordering::Relaxed),
        first + totals.next.load(Ordering::Relaxed) - 1,
        totals.disasters.load(Ordering::Relaxed),
        start.elapsed().as_secs()
    );
    if violations == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn one(totals: &Totals, seed: u64, start: Instant) {
    for focus in Focus::ALL {
        let report = tidegate_sim::run(Plan { seed, focus, bug: None }, Trace::default());
        totals.operations.fetch_add(report.operations, Ordering::Relaxed);
        totals.disasters.fetch_add(report.disasters, Ordering::Relaxed);
        let runs = totals.runs.fetch_add(1, Ordering::Relaxed) + 1;
        if let Err(why) = report.verdict {
            totals.violations.fetch_add(1, Ordering::Relaxed);
            println!("VIOLATION seed {seed}, {focus:?}: {why}");
            println!("  tidegate-soak --replay {seed} --focus {}", format!("{focus:?}").to_lowercase());
        }
        if runs.is_multiple_of(2_000) {
            let operations = totals.operations.load(Ordering::Relaxed);
            eprintln!("{operations} operations in {} s", start.elapsed().as_secs());
        }
    }
}

/// Runs a seed and says what happened.
pub(crate) fn replay(seed: u64, focus: Option<&str>) -> ExitCode {
    let chosen = |of: &Focus| focus.is_none_or(|name| name.eq_ignore_ascii_case(&format!("{of:?}")));
    let mut code = ExitCode::SUCCESS;
    for focus in Focus::ALL.into_iter().filter(chosen) {
        let report = tidegate_sim::run(Plan { seed, focus, bug: None }, Trace::in_words());
        print!("{}", report.trace.words().unwrap_or_default());
        println!("{focus:?}: {:?}", tidegate_sim::shape::Shape::of(seed, focus));
        println!("{focus:?}: hash {:016x}, {:?}", report.trace.hash(), report.verdict);
        if report.verdict.is_err() {
            code = ExitCode::FAILURE;
        }
    }
    code
}
