//! Registers that are also written by somebody who tells the readers' caches nothing beforehand: a read may miss such
//! a write for a bounded time, and no other.
//!
//! A value that was read may be *outdated*: a write that surely came later was known to have happened when the read
//! began. What surely came later began after the value's own write had ended. What is known to have happened was
//! acknowledged, or read by somebody, before the read began, and for a write from outside longer ago than the bound. A
//! value that nobody wrote, or that was not written yet, is wrong in any case.
//!
//! Within the bound different readers may see a write from outside sooner or later, also one reader after the other.
//! So this is no question of one order of all operations: where writes overlap it is weaker than [`crate::History`].

use std::{collections::HashMap, fmt, time::Duration};

use crate::{Span, Value, contradiction::Shown};

/// By whom a register was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Writer {
    /// Whoever is told before the write happens is never to serve what was before it again.
    Told,
    /// The write is heard of afterwards.
    Outside,
}

/// What happened to one register.
#[derive(Debug, Clone)]
pub struct BoundedHistory {
    bound: Duration,
    initial: Value,
    writes: Vec<(Writer, Value, Span)>,
    reads: Vec<(Value, Span)>,
}

/// Why a read is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Staleness {
    /// Nobody wrote it, or the write was aborted.
    NeverWritten(Value),
    /// The read had ended when the write began.
    ReadBeforeWritten(Value, Span),
    /// Two writes of one value.
    WrittenTwice(Value),
    /// Something later had to be read.
    Outdated {
        /// What was read.
        value: Value,
        /// When.
        read: Span,
        /// From when on no read was to begin that gives it.
        over: Duration,
    },
}

/// A write that happened, or may have.
#[derive(Debug, Clone, Copy)]
struct Made {
    start: Duration,
    /// The latest time at which it happened, if it is known that it did.
    end: Option<Duration>,
    /// From when on reads begin that must not miss it.
    due: Option<Duration>,
}

impl BoundedHistory {
    /// A register that holds `value` from the beginning; reads may miss writes from outside for `bound`.
    #[must_use]
    pub fn starting_with(value: impl Into<Value>, bound: Duration) -> Self {
        Self { bound, initial: value.into(), writes: Vec::new(), reads: Vec::new() }
    }

    /// Adds a write, in any order. What certainly did not happen is left out. `None` is a delete.
    pub fn wrote(&mut self, writer: Writer, value: Value, span: Span) {
        self.writes.push((writer, value, span));
    }

    /// Adds a read. Without an end it says nothing.
    pub fn read(&mut self, value: Value, span: Span) {
        self.reads.push((value, span));
    }

    /// How many operations there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.writes.len() + self.reads.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Checks every read.
    ///
    /// # Errors
    /// The first wrong one, in the order they were added.
    pub fn check(&self) -> Result<(), Staleness> {
        let made = self.made()?;
        let over = over(made.values().flatten());
        for (value, span) in &self.reads {
            let Some(end) = span.end else { continue };
            let writes = made.get(value).ok_or(Staleness::NeverWritten(*value))?;
            // Several deletes look alike: the read may have seen any of them.
            let begun = writes.iter().filter(|write| write.start <= end);
            let last = begun.map(|write| over.of(write)).max().ok_or(Staleness::ReadBeforeWritten(*value, *span))?;
            if span.start > last {
                return Err(Staleness::Outdated { value: *value, read: *span, over: last });
            }
        }
        Ok(())
    }

    /// The writes by their value.
    fn made(&self) -> Result<HashMap<Value, Vec<Made>>, Staleness> {
        let mut first_read: HashMap<Value, Duration> = HashMap::new();
        for (value, end) in self.reads.iter().filter_map(|(value, span)| Some((*value, span.end?))) {
            first_read.entry(value).and_modify(|first| *first = end.min(*first)).or_insert(end);
        }
        let initial = Made { start: Duration::ZERO, end: Some(Duration::ZERO), due: Some(Duration::ZERO) };
        let mut made = HashMap::from([(self.initial, vec![initial])]);
        for (writer, value, Span { start, end }) in &self.writes {
            // Whoever read an absence does not know whose it is.
            let seen = value.and_then(|_| first_read.get(value).copied());
            let known = end.iter().copied().chain(seen).min();
            let due = known.map(|known| match writer {
                Writer::Told => known,
                Writer::Outside => known.saturating_add(self.bound),
            });
            let writes = made.entry(*value).or_default();
            if value.is_some() && !writes.is_empty() {
                return Err(Staleness::WrittenTwice(*value));
            }
            writes.push(Made { start: *start, end: known, due });
        }
        Ok(made)
    }
}

/// When values are over.
struct Over {
    /// Writes by start: each with the earliest time at which it, or one that began later, is due.
    due: Vec<(Duration, Duration)>,
}

fn over<'a>(writes: impl Iterator<Item = &'a Made>) -> Over {
    let mut due: Vec<_> = writes.map(|write| (write.start, write.due.unwrap_or(Duration::MAX))).collect();
    due.sort_unstable();
    let mut earliest = Duration::MAX;
    for (_, due) in due.iter_mut().rev() {
        earliest = earliest.min(*due);
        *due = earliest;
    }
    Over { due }
}

impl Over {
    /// From when on no read may begin that gives what was written: something that surely came later is due.
    fn of(&self, write: &Made) -> Duration {
        let Some(end) = write.end else { return Duration::MAX };
        let later = self.due.partition_point(|(start, _)| *start <= end);
        self.due.get(later).map_or(Duration::MAX, |(_, due)| *due)
    }
}

impl fmt::Display for Staleness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NeverWritten(value) => write!(f, "{} was read and never written", Shown(*value)),
            Self::ReadBeforeWritten(value, span) => {
                write!(f, "{} was read in {span:?}, before it was written", Shown(*value))
            }
            Self::WrittenTwice(value) => write!(f, "{} was written twice", Shown(*value)),
            Self::Outdated { value, read, over } => {
                write!(f, "{} was read in {read:?}, and something later had to be from {over:?} on", Shown(*value))
            }
        }
    }
}

impl std::error::Error for Staleness {}
