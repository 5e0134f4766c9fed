//! The gate in front of connecting: few connects at once, and none at all for a moment after one failed,
//! so that a shard that is down costs its requests nothing but an error.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use tokio::sync::{Semaphore, SemaphorePermit};

/// Connects in progress per shard.
const MAX_CONNECTS: usize = 4;
/// How long the gate stays shut after a failed connect, give or take a quarter.
const SHUT: Duration = Duration::from_millis(200);

#[derive(Debug)]
enum State {
    /// The last connect succeeded, or none was tried.
    Open,
    /// A connect failed; nobody tries again before `until`.
    Shut { until: Instant, reason: Arc<str> },
    /// One connect tries whether the shard is back; everybody else is told no.
    Probing { reason: Arc<str> },
}

/// One per shard.
#[derive(Debug)]
pub(crate) struct Gate {
    permits: Semaphore,
    state: Mutex<State>,
}

/// Leave to connect. Dropping it without an outcome (the request went away) lets the next one try.
#[derive(Debug)]
pub(crate) struct Pass<'a> {
    gate: &'a Gate,
    _permit: SemaphorePermit<'a>,
    role: Role,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Ordinary,
    Probe,
    Done,
}

impl Gate {
    pub(crate) fn new() -> Self {
        Self { permits: Semaphore::new(MAX_CONNECTS), state: Mutex::new(State::Open) }
    }

    /// Waits for leave to connect.
    ///
    /// # Errors
    /// Why the last connect failed, while the gate is shut.
    pub(crate) async fn enter(&self) -> Result<Pass<'_>, Arc<str>> {
        self.refusal(Instant::now())?;
        let shut = |_| Arc::from("the store is closed");
        let permit = self.permits.acquire().await.map_err(shut)?;
        // Asked again: those who waited for a permit must not each try a shard that has failed meanwhile.
        let role = self.admit(Instant::now())?;
        Ok(Pass { gate: self, _permit: permit, role })
    }

    fn refusal(&self, now: Instant) -> Result<(), Arc<str>> {
        match &*self.state.lock() {
            State::Shut { until, reason } if now < *until => Err(reason.clone()),
            State::Probing { reason } => Err(reason.clone()),
            State::Open | State::Shut { .. } => Ok(()),
        }
    }

    fn admit(&self, now: Instant) -> Result<Role, Arc<str>> {
        let mut state = self.state.lock();
        match &*state {
            State::Open => Ok(Role::Ordinary),
            State::Probing { reason } => Err(reason.clone()),
            State::Shut { until, reason } if now < *until => Err(reason.clone()),
            State::Shut { reason, .. } => {
                *state = State::Probing { reason: reason.clone() };
                Ok(Role::Probe)
            }
        }
    }
}

impl Pass<'_> {
    /// The shard answered.
    pub(crate) fn succeeded(mut self) {
        self.role = Role::Done;
        *self.gate.state.lock() = State::Open;
    }

    /// It did not: shuts the gate.
    pub(crate) fn failed(mut self, reason: Arc<str>) {
        self.role = Role::Done;
        let shut = SHUT.mul_f64(0.75 + 0.5 * fastrand::f64());
        *self.gate.state.lock() = State::Shut { until: Instant::now() + shut, reason };
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        if self.role == Role::Probe {
            let mut state = self.gate.state.lock();
            if let State::Probing { reason } = &*state {
                *state = State::Shut { until: Instant::now(), reason: reason.clone() };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_failure_shuts_it_and_one_probe_opens_it() {
        let gate = Gate::new();
        gate.enter().await.expect("open").failed(Arc::from("refused"));
        assert_eq!(&*gate.enter().await.expect_err("shut"), "refused");

        *gate.state.lock() = State::Shut { until: Instant::now(), reason: Arc::from("refused") };
        let probe = gate.enter().await.expect("half open");
        assert!(gate.enter().await.is_err(), "only one probe");
        probe.succeeded();
        assert!(gate.enter().await.is_ok());
    }

    #[tokio::test]
    async fn a_probe_that_goes_away_lets_the_next_one_try() {
        let gate = Gate::new();
        *gate.state.lock() = State::Shut { until: Instant::now(), reason: Arc::from("refused") };
        drop(gate.enter().await.expect("half open"));
        assert!(gate.enter().await.is_ok());
    }

    #[tokio::test]
    async fn connects_are_bounded_and_waiters_see_a_failure() {
        let gate = Gate::new();
        let mut passes = Vec::new();
        for _ in 0..MAX_CONNECTS {
            passes.push(gate.enter().await.expect("open"));
        }
        let mut fifth = by_hand(gate.enter());
        assert!(fifth.poll_once().is_none(), "waits for a permit");
        passes.pop().expect("some").failed(Arc::from("down"));
        assert!(fifth.poll_once().expect("a permit came free").is_err(), "does not try a shard that just failed");
    }

    /// A future polled by hand.
    struct ByHand<F>(std::pin::Pin<Box<F>>);

    fn by_hand<F: Future>(future: F) -> ByHand<F> {
        ByHand(Box::pin(future))
    }

    impl<F: Future> ByHand<F> {
        fn poll_once(&mut self) -> Option<F::Output> {
            use futures_util::FutureExt as _;
            (&mut self.0).now_or_never()
        }
    }
}
