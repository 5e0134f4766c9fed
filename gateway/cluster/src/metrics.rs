//! Metrics of the cluster. Shard names are bounded by the configuration.

use std::{sync::Arc, time::Duration};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{counter::Counter, family::Family, gauge::ConstGauge, histogram::Histogram},
    registry::Registry,
};
use tidegate_types::route::{ShardId, Topology};

use crate::leases::Leases;

/// Whether the lease holds.
pub const LEASE: (&str, &str) =
    ("tidegate_cluster_lease", "Whether this gateway is a member at the shard now (1), so that its cache is used");
/// Times joined.
pub const JOINS: (&str, &str) =
    ("tidegate_cluster_joins", "Times this gateway joined at the shard; each voids what it had cached of it");
/// Orders to member tables that failed.
pub const TABLE_FAILURES: (&str, &str) =
    ("tidegate_cluster_table_failures", "Joins, renewals and fencings that the shard did not carry out");
/// Members fenced.
pub const FENCED: (&str, &str) =
    ("tidegate_cluster_fenced", "Members that this gateway fenced, because they had stopped renewing their lease");
/// Writes by how their floors fared.
pub const FLOORS: (&str, &str) = (
    "tidegate_cluster_floors",
    "Writes by how other gateways took their floors: acknowledged, after fencing somebody, refused",
);
/// Time until every floor was acknowledged.
pub const FLOOR_SECONDS: (&str, &str) =
    ("tidegate_cluster_floor_seconds", "Time a write waited for other gateways before COMMIT");
/// Floors of others.
pub const HEARD: (&str, &str) = ("tidegate_cluster_floors_heard", "Floors of other gateways raised here");
/// Connections to others.
pub const CONNECTIONS: (&str, &str) =
    ("tidegate_cluster_connections", "Connections to other gateways: made, lost or not made, turned away here");
/// Frames that did not fit.
pub const FORGED: (&str, &str) =
    ("tidegate_cluster_forged_frames", "Connections ended because a frame was changed, repeated or malformed");

/// How a write's floors fared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FloorsEnd {
    /// Everybody acknowledged.
    Acknowledged,
    /// Somebody had to be fenced.
    Fenced,
    /// Somebody neither acknowledged nor could be fenced.
    Refused,
}

type ByShard = Family<[(&'static str, String); 1], Counter>;
type Labelled = Family<[(&'static str, &'static str); 1], Counter>;

/// Handles, resolved once.
#[derive(Debug, Clone)]
pub struct Metrics(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    joins: Vec<Counter>,
    table_failures: Vec<Counter>,
    fenced: Counter,
    floors: [Counter; 3],
    floor_seconds: Histogram,
    heard: Counter,
    connections: [Counter; 3],
    forged: Counter,
}

impl Metrics {
    /// Registers everything.
    pub fn register(registry: &mut Registry, topology: &Arc<Topology>, leases: &Leases) -> Self {
        let mut by_shard = |metric: (&str, &str)| {
            let family = ByShard::default();
            registry.register(metric.0, metric.1, family.clone());
            let label = |shard: ShardId| [("shard", topology.name(shard).to_owned())];
            topology.all().into_iter().map(|shard| family.get_or_create_owned(&label(shard))).collect()
        };
        let (joins, table_failures) = (by_shard(JOINS), by_shard(TABLE_FAILURES));
        let mut labelled = |metric: (&str, &str), label, values: [&'static str; 3]| {
            let family = Labelled::default();
            registry.register(metric.0, metric.1, family.clone());
            values.map(|value| family.get_or_create_owned(&[(label, value)]))
        };
        let floors = labelled(FLOORS, "outcome", ["acknowledged", "fenced", "refused"]);
        let connections = labelled(CONNECTIONS, "outcome", ["made", "lost", "turned_away"]);
        let [fenced, heard, forged] = std::array::from_fn(|_| Counter::default());
        for (metric, counter) in [(FENCED, &fenced), (HEARD, &heard), (FORGED, &forged)] {
            registry.register(metric.0, metric.1, counter.clone());
        }
        let floor_seconds =
            Histogram::new([0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.05, 0.25, 1.0, 5.0]);
        registry.register(FLOOR_SECONDS.0, FLOOR_SECONDS.1, floor_seconds.clone());
        registry.register_collector(Box::new(Holding { topology: topology.clone(), leases: leases.clone() }));
        Self(Arc::new(Inner { joins, table_failures, fenced, floors, floor_seconds, heard, connections, forged }))
    }

    pub(crate) fn joined(&self, shard: ShardId) {
        if let Some(counter) = self.0.joins.get(usize::from(shard.0)) {
            counter.inc();
        }
    }

    pub(crate) fn table_failed(&self, shard: ShardId) {
        if let Some(counter) = self.0.table_failures.get(usize::from(shard.0)) {
            counter.inc();
        }
    }

    pub(crate) fn fenced(&self) {
        self.0.fenced.inc();
    }

    pub(crate) fn floors(&self, end: FloorsEnd, took: Duration) {
        self.0.floors[end as usize].inc();
        self.0.floor_seconds.observe(took.as_secs_f64());
    }

    pub(crate) fn heard(&self) {
        self.0.heard.inc();
    }

    pub(crate) fn connected(&self) {
        self.0.connections[0].inc();
    }

    pub(crate) fn lost(&self) {
        self.0.connections[1].inc();
    }

    pub(crate) fn turned_away(&self) {
        self.0.connections[2].inc();
    }

    pub(crate) fn forged(&self) {
        self.0.forged.inc();
    }
}

/// The leases, read when metrics are scraped.
#[derive(Debug)]
struct Holding {
    topology: Arc<Topology>,
    leases: Leases,
}

impl Collector for Holding {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let gauge = ConstGauge::new(0_i64);
        let mut metric = encoder.encode_descriptor(LEASE.0, LEASE.1, None, gauge.metric_type())?;
        for shard in self.topology.all() {
            let labels = [("shard", self.topology.name(shard).to_owned())];
            let held = ConstGauge::new(i64::from(self.leases.holds(shard)));
            held.encode(metric.encode_family(&labels)?)?;
        }
        Ok(())
    }
}
