//! The clock of leases: it goes on while the machine is suspended, and nobody can set it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use nix::time::{ClockId, clock_gettime};

/// Linux's `CLOCK_MONOTONIC` stands still while the machine is suspended, and a lease must not.
#[cfg(any(target_os = "linux", target_os = "android"))]
const BOOT: ClockId = ClockId::CLOCK_BOOTTIME;
/// Elsewhere it does not.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const BOOT: ClockId = ClockId::CLOCK_MONOTONIC;

/// A point in the time of this machine, in nanoseconds since it started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Moment(u64);

impl Moment {
    /// Before everything.
    pub const START: Self = Self(0);

    /// This long after, at most the end of time.
    #[must_use]
    pub fn after(self, delay: Duration) -> Self {
        Self(self.0.saturating_add(nanos(delay)))
    }

    /// The time from `earlier` to here, zero if it lies ahead.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// As a number, to be kept in an atomic.
    #[must_use]
    pub const fn to_nanos(self) -> u64 {
        self.0
    }

    /// The moment of this number.
    #[must_use]
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Tells the time. Clones tell the same.
#[derive(Debug, Clone, Default)]
pub struct Clock(Source);

#[derive(Debug, Clone, Default)]
enum Source {
    #[default]
    Machine,
    Hand(Arc<AtomicU64>),
}

impl Clock {
    /// The machine's.
    #[must_use]
    pub fn of_machine() -> Self {
        Self(Source::Machine)
    }

    /// One that stands still until it is moved, for tests. Starts at one second.
    #[must_use]
    pub fn by_hand() -> Self {
        Self(Source::Hand(Arc::new(AtomicU64::new(1_000_000_000))))
    }

    /// Now.
    ///
    /// # Panics
    /// If the system has no such clock. Every supported one has, and a lease cannot be judged without it.
    #[must_use]
    pub fn now(&self) -> Moment {
        match &self.0 {
            Source::Machine => {
                let time = clock_gettime(BOOT).expect("the system has the clock");
                Moment(nanos(time.into()))
            }
            Source::Hand(at) => Moment(at.load(Ordering::SeqCst)),
        }
    }

    /// Moves a clock that is moved by hand; others go by themselves.
    pub fn advance(&self, by: Duration) {
        if let Source::Hand(at) = &self.0 {
            at.fetch_add(nanos(by), Ordering::SeqCst);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machines_clock_goes_forward() {
        let clock = Clock::of_machine();
        let (before, began) = (clock.now(), std::time::Instant::now());
        while clock.now() == before {
            assert!(began.elapsed() < Duration::from_secs(10), "it stands still");
        }
        assert!(clock.now() > before);
        clock.advance(Duration::from_secs(3600));
        assert!(clock.now().since(before) < Duration::from_secs(3600), "and is not moved by hand");
    }

    #[test]
    fn moments_neither_wrap_nor_go_below_zero() {
        let clock = Clock::by_hand();
        let at = clock.now();
        assert_eq!(at.since(at.after(Duration::from_secs(1))), Duration::ZERO);
        assert_eq!(at.after(Duration::MAX), Moment(u64::MAX));
    }
}
