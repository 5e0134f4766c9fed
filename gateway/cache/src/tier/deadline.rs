//! Bounds many short calls in time by one timer.
//!
//! A timer of its own for each call costs more than the call: it is nearly always the next one due, so setting it wakes
//! the thread that waits for the next event. Here calls that begin within a quarter of the time share a term, and one task
//! ends terms.

use std::{
    collections::VecDeque,
    future::Future,
    pin::pin,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use tokio::{
    sync::Notify,
    task::AbortHandle,
    time::{Instant, sleep},
};

/// Terms that overlap.
const TERMS: u32 = 4;
/// What a timer can tell apart.
const SHORTEST: Duration = Duration::from_millis(1);
/// Terms without a call after which the task rests until there is one.
const IDLE_TERMS: u32 = 200;

/// Calls are ended after a time: not later, but for what the runtime itself is late, and at most a quarter earlier.
#[derive(Debug)]
pub(super) struct Deadlines {
    shared: Arc<Shared>,
    /// Started by the first call.
    task: OnceLock<AbortHandle>,
}

#[derive(Debug)]
struct Shared {
    time: Duration,
    /// The term of the calls that begin now.
    term: ArcSwap<Term>,
    /// Whether a call began since the last look.
    used: AtomicBool,
    /// Whether the task waits for one.
    resting: AtomicBool,
    wanted: Notify,
}

#[derive(Debug, Default)]
struct Term {
    over: AtomicBool,
    ended: Notify,
}

impl Deadlines {
    pub(super) fn new(time: Duration) -> Self {
        let (used, resting) = (AtomicBool::new(false), AtomicBool::new(false));
        let shared = Shared { time, term: ArcSwap::default(), used, resting, wanted: Notify::new() };
        Self { shared: Arc::new(shared), task: OnceLock::new() }
    }

    /// What the call gives, or `None` if it took too long.
    pub(super) async fn bounded<R>(&self, call: impl Future<Output = R>) -> Option<R> {
        self.task.get_or_init(|| tokio::spawn(end_terms(self.shared.clone())).abort_handle());
        let term = self.shared.begin();
        let mut ended = pin!(term.ended.notified());
        // Before looking: a term that ends after the look wakes it.
        ended.as_mut().enable();
        if term.over.load(Ordering::SeqCst) {
            // This thread stood still for that long after it took the term. Rather than longer, not at all.
            return None;
        }
        tokio::select! {
            biased;
            result = call => Some(result),
            () = ended => None,
        }
    }
}

impl Drop for Deadlines {
    fn drop(&mut self) {
        if let Some(task) = self.task.get() {
            task.abort();
        }
    }
}

impl Shared {
    fn begin(&self) -> Arc<Term> {
        let term = self.term.load_full();
        // Said before looking whether the task rests; it says that it does before looking whether a call began.
        if !self.used.load(Ordering::SeqCst) {
            self.used.store(true, Ordering::SeqCst);
        }
        if self.resting.load(Ordering::SeqCst) {
            self.wanted.notify_one();
        }
        term
    }

    /// Waits for a call to begin.
    async fn rest(&self) {
        self.resting.store(true, Ordering::SeqCst);
        if !self.used.load(Ordering::SeqCst) {
            self.wanted.notified().await;
        }
        self.resting.store(false, Ordering::SeqCst);
    }
}

/// Ends terms, oldest first.
async fn end_terms(shared: Arc<Shared>) {
    let length = (shared.time / TERMS).max(SHORTEST);
    // A call may have begun at the end of its term, and must have most of its time then.
    let after = shared.time.saturating_sub(length);
    let mut closed: VecDeque<(Instant, Arc<Term>)> = VecDeque::new();
    let mut idle = 0;
    loop {
        sleep(length).await;
        let now = Instant::now();
        closed.push_back((now, shared.term.swap(Arc::default())));
        while closed.front().is_some_and(|(since, _)| now - *since >= after) {
            if let Some((_, term)) = closed.pop_front() {
                term.over.store(true, Ordering::SeqCst);
                term.ended.notify_waiters();
            }
        }
        idle = if shared.used.swap(false, Ordering::SeqCst) { 0 } else { idle + 1 };
        // Every call has ended or begun within the last terms, and those are over.
        if idle > IDLE_TERMS {
            shared.rest().await;
            idle = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{future, time::Instant as Clock};

    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn a_call_that_hangs_is_ended_in_its_time_and_others_are_not() {
        let time = Duration::from_millis(200);
        let deadlines = Arc::new(Deadlines::new(time));
        assert_eq!(deadlines.bounded(future::ready(7)).await, Some(7));
        let hanging = (0..20_u64).map(|n| {
            let deadlines = deadlines.clone();
            tokio::spawn(async move {
                sleep(Duration::from_millis(n * 17)).await;
                let begun = Clock::now();
                let ended = deadlines.bounded(future::pending::<()>()).await;
                (ended, begun.elapsed())
            })
        });
        let slow = deadlines.bounded(async { sleep(time / 2).await });
        assert_eq!(slow.await, Some(()), "half of the time is not too long");
        for call in hanging.collect::<Vec<_>>() {
            let (ended, took) = call.await.expect("no panic");
            assert_eq!(ended, None);
            assert!(took >= time / 4 * 3, "{took:?}");
            assert!(took < time * 3, "{took:?}, on a busy machine");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_task_rests_where_nobody_calls_and_is_there_again_for_the_next_call() {
        let deadlines = Deadlines::new(Duration::from_millis(8));
        for _ in 0..3 {
            assert_eq!(deadlines.bounded(future::pending::<()>()).await, None);
            // Longer than it takes to fall asleep.
            sleep(Duration::from_secs(10)).await;
            assert!(deadlines.shared.resting.load(Ordering::SeqCst));
        }
        assert_eq!(deadlines.bounded(future::ready(())).await, Some(()));
    }
}
