//! Metrics of the shared tier.

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{
        counter::Counter,
        family::Family,
        gauge::{ConstGauge, Gauge},
        histogram::Histogram,
    },
    registry::Registry,
};
use std::sync::{Arc, Weak};

use super::{CacheTier, TierError, TierState};

/// Answers looked for.
pub const GETS: (&str, &str) = (
    "tidegate_l2_gets",
    "Entries looked for in the shared tier, by outcome: hit, miss, refused (too old, or not known to be new enough), \
     unreadable, timeout, error, skipped (the breaker was open)",
);
/// Why they were refused.
pub const REFUSED: (&str, &str) = (
    "tidegate_l2_refused",
    "Entries of the shared tier that were not served, by reason: lineage, base (older than this gateway), floor, void, \
     expired, lapsed, too_large, kind",
);
/// Answers kept.
pub const PUTS: (&str, &str) =
    ("tidegate_l2_puts", "Entries for the shared tier, by outcome: written, dropped (no room, or it was down), failed");
/// Bytes moved.
pub const BYTES: (&str, &str) =
    ("tidegate_l2_bytes", "Bytes of keys and values exchanged with the shared tier, by direction");
/// Whether it can be used.
pub const STATE: (&str, &str) = (
    "tidegate_l2_state",
    "Whether the shared tier is used: 2 it is, 1 it failed and is being tried, 0 it is left alone",
);
/// Connections made.
pub const CONNECTS: (&str, &str) =
    ("tidegate_l2_connects", "Attempts to connect to the shared tier, by outcome: made, failed");
/// Bytes waiting to be written.
pub const WAITING: (&str, &str) = ("tidegate_l2_waiting_bytes", "Bytes that wait to be written to the shared tier");
/// Time of a look-up.
pub const SECONDS: (&str, &str) =
    ("tidegate_l2_get_seconds", "Time of a look-up in the shared tier, whatever came of it");

/// What became of a look-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum GetOutcome {
    /// It was served.
    Hit,
    /// There was nothing.
    Miss,
    /// It is too old, or nothing says that it is new enough.
    Refused,
    /// It could not be read.
    Unreadable,
    /// No answer in time.
    Timeout,
    /// An error instead of an answer.
    Error,
    /// It was not asked: the breaker was open.
    Skipped,
}

impl GetOutcome {
    /// The outcome that an error stands for.
    #[must_use]
    pub const fn of(error: &TierError) -> Self {
        match error {
            TierError::Timeout(_) => Self::Timeout,
            TierError::Open => Self::Skipped,
            TierError::Unavailable(_) | TierError::Full | TierError::Failed(_) => Self::Error,
        }
    }
}

/// Why an entry of the tier was not served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RefusedArrival {
    /// It is of another server, or of before a promotion or restart.
    Lineage,
    /// It may be older than this gateway.
    Base,
    /// A write is in flight or younger than its snapshot.
    Floor,
    /// Something purged it, and nothing was read from the shard since.
    Void,
    /// Its time is over, or has not begun.
    Expired,
    /// Other gateways may have written without telling.
    Lapsed,
    /// It is larger than this gateway keeps.
    TooLarge,
    /// It is not what its key says.
    Kind,
}

/// What became of a put.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PutOutcome {
    /// It is there.
    Written,
    /// It was not sent.
    Dropped,
    /// It was sent and did not arrive, or nobody knows.
    Failed,
}

type Labelled = Family<[(&'static str, &'static str); 1], Counter>;

fn counters<const N: usize>(
    registry: &mut Registry,
    metric: (&str, &str),
    label: &'static str,
    values: [&'static str; N],
) -> [Counter; N] {
    let family = Labelled::default();
    registry.register(metric.0, metric.1, family.clone());
    values.map(|value| family.get_or_create_owned(&[(label, value)]))
}

/// Handles, resolved once.
#[derive(Debug, Clone)]
pub struct TierMetrics {
    gets: [Counter; 7],
    refused: [Counter; 8],
    puts: [Counter; 3],
    bytes: [Counter; 2],
    connects: [Counter; 2],
    waiting: Gauge,
    /// Time of a look-up.
    pub seconds: Histogram,
}

/// Upper bounds of the look-up histogram, in seconds: around the default timeout of 5 ms.
const BUCKETS: [f64; 8] = [0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.1];

impl TierMetrics {
    /// Registers everything.
    pub fn register(registry: &mut Registry) -> Self {
        let outcomes = ["hit", "miss", "refused", "unreadable", "timeout", "error", "skipped"];
        let gets = counters(registry, GETS, "outcome", outcomes);
        let reasons = ["lineage", "base", "floor", "void", "expired", "lapsed", "too_large", "kind"];
        let refused = counters(registry, REFUSED, "reason", reasons);
        let puts = counters(registry, PUTS, "outcome", ["written", "dropped", "failed"]);
        let bytes = counters(registry, BYTES, "direction", ["read", "written"]);
        let connects = counters(registry, CONNECTS, "outcome", ["made", "failed"]);
        let (waiting, seconds) = (Gauge::default(), Histogram::new(BUCKETS));
        registry.register(WAITING.0, WAITING.1, waiting.clone());
        registry.register(SECONDS.0, SECONDS.1, seconds.clone());
        Self { gets, refused, puts, bytes, connects, waiting, seconds }
    }

    /// Shows a tier's state, for as long as it exists.
    pub fn watch(registry: &mut Registry, tier: &Arc<dyn CacheTier>) {
        registry.register_collector(Box::new(State(Arc::downgrade(tier))));
    }

    /// Counts a look-up.
    pub fn get(&self, outcome: GetOutcome) {
        self.gets[outcome as usize].inc();
    }

    /// Counts a look-up whose entry was refused.
    pub fn refused(&self, reason: RefusedArrival) {
        self.get(GetOutcome::Refused);
        self.refused[reason as usize].inc();
    }

    /// Counts puts.
    pub fn put(&self, outcome: PutOutcome) {
        self.puts[outcome as usize].inc();
    }

    /// Counts bytes that came.
    pub fn read(&self, bytes: usize) {
        self.bytes[0].inc_by(bytes as u64);
    }

    /// Counts bytes that were sent.
    pub fn written(&self, bytes: usize) {
        self.bytes[1].inc_by(bytes as u64);
    }

    /// Shows how many bytes wait to be written.
    pub fn waiting(&self, bytes: usize) {
        self.waiting.set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    /// Counts a connection that was made.
    pub fn connected(&self) {
        self.connects[0].inc();
    }

    /// Counts an attempt to connect that failed.
    pub fn not_connected(&self) {
        self.connects[1].inc();
    }
}

/// The state, read when metrics are scraped.
#[derive(Debug)]
struct State(Weak<dyn CacheTier>);

impl Collector for State {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let Some(tier) = self.0.upgrade() else { return Ok(()) };
        let gauge = ConstGauge::new(match tier.state() {
            TierState::Up => 2_i64,
            TierState::Probing => 1,
            TierState::Down => 0,
        });
        let metric = encoder.encode_descriptor(STATE.0, STATE.1, None, gauge.metric_type())?;
        gauge.encode(metric)
    }
}
