//! What is counted. Labels are bounded enums.

use std::sync::Arc;

use prometheus_client::{
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};
use tidegate_types::route::RouteSource;

use crate::{custom::CustomCounters, error::RefusalReason, hook::Hook};

/// Decisions by where they came from.
pub const DECISIONS: &str = "tidegate_policy_decisions";
/// Failed calls by kind.
pub const FAILURES: &str = "tidegate_policy_failures";
/// Duration of calls that reached a guest.
pub const CALL_SECONDS: &str = "tidegate_policy_call_duration_seconds";
/// The generation in use.
pub const GENERATION: &str = "tidegate_policy_generation";
/// Versions taken into use or refused.
pub const LOADS: &str = "tidegate_policy_loads";
/// Candidates' answers compared with those of the version in use.
pub const SHADOW: &str = "tidegate_policy_shadow";
/// Questions that were answered in two ways.
pub const UNSTABLE: &str = "tidegate_policy_unstable_answers";
/// Versions that were taken out of use by themselves.
pub const FALL_BACKS: &str = "tidegate_policy_fall_backs";
/// Decisions that were not recorded because the disk was slower.
pub const RECORDINGS: &str = "tidegate_policy_recordings_dropped";
/// Counters of plugins' own.
pub const CUSTOM: &str = "tidegate_policy_custom";

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
    /// The guest answered with what does not exist, or too much of it.
    BadAnswer,
    /// The guest answered with a shard where the tenant has no place.
    OutsidePlacement,
    /// An export has another type than the interface says. Found when a version is loaded.
    BadExport,
    /// No room was left for another instance.
    Capacity,
}

impl FailureKind {
    /// Every kind, in the order of their numbers.
    pub const ALL: [Self; 8] = [
        Self::Trap,
        Self::Deadline,
        Self::Memory,
        Self::PolicyError,
        Self::BadAnswer,
        Self::OutsidePlacement,
        Self::BadExport,
        Self::Capacity,
    ];

    /// The label's value.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Trap => "trap",
            Self::Deadline => "deadline",
            Self::Memory => "memory",
            Self::PolicyError => "policy-error",
            Self::BadAnswer => "bad-answer",
            Self::OutsidePlacement => "outside-placement",
            Self::BadExport => "bad-export",
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

/// What became of a comparison between a candidate and the version in use. Bounded: used as a label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ShadowOutcome {
    /// The same answer.
    Agreed,
    /// Another answer.
    Differed,
    /// The candidate failed.
    Failed,
    /// The queue was full: not compared.
    Dropped,
}

impl ShadowOutcome {
    /// Every outcome, in the order of their numbers.
    pub const ALL: [Self; 4] = [Self::Agreed, Self::Differed, Self::Failed, Self::Dropped];

    /// The label's value.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Agreed => "agreed",
            Self::Differed => "differed",
            Self::Failed => "failed",
            Self::Dropped => "dropped",
        }
    }
}

/// One label, and two.
type One = [(&'static str, &'static str); 1];
type Two = [(&'static str, &'static str); 2];

/// What is counted of one hook, resolved once.
#[derive(Debug, Clone)]
struct OfHook {
    decisions: [Counter; 4],
    failures: [Counter; FailureKind::ALL.len()],
    shadow: [Counter; ShadowOutcome::ALL.len()],
    unstable: Counter,
}

/// The crate's metrics. Counters of the request path are resolved once.
#[derive(Debug, Clone)]
pub struct Metrics {
    hooks: Arc<[OfHook; 4]>,
    loads: Family<One, Counter>,
    fall_backs: Counter,
    recordings_dropped: Counter,
    generation: Gauge,
    call_seconds: Arc<Histogram>,
    /// Counters of plugins' own.
    pub custom: CustomCounters,
}

