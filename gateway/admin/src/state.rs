//! What the process is doing.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicU8, Ordering},
};

use prometheus_client::registry::Registry;

use crate::control::Control;

/// Where the process is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// The catalogs are being read.
    Starting,
    /// Requests are served.
    Ready,
    /// Requests are still served, but nobody should send new ones.
    Draining,
}

impl Phase {
    /// The word `/ready` answers with.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Draining => "draining",
        }
    }
}

/// Shared by the process and its admin listener. Clones share everything.
#[derive(Debug, Clone, Default)]
pub struct AdminState(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    phase: AtomicU8,
    serving: OnceLock<Serving>,
}

/// What there is once the process serves.
pub(crate) struct Serving {
    pub(crate) control: Arc<dyn Control>,
    pub(crate) registry: Registry,
}

impl std::fmt::Debug for Serving {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Serving").finish_non_exhaustive()
    }
}

impl AdminState {
    /// A process that has just begun.
    #[must_use]
    pub fn starting() -> Self {
        Self::default()
    }

    /// The catalogs were read and the public listener is bound. Takes the registry, so every metric
    /// must be registered by now.
    pub fn ready(&self, control: Arc<dyn Control>, registry: Registry) {
        let first = self.0.serving.set(Serving { control, registry }).is_ok();
        debug_assert!(first, "a process becomes ready once");
        self.0.phase.store(1, Ordering::Release);
    }

    /// Asks balancers to go elsewhere. There is no way back.
    pub fn drain(&self) {
        self.0.phase.store(2, Ordering::Release);
    }

    /// Where the process is in its life.
    #[must_use]
    pub fn phase(&self) -> Phase {
        match self.0.phase.load(Ordering::Acquire) {
            0 => Phase::Starting,
            1 => Phase::Ready,
            _ => Phase::Draining,
        }
    }

    pub(crate) fn serving(&self) -> Option<&Serving> {
        self.0.serving.get()
    }
}
