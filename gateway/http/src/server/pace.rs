//! Whether a connection gets on. One timer per connection instead of one per request: hyper's own
//! header timeout arms a timer for every request and closes idle keep-alive connections with it.

use std::{
    sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use tokio::time::Instant;

use super::line::Between;

/// How long a connection may be kept without a request. Load balancers usually give up after 60 s;
/// closing later than they do avoids a request meeting a closing connection.
pub(super) const IDLE: Duration = Duration::from_secs(75);

/// What the connection's timer should do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Look again then.
    Wait(Instant),
    /// A head was begun and not finished in time.
    SlowHead,
    /// Nothing was asked for long.
    Idle,
}

/// Which silence is suspicious.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Heads {
    /// Bytes between requests begin a head (HTTP/1).
    Watched,
    /// Bytes come for many reasons (HTTP/2, which bounds its heads itself).
    Ignored,
}

/// Marks of one connection, in milliseconds since it was opened. Written by its one task,
/// atomic only because the parts of a hyper connection share them.
#[derive(Debug)]
pub(super) struct Pace {
    opened: Instant,
    in_flight: AtomicU32,
    /// When the head now being read began; [`NONE`] between requests.
    head_since: AtomicU64,
    idle_since: AtomicU64,
    last_had_body: AtomicBool,
}

/// What follows a request's head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Payload {
    /// Nothing.
    None,
    /// A body.
    Some,
}

const NONE: u64 = u64::MAX;

impl Pace {
    /// A connection just opened: its first head is being waited for.
    pub(super) fn new() -> Self {
        Self {
            opened: Instant::now(),
            in_flight: AtomicU32::new(0),
            head_since: AtomicU64::new(0),
            idle_since: AtomicU64::new(0),
            last_had_body: AtomicBool::new(false),
        }
    }

    /// Bytes came in. Says whether they came between requests.
    pub(super) fn bytes_came(&self) -> Between {
        if self.in_flight.load(Relaxed) > 0 || self.head_since.load(Relaxed) != NONE {
            return Between::Unknown;
        }
        self.head_since.store(self.now(), Relaxed);
        if self.last_had_body.load(Relaxed) { Between::Unknown } else { Between::Requests }
    }

    /// A request is being answered until the guard is dropped.
    pub(super) fn request(&self, payload: Payload) -> Answering<'_> {
        self.head_since.store(NONE, Relaxed);
        self.last_had_body.store(payload == Payload::Some, Relaxed);
        self.in_flight.fetch_add(1, Relaxed);
        Answering(self)
    }

    /// What the timer should do now.
    pub(super) fn verdict(&self, heads: Heads, header_timeout: Duration) -> Verdict {
        let now = Instant::now();
        if self.in_flight.load(Relaxed) > 0 {
            return Verdict::Wait(now + header_timeout);
        }
        let (head, idle) = (self.head_since.load(Relaxed), self.idle_since.load(Relaxed));
        if heads == Heads::Watched && head != NONE {
            let due = self.at(head) + header_timeout;
            return if due <= now { Verdict::SlowHead } else { Verdict::Wait(due) };
        }
        let due = self.at(idle) + IDLE;
        // Looking at least once per header timeout finds a head that begins in between on time.
        if due <= now { Verdict::Idle } else { Verdict::Wait(due.min(now + header_timeout)) }
    }

    fn at(&self, mark: u64) -> Instant {
        self.opened + Duration::from_millis(mark)
    }

    fn now(&self) -> u64 {
        u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(NONE - 1)
    }
}

/// A request being answered.
#[derive(Debug)]
pub(super) struct Answering<'a>(&'a Pace);

impl Drop for Answering<'_> {
    fn drop(&mut self) {
        self.0.idle_since.store(self.0.now(), Relaxed);
        self.0.in_flight.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: Duration = Duration::from_secs(10);

    async fn pass(seconds: u64) {
        tokio::time::advance(Duration::from_secs(seconds)).await;
    }

    fn waits(pace: &Pace) -> bool {
        matches!(pace.verdict(Heads::Watched, HEADER), Verdict::Wait(_))
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_must_begin_with_a_request() {
        let pace = Pace::new();
        pass(9).await;
        assert!(waits(&pace));
        pass(1).await;
        assert_eq!(pace.verdict(Heads::Watched, HEADER), Verdict::SlowHead);
    }

    #[tokio::test(start_paused = true)]
    async fn idle_is_allowed_longer_than_a_half_head() {
        let pace = Pace::new();
        drop(pace.request(Payload::None));
        pass(60).await;
        assert!(waits(&pace));
        pace.bytes_came();
        pass(9).await;
        pace.bytes_came();
        assert!(waits(&pace));
        pass(1).await;
        assert_eq!(pace.verdict(Heads::Watched, HEADER), Verdict::SlowHead);
    }

    #[tokio::test(start_paused = true)]
    async fn requests_in_flight_are_not_hurried_and_idling_ends() {
        let pace = Pace::new();
        let answering = pace.request(Payload::None);
        pace.bytes_came();
        pass(1000).await;
        assert!(waits(&pace));
        drop(answering);
        assert!(waits(&pace));
        pass(75).await;
        assert_eq!(pace.verdict(Heads::Ignored, HEADER), Verdict::Idle);
    }
}
