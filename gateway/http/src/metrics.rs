//! Metrics of the HTTP front. Every counter sits at a fixed place of an array: an update is one
//! atomic addition, without a lock, a lookup or an allocation.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use http::{Method, StatusCode};
use prometheus_client::{
    encoding::{EncodeMetric, MetricEncoder, NoLabelSet},
    metrics::MetricType,
    registry::Registry,
};

/// Requests by route, method and class of status.
pub const REQUESTS: &str = "tidegate_http_requests";
/// Time from a request's head to its answer, by route.
pub const REQUEST_SECONDS: &str = "tidegate_http_request_duration_seconds";
/// Open connections.
pub const CONNECTIONS: &str = "tidegate_http_connections";
/// Requests being answered.
pub const IN_FLIGHT: &str = "tidegate_http_requests_in_flight";
/// Requests and connections refused by a limit, by reason.
pub const REJECTED: &str = "tidegate_http_rejected";

macro_rules! label {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum $name { $($(#[$vdoc])* $variant),+ }
        impl $name {
            const ALL: &[Self] = &[$(Self::$variant),+];
            const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }
        }
    };
}

label! {
    /// The kinds of routes.
    RouteKind {
        RowRead = "row_read",
        ListRead = "list_read",
        Insert = "insert",
        RowWrite = "row_write",
        FilteredWrite = "filtered_write",
        Status = "write_status",
        Options = "options",
        Unmatched = "unmatched",
    }
}

label! {
    /// The methods.
    MethodLabel {
        Get = "GET",
        Head = "HEAD",
        Post = "POST",
        Put = "PUT",
        Patch = "PATCH",
        Delete = "DELETE",
        Options = "OPTIONS",
        Other = "other",
    }
}

label! {
    /// Classes of statuses.
    Class {
        Success = "2xx",
        Redirect = "3xx",
        Client = "4xx",
        Server = "5xx",
    }
}

label! {
    /// Which limit refused.
    Rejection {
        UriTooLong = "uri_too_long",
        TooManyHeaders = "too_many_headers",
        BodyTooLarge = "body_too_large",
        SlowBody = "slow_body",
        SlowHead = "slow_head",
        Deadline = "deadline",
        ConnectionCap = "connection_cap",
    }
}

impl MethodLabel {
    fn of(method: &Method) -> Self {
        Self::ALL.iter().copied().find(|label| label.as_str() == method.as_str()).unwrap_or(Self::Other)
    }
}

impl Class {
    fn of(status: StatusCode) -> Self {
        match status.as_u16() {
            0..300 => Self::Success,
            300..400 => Self::Redirect,
            400..500 => Self::Client,
            _ => Self::Server,
        }
    }
}

const ROUTES: usize = RouteKind::ALL.len();
const METHODS: usize = MethodLabel::ALL.len();
const CLASSES: usize = Class::ALL.len();

/// Upper bounds of the latency buckets, microseconds.
const BOUNDS_MICROS: [u64; 16] = [
    50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 5_000_000,
    30_000_000,
];

/// Handles to the metrics; cheap to clone.
#[derive(Debug, Clone)]
pub struct Metrics {
    requests: Arc<Requests>,
    latency: Arc<Latency>,
    rejected: Arc<Rejected>,
    connections: Arc<Gauge>,
    in_flight: Arc<Gauge>,
}

impl Metrics {
    /// Creates the metrics and registers them.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            requests: Arc::default(),
            latency: Arc::default(),
            rejected: Arc::default(),
            connections: Arc::default(),
            in_flight: Arc::default(),
        };
        let shared = &metrics;
        registry.register(REQUESTS, "Requests by route, method and class of status", Shared(shared.requests.clone()));
        registry.register(REQUEST_SECONDS, "Time from a request's head to its answer", Shared(shared.latency.clone()));
        registry.register(REJECTED, "Requests and connections refused by a limit", Shared(shared.rejected.clone()));
        registry.register(CONNECTIONS, "Open connections", Shared(shared.connections.clone()));
        registry.register(IN_FLIGHT, "Requests being answered", Shared(shared.in_flight.clone()));
        metrics
    }

    /// Counts an answered request.
    pub(crate) fn answered(&self, route: RouteKind, method: &Method, status: StatusCode, elapsed: Duration) {
        let (route, method, class) = (route as usize, MethodLabel::of(method) as usize, Class::of(status) as usize);
        self.requests.0[(route * METHODS + method) * CLASSES + class].fetch_add(1, Relaxed);
        self.latency.0[route].observe(elapsed);
    }

    /// Counts a refusal.
    pub(crate) fn rejected(&self, reason: Rejection) {
        self.rejected.0[reason as usize].fetch_add(1, Relaxed);
    }

    /// A connection, open until the guard is dropped.
    pub(crate) fn connection(&self) -> GaugeGuard {
        GaugeGuard::new(&self.connections)
    }

    /// A request, in flight until the guard is dropped.
    pub(crate) fn in_flight(&self) -> InFlight<'_> {
        self.in_flight.0.fetch_add(1, Relaxed);
        InFlight(&self.in_flight)
    }
}

#[derive(Debug, Default)]
struct Gauge(AtomicI64);

