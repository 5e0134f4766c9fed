//! `[pools.CLASS]`

use std::time::Duration;

use tidegate_types::settings::{PoolSettings, PoolsSettings};

use crate::{
    report::Report,
    section::Section,
    value::{duration, integer},
};

const DAY: Duration = Duration::from_secs(86_400);

/// Keyed reads leave in batches: few connections carry many of them.
const POINT: PoolSettings = defaults(1, 4, 1_000, 5_000);
/// Lists are slow and must not take the others' connections.
const SCAN: PoolSettings = defaults(0, 8, 2_000, 15_000);
/// A write holds its connection for a transaction.
const WRITE: PoolSettings = defaults(0, 8, 2_000, 10_000);

/// One flush at a time and what an operator asks about; a batch takes longer than a write.
const BATCH: PoolSettings = defaults(0, 2, 2_000, 30_000);

const fn defaults(min: usize, max: usize, wait_ms: u64, statement_ms: u64) -> PoolSettings {
    PoolSettings {
        min,
        max,
        wait_timeout: Duration::from_millis(wait_ms),
        statement_timeout: Duration::from_millis(statement_ms),
    }
}

pub(crate) fn read(mut section: Section<'_>, report: &mut Report<'_>) -> PoolsSettings {
    let pools = PoolsSettings {
        point: pool(section.table(report, "point"), report, POINT),
        scan: pool(section.table(report, "scan"), report, SCAN),
        write: pool(section.table(report, "write"), report, WRITE),
        batch: pool(section.table(report, "batch"), report, BATCH),
    };
    section.finish(report);
    pools
}

fn pool(mut section: Section<'_>, report: &mut Report<'_>, default: PoolSettings) -> PoolSettings {
    let shortest = Duration::from_millis(1);
    let max = section.or(report, "max", default.max, integer(1..=1_000));
    let min = section.or(report, "min", default.min.min(max), integer(0..=1_000));
    let wait_timeout = section.or(report, "wait_timeout", default.wait_timeout, duration(shortest..=DAY));
    let statement_timeout =
        section.or(report, "statement_timeout", default.statement_timeout, duration(shortest..=DAY));
    if min > max {
        section.complain(report, "min", format!("is {min}, more than `max` ({max})"));
    }
    section.finish(report);
    PoolSettings { min, max, wait_timeout, statement_timeout }
}
