//! Wherever a process ends and however: nothing that was acknowledged is lost, doubled or reordered.

use tidegate_journal::matrix::{Loss, Point, Totals, run_one};

/// How many seeds a field gets; for more, `TIDEGATE_JOURNAL_SEEDS`.
fn seeds() -> u64 {
    std::env::var("TIDEGATE_JOURNAL_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(400)
}

#[test]
fn every_crash_leaves_what_was_acknowledged_in_order_and_once() {
    let mut all = Totals::default();
    for point in Point::ALL {
        for loss in Loss::ALL {
            let mut field = Totals::default();
            for seed in 0..seeds() {
                if let Err(violation) = run_one(point, loss, seed, &mut field) {
                    panic!("{violation}");
                }
            }
            println!("{point:?} x {loss:?}: {field}");
            assert!(field.reached * 2 > field.runs, "{point:?} x {loss:?} does not come to its point: {field}");
            all.runs += field.runs;
            all.reached += field.reached;
            all.seen += field.seen;
        }
    }
    println!("{all}");
    assert!(all.seen.torn > 0, "no write was torn: {all}");
    assert!(all.seen.unasked > 0, "no record came back that was not acknowledged: {all}");
    assert!(all.seen.removed > 0, "no segment was removed: {all}");
}
