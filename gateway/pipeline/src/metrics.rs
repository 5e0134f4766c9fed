//! Metrics of the pipelines.

use std::{
    fmt::Display,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use prometheus_client::{
    metrics::{counter::Counter, family::Family},
    registry::Registry,
};

/// Writes by how they ended.
pub const WRITES: (&str, &str) = ("tidegate_writes", "Writes by how they ended");
/// Writes for which more was purged than an invalidation policy asked for.
pub const FALLBACKS: (&str, &str) = (
    "tidegate_policy_invalidation_fallbacks",
    "Times the collection and every tagged answer of the tenant was purged instead of what the invalidation policy \
     meant, by reason",
);

/// Rows fetched again because an invalidation policy wants it.
pub const REFRESHES: (&str, &str) = (
    "tidegate_policy_refreshes",
    "Rows fetched again because an invalidation policy wants it, by outcome; a dropped one is fetched by its next reader",
);

/// At most one line about fallbacks in this time.
const LOG_EVERY_MS: u64 = 1000;

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

/// Why everything was purged that an invalidation policy might have meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fallback {
    /// It failed.
    Failed,
    /// It named a collection that is not served, or a key that is none.
    BadTarget,
    /// What a row held before the write is not known.
    Unread,
}

impl Fallback {
    const ALL: [Self; 3] = [Self::Failed, Self::BadTarget, Self::Unread];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::BadTarget => "bad_target",
            Self::Unread => "unread",
        }
    }
}

/// What came of fetching a row again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefreshEnd {
    /// It is in the cache.
    Kept,
    /// It was read and may not be kept: by the cache policy, or another write is under way.
    NotKept,
    /// Its shard or a policy failed.
    Failed,
    /// Too many wait.
    Dropped,
}

/// Labels of [`RefreshEnd`], in its order.
const REFRESH_ENDS: [&str; 4] = ["kept", "not_kept", "failed", "dropped"];

/// Handles, resolved once.
#[derive(Debug, Clone)]
pub struct Metrics {
    writes: [Counter; 3],
    fallbacks: [Counter; 3],
    pub(crate) monitor: crate::monitor::metrics::Metrics,
    refreshes: [Counter; REFRESH_ENDS.len()],
    start: Instant,
    /// When a line about fallbacks may be logged again, in milliseconds since `start`.
    quiet_until: Arc<AtomicU64>,
}

type Labelled = Family<[(&'static str, &'static str); 1], Counter>;

impl Metrics {
    /// Registers everything.
    pub fn register(registry: &mut Registry) -> Self {
        let (writes, fallbacks) = (Labelled::default(), Labelled::default());
        registry.register(WRITES.0, WRITES.1, writes.clone());
        registry.register(FALLBACKS.0, FALLBACKS.1, fallbacks.clone());
        let writes =
            ["committed", "failed", "unknown"].map(|outcome| writes.get_or_create_owned(&[("outcome", outcome)]));
        let fallbacks = Fallback::ALL.map(|reason| fallbacks.get_or_create_owned(&[("reason", reason.as_str())]));
        let monitor = crate::monitor::metrics::Metrics::register(registry);
        let refreshes = Labelled::default();
        registry.register(REFRESHES.0, REFRESHES.1, refreshes.clone());
        let refreshes = REFRESH_ENDS.map(|outcome| refreshes.get_or_create_owned(&[("outcome", outcome)]));
        Self { writes, fallbacks, monitor, refreshes, start: Instant::now(), quiet_until: Arc::default() }
    }

    pub(crate) fn write(&self, end: WriteEnd) {
        self.writes[end as usize].inc();
    }

    pub(crate) fn refreshed(&self, end: RefreshEnd) {
        self.refreshes[end as usize].inc();
    }

    /// Counts a fallback, and logs it unless one was logged just now.
    pub(crate) fn fell_back(&self, fallback: Fallback, collection: &str, detail: &dyn Display) {
        self.fallbacks[fallback as usize].inc();
        let now = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        let until = self.quiet_until.load(Ordering::Relaxed);
        let next = now.saturating_add(LOG_EVERY_MS);
        if now >= until && self.quiet_until.compare_exchange(until, next, Ordering::Relaxed, Ordering::Relaxed).is_ok()
        {
            tracing::warn!(reason = fallback.as_str(), collection, %detail,
                "the collection and every tagged answer of the tenant is purged instead of what the invalidation \
                 policy meant");
        }
    }

    #[cfg(test)]
    pub(crate) fn fallbacks(&self) -> [u64; 3] {
        [0, 1, 2].map(|i: usize| self.fallbacks[i].get())
    }
}
