//! How those who wait learn that a write is durable: all of one batch together, nobody else.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
};

use tidegate_types::mutation::Sequence;
use tokio::sync::Notify;

use crate::error::Ended;

const WAITING: u8 = 0;
const DURABLE: u8 = 1;
const CLOSED: u8 = 2;
const FAILED: u8 = 3;

/// One batch, by whoever writes it. It is settled once: [`Landing::land`] or [`Landing::end`].
#[derive(Debug, Default)]
pub struct Landing {
    state: AtomicU8,
    waiting: Notify,
}

impl Landing {
    /// A batch that is not durable yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// All of it is durable, and all before it.
    pub fn land(&self) {
        self.settle(DURABLE);
    }

    /// Whether it is durable will not be known here.
    pub fn end(&self, how: Ended) {
        self.settle(match how {
            Ended::Closed => CLOSED,
            Ended::Failed => FAILED,
        });
    }

    fn settle(&self, state: u8) {
        self.state.store(state, Ordering::Release);
        self.waiting.notify_waiters();
    }

    /// What became of it, if that is known.
    #[must_use]
    pub fn state(&self) -> Option<Result<(), Ended>> {
        match self.state.load(Ordering::Acquire) {
            WAITING => None,
            DURABLE => Some(Ok(())),
            CLOSED => Some(Err(Ended::Closed)),
            _ => Some(Err(Ended::Failed)),
        }
    }

    /// Waits until that is known.
    ///
    /// # Errors
    /// [`Ended`]: whether the batch is durable is unknown.
    pub async fn landed(&self) -> Result<(), Ended> {
        loop {
            // Made before looking: who lands after the look wakes it.
            let woken = self.waiting.notified();
            if let Some(outcome) = self.state() {
                return outcome;
            }
            woken.await;
        }
    }
}

/// A record that was taken, and is not durable before its ticket says so.
#[must_use = "a record is durable when its ticket says so"]
pub struct Ticket {
    sequence: Sequence,
    landing: Arc<Landing>,
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticket").field("sequence", &self.sequence).field("outcome", &self.outcome()).finish()
    }
}

impl Ticket {
    /// For a record that leaves with this batch.
    pub fn new(sequence: Sequence, landing: Arc<Landing>) -> Self {
        Self { sequence, landing }
    }

    /// Of which record.
    #[must_use]
    pub fn sequence(&self) -> Sequence {
        self.sequence
    }

    /// What became of it, if that is known.
    #[must_use]
    pub fn outcome(&self) -> Option<Result<(), Ended>> {
        self.landing.state()
    }

    /// Waits until the record is durable. A future that is dropped takes nothing back.
    ///
    /// # Errors
    /// [`Ended`]: whether the record is durable is unknown; it may come back when the journal is opened again.
    pub async fn durable(self) -> Result<(), Ended> {
        self.landing.landed().await
    }
}
