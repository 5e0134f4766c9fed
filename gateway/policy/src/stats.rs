//! Counts of one generation, for the admin API.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use tidegate_types::tenant::TenantId;

use crate::{guest::GuestFailure, metrics::FailureKind, patience::Patience};

/// Buckets of each doubling of the duration.
const PER_OCTAVE: u64 = 4;
/// 34 doublings: up to 17 s.
const BUCKETS: usize = 34 * 4;

/// Durations in buckets about 19 % wide.
struct Durations([AtomicU64; BUCKETS]);

impl Durations {
    fn record(&self, duration: Duration) {
        let ns = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX).max(PER_OCTAVE);
        let octave = u64::from(ns.ilog2());
        let within = (ns >> (octave - 2)) & (PER_OCTAVE - 1);
        let bucket = usize::try_from(octave * PER_OCTAVE + within).unwrap_or(usize::MAX).min(BUCKETS - 1);
        self.0[bucket].fetch_add(1, Ordering::Relaxed);
    }

    fn count(&self) -> u64 {
        self.0.iter().map(|bucket| bucket.load(Ordering::Relaxed)).sum()
    }

    fn counts(&self) -> Vec<u64> {
        self.0.iter().map(|bucket| bucket.load(Ordering::Relaxed)).collect()
    }

    /// The upper bound of the bucket in which this part of the calls lies.
    fn quantile_ns(&self, part: f64) -> Option<u64> {
        quantile_of(&self.counts(), part)
    }
}

fn quantile_of(counts: &[u64], part: f64) -> Option<u64> {
    let total: u64 = counts.iter().sum();
    let mut seen = 0;
    (0_u64..).zip(counts).find_map(|(bucket, count)| {
        seen += count;
        let (octave, within) = (bucket / PER_OCTAVE, bucket % PER_OCTAVE);
        (total > 0 && seen as f64 >= part * total as f64).then(|| (1 << octave) + ((within + 1) << octave) / PER_OCTAVE)
    })
}

/// A point in a version's life.
#[derive(Default)]
pub struct Mark {
    durations: Vec<u64>,
    failures: u64,
}

/// What happened since a [`Mark`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Calls that reached the guest.
    pub calls: u64,
    /// Of those, or instead of those, that failed.
    pub failed: u64,
    /// 99th percentile of the calls' duration.
    pub p99: Option<Duration>,
}

/// Shortest time between two log lines about failures, in milliseconds.
const LOG_EVERY_MS: u64 = 1000;

/// What happened in a generation.
pub struct Stats {
    start: Instant,
    durations: Durations,
    failures: [AtomicU64; FailureKind::ALL.len()],
    last_error: Mutex<Option<String>>,
    /// Memo hits of earlier generations, to be subtracted from the process's.
    pub memo_hits_before: AtomicU64,
    patience: Patience,
    next_log_ms: AtomicU64,
    unstable: AtomicU64,
}

