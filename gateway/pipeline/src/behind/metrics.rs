//! Metrics of write-behind.

use std::{fmt, time::Duration};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{counter::Counter, family::Family, gauge::ConstGauge, histogram::Histogram},
    registry::Registry,
};
use tidegate_journal::Journal;

use super::{lane::Lane, pressure::Pressure};
use std::sync::Arc;

/// Writes acknowledged by the journal.
pub const ACKNOWLEDGED: (&str, &str) = ("tidegate_journal_acknowledged", "Writes acknowledged by the journal");
/// Acknowledged writes brought to their shard.
pub const FLUSHED: (&str, &str) =
    ("tidegate_journal_flushed", "Acknowledged writes that were brought to their shard or became dead letters");
/// Dead letters.
pub const DEAD: (&str, &str) =
    ("tidegate_journal_dead_letters", "Acknowledged writes that became dead letters, those of parked rows included");
/// Batches that are tried again.
pub const RETRIES: (&str, &str) =
    ("tidegate_journal_retries", "Batches that the shard did not take and that are tried again");
/// Reads of dirty rows.
pub const DIRTY_HITS: (&str, &str) =
    ("tidegate_journal_dirty_hits", "Keyed reads of rows that were acknowledged and not on their shard yet");
/// Repeated requests.
pub const REPEATED: (&str, &str) =
    ("tidegate_journal_repeated", "Requests answered as their first one was, by its Idempotency-Key");
/// Writes not taken.
pub const TURNED_AWAY: (&str, &str) =
    ("tidegate_journal_pressure", "Writes that were slowed down, written through or refused because too much waits");
/// Time of an acknowledgement.
pub const ACK_SECONDS: (&str, &str) =
    ("tidegate_journal_acknowledgement_seconds", "Time from a record's place in the journal until it was durable");
/// Time of a flush.
pub const FLUSH_SECONDS: (&str, &str) =
    ("tidegate_journal_flush_seconds", "Time of a batch that was brought to its shard");
/// What waits, by shard.
pub const DEPTH: (&str, &str) = ("tidegate_journal_depth", "Acknowledged writes that are not on their shard yet");
/// Memory of what waits, by shard.
pub const DIRTY_BYTES: (&str, &str) =
    ("tidegate_journal_dirty_bytes", "Memory of rows that are not on their shard yet");
/// Age of the oldest, by shard.
pub const OLDEST_SECONDS: (&str, &str) =
    ("tidegate_journal_oldest_seconds", "Age of the oldest acknowledged write that is not on its shard yet");
/// Parked rows, by shard.
pub const PARKED: (&str, &str) = ("tidegate_journal_parked_rows", "Rows whose writes wait for an operator");
/// Bytes on the disk.
pub const BYTES: (&str, &str) = ("tidegate_journal_bytes", "Bytes of the journal's segments on the disk");

type Labelled = Family<[(&'static str, &'static str); 1], Counter>;

/// Handles, resolved once.
#[derive(Debug, Clone)]
pub(super) struct Metrics {
    pub(super) acknowledged: Counter,
    pub(super) dead: Counter,
    pub(super) retries: Counter,
    pub(super) dirty_hits: Counter,
    pub(super) repeated: Counter,
    flushed: Counter,
    turned_away: [Counter; 3],
    pub(super) ack_seconds: Histogram,
    flush_seconds: Histogram,
}

impl Metrics {
    pub(super) fn register(registry: &mut Registry, journal: &Journal, lanes: &[Arc<Lane>]) -> Self {
        let [acknowledged, flushed, dead, retries, dirty_hits, repeated] = std::array::from_fn(|_| Counter::default());
        let counters = [
            (ACKNOWLEDGED, &acknowledged),
            (FLUSHED, &flushed),
            (DEAD, &dead),
            (RETRIES, &retries),
            (DIRTY_HITS, &dirty_hits),
            (REPEATED, &repeated),
        ];
        for (metric, counter) in counters {
            registry.register(metric.0, metric.1, counter.clone());
        }
        let family = Labelled::default();
        registry.register(TURNED_AWAY.0, TURNED_AWAY.1, family.clone());
        let turned_away =
            ["slowed", "written_through", "refused"].map(|outcome| family.get_or_create_owned(&[("outcome", outcome)]));
        let seconds = || Histogram::new([0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.25, 1.0, 5.0]);
        let (ack_seconds, flush_seconds) = (seconds(), seconds());
        registry.register(ACK_SECONDS.0, ACK_SECONDS.1, ack_seconds.clone());
        registry.register(FLUSH_SECONDS.0, FLUSH_SECONDS.1, flush_seconds.clone());
        registry.register_collector(Box::new(Levels { journal: journal.clone(), lanes: lanes.into() }));
        Self { acknowledged, dead, retries, dirty_hits, repeated, flushed, turned_away, ack_seconds, flush_seconds }
    }

    pub(super) fn flushed(&self, writes: usize, took: Duration) {
        self.flushed.inc_by(writes as u64);
        self.flush_seconds.observe(took.as_secs_f64());
    }

    pub(super) fn pressed(&self, pressure: Pressure) {
        match pressure {
            Pressure::Take => {}
            Pressure::Slow => drop(self.turned_away[0].inc()),
            Pressure::Through => drop(self.turned_away[1].inc()),
            Pressure::Full => drop(self.turned_away[2].inc()),
        }
    }
}

/// What is read when metrics are scraped.
#[derive(Debug)]
struct Levels {
    journal: Journal,
    lanes: Box<[Arc<Lane>]>,
}

impl Collector for Levels {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let bytes = ConstGauge::new(i64::try_from(self.journal.stats().allocated_bytes).unwrap_or(i64::MAX));
        bytes.encode(encoder.encode_descriptor(BYTES.0, BYTES.1, None, bytes.metric_type())?)?;
        let reports: Vec<_> = self.lanes.iter().map(|lane| lane.report()).collect();
        let mut levels = |metric: (&str, &str), of: &dyn Fn(&super::lane::LaneReport) -> f64| {
            let kind = ConstGauge::new(0.0).metric_type();
            let mut family = encoder.encode_descriptor(metric.0, metric.1, None, kind)?;
            for report in &reports {
                let labels = [("shard", report.shard.to_string())];
                ConstGauge::new(of(report)).encode(family.encode_family(&labels)?)?;
            }
            Ok::<(), fmt::Error>(())
        };
        levels(DEPTH, &|report| report.depth as f64)?;
        levels(DIRTY_BYTES, &|report| report.bytes as f64)?;
        levels(OLDEST_SECONDS, &|report| report.oldest.map_or(0.0, |oldest| oldest.as_secs_f64()))?;
        levels(PARKED, &|report| report.parked_rows as f64)
    }
}