impl Metrics {
    /// Registers all of them.
    pub fn register(registry: &mut Registry) -> Self {
        let decisions = Family::<Two, Counter>::default();
        registry.register(DECISIONS, "Decisions of policies by hook and source", decisions.clone());
        let failures = Family::<Two, Counter>::default();
        registry.register(FAILURES, "Failed calls of policies by hook and kind", failures.clone());
        let shadow = Family::<Two, Counter>::default();
        registry.register(SHADOW, "Answers of shadow candidates compared with those in use", shadow.clone());
        let unstable = Family::<One, Counter>::default();
        registry.register(UNSTABLE, "Repeated questions that were answered differently", unstable.clone());
        let loads = Family::default();
        registry.register(LOADS, "Versions of policies by what became of them", loads.clone());
        let fall_backs = Counter::default();
        registry.register(FALL_BACKS, "Versions taken out of use by themselves", fall_backs.clone());
        let recordings_dropped = Counter::default();
        registry.register(RECORDINGS, "Decisions that could not be recorded in time", recordings_dropped.clone());
        let generation = Gauge::default();
        registry.register(GENERATION, "Generation of the policies in use, 0 is built in", generation.clone());
        let buckets = [250e-9, 500e-9, 1e-6, 2e-6, 5e-6, 10e-6, 50e-6, 250e-6, 1e-3, 5e-3, 10e-3, 25e-3];
        let call_seconds = Histogram::new(buckets);
        registry.register(CALL_SECONDS, "Duration of policy calls that reached a guest", call_seconds.clone());
        let custom = CustomCounters::default();
        registry.register(CUSTOM, "Counters of plugins' own", custom.family());
        let of = |hook: Hook| {
            let hook = ("hook", hook.as_str());
            OfHook {
                decisions: SOURCES.map(|source| decisions.get_or_create_owned(&[hook, ("source", source)])),
                failures: FailureKind::ALL.map(|kind| failures.get_or_create_owned(&[hook, ("kind", kind.as_str())])),
                shadow: ShadowOutcome::ALL
                    .map(|outcome| shadow.get_or_create_owned(&[hook, ("outcome", outcome.as_str())])),
                unstable: unstable.get_or_create_owned(&[hook]),
            }
        };
        let hooks = Arc::new(Hook::ALL.map(of));
        let call_seconds = Arc::new(call_seconds);
        Self { hooks, loads, fall_backs, recordings_dropped, generation, call_seconds, custom }
    }

    /// Counts a decision.
    #[inline]
    pub fn decided(&self, hook: Hook, source: RouteSource) {
        self.decisions(hook, source).inc();
    }

    /// How often decisions came from there.
    pub fn decisions(&self, hook: Hook, source: RouteSource) -> &Counter {
        &self.hooks[hook as usize].decisions[source as usize]
    }

    /// Counts a failed call.
    pub fn failed(&self, hook: Hook, kind: FailureKind) {
        self.hooks[hook as usize].failures[kind as usize].inc();
    }

    /// Counts a question that was answered in two ways.
    pub fn unstable(&self, hook: Hook) {
        self.hooks[hook as usize].unstable.inc();
    }

    /// Counts a comparison.
    pub fn shadowed(&self, hook: Hook, outcome: ShadowOutcome) {
        self.hooks[hook as usize].shadow[outcome as usize].inc();
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
        self.loads.get_or_create(&[("outcome", name)]).inc();
    }

    /// Counts a version that was taken out of use by itself.
    pub fn fell_back(&self) {
        self.fall_backs.inc();
    }

    /// Counts a decision that was not recorded.
    pub fn not_recorded(&self) {
        self.recordings_dropped.inc();
    }

    /// Shows the generation in use.
    pub fn activated(&self, generation: u64) {
        self.generation.set(i64::try_from(generation).unwrap_or(i64::MAX));
    }
}

/// Labels of [`RouteSource`], in the order of its values.
const SOURCES: [&str; 4] = ["built-in", "policy", "memo", "fallback"];
