//! The span of a request and the event of one that failed. The fields are declared here once.

use std::time::Duration;

use http::{Method, StatusCode, request::Parts};
use tidegate_pipeline::Names;
use tidegate_types::{
    answer::{BypassReason, CacheStatus, StaleReason, Trace},
    problem::Problem,
    route::Topology,
};
use tracing::{Span, field::Empty};

use crate::status;

/// The span of a request. Disabled unless `tidegate::request` logs at DEBUG; then it costs one comparison.
pub(crate) fn request(method: &Method) -> Span {
    tracing::debug_span!(
        target: "tidegate::request",
        "request",
        %method,
        collection = Empty,
        tenant = Empty,
        class = Empty,
        shards = Empty,
        cache_status = Empty,
        policy_generation = Empty,
        status = Empty,
        duration_us = Empty,
    )
}

/// Records the collection in the current request's span.
pub(crate) fn collection(name: &str) {
    if tracing::enabled!(target: "tidegate::request", tracing::Level::DEBUG) {
        Span::current().record("collection", name);
    }
}

/// Records the end of a request and logs its line.
pub(crate) fn answered(
    span: &Span,
    topology: &Topology,
    names: Option<&Names>,
    trace: Option<&Trace>,
    cache: Option<&CacheStatus>,
    status: StatusCode,
    elapsed: Duration,
) {
    if let Some(trace) = trace {
        let shards: Vec<&str> = trace.shards.iter().map(|shard| topology.name(*shard)).collect();
        span.record("shards", shards.join(","));
        span.record("policy_generation", trace.generation);
    }
    if let Some(Names { tenant, class }) = names {
        span.record("tenant", if tenant.is_empty() { "shared" } else { clipped(tenant) });
        span.record("class", class.as_deref().map(clipped));
    }
    span.record("cache_status", cache.map_or("none", word));
    span.record("status", status.as_u16());
    span.record("duration_us", u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX));
    span.in_scope(|| tracing::debug!(target: "tidegate::request", "answered"));
}

/// Logs a failure that is not the client's, once.
pub(crate) fn failed(span: &Span, parts: &Parts, problem: &Problem) {
    let status = status::of(problem.kind);
    if !status.is_server_error() {
        return;
    }
    let (code, details, method, path) = (&*problem.code, problem.details.as_deref(), &parts.method, parts.uri.path());
    let status = status.as_u16();
    span.in_scope(|| {
        if status == StatusCode::INTERNAL_SERVER_ERROR.as_u16() {
            tracing::error!(status, code, details, %method, path, "request failed: {}", problem.message);
        } else {
            tracing::warn!(status, code, details, %method, path, "request failed: {}", problem.message);
        }
    });
}

/// Bytes of a name that stand in a log line.
const MAX_NAME: usize = 64;

fn clipped(name: &str) -> &str {
    &name[..name.floor_char_boundary(MAX_NAME)]
}

fn word(status: &CacheStatus) -> &'static str {
    match status {
        CacheStatus::Hit { .. } => "hit",
        CacheStatus::Stale { reason: StaleReason::Revalidating, .. } => "stale-while-revalidate",
        CacheStatus::Stale { reason: StaleReason::Error, .. } => "stale-if-error",
        CacheStatus::MissStored { .. } => "miss",
        CacheStatus::MissNotStored { .. } => "miss-not-stored",
        CacheStatus::Dirty => "dirty",
        CacheStatus::Bypass(BypassReason::Mode) => "bypass-mode",
        CacheStatus::Bypass(BypassReason::Timely) => "bypass-timely",
        CacheStatus::Bypass(BypassReason::Policy) => "bypass-policy",
        CacheStatus::Bypass(BypassReason::PolicyFailed) => "bypass-policy-failed",
        CacheStatus::Bypass(BypassReason::Behind) => "bypass-feed-behind",
        CacheStatus::Bypass(BypassReason::Settling) => "bypass-settling",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_names_are_clipped_between_characters() {
        assert_eq!(clipped("acme"), "acme");
        assert_eq!(clipped(&"x".repeat(200)).len(), 64);
        assert_eq!(clipped(&format!("x{}", "ü".repeat(100))).len(), 63);
    }
}
