//! Metrics of the process as a whole.

use std::time::{SystemTime, UNIX_EPOCH};

use prometheus_client::{
    metrics::{gauge::Gauge, info::Info},
    registry::Registry,
};

/// Which build this is.
pub(crate) const BUILD: (&str, &str) = ("tidegate_build", "Version of this build");
/// When the process began.
pub(crate) const START: (&str, &str) = ("tidegate_start_time_seconds", "When the process began, in Unix time");

/// Registers what never changes.
pub(crate) fn register(registry: &mut Registry) {
    registry.register(BUILD.0, BUILD.1, Info::new([("version", env!("CARGO_PKG_VERSION"))]));
    let start: Gauge = Gauge::default();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    start.set(i64::try_from(now).unwrap_or(i64::MAX));
    registry.register(START.0, START.1, start);
}
