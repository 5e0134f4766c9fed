//! Metrics of the change feed.

use std::{sync::atomic::AtomicU64, time::Duration};

use prometheus_client::{
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

use super::{event::FlushReason, health::FeedRole};

/// Transactions told.
pub const TRANSACTIONS: (&str, &str) = ("tidegate_feed_transactions", "Transactions read from a shard's log");
/// Times everything of a shard was void.
pub const FLUSHES: (&str, &str) =
    ("tidegate_feed_flushes", "Times the change feed voided everything kept of a shard, by reason");
/// Heartbeats told.
pub const HEARTBEATS: (&str, &str) =
    ("tidegate_feed_heartbeats", "Heartbeats of any gateway that came back in a shard's log");
/// Who reads.
pub const READING: (&str, &str) =
    ("tidegate_feed_reading", "1 where this gateway reads the shard's change feed, 0 where it waits or cannot");
/// Attempts that ended.
pub const FAILURES: (&str, &str) = ("tidegate_feed_failures", "Times the change feed was interrupted");
/// The age.
pub const AGE: (&str, &str) =
    ("tidegate_feed_age_seconds", "Time since the moment up to which every change is known; -1 while none is");
/// What the slot keeps.
pub const RETAINED: (&str, &str) =
    ("tidegate_feed_retained_wal_bytes", "Bytes of log that the change feed's slot keeps on the shard's server");

type ByShard = [(&'static str, String); 1];
type ByReason = [(&'static str, String); 2];
type Seconds = Gauge<f64, AtomicU64>;

/// Every family.
#[derive(Debug, Clone, Default)]
pub(crate) struct Families {
    transactions: Family<ByShard, Counter>,
    flushes: Family<ByReason, Counter>,
    failures: Family<ByShard, Counter>,
    heartbeats: Family<ByShard, Counter>,
    reading: Family<ByShard, Gauge>,
    age: Family<ByShard, Seconds>,
    retained: Family<ByShard, Gauge>,
}

impl Families {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let families = Self::default();
        registry.register(TRANSACTIONS.0, TRANSACTIONS.1, families.transactions.clone());
        registry.register(FLUSHES.0, FLUSHES.1, families.flushes.clone());
        registry.register(HEARTBEATS.0, HEARTBEATS.1, families.heartbeats.clone());
        registry.register(READING.0, READING.1, families.reading.clone());
        registry.register(FAILURES.0, FAILURES.1, families.failures.clone());
        registry.register(AGE.0, AGE.1, families.age.clone());
        registry.register(RETAINED.0, RETAINED.1, families.retained.clone());
        families
    }

    pub(crate) fn shard(&self, shard: &str) -> FeedMetrics {
        let label = [("shard", shard.to_owned())];
        FeedMetrics {
            shard: shard.to_owned(),
            families: self.clone(),
            transactions: self.transactions.get_or_create_owned(&label),
            failures: self.failures.get_or_create_owned(&label),
            heartbeats: self.heartbeats.get_or_create_owned(&label),
        }
    }
}

/// Handles of one shard. Gauges appear with their first value: where the feed is off there is none.
#[derive(Debug, Clone)]
pub(crate) struct FeedMetrics {
    shard: String,
    families: Families,
    pub(crate) transactions: Counter,
    pub(crate) failures: Counter,
    pub(crate) heartbeats: Counter,
}

impl FeedMetrics {
    pub(crate) fn flushed(&self, why: FlushReason) {
        let label = [("shard", self.shard.clone()), ("reason", why.as_str().to_owned())];
        self.families.flushes.get_or_create_owned(&label).inc();
    }

    pub(crate) fn reading(&self, role: FeedRole) {
        let label = [("shard", self.shard.clone())];
        self.families.reading.get_or_create_owned(&label).set(i64::from(role == FeedRole::Reading));
    }

    pub(crate) fn age(&self, age: Option<Duration>) {
        let label = [("shard", self.shard.clone())];
        self.families.age.get_or_create_owned(&label).set(age.map_or(-1.0, |age| age.as_secs_f64()));
    }

    pub(crate) fn retained(&self, bytes: u64) {
        let label = [("shard", self.shard.clone())];
        self.families.retained.get_or_create_owned(&label).set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }
}
