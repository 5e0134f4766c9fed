//! What is counted. Labels are bounded enums.

use std::{fmt, sync::Arc};

use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};
use tidegate_types::route::RouteSource;

use crate::error::RefusalReason;

/// Routing decisions by where they came from.
pub const DECISIONS: &str = "tidegate_policy_decisions";
/// Failed calls by kind.
pub const FAILURES: &str = "tidegate_policy_failures";
/// Duration of calls that reached a guest.
pub const CALL_SECONDS: &str = "tidegate_policy_call_duration_seconds";
/// The generation in use.
pub const GENERATION: &str = "tidegate_policy_generation";
/// Versions taken into use or refused.
pub const LOADS: &str = "tidegate_policy_loads";

/// How a call of a policy can fail. Bounded: used as a label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FailureKind {
    /// The guest trapped: a bug in the policy.
    Trap,
    /// The guest used up its time twice, or did so repeatedly and is being left alone for a second.
    Deadline,
    /// The guest asked for more memory than it may have.
    Memory,
    /// The guest answered with an error.
    PolicyError,
    /// The guest answered with no shard, or with one that does not exist.
    BadAnswer,
    /// No room was left for another instance.
    Capacity,
}

impl FailureKind {
    /// Every kind, in the order of their numbers.
    pub const ALL: [Self; 6] =
        [Self::Trap, Self::Deadline, Self::Memory, Self::PolicyError, Self::BadAnswer, Self::Capacity];

    /// The label's value.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Trap => "trap",
            Self::Deadline => "deadline",
            Self::Memory => "memory",
            Self::PolicyError => "policy-error",
            Self::BadAnswer => "bad-answer",
            Self::Capacity => "capacity",
        }
    }
}

/// Whether a version was taken into use. Bounded: used as a label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LoadOutcome {
    /// It is in use.
    Active,
    /// It was refused.
    Refused(RefusalReason),
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SourceLabel {
    source: Name,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabel {
    kind: Name,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: Name,
}

/// The name of an enum's value.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Name(&'static str);

impl EncodeLabelValue for Name {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), fmt::Error> {
        self.0.encode(encoder)
    }
}

/// The crate's metrics. Counters of the request path are resolved once.
#[derive(Debug, Clone)]
pub struct Metrics {
    built_in: Counter,
    policy: Counter,
    memo: Counter,
    fallback: Counter,
    failures: Family<KindLabel, Counter>,
    loads: Family<OutcomeLabel, Counter>,
    generation: Gauge,
    call_seconds: Arc<Histogram>,
}

impl Metrics {
    /// Registers all of them.
    pub fn register(registry: &mut Registry) -> Self {
        let decisions = Family::<SourceLabel, Counter>::default();
        registry.register(DECISIONS, "Routing decisions by source", decisions.clone());
        let failures = Family::default();
        registry.register(FAILURES, "Failed calls of policies by kind", failures.clone());
        let loads = Family::default();
        registry.register(LOADS, "Versions of policies by what became of them", loads.clone());
        let generation = Gauge::default();
        registry.register(GENERATION, "Generation of the routing policy in use, 0 is built in", generation.clone());
        let buckets = [250e-9, 500e-9, 1e-6, 2e-6, 5e-6, 10e-6, 50e-6, 250e-6, 1e-3, 5e-3, 10e-3, 25e-3];
        let call_seconds = Histogram::new(buckets);
        registry.register(CALL_SECONDS, "Duration of policy calls that reached a guest", call_seconds.clone());
        let of = |source: &'static str| decisions.get_or_create(&SourceLabel { source: Name(source) }).clone();
        Self {
            built_in: of("built-in"),
            policy: of("policy"),
            memo: of("memo"),
            fallback: of("fallback"),
            failures,
            loads,
            generation,
            call_seconds: Arc::new(call_seconds),
        }
    }

    /// Counts a decision.
    #[inline]
    pub fn decided(&self, source: RouteSource) {
        self.decisions(source).inc();
    }

    /// How often decisions came from there.
    pub fn decisions(&self, source: RouteSource) -> &Counter {
        match source {
            RouteSource::BuiltIn => &self.built_in,
            RouteSource::Policy => &self.policy,
            RouteSource::Memo => &self.memo,
            RouteSource::Fallback => &self.fallback,
        }
    }

    /// Counts a failed call.
    pub fn failed(&self, kind: FailureKind) {
        self.failures.get_or_create(&KindLabel { kind: Name(kind.as_str()) }).inc();
    }

    /// Records the duration of a call.
    pub fn called(&self, seconds: f64) {
        self.call_seconds.observe(seconds);
    }

    /// Counts what became of a version.
    pub fn loaded(&self, outcome: LoadOutcome) {
        let name = match outcome {
            LoadOutcome::Active => "active",
            LoadOutcome::Refused(reason) => reason.as_str(),
        };
        self.loads.get_or_create(&OutcomeLabel { outcome: Name(name) }).inc();
    }

    /// Shows the generation in use.
    pub fn activated(&self, generation: u64) {
        self.generation.set(i64::try_from(generation).unwrap_or(i64::MAX));
    }
}
