//! Metrics of lists.

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{counter::Counter, gauge::ConstGauge},
    registry::Registry,
};
use tidegate_types::answer::NotStored;

use super::shelf::Shelf;
use crate::metrics::{FLIGHT_ROLES, FlightRole, MISS_REASONS, MissReason, NOT_STORED_REASONS, counters, index};

const HITS: (&str, &str) = ("tidegate_cache_list_hits", "Lists served from the cache");
const MISSES: (&str, &str) =
    ("tidegate_cache_list_misses", "Lists the cache did not have or might no longer serve, by reason");
const STORED: (&str, &str) = ("tidegate_cache_list_stored", "Lists stored after a fetch");
const NOT_STORED: (&str, &str) = ("tidegate_cache_list_not_stored", "Lists fetched but not stored, by reason");
const FLIGHTS: (&str, &str) =
    ("tidegate_cache_list_flights", "Readers of lists that missed: led a fetch, joined one, or moved to the next one");
const ENTRIES: (&str, &str) = ("tidegate_cache_list_entries", "Lists held in process");
const BYTES: (&str, &str) = ("tidegate_cache_list_bytes", "Bytes charged for lists held in process");

/// Handles, resolved once.
#[derive(Debug, Clone)]
pub(super) struct Metrics {
    pub(super) hits: Counter,
    misses: [Counter; MISS_REASONS.len()],
    pub(super) stored: Counter,
    not_stored: [Counter; NOT_STORED_REASONS.len()],
    flights: [Counter; FLIGHT_ROLES.len()],
}

impl Metrics {
    pub(super) fn register(registry: &mut Registry, shelf: Shelf) -> Self {
        let [hits, stored] = std::array::from_fn(|_| Counter::default());
        registry.register(HITS.0, HITS.1, hits.clone());
        registry.register(STORED.0, STORED.1, stored.clone());
        let misses = counters(registry, MISSES, "reason", MISS_REASONS);
        let not_stored = counters(registry, NOT_STORED, "reason", NOT_STORED_REASONS);
        let flights = counters(registry, FLIGHTS, "role", FLIGHT_ROLES);
        registry.register_collector(Box::new(Size(shelf)));
        Self { hits, misses, stored, not_stored, flights }
    }

    pub(super) fn miss(&self, reason: MissReason) {
        self.misses[reason as usize].inc();
    }

    pub(super) fn flight(&self, role: FlightRole) {
        self.flights[role as usize].inc();
    }

    pub(super) fn not_stored(&self, reason: NotStored) {
        self.not_stored[index(reason)].inc();
    }
}

/// The map's size, read when metrics are scraped.
#[derive(Debug)]
struct Size(Shelf);

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
