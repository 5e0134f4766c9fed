//! Is a record of concurrent reads and writes of one register linearizable? Used by the scenarios on
//! real processes and by the simulation alike.
//!
//! # Layout
//! - [`History`]: what clients wrote and read, and when
//! - `zones`: decides in `O(n log n)` where every write has a value of its own
//! - `sweep`: decides where deletes make "absent" a value that several writes share
//! - [`Histories`]: one history per key
//! - [`bounded`]: registers that are also written from outside, where reads may miss such a write for a while
//!
//! Operations on other keys do not matter: linearizability is local (Herlihy and Wing, 1990).

pub mod bounded;
mod contradiction;
mod keys;
mod prepare;
mod sweep;
mod zones;

use std::time::{Duration, Instant};

pub use contradiction::Contradiction;
pub use keys::Histories;

/// When an operation began and ended, as its client saw it. An operation that ended when another began counts
/// as concurrent with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Before the request was sent.
    pub start: Duration,
    /// After the answer had come; `None` if none came: it may still happen, at any time.
    pub end: Option<Duration>,
}

/// What a register holds: a number, or nothing (the row is not there).
pub type Value = Option<u64>;

/// One operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Wrote a value that nobody else writes, or `None`: deleted the row. What certainly did not happen (an abort
    /// that was told to the client) is not an operation: leave it out, and a read of it is found.
    Write(Value),
    /// Read a value. A read without an answer says nothing and is ignored.
    Read(Value),
}

/// What happened to one key.
#[derive(Debug, Clone)]
pub struct History {
    initial: Value,
    events: Vec<(Operation, Span)>,
}

impl History {
    /// A register that holds `value` from the beginning.
    #[must_use]
    pub fn starting_with(value: impl Into<Value>) -> Self {
        Self { initial: value.into(), events: Vec::new() }
    }

    /// Adds an operation, in any order. Times must be later than zero, which is when the initial value was there.
    pub fn add(&mut self, operation: Operation, span: Span) {
        self.events.push((operation, span));
    }

    /// How many operations there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.events.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// The operations, in the order they were added.
    #[must_use]
    pub fn events(&self) -> &[(Operation, Span)] {
        &self.events
    }

    /// Checks it. A write of unknown outcome counts only if somebody read it.
    ///
    /// # Errors
    /// The first contradiction found.
    pub fn check(&self) -> Result<(), Contradiction> {
        let prepared = prepare::Prepared::of(self)?;
        if prepared.values_are_unique() { zones::check(&prepared) } else { sweep::check(&prepared) }
    }

    /// As [`History::check`], by the slower way that needs no unique values. For comparing the two.
    ///
    /// # Errors
    /// As [`History::check`].
    pub fn check_by_sweep(&self) -> Result<(), Contradiction> {
        sweep::check(&prepare::Prepared::of(self)?)
    }
}

/// Takes the times of operations against a common beginning.
#[derive(Debug, Clone, Copy)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    /// Begins now.
    #[must_use]
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// The time since, never zero.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.0.elapsed() + Duration::from_nanos(1)
    }
}
