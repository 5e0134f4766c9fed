//! How far the server is with stopping.

use tokio::sync::watch;

/// The phases of a server's life, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum DrainPhase {
    /// Ready.
    Serving,
    /// Readiness says 503 so that load balancers look away; requests are still accepted.
    Announced,
    /// No connection is accepted; requests in flight finish.
    Draining,
    /// Every connection is closed.
    Done,
}

/// A cheap handle to the phase: the server moves it, readiness reads it.
#[derive(Debug, Clone)]
pub struct Drain(watch::Sender<DrainPhase>);

impl Default for Drain {
    fn default() -> Self {
        Self::new()
    }
}

impl Drain {
    /// A server that has not been asked to stop.
    #[must_use]
    pub fn new() -> Self {
        Self(watch::Sender::new(DrainPhase::Serving))
    }

    /// The current phase.
    #[must_use]
    pub fn phase(&self) -> DrainPhase {
        *self.0.borrow()
    }

    /// Waits until the phase is `phase` or a later one.
    pub async fn reached(&self, phase: DrainPhase) {
        // The sender is `self`, so it cannot go away.
        let _ = self.0.subscribe().wait_for(|now| *now >= phase).await;
    }

    pub(crate) fn advance(&self, phase: DrainPhase) {
        tracing::info!(?phase, "drain");
        self.0.send_replace(phase);
    }
}
