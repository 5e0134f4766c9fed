//! Bounded consistency: how far behind the change feeds are, and what that allows.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tidegate_types::{
    collection::{Consistency, Staleness},
    policy::Narrowed,
};
use tokio::sync::Semaphore;

use crate::feed::FeedAge;

/// Rows fetched again at once, beside those that somebody waits for.
const REFRESHES: usize = 64;

/// What is known of a shard's feed when a read begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// The cache may be asked.
    InTime,
    /// Changes made past the gateways may have been missed for longer than the collection allows.
    Behind,
}

/// What an age means to a read. To be asked in the request itself, before the cache is.
pub(crate) fn standing(consistency: Consistency, age: impl FnOnce() -> FeedAge) -> Standing {
    let Consistency::Bounded(Staleness { max, .. }) = consistency else { return Standing::InTime };
    match age() {
        FeedAge::Known(age) if age <= max => Standing::InTime,
        FeedAge::Known(_) | FeedAge::Unknown | FeedAge::Off => Standing::Behind,
    }
}

/// What stretches the time of rows under bounded consistency.
#[derive(Debug)]
pub(crate) struct Stretch {
    /// How long a fetch takes, a moving average.
    fetch_micros: AtomicU64,
    pub(crate) refreshes: Arc<Semaphore>,
}

impl Default for Stretch {
    fn default() -> Self {
        Self { fetch_micros: AtomicU64::new(0), refreshes: Arc::new(Semaphore::new(REFRESHES)) }
    }
}

impl Stretch {
    /// Notes how long a fetch took.
    pub(crate) fn fetched(&self, took: Duration) {
        let took = u64::try_from(took.as_micros()).unwrap_or(u64::MAX / 8);
        // Two fetches at once may lose one of them; it is an average.
        let before = self.fetch_micros.load(Ordering::Relaxed);
        let after = if before == 0 { took } else { before - before / 8 + took / 8 };
        self.fetch_micros.store(after, Ordering::Relaxed);
    }

    /// Whether a row that may be served for `left` should be fetched again already, so that not all of its readers
    /// miss at once: more likely the nearer its end, and the longer a fetch takes (XFetch: Vattani, Chierichetti,
    /// Lowenstein, "Optimal Probabilistic Cache Stampede Prevention", VLDB 2015).
    pub(crate) fn is_due_early(&self, consistency: Consistency, left: Duration) -> bool {
        let fetch = Duration::from_micros(self.fetch_micros.load(Ordering::Relaxed));
        let bounded = matches!(consistency, Consistency::Bounded(_));
        // Further from the end the chance is below e^-32: not worth drawing.
        bounded && left < fetch.saturating_mul(32) && left < early(fetch, fastrand::f64())
    }
}

/// How long before its end a row is fetched again that drew this number of 0 to 1.
fn early(fetch: Duration, drawn: f64) -> Duration {
    fetch.mul_f64(-drawn.max(f64::MIN_POSITIVE).ln())
}

/// How long after its time a row may be served while it is fetched again: no longer than the policy allows.
pub(crate) fn while_revalidate(consistency: Consistency, bounds: Option<&Narrowed>) -> Duration {
    match consistency {
        Consistency::Strict => Duration::ZERO,
        Consistency::Bounded(Staleness { while_revalidate, .. }) => {
            bounds.map_or(while_revalidate, |bounds| bounds.stale.min(while_revalidate))
        }
    }
}

/// How long after its time a row may be served where its shard does not answer.
pub(crate) fn if_error(consistency: Consistency) -> Duration {
    match consistency {
        Consistency::Strict => Duration::ZERO,
        Consistency::Bounded(Staleness { if_error, .. }) => if_error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDED: Consistency = Consistency::Bounded(Staleness {
        max: Duration::from_secs(1),
        while_revalidate: Duration::from_secs(30),
        if_error: Duration::from_secs(60),
    });

    #[test]
    fn without_a_recent_heartbeat_bounded_reads_go_past_the_cache() {
        let known = |millis| FeedAge::Known(Duration::from_millis(millis));
        for (age, expected) in [
            (known(1000), Standing::InTime),
            (known(1001), Standing::Behind),
            (FeedAge::Unknown, Standing::Behind),
            (FeedAge::Off, Standing::Behind),
        ] {
            assert_eq!(standing(BOUNDED, || age), expected, "{age:?}");
            assert_eq!(standing(Consistency::Strict, || age), Standing::InTime, "{age:?}");
        }
    }

    #[test]
    fn early_fetches_are_rare_far_from_the_end_and_certain_near_it() {
        let fetch = Duration::from_millis(10);
        assert_eq!(early(fetch, 1.0), Duration::ZERO);
        assert!(early(fetch, 0.5) > Duration::from_millis(6) && early(fetch, 0.5) < Duration::from_millis(7));
        assert!(early(fetch, 0.0) < Duration::from_secs(8), "bounded");
        let stretch = Stretch::default();
        stretch.fetched(fetch);
        let drawn = |left| (0..1000).filter(|_| stretch.is_due_early(BOUNDED, Duration::from_millis(left))).count();
        assert_eq!(drawn(320), 0);
        assert!(drawn(10) > 250 && drawn(10) < 500, "about 1 in e");
        assert_eq!(drawn(0), 1000);
        assert!(!stretch.is_due_early(Consistency::Strict, Duration::ZERO));
    }

    #[test]
    fn a_policy_shortens_the_time_after_the_end_and_never_lengthens_it() {
        let policy = |seconds| Narrowed { stale: Duration::from_secs(seconds), ..Narrowed::default() };
        let seconds = |bounds: Option<&Narrowed>| while_revalidate(BOUNDED, bounds).as_secs();
        assert_eq!((seconds(None), seconds(Some(&policy(5))), seconds(Some(&policy(50)))), (30, 5, 30));
        assert_eq!(while_revalidate(Consistency::Strict, Some(&policy(5))), Duration::ZERO);
    }
}
