//! The simulation finds nothing in the gateway as it is, and every error of the bug bank.

use tidegate_sim::{Bug, Focus, Plan, Trace, run};

/// Within how many seeds an error must be found.
const SEEDS: u64 = 200;

fn first_found(bug: Bug) -> Option<(u64, String)> {
    (0..SEEDS).find_map(|seed| {
        let report = run(Plan { seed, focus: bug.focus(), bug: Some(bug) }, Trace::default());
        report.verdict.err().map(|why| (seed + 1, why))
    })
}

#[test]
fn no_seed_finds_a_stale_read() {
    let (mut operations, mut disasters) = (0, 0);
    for focus in Focus::ALL {
        for seed in 0..60 {
            let report = run(Plan { seed, focus, bug: None }, Trace::default());
            assert_eq!(report.verdict, Ok(()), "seed {seed}, {focus:?}");
            operations += report.operations;
            disasters += report.disasters;
        }
    }
    assert!(operations > 20_000 && disasters > 500, "{operations} operations, {disasters} disasters");
}

#[test]
fn a_seed_is_a_run() {
    for seed in 0..40 {
        let plan = Plan { seed, focus: Focus::Members, bug: None };
        assert_eq!(run(plan, Trace::default()).trace.hash(), run(plan, Trace::default()).trace.hash(), "seed {seed}");
    }
}

#[test]
fn every_error_around_the_cache_is_found() {
    find(Bug::AROUND.iter().copied());
}

#[test]
fn every_error_inside_the_cache_is_found() {
    find(Bug::inside());
}

fn find(bugs: impl Iterator<Item = Bug>) {
    let mut missed = Vec::new();
    for bug in bugs {
        match first_found(bug) {
            Some((seeds, why)) => println!("| `{bug:?}` | {seeds} | {why}"),
            None => {
                println!("| `{bug:?}` | NOT FOUND");
                missed.push(bug);
            }
        }
    }
    assert!(missed.is_empty(), "not found within {SEEDS} seeds: {missed:?}");
}