impl Stats {
    /// Nothing happened yet.
    pub fn new() -> Self {
        Self {
            start: Instant::now(),
            durations: Durations([const { AtomicU64::new(0) }; BUCKETS]),
            failures: Default::default(),
            last_error: Mutex::new(None),
            memo_hits_before: AtomicU64::new(0),
            patience: Patience::new(),
            next_log_ms: AtomicU64::new(0),
            unstable: AtomicU64::new(0),
        }
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Whether the policy ran out of time so often in a row, asked for this tenant, that it is left alone.
    pub fn left_alone(&self, tenant: TenantId) -> bool {
        self.patience.is_over(tenant, self.now_ms())
    }

    /// Notes a call that reached the guest.
    pub fn called(&self, tenant: TenantId, duration: Duration, outcome: Result<(), FailureKind>) {
        self.durations.record(duration);
        match outcome {
            Err(FailureKind::Deadline) => self.patience.lose(tenant, self.now_ms()),
            Ok(()) | Err(_) => self.patience.regain(tenant),
        }
    }

    /// Counts a failure. Says whether it should be logged, which is at most once a second.
    pub fn failed(&self, failure: &GuestFailure) -> Report {
        self.failures[failure.kind as usize].fetch_add(1, Ordering::Relaxed);
        let (now, next) = (self.now_ms(), self.next_log_ms.load(Ordering::Relaxed));
        let ours = now >= next
            && self
                .next_log_ms
                .compare_exchange(next, now + LOG_EVERY_MS, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok();
        if !ours {
            return Report::Counted;
        }
        *self.last_error.lock() = Some(format!("{}: {}", failure.kind.as_str(), failure.detail));
        Report::Log
    }

    /// Notes a question that was answered in two ways. Says whether it was the first.
    pub fn unstable(&self) -> bool {
        self.unstable.fetch_add(1, Ordering::Relaxed) == 0
    }

    /// Questions that were answered in two ways.
    pub fn unstable_answers(&self) -> u64 {
        self.unstable.load(Ordering::Relaxed)
    }

    /// What happened so far, to tell later what happened since.
    pub fn mark(&self) -> Mark {
        Mark { durations: self.durations.counts(), failures: self.failed_calls() }
    }

    /// Failures, but for those that are the machine's.
    fn failed_calls(&self) -> u64 {
        FailureKind::ALL
            .iter()
            .filter(|kind| **kind != FailureKind::Capacity)
            .map(|kind| self.failures[*kind as usize].load(Ordering::Relaxed))
            .sum()
    }

    /// What happened since a mark.
    pub fn since(&self, mark: &Mark) -> Window {
        let counts = self.durations.counts();
        let then = mark.durations.iter().copied().chain(std::iter::repeat(0));
        let passed: Vec<u64> = counts.iter().zip(then).map(|(now, then)| now.saturating_sub(then)).collect();
        let failed = self.failed_calls().saturating_sub(mark.failures);
        Window { calls: passed.iter().sum(), failed, p99: quantile_of(&passed, 0.99).map(Duration::from_nanos) }
    }

    /// Calls that reached the guest.
    pub fn calls(&self) -> u64 {
        self.durations.count()
    }

    /// The duration that this part of the calls did not exceed, in nanoseconds.
    pub fn quantile_ns(&self, part: f64) -> Option<u64> {
        self.durations.quantile_ns(part)
    }

    /// Failures by kind, of those kinds that occurred.
    pub fn failures(&self) -> BTreeMap<&'static str, u64> {
        let count = |kind: &FailureKind| self.failures[*kind as usize].load(Ordering::Relaxed);
        FailureKind::ALL.iter().filter(|kind| count(kind) > 0).map(|kind| (kind.as_str(), count(kind))).collect()
    }

    /// A recent failure.
    pub fn last_error(&self) -> Option<String> {
        self.last_error.lock().clone()
    }
}

/// What to do about a failure besides counting it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Report {
    /// Log it.
    Log,
    /// Nothing: another was logged within the second.
    Counted,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_bounds_within_a_fifth() {
        let durations = Durations([const { AtomicU64::new(0) }; BUCKETS]);
        assert_eq!(durations.quantile_ns(0.5), None);
        for ns in 1..=1000 {
            durations.record(Duration::from_nanos(ns));
        }
        durations.record(Duration::from_secs(3600));
        for (part, exact) in [(0.5, 500), (0.99, 990)] {
            let bound = durations.quantile_ns(part).expect("recorded");
            assert!(bound >= exact && bound * 4 <= exact * 5 + 4, "{part}: {bound}");
        }
        assert_eq!(durations.count(), 1001);
    }

    #[test]
    fn failures_are_counted_each_and_logged_once_a_second() {
        let stats = Stats::new();
        let failure = GuestFailure::new(FailureKind::Trap, "unreachable");
        assert_eq!(stats.failed(&failure), Report::Log);
        assert_eq!(stats.failed(&failure), Report::Counted);
        assert_eq!(stats.failures(), BTreeMap::from([("trap", 2)]));
        assert_eq!(stats.last_error().as_deref(), Some("trap: unreachable"));
    }
}
