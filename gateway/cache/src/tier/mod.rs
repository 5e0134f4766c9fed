//! The shared tier (L2): Redis or Valkey behind one narrow trait. It is never trusted for freshness: what comes
//! from it is judged like a fill, so it may lose, delay or resurrect anything.
//!
//! # Layout
//! - [`CacheTier`]: the seam; [`TierError`], [`TierState`]
//! - [`guard`]: bounds every call by time, all by one timer (`deadline`), and leaves a tier alone that fails ([`breaker`])
//! - [`redis`]: Redis and Valkey; puts go through a bounded [`queue`]
//! - `memory` (feature `testing`): a tier in this process, with faults
//! - [`codec`]: the bytes of an entry; [`key`]: the bytes of its key

pub mod breaker;
pub mod codec;
mod deadline;
pub mod guard;
pub mod key;
#[cfg(feature = "testing")]
pub mod memory;
pub mod metrics;
pub mod queue;
pub mod redis;

use std::{fmt, future::Future, pin::Pin, time::Duration};

use bytes::Bytes;

/// What an asynchronous call of a tier returns.
pub type Reply<'a, T> = Pin<Box<dyn Future<Output = Result<T, TierError>> + Send + 'a>>;

/// A store of bytes by bytes, shared with other gateways.
///
/// Hidden contract: nobody relies on it for more than speed. A `get` may answer with any value that was ever put
/// under the key, or with none. It must not answer with a value that was put under another key; the codec catches
/// even that.
pub trait CacheTier: Send + Sync + fmt::Debug {
    /// The value, if there is one.
    ///
    /// # Errors
    /// [`TierError`]; never waits for longer than the tier's timeout where it is guarded.
    fn get<'a>(&'a self, key: &'a [u8]) -> Reply<'a, Option<Bytes>>;

    /// Hands a value over, to be kept for `ttl` or less. Never waits: the value is written soon, or never.
    ///
    /// # Errors
    /// The value was not taken; nothing is to be done about it.
    fn put(&self, put: Put) -> Result<(), TierError>;

    /// Removes values.
    ///
    /// # Errors
    /// [`TierError`]; some of them may be gone.
    fn delete<'a>(&'a self, keys: &'a [Bytes]) -> Reply<'a, ()>;

    /// Whether it can be used now.
    fn state(&self) -> TierState;
}

/// A value to keep.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Put {
    /// Its key.
    pub key: Bytes,
    /// The value.
    pub value: Bytes,
    /// How long it is of use. Kept in whole milliseconds, at least one.
    pub ttl: Duration,
}

impl Put {
    /// Bytes of key and value.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.key.len() + self.value.len()
    }
}

/// Whether a tier can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TierState {
    /// It answers.
    Up,
    /// It failed; one call tries whether it is back.
    Probing,
    /// It is left alone.
    Down,
}

impl TierState {
    /// The name shown to operators.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Probing => "probing",
            Self::Down => "down",
        }
    }
}

/// Why a tier did not do something. Never a reason to fail a request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TierError {
    /// It did not answer in time.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// It failed a moment ago and is left alone.
    #[error("left alone after failures")]
    Open,
    /// There is no connection.
    #[error("not connected: {0}")]
    Unavailable(String),
    /// Too much is waiting to be written.
    #[error("too many values are waiting to be written")]
    Full,
    /// It answered with an error.
    #[error("{0}")]
    Failed(String),
}

/// What to do after a [`TierError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Advice {
    /// The tier may be in trouble: go on without it, and count that against it.
    Suspect,
    /// Nothing is known to be wrong with the tier: go on without it.
    Pass,
}

impl TierError {
    /// What to do now. Nothing is ever repeated: the shard has the answer.
    #[must_use]
    pub const fn advice(&self) -> Advice {
        match self {
            Self::Timeout(_) | Self::Unavailable(_) | Self::Failed(_) => Advice::Suspect,
            Self::Open | Self::Full => Advice::Pass,
        }
    }
}
