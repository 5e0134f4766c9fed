//! How far the feed has come, by this gateway's own clock.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::sync::Notify;

use super::event::Beat;

/// What this gateway does for a shard's feed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum FeedRole {
    /// It has no connection.
    Away,
    /// Another gateway reads the slot.
    Waiting,
    /// It reads the slot.
    Reading,
}

/// How old what the feed told is. Clones share it; cheap enough to ask in every request.
///
/// A gateway sends heartbeats through the shard's log. One that came back, after everything that was committed
/// before it was sent, says that the feed has told all that was committed until then. So the age is counted from
/// the sending, by the clock it was sent by, and clocks are never compared.
#[derive(Debug, Clone)]
pub struct FeedHealth(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    gateway: u64,
    /// When the newest heartbeat that came back was sent; 0 if none did.
    newest: AtomicU64,
    /// Whether every served table is followed.
    complete: AtomicBool,
    role: AtomicU8,
    /// How often something that another gateway told was missing, and how many of these a flush has settled.
    doubts: AtomicU64,
    settled: AtomicU64,
    suspected: Notify,
}

impl FeedHealth {
    pub(crate) fn new(gateway: u64) -> Self {
        let role = AtomicU8::new(FeedRole::Away as u8);
        let (newest, complete) = (AtomicU64::new(0), AtomicBool::new(false));
        // Nothing is known yet of what another gateway may have told before.
        let (doubts, settled) = (AtomicU64::new(1), AtomicU64::new(0));
        Self(Arc::new(Inner { gateway, newest, complete, role, doubts, settled, suspected: Notify::new() }))
    }

    /// How long ago the moment is up to which every change is known. `None` before the first heartbeat came back,
    /// and while a served table is not followed.
    #[must_use]
    pub fn age(&self) -> Option<Duration> {
        let newest = self.0.newest.load(Ordering::Acquire);
        let known = newest > 0 && self.0.complete.load(Ordering::Acquire);
        known.then(|| Duration::from_micros(now().saturating_sub(newest)))
    }

    /// A heartbeat came back. To be called when everything that came before it was obeyed.
    pub fn returned(&self, beat: Beat) {
        if beat.gateway == self.0.gateway {
            self.0.newest.fetch_max(beat.sent, Ordering::AcqRel);
        }
    }

    /// What this gateway does for the feed.
    #[must_use]
    pub fn role(&self) -> FeedRole {
        match self.0.role.load(Ordering::Relaxed) {
            role if role == FeedRole::Reading as u8 => FeedRole::Reading,
            role if role == FeedRole::Waiting as u8 => FeedRole::Waiting,
            _ => FeedRole::Away,
        }
    }

    pub(crate) fn play(&self, role: FeedRole) {
        self.0.role.store(role as u8, Ordering::Relaxed);
    }

    /// Something that the gateway that reads told may be missing: a flush is wanted, and no heartbeat that it tells
    /// counts before.
    pub fn suspect(&self) {
        self.0.doubts.fetch_add(1, Ordering::AcqRel);
        self.0.suspected.notify_one();
    }

    /// Whether a flush is wanted before what another gateway tells can be trusted.
    #[must_use]
    pub fn is_suspect(&self) -> bool {
        self.0.settled.load(Ordering::Acquire) < self.0.doubts.load(Ordering::Acquire)
    }

    /// A flush was obeyed; `doubts` is what it says to settle.
    pub fn settle(&self, doubts: u64) {
        self.0.settled.fetch_max(doubts, Ordering::AcqRel);
    }

    /// Doubts so far.
    pub(crate) fn doubts(&self) -> u64 {
        self.0.doubts.load(Ordering::Acquire)
    }

    /// Waits for another doubt.
    pub(crate) async fn suspected(&self) {
        self.0.suspected.notified().await;
    }

    /// Other tables are to be followed: no age is known until they are.
    pub fn doubt(&self) {
        self.cover(Coverage::Partial);
    }

    pub(crate) fn cover(&self, coverage: Coverage) {
        self.0.complete.store(coverage == Coverage::Complete, Ordering::Release);
    }

    /// A heartbeat to be sent now.
    pub(crate) fn beat(&self) -> Beat {
        Beat { gateway: self.0.gateway, sent: now() }
    }
}

/// Whether all served tables are followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Coverage {
    Complete,
    Partial,
}

impl Beat {
    pub(crate) fn text(self) -> String {
        format!("beat {:x} {:x}", self.gateway, self.sent)
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (gateway, sent) = text.strip_prefix("beat ")?.split_once(' ')?;
        let number = |digits| u64::from_str_radix(digits, 16).ok();
        Some(Self { gateway: number(gateway)?, sent: number(sent)? })
    }
}

/// Microseconds on a clock that goes on while the machine sleeps: what was told before is old then.
#[expect(clippy::cast_sign_loss, reason = "the clock counts from the machine's start")]
fn now() -> u64 {
    #[cfg(target_os = "linux")]
    const CLOCK: nix::time::ClockId = nix::time::ClockId::CLOCK_BOOTTIME;
    #[cfg(not(target_os = "linux"))]
    const CLOCK: nix::time::ClockId = nix::time::ClockId::CLOCK_MONOTONIC;
    // Cannot fail for a clock that exists; at its end nothing has an age.
    let Ok(time) = nix::time::clock_gettime(CLOCK) else { return u64::MAX };
    time.tv_sec() as u64 * 1_000_000 + time.tv_nsec() as u64 / 1_000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn age_counts_from_the_sending_of_the_newest_that_came_back() {
        let health = FeedHealth::new(7);
        assert_eq!(health.age(), None);
        health.cover(Coverage::Complete);
        assert_eq!(health.age(), None, "none came back");
        let sent = now() - 5_000_000;
        health.returned(Beat { gateway: 8, sent: now() });
        assert_eq!(health.age(), None, "another gateway's clock says nothing");
        health.returned(Beat { gateway: 7, sent });
        health.returned(Beat { gateway: 7, sent: sent - 1 });
        let age = health.age().expect("one came back");
        assert!(age >= Duration::from_secs(5) && age < Duration::from_secs(60), "{age:?}");
        health.cover(Coverage::Partial);
        assert_eq!(health.age(), None, "a table is not followed");
    }

    #[test]
    fn heartbeats_are_read_as_they_are_written() {
        let beat = Beat { gateway: u64::MAX, sent: 12 };
        assert_eq!(Beat::parse(&beat.text()), Some(beat));
        for bad in ["", "beat", "beat 1", "beat x 1", "ddl", "beat 1 2 3"] {
            assert_eq!(Beat::parse(bad), None, "{bad}");
        }
    }
}
