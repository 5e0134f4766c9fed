//! A slice of what `tidegate-soak` does for as long as one likes.

use std::time::Duration;

use tidegate_tests::soak::{self, Effort, Neighbour, Tier};

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_network_and_dying_gateways_make_nobody_read_what_is_outdated_under_load() {
    let effort = Effort {
        operations: 200_000,
        time: Duration::from_secs(24),
        seed: 7,
        clients: 18,
        gateways: 3,
        tier: Tier::Redis,
        neighbour: Neighbour::Writer,
        calm: Duration::from_millis(700),
    };
    let totals = soak::run(effort).await;
    println!("{totals}");
    assert_eq!(totals.violations, Vec::<String>::new(), "{totals}");
    assert!(totals.strict > 500 && totals.bounded > 500 && totals.outside > 50, "{totals}");
    assert!(totals.hits > 200 && totals.shared_hits > 0, "{totals}");
    for fault in ["reset", "slow", "trickle", "refused", "stalled"] {
        assert!(totals.fault(&format!("shard {fault}")) > 0, "shard {fault}: {totals}");
        assert!(totals.fault(&format!("peer {fault}")) > 0, "peer {fault}: {totals}");
    }
    for fault in ["redis flushed", "redis killed", "redis stopped", "gateway paused", "gateway killed"] {
        assert!(totals.fault(fault) > 0, "{fault}: {totals}");
    }
}