/// Counts one up while it lives.
#[derive(Debug)]
pub(crate) struct GaugeGuard(Arc<Gauge>);

impl GaugeGuard {
    fn new(gauge: &Arc<Gauge>) -> Self {
        gauge.0.fetch_add(1, Relaxed);
        Self(gauge.clone())
    }
}

impl Drop for GaugeGuard {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Relaxed);
    }
}

/// As [`GaugeGuard`], borrowed: a request does not touch the reference count.
#[derive(Debug)]
pub(crate) struct InFlight<'a>(&'a Gauge);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Relaxed);
    }
}

#[derive(Debug)]
struct Requests([AtomicU64; ROUTES * METHODS * CLASSES]);

impl Default for Requests {
    fn default() -> Self {
        Self([const { AtomicU64::new(0) }; ROUTES * METHODS * CLASSES])
    }
}

#[derive(Debug, Default)]
struct Rejected([AtomicU64; Rejection::ALL.len()]);

#[derive(Debug, Default)]
struct Latency([Histogram; ROUTES]);

#[derive(Debug, Default)]
struct Histogram {
    buckets: [AtomicU64; BOUNDS_MICROS.len() + 1],
    sum_micros: AtomicU64,
}

impl Histogram {
    fn observe(&self, elapsed: Duration) {
        let micros = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX);
        let bucket = BOUNDS_MICROS.iter().position(|bound| micros <= *bound).unwrap_or(BOUNDS_MICROS.len());
        self.buckets[bucket].fetch_add(1, Relaxed);
        self.sum_micros.fetch_add(micros, Relaxed);
    }
}

/// Lets the registry read what the request path writes.
#[derive(Debug)]
struct Shared<T>(Arc<T>);

impl EncodeMetric for Shared<Requests> {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), fmt::Error> {
        for (index, count) in self.0.0.iter().enumerate() {
            let count = count.load(Relaxed);
            // Combinations that never happened (POST of a row) are left out.
            if count > 0 {
                let labels = [
                    ("route", RouteKind::ALL[index / (METHODS * CLASSES)].as_str()),
                    ("method", MethodLabel::ALL[index / CLASSES % METHODS].as_str()),
                    ("status", Class::ALL[index % CLASSES].as_str()),
                ];
                encoder.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&count, None)?;
            }
        }
        Ok(())
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Counter
    }
}

impl EncodeMetric for Shared<Rejected> {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), fmt::Error> {
        for (reason, count) in Rejection::ALL.iter().zip(&self.0.0) {
            let labels = [("reason", reason.as_str())];
            encoder.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&count.load(Relaxed), None)?;
        }
        Ok(())
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Counter
    }
}

impl EncodeMetric for Shared<Latency> {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), fmt::Error> {
        for (route, histogram) in RouteKind::ALL.iter().zip(&self.0.0) {
            let counts: Vec<u64> = histogram.buckets.iter().map(|bucket| bucket.load(Relaxed)).collect();
            let count = counts.iter().sum();
            let bounds = BOUNDS_MICROS.iter().map(|micros| seconds(*micros)).chain([f64::INFINITY]);
            let buckets: Vec<(f64, u64)> = bounds.zip(counts).collect();
            let sum = seconds(histogram.sum_micros.load(Relaxed));
            let labels = [("route", route.as_str())];
            encoder.encode_family(&labels)?.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)?;
        }
        Ok(())
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Histogram
    }
}

impl EncodeMetric for Shared<Gauge> {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), fmt::Error> {
        encoder.encode_gauge(&self.0.0.load(Relaxed))
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Gauge
    }
}

fn seconds(micros: u64) -> f64 {
    Duration::from_micros(micros).as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_is_exposed() {
        let mut registry = Registry::default();
        let metrics = Metrics::register(&mut registry);
        let connection = metrics.connection();
        metrics.answered(RouteKind::RowRead, &Method::GET, StatusCode::OK, Duration::from_micros(70));
        metrics.answered(RouteKind::RowRead, &Method::GET, StatusCode::NOT_FOUND, Duration::from_secs(60));
        metrics.answered(RouteKind::Unmatched, &Method::TRACE, StatusCode::METHOD_NOT_ALLOWED, Duration::ZERO);
        metrics.rejected(Rejection::SlowBody);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).expect("encodes");
        for line in [
            r#"tidegate_http_requests_total{route="row_read",method="GET",status="2xx"} 1"#,
            r#"tidegate_http_requests_total{route="row_read",method="GET",status="4xx"} 1"#,
            r#"tidegate_http_requests_total{route="unmatched",method="other",status="4xx"} 1"#,
            r#"tidegate_http_request_duration_seconds_bucket{le="0.0001",route="row_read"} 1"#,
            r#"tidegate_http_request_duration_seconds_bucket{le="+Inf",route="row_read"} 2"#,
            r#"tidegate_http_request_duration_seconds_count{route="row_read"} 2"#,
            r#"tidegate_http_rejected_total{reason="slow_body"} 1"#,
            "tidegate_http_connections 1",
            "tidegate_http_requests_in_flight 0",
        ] {
            assert!(text.lines().any(|l| l == line), "{line}\n{text}");
        }
        drop(connection);
        assert_eq!(metrics.connections.0.load(Relaxed), 0);
    }
}
