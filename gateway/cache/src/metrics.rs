//! Metrics of the cache.

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{counter::Counter, family::Family, gauge::ConstGauge},
    registry::Registry,
};
use tidegate_types::answer::NotStored;

use crate::l1::L1;

/// Rows served from the cache.
pub const HITS: (&str, &str) = ("tidegate_cache_hits", "Rows served from the cache");
/// Rows served after their time.
pub const LATE: (&str, &str) =
    ("tidegate_cache_late_hits", "Rows served from the cache after their time, under bounded consistency");
/// Rows the cache did not have, or might no longer serve.
pub const MISSES: (&str, &str) =
    ("tidegate_cache_misses", "Rows the cache did not have or might no longer serve, by reason");
/// Rows stored after a fetch.
pub const STORED: (&str, &str) = ("tidegate_cache_stored", "Rows stored after a fetch");
/// Rows fetched but not stored.
pub const NOT_STORED: (&str, &str) = ("tidegate_cache_not_stored", "Rows fetched but not stored, by reason");
/// What became of readers that missed.
pub const FLIGHTS: (&str, &str) =
    ("tidegate_cache_flights", "Readers that missed: led a fetch, joined one, or moved to the next one");
/// Floors raised.
pub const RAISES: (&str, &str) = ("tidegate_cache_floor_raises", "Buckets whose floor a write raised");
/// Buckets voided.
pub const VOIDS: (&str, &str) =
    ("tidegate_cache_voids", "Buckets voided without a transaction: purges on other shards, moved rows");
/// Entries held.
pub const ENTRIES: (&str, &str) = ("tidegate_cache_l1_entries", "Entries held in process");
/// Bytes charged.
pub const BYTES: (&str, &str) = ("tidegate_cache_l1_bytes", "Bytes charged for entries held in process");

/// Why an entry was not served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MissReason {
    /// There was none.
    Absent,
    /// Its time was over.
    Expired,
    /// A floor rose, or its epoch ended.
    Outdated,
    /// It was kept without the tags that the cache policy gives now.
    Unbounded,
    /// Other gateways may have written without telling: the lease on the shard's floors had lapsed.
    Lapsed,
}

/// What a reader that missed did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FlightRole {
    /// Fetched itself.
    Led,
    /// Got another's result.
    Joined,
    /// Was refused another's result and waited for the next flight.
    Moved,
}

/// Labels of [`MissReason`], in its order.
pub(crate) const MISS_REASONS: [&str; 5] = ["absent", "expired", "outdated", "unbounded", "lapsed"];
/// Labels of [`FlightRole`], in its order.
pub(crate) const FLIGHT_ROLES: [&str; 3] = ["led", "joined", "moved"];
/// Labels of [`NotStored`], as [`index`] orders them.
pub(crate) const NOT_STORED_REASONS: [&str; 5] = ["floor", "too_large", "epoch", "purged", "first_asked"];

/// The place of a reason among [`NOT_STORED_REASONS`].
pub(crate) const fn index(reason: NotStored) -> usize {
    match reason {
        NotStored::Floor => 0,
        NotStored::TooLarge => 1,
        NotStored::Epoch => 2,
        NotStored::Purged => 3,
        NotStored::FirstAsked => 4,
    }
}

type Labelled = Family<[(&'static str, &'static str); 1], Counter>;

pub(crate) fn counters<const N: usize>(
    registry: &mut Registry,
    metric: (&str, &str),
    label: &'static str,
    values: [&'static str; N],
) -> [Counter; N] {
    let family = Labelled::default();
    registry.register(metric.0, metric.1, family.clone());
    values.map(|value| family.get_or_create_owned(&[(label, value)]))
}

/// Handles, resolved once: counting on the hot path is one atomic addition.
#[derive(Debug, Clone)]
pub struct Metrics {
    pub(crate) hits: Counter,
    pub(crate) late: Counter,
    misses: [Counter; MISS_REASONS.len()],
    pub(crate) stored: Counter,
    not_stored: [Counter; NOT_STORED_REASONS.len()],
    flights: [Counter; FLIGHT_ROLES.len()],
    pub(crate) raises: Counter,
    pub(crate) voids: Counter,
}

impl Metrics {
    /// Registers everything.
    pub fn register(registry: &mut Registry, l1: L1) -> Self {
        let [hits, late, stored, raises, voids] = std::array::from_fn(|_| Counter::default());
        registry.register(HITS.0, HITS.1, hits.clone());
        registry.register(LATE.0, LATE.1, late.clone());
        registry.register(STORED.0, STORED.1, stored.clone());
        registry.register(RAISES.0, RAISES.1, raises.clone());
        registry.register(VOIDS.0, VOIDS.1, voids.clone());

        let misses = counters(registry, MISSES, "reason", MISS_REASONS);
        let not_stored = counters(registry, NOT_STORED, "reason", NOT_STORED_REASONS);
        let flights = counters(registry, FLIGHTS, "role", FLIGHT_ROLES);
        registry.register_collector(Box::new(Size(l1)));
        Self { hits, late, misses, stored, not_stored, flights, raises, voids }
    }

    pub(crate) fn miss(&self, reason: MissReason) {
        self.misses[reason as usize].inc();
    }

    pub(crate) fn flight(&self, role: FlightRole) {
        self.flights[role as usize].inc();
    }

    pub(crate) fn not_stored(&self, reason: NotStored) {
        self.not_stored[index(reason)].inc();
    }
}

/// The map's size, read when metrics are scraped.
#[derive(Debug)]
struct Size(L1);

impl Collector for Size {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        for ((name, help), value) in [(ENTRIES, self.0.entries()), (BYTES, self.0.bytes())] {
            let gauge = ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
            let metric = encoder.encode_descriptor(name, help, None, gauge.metric_type())?;
            gauge.encode(metric)?;
        }
        Ok(())
    }
}
