//! Metrics of the store. Shard names are bounded by the configuration.

use std::time::Duration;

use prometheus_client::{
    metrics::{counter::Counter, family::Family, histogram::Histogram},
    registry::Registry,
};

use crate::{
    feed::metrics::{Families, FeedMetrics},
    pool::Class,
};

/// Time spent waiting for a pooled connection.
pub const POOL_WAIT: (&str, &str) =
    ("tidegate_store_pool_wait_seconds", "Time spent waiting for a pooled connection, creating it included");
/// Waits that ended without a connection.
pub const POOL_TIMEOUTS: (&str, &str) =
    ("tidegate_store_pool_timeouts", "Requests that got no pooled connection in time");
/// Connections thrown away in use.
pub const POOL_DISCARDED: (&str, &str) =
    ("tidegate_store_pool_discarded", "Connections closed because their work did not end cleanly");
/// Connections opened.
pub const CONNECTS: (&str, &str) = ("tidegate_store_connects", "Connections opened and verified");
/// Connections that could not be opened.
pub const CONNECT_FAILURES: (&str, &str) =
    ("tidegate_store_connect_failures", "Connections that could not be opened or verified");
/// Epochs started.
pub const EPOCHS: (&str, &str) =
    ("tidegate_store_epoch_changes", "Times a shard showed another identity, so that everything read before is void");
/// Statements run.
pub const QUERIES: (&str, &str) = ("tidegate_store_queries", "Statements run, by class");
/// Time a statement took.
pub const QUERY_SECONDS: (&str, &str) =
    ("tidegate_store_query_seconds", "Time from a statement's dispatch to its last row, by class");
/// Keys per batch.
pub const BATCH_KEYS: (&str, &str) = ("tidegate_store_batch_keys", "Distinct keys per batched keyed read");
/// Reads refused.
pub const QUEUE_REFUSED: (&str, &str) =
    ("tidegate_store_queue_refused", "Keyed reads refused because too many were waiting");

type ByShard = [(&'static str, String); 1];
type ByPool = [(&'static str, String); 2];

fn seconds() -> Histogram {
    Histogram::new([0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0])
}

fn keys() -> Histogram {
    Histogram::new([1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0])
}

/// Every family, registered once.
#[derive(Debug, Clone)]
pub struct Metrics {
    pool_wait: Family<ByPool, Histogram, fn() -> Histogram>,
    pool_timeouts: Family<ByPool, Counter>,
    pool_discarded: Family<ByPool, Counter>,
    queries: Family<ByPool, Counter>,
    query_seconds: Family<ByPool, Histogram, fn() -> Histogram>,
    connects: Family<ByShard, Counter>,
    connect_failures: Family<ByShard, Counter>,
    epochs: Family<ByShard, Counter>,
    batch_keys: Family<ByShard, Histogram, fn() -> Histogram>,
    queue_refused: Family<ByShard, Counter>,
    feed: Families,
}

impl Metrics {
    /// Registers everything.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            pool_wait: Family::new_with_constructor(seconds),
            pool_timeouts: Family::default(),
            pool_discarded: Family::default(),
            queries: Family::default(),
            query_seconds: Family::new_with_constructor(seconds),
            connects: Family::default(),
            connect_failures: Family::default(),
            epochs: Family::default(),
            batch_keys: Family::new_with_constructor(keys),
            queue_refused: Family::default(),
            feed: Families::register(registry),
        };
        registry.register(POOL_WAIT.0, POOL_WAIT.1, metrics.pool_wait.clone());
        registry.register(POOL_TIMEOUTS.0, POOL_TIMEOUTS.1, metrics.pool_timeouts.clone());
        registry.register(POOL_DISCARDED.0, POOL_DISCARDED.1, metrics.pool_discarded.clone());
        registry.register(QUERIES.0, QUERIES.1, metrics.queries.clone());
        registry.register(QUERY_SECONDS.0, QUERY_SECONDS.1, metrics.query_seconds.clone());
        registry.register(CONNECTS.0, CONNECTS.1, metrics.connects.clone());
        registry.register(CONNECT_FAILURES.0, CONNECT_FAILURES.1, metrics.connect_failures.clone());
        registry.register(EPOCHS.0, EPOCHS.1, metrics.epochs.clone());
        registry.register(BATCH_KEYS.0, BATCH_KEYS.1, metrics.batch_keys.clone());
        registry.register(QUEUE_REFUSED.0, QUEUE_REFUSED.1, metrics.queue_refused.clone());
        metrics
    }

    pub(crate) fn shard(&self, shard: &str) -> ShardMetrics {
        let label = [("shard", shard.to_owned())];
        ShardMetrics {
            connects: self.connects.get_or_create_owned(&label),
            connect_failures: self.connect_failures.get_or_create_owned(&label),
            epochs: self.epochs.get_or_create_owned(&label),
            batch_keys: self.batch_keys.get_or_create_owned(&label),
            queue_refused: self.queue_refused.get_or_create_owned(&label),
            feed: self.feed.shard(shard),
        }
    }

    pub(crate) fn pool(&self, shard: &str, class: Class) -> PoolMetrics {
        let label = [("shard", shard.to_owned()), ("class", class.as_str().to_owned())];
        PoolMetrics {
            wait: self.pool_wait.get_or_create_owned(&label),
            timeouts: self.pool_timeouts.get_or_create_owned(&label),
            discarded: self.pool_discarded.get_or_create_owned(&label),
            queries: self.queries.get_or_create_owned(&label),
            query_seconds: self.query_seconds.get_or_create_owned(&label),
        }
    }
}

/// Handles of one shard, resolved once.
#[derive(Debug, Clone)]
pub(crate) struct ShardMetrics {
    pub(crate) connects: Counter,
    pub(crate) connect_failures: Counter,
    pub(crate) epochs: Counter,
    pub(crate) batch_keys: Histogram,
    pub(crate) queue_refused: Counter,
    pub(crate) feed: FeedMetrics,
}

/// Handles of one pool, resolved once.
#[derive(Debug, Clone)]
pub(crate) struct PoolMetrics {
    pub(crate) wait: Histogram,
    pub(crate) timeouts: Counter,
    pub(crate) discarded: Counter,
    queries: Counter,
    query_seconds: Histogram,
}

impl PoolMetrics {
    /// Counts a statement that took this long.
    pub(crate) fn ran(&self, took: Duration) {
        self.queries.inc();
        self.query_seconds.observe(took.as_secs_f64());
    }
}
