//! Leaves a failing tier alone: after enough failures among the latest calls nothing is sent for a while, then one
//! call at a time tries whether it is back.

use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use parking_lot::Mutex;
use tokio::time::Instant;

use super::TierState;

/// Of the latest calls this many are remembered.
const REMEMBERED: u32 = 16;
/// This many failures among them open the breaker.
const FAILURES: u32 = 8;
/// How long nothing is sent at first.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// The pause doubles with each probe that fails, up to this.
const LONGEST_PAUSE: Duration = Duration::from_secs(4);

/// A circuit breaker. Bounded: while it is open, one call per pause waits for the tier.
#[derive(Debug, Default)]
pub struct Breaker {
    /// The latest outcomes while closed, a bit each, failures set. Zero where all is well, so that the usual call
    /// only reads it. Changed under the lock of `state`.
    recent: AtomicU32,
    state: Mutex<State>,
}

#[derive(Debug, Clone, Copy, Default)]
enum State {
    #[default]
    Closed,
    Open {
        until: Instant,
        pause: Duration,
    },
    Probing {
        pause: Duration,
    },
}

/// The leave to make a call. Tell its outcome; dropped without one it counts for nothing.
#[derive(Debug)]
#[must_use]
pub struct Pass<'a> {
    breaker: &'a Breaker,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Usual,
    Probe,
    Told,
}

impl Breaker {
    /// A closed one.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The leave to make a call, or `None` while the tier is left alone.
    pub fn admit(&self) -> Option<Pass<'_>> {
        // Failures leave a bit behind, and an open breaker keeps them: zero means closed.
        if self.recent.load(Ordering::Relaxed) == 0 {
            return Some(Pass { breaker: self, kind: Kind::Usual });
        }
        let mut state = self.state.lock();
        let kind = match *state {
            State::Closed => Kind::Usual,
            State::Open { until, pause } if Instant::now() >= until => {
                *state = State::Probing { pause };
                Kind::Probe
            }
            State::Open { .. } | State::Probing { .. } => return None,
        };
        Some(Pass { breaker: self, kind })
    }

    /// Whether calls are made.
    #[must_use]
    pub fn state(&self) -> TierState {
        match *self.state.lock() {
            State::Closed => TierState::Up,
            State::Open { .. } => TierState::Down,
            State::Probing { .. } => TierState::Probing,
        }
    }

    fn usual_ended(&self, failures: u32) {
        if failures == 0 && self.recent.load(Ordering::Relaxed) == 0 {
            return;
        }
        let mut state = self.state.lock();
        // A straggler from before it opened tells nothing new.
        if !matches!(*state, State::Closed) {
            return;
        }
        let recent = ((self.recent.load(Ordering::Relaxed) << 1) | failures) & ((1 << REMEMBERED) - 1);
        self.recent.store(recent, Ordering::Relaxed);
        if recent.count_ones() >= FAILURES {
            *state = State::Open { until: Instant::now() + FIRST_PAUSE, pause: FIRST_PAUSE };
        }
    }

    fn probe_ended(&self, outcome: Outcome) {
        let mut state = self.state.lock();
        let State::Probing { pause } = *state else { return };
        *state = match outcome {
            Outcome::Success => {
                self.recent.store(0, Ordering::Relaxed);
                State::Closed
            }
            Outcome::Failure => {
                let pause = (pause * 2).min(LONGEST_PAUSE);
                State::Open { until: Instant::now() + pause, pause }
            }
            // The next call may try at once.
            Outcome::Unknown => State::Open { until: Instant::now(), pause },
        };
    }
}

#[derive(Debug, Clone, Copy)]
enum Outcome {
    Success,
    Failure,
    Unknown,
}

impl Pass<'_> {
    /// The tier answered.
    pub fn succeeded(mut self) {
        match std::mem::replace(&mut self.kind, Kind::Told) {
            Kind::Probe => self.breaker.probe_ended(Outcome::Success),
            _ => self.breaker.usual_ended(0),
        }
    }

    /// The tier did not answer, or with an error.
    pub fn failed(mut self) {
        match std::mem::replace(&mut self.kind, Kind::Told) {
            Kind::Probe => self.breaker.probe_ended(Outcome::Failure),
            _ => self.breaker.usual_ended(1),
        }
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        // Whoever asked went away.
        if self.kind == Kind::Probe {
            self.breaker.probe_ended(Outcome::Unknown);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fail(breaker: &Breaker) {
        breaker.admit().expect("closed").failed();
    }

    fn opened() -> Breaker {
        let breaker = Breaker::new();
        (0..FAILURES).for_each(|_| fail(&breaker));
        assert_eq!(breaker.state(), TierState::Down);
        breaker
    }

    #[tokio::test(start_paused = true)]
    async fn it_opens_after_enough_failures_among_the_latest() {
        let breaker = Breaker::new();
        for _ in 0..10 {
            (0..FAILURES - 1).for_each(|_| fail(&breaker));
            (0..REMEMBERED).for_each(|_| breaker.admit().expect("closed").succeeded());
        }
        assert_eq!(breaker.state(), TierState::Up, "never enough at once");
        for _ in 0..FAILURES {
            breaker.admit().expect("closed").succeeded();
            fail(&breaker);
        }
        assert_eq!(breaker.state(), TierState::Down, "every second call fails");
        assert!(breaker.admit().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn one_probe_at_a_time_closes_it_again() {
        let breaker = opened();
        tokio::time::advance(FIRST_PAUSE).await;
        let probe = breaker.admit().expect("the pause is over");
        assert_eq!(breaker.state(), TierState::Probing);
        assert!(breaker.admit().is_none(), "one is under way");
        probe.succeeded();
        assert_eq!(breaker.state(), TierState::Up);
        fail(&breaker);
        assert_eq!(breaker.state(), TierState::Up, "earlier failures are forgotten");
    }

    #[tokio::test(start_paused = true)]
    async fn pauses_grow_and_stay_bounded() {
        let breaker = opened();
        let mut pause = FIRST_PAUSE;
        for _ in 0..8 {
            tokio::time::advance(pause - Duration::from_millis(1)).await;
            assert!(breaker.admit().is_none());
            tokio::time::advance(Duration::from_millis(1)).await;
            breaker.admit().expect("the pause is over").failed();
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        assert_eq!(pause, LONGEST_PAUSE);
    }

    #[tokio::test(start_paused = true)]
    async fn a_probe_that_is_given_up_lets_the_next_call_try() {
        let breaker = opened();
        tokio::time::advance(FIRST_PAUSE).await;
        drop(breaker.admit().expect("the pause is over"));
        assert!(breaker.admit().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn stragglers_of_before_change_nothing() {
        let breaker = Breaker::new();
        let (slow, failing) = (breaker.admit().expect("closed"), breaker.admit().expect("closed"));
        (0..FAILURES).for_each(|_| fail(&breaker));
        slow.succeeded();
        assert_eq!(breaker.state(), TierState::Down);
        tokio::time::advance(FIRST_PAUSE).await;
        breaker.admit().expect("the pause is over").succeeded();
        failing.failed();
        assert_eq!(breaker.state(), TierState::Up);
    }
}
