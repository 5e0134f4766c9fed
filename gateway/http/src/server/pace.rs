//! Whether a connection gets on. One timer per connection instead of one per request: hyper's own
//! header timeout arms a timer for every request and closes idle keep-alive connections with it.

use std::{
    sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed},
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

/// Marks of one connection. Written by its one task, atomic only because the parts of a hyper
/// connection share them. Nothing here reads the clock: that is left to [`Watch`], which looks rarely.
#[derive(Debug)]
pub(super) struct Pace {
    /// Requests begun so far.
    requests: AtomicU32,
    in_flight: AtomicU32,
    /// Whether bytes came since the last answer.
    head_begun: AtomicBool,
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

impl Pace {
    /// A connection just opened: its first head is being waited for.
    pub(super) fn new() -> Self {
        Self {
            requests: AtomicU32::new(0),
            in_flight: AtomicU32::new(0),
            head_begun: AtomicBool::new(true),
            last_had_body: AtomicBool::new(false),
        }
    }

    /// Bytes came in. Says whether they came between requests.
    pub(super) fn bytes_came(&self) -> Between {
        if self.in_flight.load(Relaxed) > 0 || self.head_begun.load(Relaxed) {
            return Between::Unknown;
        }
        self.head_begun.store(true, Relaxed);
        if self.last_had_body.load(Relaxed) { Between::Unknown } else { Between::Requests }
    }

    /// A request is being answered until the guard is dropped.
    pub(super) fn request(&self, payload: Payload) -> Answering<'_> {
        self.head_begun.store(false, Relaxed);
        self.last_had_body.store(payload == Payload::Some, Relaxed);
        self.requests.fetch_add(1, Relaxed);
        self.in_flight.fetch_add(1, Relaxed);
        Answering(self)
    }

    fn seen(&self) -> Seen {
        Seen {
            requests: self.requests.load(Relaxed),
            in_flight: self.in_flight.load(Relaxed),
            head_begun: self.head_begun.load(Relaxed),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Seen {
    requests: u32,
    in_flight: u32,
    head_begun: bool,
}

/// Looks at a connection's [`Pace`] and judges what has not changed for long. A silence is noticed
/// by the first look into it, so its end may come up to half a header timeout late, never early.
#[derive(Debug)]
pub(super) struct Watch {
    heads: Heads,
    header_timeout: Duration,
    seen: Seen,
    since: Instant,
}

impl Watch {
    /// Begins to watch a connection.
    pub(super) fn new(pace: &Pace, heads: Heads, header_timeout: Duration) -> Self {
        Self { heads, header_timeout, seen: pace.seen(), since: Instant::now() }
    }

    /// What the timer should do now.
    pub(super) fn look(&mut self, pace: &Pace) -> Verdict {
        let (now, seen) = (Instant::now(), pace.seen());
        if seen != self.seen || seen.in_flight > 0 {
            (self.seen, self.since) = (seen, now);
        }
        let again = now + self.header_timeout / 2;
        if seen.in_flight > 0 {
            return Verdict::Wait(again);
        }
        let in_head = self.heads == Heads::Watched && seen.head_begun;
        let due = self.since + if in_head { self.header_timeout } else { IDLE };
        match (due <= now, in_head) {
            (false, _) => Verdict::Wait(due.min(again)),
            (true, true) => Verdict::SlowHead,
            (true, false) => Verdict::Idle,
        }
    }
}

/// A request being answered.
#[derive(Debug)]
pub(super) struct Answering<'a>(&'a Pace);

impl Drop for Answering<'_> {
    fn drop(&mut self) {
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

    fn waits(watch: &mut Watch, pace: &Pace) -> bool {
        matches!(watch.look(pace), Verdict::Wait(_))
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_must_begin_with_a_request() {
        let pace = Pace::new();
        let mut watch = Watch::new(&pace, Heads::Watched, HEADER);
        pass(9).await;
        assert!(waits(&mut watch, &pace));
        pass(1).await;
        assert_eq!(watch.look(&pace), Verdict::SlowHead);
    }

    #[tokio::test(start_paused = true)]
    async fn idle_is_allowed_longer_than_a_half_head() {
        let pace = Pace::new();
        let mut watch = Watch::new(&pace, Heads::Watched, HEADER);
        drop(pace.request(Payload::None));
        for _ in 0..12 {
            pass(5).await;
            assert!(waits(&mut watch, &pace));
        }
        pace.bytes_came();
        assert!(waits(&mut watch, &pace), "noticed");
        pass(9).await;
        pace.bytes_came();
        assert!(waits(&mut watch, &pace));
        pass(1).await;
        assert_eq!(watch.look(&pace), Verdict::SlowHead);
    }

    #[tokio::test(start_paused = true)]
    async fn busy_connections_are_not_hurried() {
        let pace = Pace::new();
        let mut watch = Watch::new(&pace, Heads::Watched, HEADER);
        for _ in 0..100 {
            pass(5).await;
            drop(pace.request(Payload::None));
            pace.bytes_came();
            assert!(waits(&mut watch, &pace), "each head is another");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn requests_in_flight_are_not_hurried_and_idling_ends() {
        let pace = Pace::new();
        let mut watch = Watch::new(&pace, Heads::Ignored, HEADER);
        let answering = pace.request(Payload::None);
        pace.bytes_came();
        pass(1000).await;
        assert!(waits(&mut watch, &pace));
        drop(answering);
        assert!(waits(&mut watch, &pace));
        pass(74).await;
        assert!(waits(&mut watch, &pace));
        pass(1).await;
        assert_eq!(watch.look(&pace), Verdict::Idle);
    }
}
