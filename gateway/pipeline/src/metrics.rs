//! Metrics of the pipelines.

use prometheus_client::{
    metrics::{counter::Counter, family::Family},
    registry::Registry,
};

/// Writes by how they ended.
pub const WRITES: (&str, &str) = ("tidegate_writes", "Writes by how they ended");

/// How a write ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WriteEnd {
    /// Committed and acknowledged.
    Committed,
    /// Refused or failed; nothing was changed.
    Failed,
    /// The connection was lost after COMMIT was sent.
    Unknown,
}

/// Handles, resolved once.
#[derive(Debug, Clone)]
pub struct Metrics {
    writes: [Counter; 3],
}

impl Metrics {
    /// Registers everything.
    pub fn register(registry: &mut Registry) -> Self {
        let writes = Family::<[(&'static str, &'static str); 1], Counter>::default();
        registry.register(WRITES.0, WRITES.1, writes.clone());
        let writes =
            ["committed", "failed", "unknown"].map(|outcome| writes.get_or_create_owned(&[("outcome", outcome)]));
        Self { writes }
    }

    pub(crate) fn write(&self, end: WriteEnd) {
        self.writes[end as usize].inc();
    }
}
