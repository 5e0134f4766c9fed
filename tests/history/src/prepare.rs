//! What both checkers need: the writes that count, the reads by value, and what is wrong at first sight.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use crate::{Contradiction, History, Operation, Value};

/// An operation that must happen between two times.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Timed {
    pub(crate) value: Value,
    pub(crate) start: Duration,
    pub(crate) end: Duration,
}

/// A history without what says nothing.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) initial: Value,
    /// Writes that happened. The initial value is not among them.
    pub(crate) writes: Vec<Timed>,
    /// When deletes of unknown outcome began: each may happen once after that, or never.
    pub(crate) maybe_deletes: Vec<Duration>,
    pub(crate) reads: Vec<Timed>,
    /// What was read.
    pub(crate) seen: HashSet<Value>,
}

impl Prepared {
    pub(crate) fn of(history: &History) -> Result<Self, Contradiction> {
        let mut first_read: HashMap<Value, Duration> = HashMap::new();
        let mut reads = Vec::new();
        for (operation, span) in &history.events {
            let (Operation::Read(value), Some(end)) = (operation, span.end) else { continue };
            reads.push(Timed { value: *value, start: span.start, end });
            first_read.entry(*value).and_modify(|first| *first = end.min(*first)).or_insert(end);
        }
        let mut writes = Vec::new();
        let mut maybe_deletes = Vec::new();
        let mut begun: HashMap<Value, Duration> = HashMap::from([(history.initial, Duration::ZERO)]);
        for (operation, span) in &history.events {
            let Operation::Write(value) = *operation else { continue };
            let known = begun.entry(value).or_insert(Duration::MAX);
            if value.is_some() && *known != Duration::MAX {
                return Err(Contradiction::WrittenTwice(value));
            }
            *known = span.start.min(*known);
            match (span.end, value) {
                (Some(end), _) => writes.push(Timed { value, start: span.start, end }),
                (None, None) => maybe_deletes.push(span.start),
                // Whoever read it proves that it had happened by then. If nobody did, it need not have.
                (None, Some(_)) => {
                    writes.extend(first_read.get(&value).map(|end| Timed { value, start: span.start, end: *end }));
                }
            }
        }
        for (value, end) in &first_read {
            let start = begun.get(value).ok_or(Contradiction::NeverWritten(*value))?;
            if end < start {
                return Err(Contradiction::ReadBeforeWritten(*value));
            }
        }
        let seen = first_read.into_keys().collect();
        Ok(Self { initial: history.initial, writes, maybe_deletes, reads, seen })
    }

    /// Whether no two writes, the initial value among them, have one value.
    pub(crate) fn values_are_unique(&self) -> bool {
        let absences = self.writes.iter().filter(|write| write.value.is_none()).count() + self.maybe_deletes.len();
        absences + usize::from(self.initial.is_none()) <= 1 && self.maybe_deletes.is_empty()
    }
}
